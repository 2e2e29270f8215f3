//! Closes the ledger: sums, causes with evidence and remedy, and the proof that it adds up.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    causes::{
        Cause,
        remedy::{Holders, OOM_KILLED, Remedy, RemedyContext, remedy},
    },
    ledger::{ATTEMPTS_MAX, Ledger, Loss, census, detail},
    report::{
        record::{
            CauseCount, Crosscheck, Detail, Observability, Place, Record, Recovery, SCHEMA, States,
        },
        text::thousands,
    },
};

/// What a record says beside the sums.
#[derive(Debug, Default)]
pub struct Frame {
    /// Whose view: `client`, `server`, `command` or `port`.
    pub role: String,
    /// When the run began.
    pub started: Option<std::time::SystemTime>,
    /// From the start to the table, in s.
    pub elapsed_s: f64,
    /// From the first attempt to the last that settled, in s.
    pub establish_s: f64,
    /// How many stood after that time.
    pub established: u64,
    /// The server's address and port, or the ports.
    pub target: String,
    /// What could be seen.
    pub observability: Observability,
    /// Host counters against facts.
    pub crosscheck: Vec<Crosscheck>,
    /// Who holds source ports towards the target, by source address.
    pub holders: BTreeMap<IpAddr, census::Holders>,
    /// What the run saw while it went on.
    pub samples: detail::Samples,
    /// What the remedies are computed from, but for what each cause knows itself.
    pub remedy: RemedyContext,
}

/// How many places a cause names.
const PLACES_MAX: usize = 16;

impl Ledger {
    /// The record of the run. The ledger's numbers go in as they are.
    pub fn close(mut self, frame: Frame) -> Record {
        if self.unlisted > 0 {
            self.notes.push(format!(
                "{} more of the lost and recovered are counted and not listed: a record lists {}",
                thousands(self.unlisted),
                thousands(ATTEMPTS_MAX as u64)
            ));
        }
        let lost = self.lost_count();
        let balanced = self.is_balanced();
        let is_whole = lost == 0 && balanced;
        self.notes.extend(skipped(&frame).filter(|_| !is_whole));
        let count = |cause: Cause| self.lost.get(&cause).map_or(0, |loss| loss.count);
        let (evidence_lost, not_observable, unexplained) = (
            count(Cause::EvidenceLost),
            count(Cause::NotObservable),
            count(Cause::Unexplained),
        );
        let mut causes: Vec<CauseCount> = self
            .lost
            .iter()
            .map(|(cause, loss)| row(*cause, loss, self.met(*cause), &frame))
            .collect();
        causes.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.slug.cmp(&b.slug)));
        let recoveries: Vec<Recovery> = self
            .recovered
            .iter()
            .map(|(&(cause, drops, delay_ms), &count)| Recovery {
                slug: cause.slug().to_owned(),
                drops,
                delay_ms,
                count,
            })
            .collect();
        let detail = self.detail(&causes, &frame.samples);
        Record {
            schema: SCHEMA,
            role: frame.role,
            started: humantime::format_rfc3339_seconds(
                frame.started.unwrap_or(std::time::UNIX_EPOCH),
            )
            .to_string(),
            elapsed_s: frame.elapsed_s,
            establish_s: frame.establish_s,
            conn_per_s: match frame.establish_s > 0.0 {
                true => (frame.established as f64 / frame.establish_s) as u64,
                false => 0,
            },
            host: frame.remedy.host.to_json(),
            target: frame.target,
            attempted: self.attempted,
            before: self.before,
            standing: self.standing,
            closed: self.closed,
            lost,
            recovered: self.recovered.values().sum(),
            balanced,
            causes,
            recoveries,
            evidence_lost,
            not_observable,
            unexplained,
            observability: frame.observability,
            crosscheck: frame.crosscheck,
            states: States::default(),
            notes: self.notes,
            detail,
            attempts: self.attempts,
        }
    }
}

/// The causes that one full queue of a listener is, as it is met.
const ACCEPT_QUEUE: &[Cause] = &[
    Cause::AcceptQueueFullSyn,
    Cause::AcceptQueueFullAck,
    Cause::AcceptQueueFullReset,
    Cause::AcceptQueueFullCookie,
];

impl Ledger {
    /// How many attempts met what this cause is, or got over it.
    fn met(&self, cause: Cause) -> u64 {
        let same = |other: &Cause| {
            *other == cause || ACCEPT_QUEUE.contains(&cause) && ACCEPT_QUEUE.contains(other)
        };
        let lost = self.lost.iter().filter(|(other, _)| same(other));
        let recovered = self.recovered.iter().filter(|((other, ..), _)| same(other));
        lost.map(|(_, loss)| loss.count).sum::<u64>()
            + recovered.map(|(_, count)| count).sum::<u64>()
    }

