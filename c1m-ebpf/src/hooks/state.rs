//! State changes of both ends: which program looks at which.

use aya_ebpf::{
    EbpfContext,
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use aya_log_ebpf::debug;
use c1m_common::{
    config::{self, phase},
    state::*,
    stats::event,
};

use super::transition::{Usual, changed_state, count_opened, is_opened};
use crate::{
    fold::has_entries,
    kernel::{Object, Ptr, Typed, is_closed_by_network, untyped_argument},
    listeners::{add_listener, port_of, remove_listener},
    maps::{STATE_MARKS, config, offset, phase, stats},
};

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`, for what a program
/// does with its socket, or a client's socket meets.
///
/// The kernel skips a program that already runs on this CPU: what the network does in an interrupt while a
/// program's own call is being looked at would be lost. So two programs share the tracepoint, and each
/// returns at once from what is the other's. Where they can be preempted, either may be skipped for what is its own: each
/// marks what it has done, and the others do the rest.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn set_state_by_program(ctx: BtfTracePointContext) -> i32 {
    let _ = look(&ctx, Place::Program);
    0
}

/// The same tracepoint, for what the network does to a socket, a server's child above all.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn set_state_by_network(ctx: BtfTracePointContext) -> i32 {
    let _ = look(&ctx, Place::Network);
    0
}

/// The third, where the others can be preempted: as an event of perf's, for these run with preemption off
/// (`perf_trace_##call` takes `preempt_notrace` there), however many tasks the others were preempted by. It comes behind them,
/// or before them if somebody else has asked perf for this event.
#[tracepoint]
pub(crate) fn set_state_by_event(ctx: TracePointContext) -> u32 {
    let _ = look(&ctx, Place::Event);
    0
}

/// Which program looks at a transition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Program,
    Network,
    Event,
}

#[inline(always)]
fn look(event: &impl Event, place: Place) -> Option<()> {
    let change = Change::of(event)?;
    let stats = stats()?;
    let by_network = change.is_by_network();
    let whose = if by_network { BY_NETWORK } else { BY_PROGRAM };
    let done = change.done(place, by_network);
    let handles = done & HANDLED == 0 && !(by_network && place == Place::Program);
    change.mark(done | SEEN | if handles { HANDLED } else { 0 });
    if done & SEEN == 0 {
        count(&mut stats.seen[whose]);
    }
    if !handles {
        return None;
    }
    let usual = match (place, by_network) {
        (Place::Program, false) | (Place::Network, true) => Usual::Yes,
        _ => Usual::No,
    };
    count(match usual {
        Usual::Yes => &mut stats.handled[whose],
        Usual::No => &mut stats.handled_again[whose],
    });
    match by_network {
        true => change.tell(event, usual),
        false => change.tell_of_program(event, usual),
    }
    Some(())
}

/// A program has counted that there was this transition.
const SEEN: u64 = 1;
/// A program has told of it.
const HANDLED: u64 = 2;

/// How a program of either kind learns of a transition.
trait Event: EbpfContext {
    /// What the verifier knows of the socket.
    type Sock: Object;

    /// The socket.
    fn sk(&self) -> Self::Sock;

    /// The same, of which the verifier knows no more than that it is a number.
    fn untyped_sk(&self) -> Ptr;

    /// The states before and after.
    fn states(&self) -> Option<(u8, u8)>;
}

impl Event for BtfTracePointContext {
    type Sock = Typed;

    #[inline(always)]
    fn sk(&self) -> Typed {
        Typed::argument(self, 0)
    }

    #[inline(always)]
    fn untyped_sk(&self) -> Ptr {
        untyped_argument(self, 0)
    }

    #[inline(always)]
    fn states(&self) -> Option<(u8, u8)> {
        Some((self.arg::<u64>(1) as u8, self.arg::<u64>(2) as u8))
    }
}

/// A record of `trace_event_raw_inet_sock_set_state`.
impl Event for TracePointContext {
    type Sock = Ptr;

    #[inline(always)]
    fn sk(&self) -> Ptr {
        Ptr(Ptr(self.as_ptr() as u64)
            .read(offset!(event_skaddr))
            .unwrap_or(0))
    }

    #[inline(always)]
    fn untyped_sk(&self) -> Ptr {
        self.sk()
    }

    #[inline(always)]
    fn states(&self) -> Option<(u8, u8)> {
        let record = Ptr(self.as_ptr() as u64);
        let from: u32 = record.read(offset!(event_oldstate))?;
        let to: u32 = record.read(offset!(event_newstate))?;
        Some((from as u8, to as u8))
    }
}

/// A transition.
struct Change<S> {
    sk: S,
    /// Its address, as a number; 0 where no program is preempted.
    address: u64,
    from: u8,
    to: u8,
}

