//! The ledger: every attempt with all that is known of it, closed by a census of who stands.

pub mod balance;
pub mod calls;
pub mod census;
pub mod client;
pub mod counters;
pub mod detail;
pub mod nat;
pub mod server;
pub mod shared;
pub mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use c1m_common::fact::{Facts, QueueState, ack_refusal, drop_flag, segment};

use crate::{
    causes::Cause, load::outcome::Outcome, report::record, trace::read::Names,
    verdict::crosscheck::events,
};

/// How many different sources and processes of one cause are kept for the remedy.
const NAMED_MAX: usize = 64;
/// How many attempts a record lists one by one; beyond it the counts alone are complete, and a note says so.
pub const ATTEMPTS_MAX: usize = 1_000_000;

/// The sums of a run, attempt by attempt.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Attempts.
    pub attempted: u64,
    /// Of these, those that stood before the trace began.
    pub before: u64,
    /// Established on both ends and accepted, at the end.
    pub standing: u64,
    /// Closed as the run asked.
    pub closed: u64,
    /// The rest, by cause.
    pub lost: BTreeMap<Cause, Loss>,
    /// Trouble that was got over: cause, number of drops, delay in ms.
    pub recovered: BTreeMap<(Cause, u32, u64), u64>,
    /// How often the lost and the recovered of a cause have certainly raised the counter that its row names; an
    /// entry for each cause that was met.
    pub counted: BTreeMap<Cause, u64>,
    /// Final ACKs by syncookie that were refused of attempts that stand all the same: some may have come twice, and the second
    /// is refused without a count where another CPU takes the first at that moment (`found_dup_sk` in `tcp_v4_syn_recv_sock`).
    pub refused_beside: u64,
    /// The lost and the recovered, one by one.
    pub attempts: Vec<record::Attempt>,
    /// What the texts in there have in common.
    pub shared: shared::Shared,
    /// How many more of them there are than [`ATTEMPTS_MAX`].
    pub unlisted: u64,
    /// Remarks for the reader.
    pub notes: Vec<String>,
    /// The zero of the times in outcomes, CLOCK_MONOTONIC.
    pub epoch_ns: u64,
    /// How long connecting took.
    pub latencies: detail::Latencies,
    /// The attempts by address.
    pub shares: detail::Shares,
}

/// What one cause took.
#[derive(Clone, Debug, Default)]
pub struct Loss {
    /// How many attempts.
    pub count: u64,
    /// Where, by name.
    pub places: BTreeMap<String, u64>,
    /// The fullest that the listener's queues were seen.
    pub queue: QueueState,
    /// Some of the source addresses.
    pub sources: BTreeSet<String>,
    /// Some of the targets.
    pub targets: BTreeSet<SocketAddr>,
    /// Some of the processes.
    pub pids: BTreeSet<u32>,
    /// The evidence of one attempt, in words.
    pub example: Vec<String>,
    /// When.
    pub times: detail::Times,
}

/// One attempt, ready to be booked.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Where it came from.
    pub source: SocketAddr,
    /// Where it was to go.
    pub target: SocketAddr,
    /// What our client recorded, if it was ours.
    pub outcome: Option<Outcome>,
    /// What the kernel side folded.
    pub facts: Option<&'a Facts>,
}

impl Ledger {
    /// Of our own client, which knows every attempt; `epoch_ns` is the zero of the times in its outcomes.
    pub fn of_client(epoch_ns: u64) -> Self {
        let mut ledger = Self {
            epoch_ns,
            ..Self::default()
        };
        ledger.shares.are_whole = true;
        ledger
    }

    /// Books a loss.
    pub fn lose(&mut self, cause: Cause, case: &Case<'_>, names: &Names) {
        self.lose_often(cause, 1, case, names);
    }

