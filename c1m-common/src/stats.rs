//! Per-CPU counters: the live view, what needs no tuple, and what the kernel side itself lost.

use crate::fact::syn_drop;

/// The hooks, as indices of [`Stats::lost`].
pub mod hook {
    /// `inet_sock_set_state`
    pub const STATE: usize = 0;
    /// `kfree_skb`
    pub const DROP: usize = 1;
    /// `consume_skb`
    pub const CONSUME: usize = 2;
    /// `net_dev_queue`
    pub const QUEUE: usize = 3;
    /// `tcp_retransmit_skb`
    pub const RETRANSMIT: usize = 4;
    /// `tcp_retransmit_synack`
    pub const RETRANSMIT_SYNACK: usize = 5;
    /// `tcp_send_reset`
    pub const SEND_RESET: usize = 6;
    /// `tcp_receive_reset`
    pub const RECEIVE_RESET: usize = 7;
    /// `inet_sk_error_report`
    pub const ERROR: usize = 8;
    /// `neigh_event_send_done`
    pub const NEIGHBOUR: usize = 9;
    /// `iter/tcp`
    pub const LISTENERS: usize = 10;
    /// `tcp_conn_request`
    pub const REQUEST: usize = 11;
    /// `tcp_v4_syn_recv_sock`, `tcp_v6_syn_recv_sock`
    pub const CHILD: usize = 12;
    /// `reqsk_timer_handler`
    pub const TIMER: usize = 13;
    /// `inet_child_forget`, `tcp_check_oom`, `mark_victim`
    pub const END: usize = 14;
    /// System calls
    pub const CALL: usize = 15;
    /// How many there are.
    pub const COUNT: usize = 16;
}

/// Events that belong to a traced port or namespace, but to no attempt: the index into [`Stats::events`].
pub mod event {
    /// No file for a socket: fs.file-max (`alloc_empty_file`).
    pub const FILE_REFUSED: usize = 0;
    /// No descriptor: RLIMIT_NOFILE or fs.nr_open (`alloc_fd`).
    pub const DESCRIPTOR_REFUSED: usize = 1;
    /// A client's socket found no room for its TIME_WAIT: tcp_max_tw_buckets (`inet_twsk_alloc`).
    pub const CLIENT_TIME_WAIT_REFUSED: usize = 2;
    /// A server's, likewise.
    pub const SERVER_TIME_WAIT_REFUSED: usize = 3;
    /// A port that connect() tried was held by TIME_WAIT (`tcp_twsk_unique`).
    pub const PORT_IN_TIME_WAIT: usize = 4;
    /// A listener was closed.
    pub const LISTENER_CLOSED: usize = 5;
    /// The kernel closed a server's end that belonged to an MPTCP connection, after its program had let go of that.
    pub const MPTCP_CLOSED: usize = 6;
    /// A process of the traced command ended in a network namespace that is not traced.
    pub const ENDED_ELSEWHERE: usize = 7;
    /// How many there are.
    pub const COUNT: usize = 8;
}

/// Programs that have a twin, which takes what the kernel skips the first for: the index into [`Stats::twins`].
pub mod pair {
    /// `kfree_skb`
    pub const DROP: usize = 0;
    /// `consume_skb`
    pub const CONSUME: usize = 1;
    /// `tcp_send_reset`
    pub const SEND_RESET: usize = 2;
    /// `tcp_receive_reset`
    pub const RECEIVE_RESET: usize = 3;
    /// How many there are.
    pub const COUNT: usize = 4;
}

/// One end's life in numbers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndStats {
    /// Became ESTABLISHED (from SYN_SENT, or from SYN_RECV).
    pub established: u64,
    /// Closed first by its own program, orderly (ESTABLISHED → FIN_WAIT1), and not because that was ending.
    pub closed_locally: u64,
    /// Aborted by its own program: SO_LINGER 0 or unread data (ESTABLISHED → CLOSE, `sk_err` 0). A server's has an entry: its
    /// client is reset.
    pub aborted_locally: u64,
    /// The peer's FIN came first (ESTABLISHED → CLOSE_WAIT).
    pub closed_by_peer: u64,
    /// The peer's RST came first, and a program held the socket.
    pub reset_by_peer: u64,
    /// Left SYN_SENT without a connection, after a SYN: an entry has the facts.
    pub unanswered: u64,
    /// Left ESTABLISHED as a failure, by its program and by the network: an entry has the facts.
    pub failed: [u64; 2],
    /// Closed or aborted because its program was ending. A server's has an entry.
    pub exited: u64,
    /// Entered FIN_WAIT2.
    pub fin_wait_2: u64,
    /// Entered TIME_WAIT, as far as state changes tell (FIN_WAIT2 or CLOSING → CLOSE without error).
    pub time_wait: u64,
    /// The same, seen in `tcp_time_wait`.
    pub time_wait_seen: u64,
    /// When the first became ESTABLISHED, monotonic; 0 for none.
    pub first_established_ns: u64,
    /// When the last did; where there are many, to the kernel's tick.
    pub last_established_ns: u64,
    /// That tick, of this CPU.
    pub last_tick: u64,
}

