//! State changes of both ends.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use aya_log_ebpf::debug;
use c1m_common::{
    config::{changed, phase},
    fact::end_flag,
    state::*,
    stats::{EndStats, event, hook},
    tuple::Tuple,
};

use crate::{
    fold::{
        NOBODY, end, entry, entry_of, existing, has_entries, no_longer_deferred, note_changed,
        now_ns,
    },
    kernel::{
        Object, Ptr, Side, Typed, current_is_exiting, fill_tuple, is_tcp, syn_sequence,
        traced_common, traced_side, untyped_argument,
    },
    listeners::{add_listener, port_of, remove_listener},
    maps::{config, offset, phase, stats},
};

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`, for what a program
/// does with its socket, or a client's socket meets.
///
/// The kernel skips a program that already runs on this CPU: what the network does in an interrupt while a
/// program's own call is being looked at would be lost. So two programs share the tracepoint, and each
/// returns at once from what is the other's.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn set_state_by_program(ctx: BtfTracePointContext) -> i32 {
    let Some(change) = Change::of(&ctx) else {
        return 0;
    };
    let Some(stats) = stats() else { return 0 };
    if change.is_by_network() {
        count(&mut stats.seen[BY_NETWORK]);
        return 0;
    }
    count(&mut stats.handled[BY_PROGRAM]);
    match (change.from, change.to) {
        (_, LISTEN) => {
            let sk = untyped_argument(&ctx, 0);
            if add_listener(sk.0) != 0
                && let Some(port) = port_of(sk)
            {
                debug!(
                    &ctx,
                    "port {} of namespace {} has a listener", port.port, port.namespace
                );
            }
        }
        (LISTEN, _) => {
            let sk = untyped_argument(&ctx, 0);
            if remove_listener(sk.0) != 0
                && let Some(port) = port_of(sk)
            {
                if phase() == phase::RUNNING {
                    stats.events[event::LISTENER_CLOSED] += 1;
                }
                debug!(
                    &ctx,
                    "port {} of namespace {} has lost a listener", port.port, port.namespace
                );
            }
        }
        _ => change.tell(&ctx),
    }
    0
}

/// The same tracepoint, for what the network does to a socket, a server's child above all.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn set_state_by_network(ctx: BtfTracePointContext) -> i32 {
    let Some(change) = Change::of(&ctx) else {
        return 0;
    };
    let Some(stats) = stats() else { return 0 };
    if change.is_by_network() {
        count(&mut stats.handled[BY_NETWORK]);
        change.tell(&ctx);
    } else {
        count(&mut stats.seen[BY_PROGRAM]);
    }
    0
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

    /// Whose it is. A reset or a time-out sets `sk_err` before the state, a close by the program does not.
    #[inline(always)]
    fn is_by_network(&self) -> bool {
        match (self.from, self.to) {
            (SYN_RECV | FIN_WAIT1 | FIN_WAIT2 | CLOSING | LAST_ACK, _)
            | (ESTABLISHED, CLOSE_WAIT) => true,
            (ESTABLISHED, CLOSE) => self.sk.read::<u32>(offset!(sk_err)) != Some(0),
            _ => false,
        }
    }

    /// Counts and folds it. As long as nothing has gone wrong, one more connection is one more in a counter.
    #[inline(always)]
    fn tell(&self, ctx: &BtfTracePointContext) {
        let opened = is_opened(self.from, self.to);
        if opened && phase() == phase::RUNNING && !has_entries() {
            let _ = count_opened(self.sk);
        } else {
            let sk = untyped_argument(ctx, 0);
            changed_state(sk.0, self.from.into(), self.to.into());
        }
    }
}

#[inline(always)]
fn is_opened(from: u8, to: u8) -> bool {
    matches!((from, to), (SYN_SENT | SYN_RECV, ESTABLISHED))
}

#[inline(always)]
fn count_opened(sk: Typed) -> Option<()> {
    let (side, _) = traced_common(sk)?;
    if is_tcp(sk) {
        count_established(&mut stats()?.ends[side as usize]);
    }
    Some(())
}

/// Counts while both programs are there for certain.
#[inline(always)]
fn count(counter: &mut u64) {
    if phase() == phase::RUNNING {
        *counter += 1;
    }
}

/// Index of what a program did, in `Stats::handled` and `Stats::seen`.
const BY_PROGRAM: usize = 0;
/// Index of what the network did.
const BY_NETWORK: usize = 1;

/// Folds a transition. A global function, the verifier goes through it once and not for each way to it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn changed_state(sk: u64, from: u32, to: u32) -> u32 {
    let _ = change(Ptr(sk), from as u8, to as u8);
    0
}

#[inline(always)]
fn change(sk: Ptr, from: u8, to: u8) -> Option<()> {
    let (side, ports) = traced_side(sk)?;
    if !is_tcp(sk) {
        return None;
    }
    let phase = phase();
    let stats = &mut stats()?.ends[side as usize];
    match (from, to) {
        _ if phase == phase::ATTACHING => {}
        (FIN_WAIT1, FIN_WAIT2) => stats.fin_wait_2 += 1,
        (FIN_WAIT2 | CLOSING, CLOSE) => {
            if sk.read::<u32>(offset!(sk_err))? == 0 {
                stats.time_wait += 1;
            }
        }
        (SYN_SENT | SYN_RECV | ESTABLISHED, _) => {
            let opened = is_opened(from, to);
            let mut tuple = NOBODY;
            fill_tuple(sk, side, ports, &mut tuple)?;
            if phase != phase::RUNNING {
                if side == Side::Server && (opened || from == ESTABLISHED) {
                    let what = if opened {
                        changed::ESTABLISHED
                    } else if sk.read::<u64>(offset!(sk_socket))? == 0 {
                        changed::CLOSED_QUEUED
                    } else {
                        changed::CLOSED
                    };
                    note_changed(&tuple, what, phase);
                }
                return None;
            }
            if opened {
                count_established(stats);
                established(side, &tuple);
            } else {
                let end = Leaving { sk, from, to, side };
                left(&end, &tuple, stats)?;
            }
        }
        _ => {}
    }
    Some(())
}

/// One more that became ESTABLISHED, and when.
#[inline(always)]
fn count_established(stats: &mut EndStats) {
    stats.established += 1;
    stats.last_established_ns = now_ns();
    if stats.first_established_ns == 0 {
        stats.first_established_ns = stats.last_established_ns;
    }
}

/// The entry, if there is one, learns that the attempt got through.
#[inline(always)]
fn established(side: Side, tuple: &Tuple) {
    if let Some(facts) = existing(tuple) {
        match side {
            Side::Client => facts.client_established_ns = now_ns(),
            Side::Server => {
                facts.server_established_ns = now_ns();
                no_longer_deferred(facts);
            }
        }
    }
}

/// A socket that leaves SYN_SENT, SYN_RECV or ESTABLISHED, and for which state.
struct Leaving {
    sk: Ptr,
    from: u8,
    to: u8,
    side: Side,
}

/// A client's socket left SYN_SENT without a connection.
#[inline(always)]
fn not_connected(sk: Ptr, tuple: &Tuple) -> Option<()> {
    let sequence = syn_sequence(sk)?;
    if sequence != 0 {
        return entry_of(tuple, sequence, hook::STATE).map(drop);
    }
    // Whoever has this tuple lives on: the entry is his.
    let facts = entry(tuple, hook::STATE)?;
    facts.unsent = facts.unsent.saturating_add(1);
    None
}

/// Counts how a socket left, and keeps the facts of a failure.
#[inline(always)]
fn left(leaving: &Leaving, tuple: &Tuple, stats: &mut EndStats) -> Option<()> {
    let Leaving { sk, from, to, side } = *leaving;
    if from == SYN_SENT {
        stats.unanswered += u64::from(to == CLOSE && syn_sequence(sk)? != 0);
        not_connected(sk, tuple)?;
    }
    let err: u32 = sk.read(offset!(sk_err))?;
    let no_socket = sk.read::<u64>(offset!(sk_socket))? == 0;
    // A reset or a time-out sets sk_err before the state; a close by the program does not.
    let local = to == FIN_WAIT1 || (to == CLOSE && err == 0);
    let exiting = local && current_is_exiting();
    let failure = if from != ESTABLISHED {
        true
    } else if to == CLOSE_WAIT {
        stats.closed_by_peer += 1;
        false
    } else if no_socket || (to == CLOSE && err != 0 && err != ECONNRESET) {
        // The one counter that both programs have, which may interrupt each other.
        stats.failed[if local { BY_PROGRAM } else { BY_NETWORK }] += 1;
        true
    } else if !local {
        stats.reset_by_peer += 1;
        false
    } else {
        if to == FIN_WAIT1 {
            stats.closed_locally += 1;
        } else {
            stats.aborted_locally += 1;
        }
        if exiting {
            stats.exited += 1;
        }
        side == Side::Server && (exiting || config!(server_close_is_loss) != 0)
    };
    let facts = if failure {
        entry(tuple, hook::STATE)?
    } else {
        existing(tuple)?
    };
    let end = end(facts, side);
    end.err = err as u16;
    end.from = from;
    end.to = to;
    let told =
        end.flags & (end_flag::FORGOTTEN | end_flag::OUT_OF_MEMORY | end_flag::REFUSED_SYNACK);
    end.flags = told
        | if local { end_flag::LOCAL } else { 0 }
        | if exiting { end_flag::EXITING } else { 0 }
        | if no_socket { end_flag::NO_SOCKET } else { 0 }
        | if failure { end_flag::FAILURE } else { 0 };
    // In the context of anybody whom the network interrupted, the process means nothing.
    end.pid = match local {
        true => (bpf_get_current_pid_tgid() >> 32) as u32,
        false => 0,
    };
    end.closed_ns = now_ns();
    Some(())
}

const ECONNRESET: u32 = 104;