    /// What the record tells besides, the causes in their order there.
    fn detail(&self, causes: &[CauseCount], samples: &detail::Samples) -> Detail {
        let times = causes.iter().filter_map(|row| {
            let loss = self.lost.get(&Cause::from_slug(&row.slug)?)?;
            Some((row.slug.as_str(), &loss.times))
        });
        detail::close(samples, &self.latencies, &self.shares, times)
    }
}

/// What to say of timer interrupts in which no program ran.
fn skipped(frame: &Frame) -> Option<String> {
    let interrupts = frame.observability.interrupts_skipped;
    let text = || {
        format!(
            "this kernel ran no eBPF program in {} of its timer interrupts, or more: what timers did then (a time-out, a \
             retransmit) was not seen, and what has no explanation may have lost its evidence so",
            thousands(interrupts)
        )
    };
    (interrupts > 0).then(text)
}

fn row(cause: Cause, loss: &Loss, met: u64, frame: &Frame) -> CauseCount {
    let shared = &frame.remedy;
    let holders = holders(loss, frame);
    let mut places: Vec<Place> = loss
        .places
        .iter()
        .map(|(name, &count)| Place {
            name: name.clone(),
            count,
        })
        .collect();
    places.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    let places_unlisted = places.len().saturating_sub(PLACES_MAX) as u64;
    places.truncate(PLACES_MAX);
    let queue = &loss.queue;
    let context = RemedyContext {
        lost: loss.count,
        met,
        accept_limit: (queue.listeners > 0)
            .then_some(queue.accept_limit)
            .or(shared.accept_limit),
        listeners: queue.listeners,
        queue_seen_max: (queue.listeners > 0).then(|| queue.accept_queue.max(queue.syn_queue)),
        sources: loss.sources.iter().cloned().collect(),
        holders: holders.total().gt(&0).then_some(Holders {
            live: holders.live + holders.other,
            time_wait: holders.time_wait,
            fin_wait_2: holders.fin_wait_2,
        }),
        processes: processes(loss, shared),
        ..shared.clone()
    };
    let Remedy { text, fixes } = remedy(cause, &context);
    CauseCount {
        slug: cause.slug().to_owned(),
        phase: cause.row().phase.slug().to_owned(),
        count: loss.count,
        places,
        places_unlisted,
        evidence: match cause {
            Cause::PortsExhausted if holders.total() > 0 => format!(
                "the ports are held: {} live, {} in TIME_WAIT, {} in FIN_WAIT_2; {}",
                thousands(holders.live + holders.other),
                thousands(holders.time_wait),
                thousands(holders.fin_wait_2),
                loss.example.join("; ")
            ),
            _ => loss.example.join("; "),
        },
        remedy: text,
        fixes,
    }
}

/// Who holds the ports of the source addresses that a cause met.
fn holders(loss: &Loss, frame: &Frame) -> census::Holders {
    let mut sum = census::Holders::default();
    for (source, held) in &frame.holders {
        if loss.sources.contains(&source.to_string()) {
            sum.add(held);
        }
    }
    sum
}

/// The processes that a cause met, those first that the OOM killer chose.
fn processes(loss: &Loss, shared: &RemedyContext) -> Vec<String> {
    if loss.pids.is_empty() {
        return shared.processes.clone();
    }
    let mut pids: Vec<u32> = loss.pids.iter().copied().collect();
    pids.sort_by_key(|pid| !shared.victims.contains(pid));
    pids.into_iter().map(|pid| named(pid, shared)).collect()
}

/// A process with how it ended, if that is known.
fn named(pid: u32, shared: &RemedyContext) -> String {
    if shared.victims.contains(&pid) {
        return format!("{pid} ({OOM_KILLED})");
    }
    let pid = pid.to_string();
    let known = shared
        .processes
        .iter()
        .find(|known| known.split(' ').next() == Some(&pid));
    known.cloned().unwrap_or(pid)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::{ledger::Case, report::record::Attempt, trace::read::Names};

    #[test]
    fn a_list_that_was_cut_says_so() {
        let listed = Attempt {
            source: String::new(),
            target: "".into(),
            end: "lost".into(),
            verdict: "".into(),
            facts: Vec::new().into(),
            stage: None,
            errno: None,
            connect_us: None,
        };
        let mut ledger = Ledger {
            attempted: 2,
            attempts: vec![listed; ATTEMPTS_MAX - 1],
            ..Ledger::default()
        };
        let case = Case {
            source: "127.0.0.1:1".parse().unwrap(),
            target: "127.0.0.1:2".parse().unwrap(),
            outcome: None,
            facts: None,
        };
        ledger.lose(Cause::Unexplained, &case, &Names::default());
        assert_eq!(ledger.unlisted, 0);
        ledger.lose(Cause::Unexplained, &case, &Names::default());
        let record = ledger.close(Frame::default());
        assert!(record.balanced);
        assert_eq!(record.attempts.len(), ATTEMPTS_MAX);
        let note =
            "1 more of the lost and recovered are counted and not listed: a record lists 1,000,000";
        assert_eq!(record.notes, [note]);
    }
}
