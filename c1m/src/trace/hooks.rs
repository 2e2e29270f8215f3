//! The hook table: which program gives which fact, and what it costs. Several hooks may give one fact; the
//! loader takes the first that this kernel has.

use std::fmt;

/// What the kernel side can know, in units that a kernel has or lacks as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// Established or closed by a program.
    States,
    /// Established or closed by what the network brought.
    StatesByNetwork,
    /// Listeners that are older than the trace.
    OldListeners,
    /// Segments freed with a reason.
    Drops,
    /// SYNs that a listener took in.
    SynsTaken,
    /// SYN-ACKs that left: without them a SYN taken in is not known to be answered.
    SynAcks,
    /// SYN-ACKs that wait for a neighbour's address.
    SynAcksWaiting,
    /// SYNs sent again.
    SynRetransmits,
    /// SYN-ACKs sent again.
    SynAckRetransmits,
    /// RSTs sent.
    ResetsSent,
    /// RSTs received.
    ResetsReceived,
    /// ICMP errors that reach a connecting socket.
    IcmpErrors,
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A raw tracepoint: the kernel's own arguments, no record made.
    Tracepoint(&'static str),
    /// An iterator that is read once, at the start.
    Iterator(&'static str),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tracepoint(name) => write!(f, "tracepoint {name}"),
            Self::Iterator(name) => write!(f, "iterator {name}"),
        }
    }
}

/// How often a hook works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// So many times per good connection, returning early.
    PerConnection(u8),
    /// Only when something fails.
    OnFailure,
    /// Once per trace.
    Once,
}

/// One way to a fact.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// The fact it gives.
    pub fact: Fact,
    /// The program's name in the object.
    pub program: &'static str,
    /// Where it is attached.
    pub point: Point,
    /// How many arguments the tracepoint must have for it to be of use.
    pub args_min: u32,
    /// What it costs.
    pub cost: Cost,
    /// What cannot be told without it.
    pub without: &'static str,
}

/// All hooks, for each fact the best first.
pub static HOOKS: &[Hook] = &[
    Hook {
        fact: Fact::States,
        program: "set_state_by_program",
        point: Point::Tracepoint("inet_sock_set_state"),
        args_min: 3,
        cost: Cost::PerConnection(4),
        without: "who closed a connection, and why",
    },
    Hook {
        fact: Fact::StatesByNetwork,
        program: "set_state_by_network",
        point: Point::Tracepoint("inet_sock_set_state"),
        args_min: 3,
        cost: Cost::PerConnection(4),
        without: "who closed a connection, and why",
    },
    Hook {
        fact: Fact::OldListeners,
        program: "find_listeners",
        point: Point::Iterator("tcp"),
        args_min: 0,
        cost: Cost::Once,
        without: "the queues of listeners that are older than the trace",
    },
    Hook {
        fact: Fact::Drops,
        program: "kfree_skb",
        point: Point::Tracepoint("kfree_skb"),
        args_min: 3,
        cost: Cost::OnFailure,
        without: "why a segment was dropped",
    },
    Hook {
        fact: Fact::SynsTaken,
        program: "consume_skb",
        point: Point::Tracepoint("consume_skb"),
        args_min: 2,
        cost: Cost::PerConnection(1),
        without: "SYNs that a listener dropped",
    },
    Hook {
        fact: Fact::SynAcks,
        program: "net_dev_queue",
        point: Point::Tracepoint("net_dev_queue"),
        args_min: 1,
        cost: Cost::PerConnection(3),
        without: "SYNs that a listener dropped",
    },
    Hook {
        fact: Fact::SynAcksWaiting,
        program: "neigh_event_send_done",
        point: Point::Tracepoint("neigh_event_send_done"),
        args_min: 2,
        cost: Cost::OnFailure,
        without: "SYN-ACKs that wait for a neighbour's address",
    },
    Hook {
        fact: Fact::SynRetransmits,
        program: "tcp_retransmit_skb",
        point: Point::Tracepoint("tcp_retransmit_skb"),
        args_min: 2,
        cost: Cost::OnFailure,
        without: "how often a SYN was sent",
    },
    Hook {
        fact: Fact::SynAckRetransmits,
        program: "tcp_retransmit_synack",
        point: Point::Tracepoint("tcp_retransmit_synack"),
        args_min: 2,
        cost: Cost::OnFailure,
        without: "requests that wait for their final ACK",
    },
    Hook {
        fact: Fact::ResetsSent,
        program: "tcp_send_reset",
        point: Point::Tracepoint("tcp_send_reset"),
        args_min: 2,
        cost: Cost::OnFailure,
        without: "which end sent a RST, and why",
    },
    Hook {
        fact: Fact::ResetsReceived,
        program: "tcp_receive_reset",
        point: Point::Tracepoint("tcp_receive_reset"),
        args_min: 1,
        cost: Cost::OnFailure,
        without: "RSTs that answer a SYN",
    },
    Hook {
        fact: Fact::IcmpErrors,
        program: "inet_sk_error_report",
        point: Point::Tracepoint("inet_sk_error_report"),
        args_min: 1,
        cost: Cost::OnFailure,
        without: "ICMP errors that end an attempt",
    },
];

/// What this kernel gives, and what it does not.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// The hooks in use, one per fact.
    pub taken: Vec<&'static Hook>,
    /// The facts without one, with the hook that would give them.
    pub missing: Vec<&'static Hook>,
    /// What the kernel said when it refused one that it seemed to have.
    pub refusals: Vec<String>,
}

impl Choice {
    /// Takes, for every fact, the first hook that `usable` says this kernel has.
    pub fn make(mut usable: impl FnMut(&Hook) -> bool) -> Self {
        let mut choice = Self::default();
        for hook in HOOKS {
            if choice.has(hook.fact) {
                continue;
            }
            if usable(hook) {
                choice.missing.retain(|missing| missing.fact != hook.fact);
                choice.taken.push(hook);
            } else if choice
                .missing
                .iter()
                .all(|missing| missing.fact != hook.fact)
            {
                choice.missing.push(hook);
            }
        }
        choice
    }

    /// Whether `fact` can be known.
    pub fn has(&self, fact: Fact) -> bool {
        self.taken.iter().any(|hook| hook.fact == fact)
    }

    /// The missing facts in words, for the report.
    pub fn missing_in_words(&self) -> Vec<String> {
        self.missing
            .iter()
            .map(|hook| format!("{}: {}", hook.point, hook.without))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_is_taken_once_or_missing_once() {
        let all = Choice::make(|_| true);
        let none = Choice::make(|_| false);
        let mut facts: Vec<Fact> = HOOKS.iter().map(|hook| hook.fact).collect();
        facts.dedup();
        assert_eq!(all.taken.len(), facts.len());
        assert!(all.missing.is_empty());
        assert_eq!(none.missing.len(), facts.len());
        assert!(none.taken.is_empty());
    }
}
