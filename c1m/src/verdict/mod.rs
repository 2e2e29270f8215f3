//! The verdict: from all that is known of one attempt to exactly one answer. Pure and total: no I/O, no
//! failure, the same facts always give the same verdict.

mod client;
pub mod crosscheck;
mod elsewhere;
#[cfg(test)]
mod properties;
mod rules;
mod server;
#[cfg(test)]
mod tests;

use c1m_common::fact::Facts;

pub use client::{comes_from_the_network, judge_client};
pub use elsewhere::judge_elsewhere;
pub use rules::{Trouble, trouble};
pub use server::{
    Counted, Ends, ServerVerdict, judge_server, judge_unsent, program_exited, was_given_up,
};

use crate::{causes::Cause, load::outcome::Outcome, trace::read::Names};

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Never tried: it does not count.
    NotAttempted,
    /// It stands; with the cause of the trouble that it got over.
    Standing(Option<Cause>),
    /// It was closed as the run asked; likewise.
    Closed(Option<Cause>),
    /// It is lost.
    Lost(Cause),
}

/// What this run could see at all: what it could not is never taken for evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// State changes of sockets.
    pub states: bool,
    /// Drops, with their reason or without.
    pub drops: bool,
    /// Also the reason, of each that a socket did not want.
    pub drop_reasons: bool,
    /// SYNs that a listener dropped.
    pub syns: bool,
    /// Final ACKs that a listener refused.
    pub acks: bool,
    /// Final ACKs that failed a check of the request.
    pub ack_checks: bool,
    /// Resets, sent and received.
    pub resets: bool,
    /// The server's end: its namespace is traced, and had a listener.
    pub server_end: bool,
    /// A fact found no room somewhere: what has no explanation may have lost it.
    pub evidence_lost: bool,
    /// It may have been a drop or a retransmit: then silence is no evidence.
    pub drops_lost: bool,
    /// In some timer interrupts the kernel ran no program: what has no explanation may have happened then.
    pub interrupts_skipped: bool,
    /// Drops by a full conntrack table, told apart from a rule's.
    pub conntrack: bool,
    /// Conntrack dropped packets while the run lasted (its table was full).
    pub conntrack_dropped: bool,
    /// Listeners sent syncookies, and met ACKs whose cookie was not valid (`SyncookiesSent`, `SyncookiesFailed`).
    pub cookies_failed: bool,
    /// Accept queues overflowed more often (`ListenOverflows`) than is known of the attempts.
    pub overflows_unseen: bool,
    /// A listener was closed.
    pub listener_closed: bool,
    /// Requests that were given up, by what their timer found.
    pub request_timers: bool,
    /// `net.ipv4.tcp_abort_on_overflow` of the server was 0 before the run and after it: no full queue was answered by a RST.
    pub never_aborts: bool,
    /// `net.ipv4.tcp_synack_retries` of the server; 0 if it is not known.
    pub synack_retries: u64,
    /// Files refused at fs.file-max, told apart from want of memory; looked at only for a command that is not ours.
    pub files: bool,
    /// Connections given up for want of memory, by the function that does it or the reset's reason.
    pub out_of_memory: bool,
}

impl Sight {
    /// Whether silence means that nothing happened.
    fn is_complete(&self) -> bool {
        self.states && self.drops && self.syns && self.acks && self.resets
    }

    /// Whether no RST can have come unseen.
    fn sees_every_reset(&self) -> bool {
        self.resets && !self.drops_lost
    }

    /// The verdict for what no rule explains.
    fn unexplained(&self) -> Cause {
        if self.evidence_lost || self.interrupts_skipped {
            Cause::EvidenceLost
        } else if self.is_complete() {
            Cause::Unexplained
        } else {
            Cause::NotObservable
        }
    }

    /// The verdict for what happened where no hook is: between the ends, in a namespace that is not traced.
    fn elsewhere(&self) -> Cause {
        match self.evidence_lost {
            true => Cause::EvidenceLost,
            false => Cause::NotObservable,
        }
    }

    /// `cause`, which is stated because nothing else was seen: only if all else would have been.
    fn by_silence(&self, cause: Cause) -> Cause {
        match (self.is_complete(), self.drops_lost) {
            (true, false) => cause,
            (true, true) => Cause::EvidenceLost,
            (false, _) => Cause::NotObservable,
        }
    }
}

/// The server's socket of an attempt, by the census.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerEnd {
    /// There is none.
    #[default]
    Absent,
    /// A request that waits for its final ACK (SYN_RECV).
    Request,
    /// Established, and no program has accepted it.
    Queued,
    /// Established and accepted.
    Accepted,
    /// On its way out: any other state.
    Closing,
}

/// All that is known of one attempt of our client.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempt<'a> {
    /// What the client recorded.
    pub outcome: Outcome,
    /// What the kernel side folded; none if nothing went wrong.
    pub facts: Option<&'a Facts>,
    /// What the census found at the server.
    pub server: ServerEnd,
    /// Whether it goes to the very address and port that it comes from.
    pub to_itself: bool,
}

/// What the judge needs beside the attempt.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// What could be seen.
    pub sight: Sight,
    /// Names of the running kernel's numbers.
    pub names: &'a Names,
}
