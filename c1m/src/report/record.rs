//! The record of a run (`--json`), schema 1: what every report format is made from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::causes::{Cause, Phase, remedy::Fix};

mod detail;

pub use detail::{Bucket, Detail, Latency, LossTimes, Percentile, Point, Share, Step, Timeline};

/// The version of the schema that this build writes and reads.
pub const SCHEMA: u32 = 1;

/// A run: the sums, the causes, what could be seen, and the attempts that were lost or recovered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Whose view it is: `client`, `server`, `command` or `port`.
    pub role: String,
    /// When the run began, RFC 3339.
    pub started: String,
    /// From the start to the table, in s.
    pub elapsed_s: f64,
    /// From the first attempt to the last that settled, in s.
    pub establish_s: f64,
    /// Standing after `establish_s` ÷ `establish_s`.
    pub conn_per_s: u64,
    /// The host and its limits, by name: kernel, cpus, somaxconn, …
    pub host: serde_json::Map<String, serde_json::Value>,
    /// The server's address and port.
    pub target: String,
    /// Attempts.
    pub attempted: u64,
    /// Of these, already standing when the trace began (a server's or a port's view).
    #[serde(default)]
    pub before: u64,
    /// Established on both ends and accepted, at the end.
    pub standing: u64,
    /// Closed as the run asked.
    pub closed: u64,
    /// Neither.
    pub lost: u64,
    /// Met a drop and stand, or stood until they were closed as asked.
    pub recovered: u64,
    /// Whether attempted = standing + closed + Σ lost by cause.
    pub balanced: bool,
    /// Losses by cause, most first.
    pub causes: Vec<CauseCount>,
    /// Recovered attempts by the cause of their trouble and their delay.
    pub recoveries: Vec<Recovery>,
    /// Lost because our own map or buffer was full.
    pub evidence_lost: u64,
    /// Lost, and the hook that would tell is missing here.
    pub not_observable: u64,
    /// Lost, all hooks were there, and nothing matched.
    pub unexplained: u64,
    /// What this run could see.
    pub observability: Observability,
    /// Host counters against the table.
    pub crosscheck: Vec<Crosscheck>,
    /// Transitions into states that hold ports after a connection's end.
    pub states: States,
    /// Remarks that the reader needs: exemptions, ambiguities, what a worker reported.
    pub notes: Vec<String>,
    /// Latency, time line and addresses, as far as the run could tell.
    #[serde(default, skip_serializing_if = "Detail::is_empty")]
    pub detail: Detail,
    /// The lost and the recovered, one by one.
    pub attempts: Vec<Attempt>,
}

/// The views a record can be of: the values of [`Record::role`].
pub const ROLES: &[&str] = &["client", "server", "command", "port"];

impl Record {
    /// Σ lost by cause: the rows, and the three closing ones, which may or may not stand among the rows.
    pub fn lost_by_cause(&self) -> u128 {
        let closing = [self.evidence_lost, self.not_observable, self.unexplained];
        let rows = self.causes.iter().filter(|row| !row.is_closing());
        rows.map(|row| row.count)
            .chain(closing)
            .map(u128::from)
            .sum()
    }

    /// Whether attempted = standing + closed + lost, and lost = Σ lost by cause, by the numbers themselves.
    pub fn adds_up(&self) -> bool {
        let ends = [self.standing, self.closed, self.lost].map(u128::from);
        u128::from(self.attempted) == ends.iter().sum::<u128>()
            && u128::from(self.lost) == self.lost_by_cause()
    }

    /// The exit status of a run with this record: 0 all stand or were closed as asked, 1 some were lost, 3
    /// the ledger does not balance.
    pub fn status(&self) -> u8 {
        match () {
            () if !self.balanced || !self.adds_up() => 3,
            () if self.lost > 0 => 1,
            () => 0,
        }
    }
}

