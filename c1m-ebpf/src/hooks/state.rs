//! State changes of both ends: which program looks at which.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use c1m_common::{config::phase, state::*, stats::event};

use super::transition::{Usual, changed_state, count_opened, is_opened};
use crate::{
    fold::has_entries,
    kernel::{Typed, is_closed_by_network, untyped_argument},
    listeners::{add_listener, port_of, remove_listener},
    maps::{config, phase, stats, window},
};

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`, for what a program
/// does with its socket, or a client's socket meets.
///
/// The kernel skips a program that already runs on this CPU: what the network does in an interrupt while a
/// program's own call is being looked at would be lost. So two programs share the tracepoint, and each
/// returns at once from what is the other's. Where they can be preempted, either may be skipped for what is its own: the
/// next in line finds it busy, and takes that.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn set_state_by_program(ctx: BtfTracePointContext) -> i32 {
    set_busy(BY_PROGRAM, 1);
    let _ = first_in_line(&ctx);
    set_busy(BY_PROGRAM, 0);
    0
}

#[inline(always)]
fn first_in_line(ctx: &BtfTracePointContext) -> Option<()> {
    let change = Change::of(ctx)?;
    let stats = stats()?;
    if change.is_by_network() {
        count(&mut stats.seen[BY_NETWORK]);
    } else {
        count(&mut stats.handled[BY_PROGRAM]);
        change.tell_of_program(ctx, Usual::Yes);
    }
    Some(())
}

/// The same tracepoint, for what the network does to a socket, a server's child above all.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn set_state_by_network(ctx: BtfTracePointContext) -> i32 {
    set_busy(BY_NETWORK, 1);
    let _ = later_in_line(&ctx, Usual::Yes);
    set_busy(BY_NETWORK, 0);
    0
}

/// The third in line, where the others can be preempted.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn set_state_again(ctx: BtfTracePointContext) -> i32 {
    if is_busy(BY_NETWORK) {
        let _ = later_in_line(&ctx, Usual::No);
    }
    0
}

/// What comes after the first: `usual` is whether what the network does is this program's own.
#[inline(always)]
fn later_in_line(ctx: &BtfTracePointContext, usual: Usual) -> Option<()> {
    let change = Change::of(ctx)?;
    let stats = stats()?;
    let first_was_skipped = is_busy(BY_PROGRAM);
    if change.is_by_network() {
        if first_was_skipped {
            count(&mut stats.seen[BY_NETWORK]);
        }
        count(match usual {
            Usual::Yes => &mut stats.handled[BY_NETWORK],
            Usual::No => &mut stats.handled_again[BY_NETWORK],
        });
        change.tell(ctx, usual);
    } else {
        // The third comes this far only if the second was skipped, and then sees it in its place.
        count(&mut stats.seen[BY_PROGRAM]);
        if first_was_skipped {
            count(&mut stats.handled_again[BY_PROGRAM]);
            change.tell_of_program(ctx, Usual::No);
        }
    }
    Some(())
}

/// Notes that a state program begins or ends.
#[inline(always)]
fn set_busy(which: usize, busy: u32) {
    if config!(preemptible_tracepoints) != 0
        && let Some(window) = window()
    {
        // SAFETY: a word of this CPU's, which the program does not leave. Volatile: the others read it.
        unsafe { (&raw mut window.state_busy[which]).write_volatile(busy) };
    }
}

/// Whether a state program is in the middle of another event on this CPU: then the kernel has skipped it for this one. (Whoever
/// is preempted between two programs, and finds one busy by then that was not, is counted twice: it would have to happen within
/// a microsecond, twice.)
#[inline(always)]
fn is_busy(which: usize) -> bool {
    if config!(preemptible_tracepoints) == 0 {
        return false;
    }
    // SAFETY: as above.
    window()
        .is_some_and(|window| unsafe { (&raw const window.state_busy[which]).read_volatile() != 0 })
}

/// A transition.
struct Change {
    sk: Typed,
    from: u8,
    to: u8,
}

impl Change {
    /// None for what happens once per good connection and tells nothing: one is without a port, the other without a
    /// result.
    #[inline(always)]
    fn of(ctx: &BtfTracePointContext) -> Option<Self> {
        let (from, to) = (ctx.arg::<u64>(1) as u8, ctx.arg::<u64>(2) as u8);
        if matches!((from, to), (CLOSE, SYN_SENT) | (LISTEN, SYN_RECV)) {
            return None;
        }
        let sk = Typed::argument(ctx, 0);
        Some(Self { sk, from, to })
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
    fn tell_of_program(&self, ctx: &BtfTracePointContext, usual: Usual) {
        match (self.from, self.to) {
            (_, LISTEN) => {
                let sk = untyped_argument(ctx, 0);
                if add_listener(sk.0) != 0
                    && let Some(port) = port_of(sk)
                {
                    debug!(
                        ctx,
                        "port {} of namespace {} has a listener", port.port, port.namespace
                    );
                }
            }
            (LISTEN, _) => {
                let sk = untyped_argument(ctx, 0);
                if remove_listener(sk.0) != 0
                    && let Some(port) = port_of(sk)
                {
                    if phase() == phase::RUNNING
                        && let Some(stats) = stats()
                    {
                        stats.events[event::LISTENER_CLOSED] += 1;
                    }
                    debug!(
                        ctx,
                        "port {} of namespace {} has lost a listener", port.port, port.namespace
                    );
                }
            }
            _ => self.tell(ctx, usual),
        }
    }

    /// Counts and folds it. As long as nothing has gone wrong, one more connection is one more in a counter.
    #[inline(always)]
    fn tell(&self, ctx: &BtfTracePointContext, usual: Usual) {
        let opened = is_opened(self.from, self.to);
        let counted =
            opened && phase() == phase::RUNNING && !has_entries() && count_opened(self.sk, usual);
        if !counted {
            let sk = untyped_argument(ctx, 0);
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

/// Index of what a program did, and of the program for it, in `Stats::handled`, `Stats::seen` and `Window::state_busy`.
pub(super) const BY_PROGRAM: usize = 0;
/// Index of what the network did.
pub(super) const BY_NETWORK: usize = 1;