impl<S: Object> Change<S> {
    /// None for what happens once per good connection and tells nothing: one is without a port, the other without a
    /// result.
    #[inline(always)]
    fn of(event: &impl Event<Sock = S>) -> Option<Self> {
        let (from, to) = event.states()?;
        let address = match config!(preemptible_tracepoints) {
            0 => 0,
            _ => event.untyped_sk().0,
        };
        let change = Self {
            sk: event.sk(),
            address,
            from,
            to,
        };
        if matches!((from, to), (CLOSE, SYN_SENT) | (LISTEN, SYN_RECV)) {
            // What fails now would look like what failed here before.
            change.mark(0);
            return None;
        }
        Some(change)
    }

    /// Notes what the programs so far have done with it.
    #[inline(always)]
    fn mark(&self, done: u64) {
        if let Some(mark) = self.place() {
            // SAFETY: a live entry of an array. Volatile: other programs read it, and one socket's transitions come one after
            // the other.
            unsafe { mark.write_volatile(self.key() | done) };
        }
    }

    /// What the programs before have done with it. Without marks: what the other of the two does if it is not skipped, as each
    /// counts what the other should have told of.
    #[inline(always)]
    fn done(&self, place: Place, by_network: bool) -> u64 {
        let Some(mark) = self.place() else {
            return match (place == Place::Program, by_network) {
                (true, true) => 0,
                (true, false) | (false, true) => SEEN,
                (false, false) => HANDLED,
            };
        };
        // SAFETY: as above.
        let mark = unsafe { mark.read_volatile() };
        match mark & !(SEEN | HANDLED) == self.key() {
            true => mark & (SEEN | HANDLED),
            false => 0,
        }
    }

    /// What tells it from others: at one address no socket goes twice in a row from one state to another, but with a beginning
    /// in between. The first byte of every address in the kernel is the same.
    #[inline(always)]
    fn key(&self) -> u64 {
        self.address ^ (u64::from(self.from << 4 | self.to) << 56)
    }

    /// Where it is marked; nowhere where no program is preempted. All CPUs share the places, for a task may be moved between
    /// two programs. (Two sockets in one place, both in the middle of a transition: one would be told of twice.)
    #[inline(always)]
    fn place(&self) -> Option<*mut u64> {
        if config!(preemptible_tracepoints) == 0 {
            return None;
        }
        // Multiplied, for sockets lie at few offsets of a slab.
        let spread =
            self.address.wrapping_mul(SPREAD) >> (64 - config::STATE_MARKS.trailing_zeros());
        STATE_MARKS.get_ptr_mut(spread as u32)
    }

    /// Whose it is.
    #[inline(always)]
    fn is_by_network(&self) -> bool {
        match (self.from, self.to) {
            (SYN_RECV | FIN_WAIT1 | FIN_WAIT2 | CLOSING | LAST_ACK, _)
            | (ESTABLISHED, CLOSE_WAIT) => true,
            (ESTABLISHED, CLOSE) => is_closed_by_network(self.sk),
            _ => false,
        }
    }

    /// Counts and folds what a program did.
    #[inline(always)]
    fn tell_of_program(&self, event: &impl Event, usual: Usual) {
        match (self.from, self.to) {
            (_, LISTEN) => {
                let sk = event.untyped_sk();
                if add_listener(sk.0) != 0
                    && let Some(port) = port_of(sk)
                {
                    debug!(
                        event,
                        "port {} of namespace {} has a listener", port.port, port.namespace
                    );
                }
            }
            (LISTEN, _) => {
                let sk = event.untyped_sk();
                if remove_listener(sk.0) != 0
                    && let Some(port) = port_of(sk)
                {
                    if phase() == phase::RUNNING
                        && let Some(stats) = stats()
                    {
                        stats.events[event::LISTENER_CLOSED] += 1;
                    }
                    debug!(
                        event,
                        "port {} of namespace {} has lost a listener", port.port, port.namespace
                    );
                }
            }
            _ => self.tell(event, usual),
        }
    }

    /// Counts and folds it. As long as nothing has gone wrong, one more connection is one more in a counter.
    #[inline(always)]
    fn tell(&self, event: &impl Event, usual: Usual) {
        let opened = is_opened(self.from, self.to);
        let counted =
            opened && phase() == phase::RUNNING && !has_entries() && count_opened(self.sk, usual);
        if !counted {
            let sk = event.untyped_sk();
            changed_state(sk.0, self.from.into(), self.to.into(), usual as u32);
        }
    }
}

/// Counts while both programs are there for certain.
#[inline(always)]
fn count(counter: &mut u64) {
    if phase() == phase::RUNNING {
        *counter += 1;
    }
}

/// 2⁶⁴ divided by the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Index of what a program did, and of the program for it, in `Stats::handled` and `Stats::seen`.
pub(super) const BY_PROGRAM: usize = 0;
/// Index of what the network did.
pub(super) const BY_NETWORK: usize = 1;
