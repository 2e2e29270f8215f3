//! The metrics: what there is, and how a state becomes OpenMetrics.
//!
//! Attributes are named as OpenTelemetry's semantic conventions name them (`error.type`, `network.connection.state`,
//! `network.transport`, `server.address`), with dots as underscores.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};

use super::State;
use crate::report::{record::Record, words};

/// One metric, as docs and dashboards know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, without the suffix of its type.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
}

/// A row of [`FAMILIES`].
const fn family(name: &'static str, help: &'static str) -> Family {
    Family { name, help }
}

const RUN: Family = family("c1m_run", "Whose view it is, and of which server");
const TARGET: Family = family("target", "The program that is scraped");
const ATTEMPTS: Family = family("c1m_attempts", "Attempts begun");
const CONNECTIONS: Family = family(
    "c1m_connections",
    "Connections now, as this end sees them: half-open ones are among them",
);
const FAILURES: Family = family(
    "c1m_failures",
    "Attempts that failed or were lost, as this end sees it",
);
const ACCEPT_QUEUE: Family = family(
    "c1m_accept_queue_connections",
    "Connections that wait in the listeners' accept queues",
);
const ESTABLISHED: Family = family(
    "c1m_established",
    "Connections that became ESTABLISHED at an end, as the kernel counts them",
);
const CLOSED: Family = family(
    "c1m_closed",
    "Connections that left ESTABLISHED at an end, by how",
);
const SYNS: Family = family("c1m_syns_received", "SYNs that a listener took in");
const SYN_DROPS: Family = family("c1m_syn_drops", "SYNs that a listener dropped, by why");
const ACK_DROPS: Family = family(
    "c1m_ack_drops",
    "Final ACKs that a listener refused, by why",
);
const FACTS_LOST: Family = family(
    "c1m_facts_lost",
    "Facts that found no room in the tracer's maps",
);
const DURATION: Family = family(
    "c1m_connect_duration",
    "From connect() to ESTABLISHED, as the client's program learnt it",
);
const FINISHED: Family = family("c1m_finished", "1 once the verdicts are there, 0 before");
const VERDICT: Family = family("c1m_verdict", "The final table: how the attempts ended");
const LOST: Family = family("c1m_lost", "The final table: the lost, by cause");
const RECOVERED: Family = family(
    "c1m_recovered",
    "The final table: met a drop, and stand or were closed as asked",
);
const BALANCED: Family = family(
    "c1m_balanced",
    "1 if attempted = standing + closed + lost by cause, in the final table",
);

/// All metrics.
pub const FAMILIES: &[Family] = &[
    RUN,
    TARGET,
    ATTEMPTS,
    CONNECTIONS,
    FAILURES,
    ACCEPT_QUEUE,
    ESTABLISHED,
    CLOSED,
    SYNS,
    SYN_DROPS,
    ACK_DROPS,
    FACTS_LOST,
    DURATION,
    FINISHED,
    VERDICT,
    LOST,
    RECOVERED,
    BALANCED,
];

/// The sums of a final table.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    ends: [(&'static str, u64); 3],
    recovered: u64,
    causes: Vec<(String, u64)>,
    balanced: bool,
}

impl Verdict {
    /// The sums of `record`.
    pub(crate) fn of(record: &Record) -> Self {
        let rows = record
            .causes
            .iter()
            .map(|row| (row.slug.clone(), row.count));
        let closing = words::closing(record).into_iter();
        Self {
            ends: [
                ("standing", record.standing),
                ("closed", record.closed),
                ("lost", record.lost),
            ],
            recovered: record.recovered,
            causes: rows
                .chain(closing.map(|(count, cause)| (cause.slug().to_owned(), count)))
                .collect(),
            balanced: record.balanced && record.adds_up(),
        }
    }
}

/// A state as text.
pub(super) fn encode(state: State) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(state));
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = text::encode(&mut out, &registry);
    out
}

type Result = std::result::Result<(), std::fmt::Error>;
/// A label set of one.
type Label = [(&'static str, &'static str); 1];

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result {
        let out = &mut encoder;
        self.names(out)?;
        counter(out, ATTEMPTS, self.moment.attempted)?;
        counter(out, FAILURES, self.moment.failed)?;
        gauge(out, ACCEPT_QUEUE, self.moment.accept_queue)?;
        let mut family =
            out.encode_descriptor(CONNECTIONS.name, CONNECTIONS.help, None, MetricType::Gauge)?;
        let labels = [
            ("network_connection_state", "established"),
            ("network_transport", "tcp"),
        ];
        ConstGauge::new(self.moment.established).encode(family.encode_family(&labels)?)?;
        self.kernel(out)?;
        self.duration(out)?;
        self.verdict(out)
    }
}