    /// Books `count` losses of one tuple to the same cause; they are listed as one.
    pub fn lose_often(&mut self, cause: Cause, count: u64, case: &Case<'_>, names: &Names) {
        self.shares.note(case, |tally| tally.lost += count);
        let loss = self.lost.entry(cause).or_default();
        loss.count += count;
        loss.times.note(detail::lost_ns(case, self.epoch_ns), count);
        *loss.places.entry(place(cause, case)).or_default() += count;
        if loss.sources.len() < NAMED_MAX {
            loss.sources.insert(case.source.ip().to_string());
        }
        if loss.targets.len() < NAMED_MAX {
            loss.targets.insert(case.target);
        }
        if let Some(facts) = case.facts {
            let end = match cause {
                Cause::ClientExited => &facts.client,
                _ => &facts.server,
            };
            if end.pid != 0 && loss.pids.len() < NAMED_MAX {
                loss.pids.insert(end.pid);
            }
            if facts.queue.accept_queue.max(facts.queue.syn_queue)
                >= loss.queue.accept_queue.max(loss.queue.syn_queue)
            {
                loss.queue = facts.queue;
            }
        }
        *self.counted.entry(cause).or_default() += count * events(cause, case, names);
        let facts = words::describe(case, names);
        if loss.example.is_empty() {
            loss.example.clone_from(&facts);
        }
        self.list("lost", cause, case, facts);
    }

    /// Books an attempt that met trouble and got over it; it is counted as standing or closed besides.
    pub fn recover(&mut self, cause: Cause, case: &Case<'_>, names: &Names) {
        self.shares.note(case, |tally| tally.recovered += 1);
        self.note_refused(case, names);
        let drops = case.facts.map_or(0, drops);
        *self.counted.entry(cause).or_default() += events(cause, case, names);
        *self
            .recovered
            .entry((cause, drops, delay_ms(case)))
            .or_default() += 1;
        self.list("recovered", cause, case, words::describe(case, names));
    }

    /// Notes what was refused of an attempt that stands, or stood.
    fn note_refused(&mut self, case: &Case<'_>, names: &Names) {
        self.refused_beside += case.facts.map_or(0, |facts| by_cookie(facts, names));
    }

    /// Books losses of which nothing but the number is known.
    pub fn lose_unnamed(&mut self, cause: Cause, count: u64, place: &str) {
        if count > 0 {
            let loss = self.lost.entry(cause).or_default();
            loss.count += count;
            loss.times.note(None, count);
            *loss.places.entry(place.to_owned()).or_default() += count;
        }
    }

    /// All that is lost.
    pub fn lost_count(&self) -> u64 {
        self.lost.values().map(|loss| loss.count).sum()
    }

    /// Invariant 1: attempted = standing + closed + Σ lost.
    pub fn is_balanced(&self) -> bool {
        self.attempted == self.standing + self.closed + self.lost_count()
    }

    fn list(&mut self, end: &str, cause: Cause, case: &Case<'_>, facts: Vec<String>) {
        if self.attempts.len() == ATTEMPTS_MAX {
            self.unlisted += 1;
            return;
        }
        let outcome = case.outcome;
        self.attempts.push(record::Attempt {
            // Without the room for more that formatting leaves.
            source: case.source.to_string().into_boxed_str().into_string(),
            target: self.shared.text(&case.target.to_string()),
            end: self.shared.text(end),
            verdict: self.shared.text(cause.slug()),
            facts: self.shared.story(facts),
            stage: outcome.map(|outcome| outcome.stage),
            errno: outcome
                .map(|outcome| outcome.errno)
                .filter(|&errno| errno != 0),
            connect_us: outcome
                .filter(|outcome| outcome.is_established())
                .map(|outcome| outcome.connect_us().into()),
        });
    }
}

/// How many of an attempt's final ACKs were refused that brought a syncookie: seen in the function that refused them, or by where
/// they were freed (`cookie_v4_check`).
fn by_cookie(facts: &Facts, names: &Names) -> u64 {
    let kinds = [ack_refusal::QUEUE_FULL_COOKIE, ack_refusal::NO_CHILD_COOKIE];
    let refused = kinds.map(|kind| u64::from(facts.ack_refusals[kind]));
    let freed = &facts.skb_drops[segment::ACK];
    let at_listener = freed.flags & drop_flag::RX_LISTENER != 0;
    let freed = match at_listener && names.drop_reason_name(freed) == "NO_SOCKET" {
        true => u64::from(freed.count),
        false => 0,
    };
    // The same ones, where both are seen.
    refused.iter().sum::<u64>().max(freed)
}