/// All counters of one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The client's ends, then the server's.
    pub ends: [EndStats; 2],
    /// The same of what another program than usual handled, for that one was busy: it may be in the middle of counting.
    pub ends_again: [EndStats; 2],
    /// SYNs dropped by a listener, by [`syn_drop`] class.
    pub syn_drops: [u64; syn_drop::COUNT],
    /// SYNs that a listener took in, answered or not.
    pub syns_received: u64,
    /// Final ACKs refused because the accept queue was full: with a request, and by syncookie.
    pub ack_overflows: [u64; 2],
    /// Final ACKs for which no child could be made, though there was room.
    pub ack_failures: u64,
    /// Drops whose namespace could not be told: not folded.
    pub unattributed: u64,
    /// Facts that found no room, per [`hook`].
    pub lost: [u64; hook::COUNT],
    /// Earlier generations of a tuple that found no room in the ring buffer.
    pub generations_lost: u64,
    /// Transitions that the two state programs handled: by a program, by the network.
    pub handled: [u64; 2],
    /// The same, as each saw the other's: what it has more was skipped by the kernel.
    pub seen: [u64; 2],
    /// Of what was skipped, what another program handled.
    pub handled_again: [u64; 2],
    /// What belongs to no attempt, by [`event`].
    pub events: [u64; event::COUNT],
    /// Events that the second program of a [`pair`] took.
    pub twins: [u64; pair::COUNT],
    /// Timer interrupts in which the programs ran.
    pub timer_interrupts: u64,
}

const _: () = {
    assert!(size_of::<EndStats>() == 120);
    assert!(size_of::<Stats>() == 2 * 240 + 40 + 8 + 16 + 8 + 8 + 128 + 8 + 48 + 64 + 32 + 8);
};

impl EndStats {
    /// From the first that became ESTABLISHED to the last, in s; 0 without two.
    pub fn establish_s(&self) -> f64 {
        self.last_established_ns
            .saturating_sub(self.first_established_ns) as f64
            / 1e9
    }

    /// All that left ESTABLISHED, however.
    pub fn gone(&self) -> u64 {
        let by_program = self.closed_locally + self.aborted_locally + self.exited;
        by_program + self.closed_by_peer + self.reset_by_peer + self.failed.iter().sum::<u64>()
    }

    /// Adds another CPU's.
    pub fn add(&mut self, other: &Self) {
        self.established += other.established;
        self.closed_locally += other.closed_locally;
        self.aborted_locally += other.aborted_locally;
        self.closed_by_peer += other.closed_by_peer;
        self.reset_by_peer += other.reset_by_peer;
        for (sum, more) in self.failed.iter_mut().zip(&other.failed) {
            *sum += more;
        }
        self.exited += other.exited;
        self.unanswered += other.unanswered;
        self.fin_wait_2 += other.fin_wait_2;
        self.time_wait += other.time_wait;
        self.time_wait_seen += other.time_wait_seen;
        self.last_established_ns = self.last_established_ns.max(other.last_established_ns);
        self.first_established_ns = match (self.first_established_ns, other.first_established_ns) {
            (0, first) | (first, 0) => first,
            (one, another) => one.min(another),
        };
    }
}

impl Stats {
    /// State transitions that the kernel did not show to the program that handles them.
    pub fn transitions_lost(&self) -> u64 {
        let handled = self.handled.iter().zip(&self.handled_again);
        let handled = handled.map(|(usual, again)| usual + again);
        let seen = self.seen.iter().zip(handled);
        seen.map(|(seen, handled)| seen.saturating_sub(handled))
            .sum()
    }

    /// It became known that so many of the drops without a condition were those of a full accept queue.
    pub fn name_drops(&mut self, syns: u64) {
        self.syn_drops[syn_drop::UNKNOWN] = self.syn_drops[syn_drop::UNKNOWN].saturating_sub(syns);
        self.syn_drops[syn_drop::ACCEPT_QUEUE_FULL] += syns;
    }

    /// Adds another CPU's. What is in `ends_again` there goes to `ends` here.
    pub fn add(&mut self, other: &Self) {
        for (end, sum) in self.ends.iter_mut().enumerate() {
            sum.add(&other.ends[end]);
            sum.add(&other.ends_again[end]);
        }
        let pairs = |sums: &mut [u64], more: &[u64]| {
            for (sum, more) in sums.iter_mut().zip(more) {
                *sum += more;
            }
        };
        pairs(&mut self.syn_drops, &other.syn_drops);
        pairs(&mut self.ack_overflows, &other.ack_overflows);
        pairs(&mut self.lost, &other.lost);
        self.syns_received += other.syns_received;
        self.unattributed += other.unattributed;
        self.generations_lost += other.generations_lost;
        pairs(&mut self.handled, &other.handled);
        pairs(&mut self.seen, &other.seen);
        pairs(&mut self.handled_again, &other.handled_again);
        pairs(&mut self.events, &other.events);
        pairs(&mut self.twins, &other.twins);
        self.ack_failures += other.ack_failures;
        self.timer_interrupts += other.timer_interrupts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_program_handled_is_counted_and_not_lost() {
        let mut cpu = Stats {
            seen: [5, 7],
            handled: [3, 7],
            handled_again: [1, 0],
            ..Stats::default()
        };
        cpu.ends[1].established = 3;
        cpu.ends_again[1].established = 1;
        assert_eq!(cpu.transitions_lost(), 1);
        let mut sum = Stats::default();
        sum.add(&cpu);
        assert_eq!(sum.transitions_lost(), 1);
        assert_eq!(sum.ends[1].established, 4);
        assert_eq!(sum.ends_again, [EndStats::default(); 2]);
    }
}