impl State {
    fn names(&self, out: &mut DescriptorEncoder) -> Result {
        // Several ports, `:8000, :8001`, have no address.
        let ports = self.target.replace(':', "");
        let (address, port) = match self.target.rsplit_once(':') {
            Some(_) if self.target.contains(", ") => ("", ports.as_str()),
            Some(both) => both,
            None => (self.target.as_str(), ""),
        };
        let labels = vec![
            ("c1m_role", self.role.clone()),
            ("network_transport", "tcp".to_owned()),
            (
                "server_address",
                address.trim_matches(['[', ']']).to_owned(),
            ),
            ("server_port", port.to_owned()),
        ];
        Info::new(labels).encode(out.encode_descriptor(
            RUN.name,
            RUN.help,
            None,
            MetricType::Info,
        )?)?;
        let labels = vec![
            ("service_name", "c1m"),
            ("service_version", env!("CARGO_PKG_VERSION")),
        ];
        Info::new(labels).encode(out.encode_descriptor(
            TARGET.name,
            TARGET.help,
            None,
            MetricType::Info,
        )?)
    }

    /// What the kernel side counts.
    fn kernel(&self, out: &mut DescriptorEncoder) -> Result {
        let Some(stats) = &self.stats else {
            return Ok(());
        };
        let [client, server] = &stats.ends;
        let ends = [
            ([("c1m_end", "client")], client.established),
            ([("c1m_end", "server")], server.established),
        ];
        counters(out, ESTABLISHED, ends)?;
        counters(
            out,
            CLOSED,
            [
                ([("c1m_how", "closed_by_server")], server.closed_locally),
                ([("c1m_how", "aborted_by_server")], server.aborted_locally),
                ([("c1m_how", "closed_by_client")], server.closed_by_peer),
                ([("c1m_how", "reset_by_client")], server.reset_by_peer),
                ([("c1m_how", "server_exited")], server.exited),
                ([("c1m_how", "failed")], server.failed.iter().sum()),
            ],
        )?;
        counter(out, SYNS, stats.syns_received)?;
        let why = |why| [("error_type", why)];
        let classes = [
            "accept_queue_full",
            "syn_queue_full",
            "syn_queue_last_quarter",
            "no_request",
            "unknown",
        ];
        counters(
            out,
            SYN_DROPS,
            classes.map(why).into_iter().zip(stats.syn_drops),
        )?;
        let kinds = ["accept_queue_full", "accept_queue_full_cookie"].map(why);
        let refused = kinds.into_iter().zip(stats.ack_overflows);
        counters(
            out,
            ACK_DROPS,
            refused.chain([(why("no_child"), stats.ack_failures)]),
        )?;
        counter(
            out,
            FACTS_LOST,
            stats.lost.iter().sum::<u64>() + stats.generations_lost,
        )
    }

    fn duration(&self, out: &mut DescriptorEncoder) -> Result {
        let Some(latency) = &self.latency else {
            return Ok(());
        };
        let second = |us: u64| us as f64 / 1e6;
        let mut buckets: Vec<(f64, u64)> = (latency.buckets.iter())
            .map(|bucket| (second(bucket.at_most_us), bucket.count))
            .collect();
        buckets.push((f64::INFINITY, 0));
        let sum = second(latency.sum_us);
        let mut family = out.encode_descriptor(
            DURATION.name,
            DURATION.help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        family.encode_histogram::<NoLabelSet>(sum, latency.count, &buckets, None)
    }

    /// The final table.
    fn verdict(&self, out: &mut DescriptorEncoder) -> Result {
        gauge(out, FINISHED, u64::from(self.verdict.is_some()))?;
        let Some(verdict) = &self.verdict else {
            return Ok(());
        };
        let mut family =
            out.encode_descriptor(VERDICT.name, VERDICT.help, None, MetricType::Gauge)?;
        for (end, count) in verdict.ends {
            ConstGauge::new(count).encode(family.encode_family(&[("c1m_end_state", end)])?)?;
        }
        let mut family = out.encode_descriptor(LOST.name, LOST.help, None, MetricType::Gauge)?;
        for (slug, count) in &verdict.causes {
            ConstGauge::new(*count)
                .encode(family.encode_family(&[("error_type", slug.as_str())])?)?;
        }
        gauge(out, RECOVERED, verdict.recovered)?;
        gauge(out, BALANCED, u64::from(verdict.balanced))
    }
}

fn counter(out: &mut DescriptorEncoder, family: Family, value: u64) -> Result {
    ConstCounter::new(value).encode(out.encode_descriptor(
        family.name,
        family.help,
        None,
        MetricType::Counter,
    )?)
}

fn gauge(out: &mut DescriptorEncoder, family: Family, value: u64) -> Result {
    ConstGauge::new(value).encode(out.encode_descriptor(
        family.name,
        family.help,
        None,
        MetricType::Gauge,
    )?)
}

fn counters(
    out: &mut DescriptorEncoder,
    family: Family,
    values: impl IntoIterator<Item = (Label, u64)>,
) -> Result {
    let mut family = out.encode_descriptor(family.name, family.help, None, MetricType::Counter)?;
    for (labels, value) in values {
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