/// One row of the loss table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CauseCount {
    /// The cause's permanent name.
    pub slug: String,
    /// Where in a connection's life: `local`, `syn`, `listener`, `syn-ack`, `final-ack`, `accept-queue`,
    /// `life` or `ledger`.
    pub phase: String,
    /// How many attempts it decided.
    pub count: u64,
    /// Where it happened, most first: a listener, a source address, a process.
    pub places: Vec<Place>,
    /// How many more places there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub places_unlisted: u64,
    /// The evidence in one line, with this run's numbers.
    pub evidence: String,
    /// What to change on this host.
    pub remedy: String,
    /// The settings among that, with their values; empty where no setting helps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fixes: Vec<Fix>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl CauseCount {
    /// How many of its attempts were at places that are not listed.
    pub fn count_unlisted(&self) -> u64 {
        let listed = self.places.iter().map(|place| place.count);
        self.count
            .saturating_sub(listed.fold(0, u64::saturating_add))
    }

    /// Whether it is one of the three rows that close the table: evidence lost, not observable, unexplained.
    pub fn is_closing(&self) -> bool {
        Cause::from_slug(&self.slug).is_some_and(|cause| cause.row().phase == Phase::Ledger)
    }
}

/// A share of a cause's count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// What it is: `listener :8000`, `127.0.1.7`, `pid 4711`.
    pub name: String,
    /// How many.
    pub count: u64,
}

/// Attempts that met a drop and stand all the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// The cause that would have been told, had it not recovered.
    pub slug: String,
    /// After how many drops.
    pub drops: u32,
    /// Rounded delay from the first drop to ESTABLISHED, in ms.
    pub delay_ms: u64,
    /// How many attempts.
    pub count: u64,
}

/// What a run could see, and what not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observability {
    /// `tracepoint`, or `none` when nothing was traced.
    pub backend: String,
    /// Facts without a hook on this kernel, with the name of the missing hook.
    pub missing: Vec<String>,
    /// Facts that found no room, per hook, other than 0.
    pub lost_facts: std::collections::BTreeMap<String, u64>,
    /// Timer interrupts in which the kernel ran no program of the tracer, at least.
    #[serde(default)]
    pub interrupts_skipped: u64,
}

/// One host counter over the run, and what the table says it should be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Crosscheck {
    /// The counter's name.
    pub counter: String,
    /// Where it was read: in the namespaces of the `client` or the `server`, of `both`, or on the `host`.
    #[serde(default)]
    pub at: String,
    /// How much it rose.
    pub delta: u64,
    /// How much of that the facts explain.
    pub explained: u64,
    /// Whether others may have raised it, too: then only a counter below `explained` is a disagreement.
    #[serde(default)]
    pub at_least: bool,
    /// How many of `explained` the kernel may have left uncounted, at most: only a counter below the rest is a
    /// disagreement.
    #[serde(default)]
    pub uncounted_at_most: u64,
    /// What the explained part is made of.
    pub made_of: String,
}

impl Crosscheck {
    /// How far the counter rose at least, by the facts.
    pub fn least(&self) -> u64 {
        self.explained.saturating_sub(self.uncounted_at_most)
    }

    /// Whether host and table agree.
    pub fn agrees(&self) -> bool {
        self.delta >= self.least() && (self.at_least || self.delta <= self.explained)
    }
}

/// How many sockets went into the states that outlive a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct States {
    /// Into TIME_WAIT.
    pub time_wait: u64,
    /// Into FIN_WAIT_2.
    pub fin_wait_2: u64,
}

/// One attempt that was lost or recovered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Source address and port.
    pub source: String,
    /// Target address and port. What many attempts have in common is in memory once, here and below.
    pub target: Arc<str>,
    /// `lost` or `recovered`.
    pub end: Arc<str>,
    /// The cause's slug.
    pub verdict: Arc<str>,
    /// The evidence, in words with numbers.
    pub facts: Arc<[String]>,
    /// How far the client came, if it is ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<crate::load::outcome::Stage>,
    /// The errno it saw, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<u16>,
    /// From the attempt to ESTABLISHED, in µs, if it got there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_us: Option<u64>,
}