/// How many segments of the attempt were dropped, or sent again where no drop was seen.
fn drops(facts: &Facts) -> u32 {
    let at_listener: u32 = facts.syn_drops.iter().map(|&count| u32::from(count)).sum();
    let freed: u32 = facts.skb_drops.iter().map(|drop| drop.count).sum();
    let refused: u32 = facts
        .ack_refusals
        .iter()
        .map(|&count| u32::from(count))
        .sum();
    match at_listener + freed + refused {
        0 => u32::from(facts.syn_retransmits),
        dropped => dropped,
    }
}

/// How long the trouble lasted, in ms, rounded to 100: from the first drop until both ends were established. Of a SYN whose drop
/// nobody saw it is known when it was sent again.
fn delay_ms(case: &Case<'_>) -> u64 {
    let since = |facts: &Facts, from_ns: u64| {
        let established = facts.client_established_ns.max(facts.server_established_ns);
        established.checked_sub(from_ns)
    };
    let facts = case.facts;
    let seen = facts.filter(|facts| facts.first_drop_ns != 0);
    let by_drop = seen.and_then(|facts| since(facts, facts.first_drop_ns));
    let told = case.outcome;
    let by_outcome = told.map(|outcome| u64::from(outcome.settle_us) * 1_000);
    let again = facts.filter(|facts| facts.syn_retransmits > 0);
    let by_retransmit =
        again.and_then(|facts| since(facts, facts.first_ns.checked_sub(SYN_TIMEOUT_NS)?));
    let delay_ns = by_drop.or(by_outcome).or(by_retransmit).unwrap_or(0);
    (delay_ns + 50_000_000) / 100_000_000 * 100
}

/// How long a SYN waits for its answer before it is sent again (`TCP_TIMEOUT_INIT`).
const SYN_TIMEOUT_NS: u64 = 1_000_000_000;

/// Where a cause has its place: at a listener, in a process, or at a source address.
fn place(cause: Cause, case: &Case<'_>) -> String {
    use crate::causes::Phase;
    if let Some(facts) = case.facts
        && facts.server.pid != 0
        && matches!(cause.row().phase, Phase::Life | Phase::AcceptQueue)
    {
        return format!("pid {}", facts.server.pid);
    }
    match cause.row().phase {
        Phase::Listener | Phase::FinalAck | Phase::AcceptQueue => {
            format!("listener {}", case.target)
        }
        Phase::Local | Phase::Syn | Phase::SynAck | Phase::Life | Phase::Ledger => {
            match case.source.ip() {
                unknown if unknown.is_unspecified() => "the command".to_owned(),
                source => source.to_string(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use c1m_common::fact::SkbDrop;

    use super::*;

    #[test]
    fn an_ack_by_syncookie_is_counted_once_by_whichever_hook_saw_its_end() {
        let names = Names::of_drops(&[(2, "NO_SOCKET"), (3, "TCP_LISTEN_OVERFLOW")]);
        let freed = |reason, flags| {
            let mut facts = Facts::default();
            facts.skb_drops[segment::ACK] = SkbDrop {
                count: 2,
                reason,
                flags,
                ..SkbDrop::default()
            };
            facts
        };
        let mut seen = freed(2, drop_flag::RX_LISTENER);
        assert_eq!(by_cookie(&seen, &names), 2);
        seen.ack_refusals[ack_refusal::QUEUE_FULL_COOKIE] = 2;
        seen.ack_refusals[ack_refusal::NO_CHILD_COOKIE] = 1;
        assert_eq!(by_cookie(&seen, &names), 3);
        // Where nobody listens, and what a request's listener refused.
        assert_eq!(by_cookie(&freed(2, 0), &names), 0);
        assert_eq!(by_cookie(&freed(3, drop_flag::RX_LISTENER), &names), 0);
    }
}
