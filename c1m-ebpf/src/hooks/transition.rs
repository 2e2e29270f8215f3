//! What a state change tells of an attempt: counted, and folded where something went wrong.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_jiffies64};
use c1m_common::{
    config::{changed, phase},
    fact::end_flag,
    state::*,
    stats::{EndStats, event, hook},
    tuple::Tuple,
};

use super::state::{BY_NETWORK, BY_PROGRAM};
use crate::{
    fold::{
        NOBODY, begin, end, entry, entry_of, existing, no_longer_deferred, note_changed, now_ns,
    },
    kernel::{
        By, Object, Ptr, Side, current_is_exiting, fill_tuple, is_closed_by_network, syn_sequence,
        traced_common, traced_side,
    },
    maps::{config, offset, phase, stats, window},
    protocol::{MPTCP, TCP, is_tcp, protocol},
};

/// Whether the usual program handles a transition, or another, for that one is busy: it may be in the middle of counting.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Usual {
    No = 0,
    Yes = 1,
}

/// The counters of one end.
#[inline(always)]
fn ends(side: Side, usual: Usual) -> Option<&'static mut EndStats> {
    let stats = stats()?;
    Some(match usual {
        Usual::Yes => &mut stats.ends[side as usize],
        Usual::No => &mut stats.ends_again[side as usize],
    })
}

/// Whether a socket becomes ESTABLISHED.
#[inline(always)]
pub(super) fn is_opened(from: u8, to: u8) -> bool {
    matches!((from, to), (SYN_SENT | SYN_RECV, ESTABLISHED))
}

/// One more that became ESTABLISHED; false if more than its ports must tell which end it is.
#[inline(always)]
pub(super) fn count_opened(sk: impl Object, usual: Usual) -> bool {
    match traced_common(sk) {
        None => true,
        Some(By::Listener) => false,
        Some(By::Ports(side)) => {
            if is_tcp(sk)
                && let Some(stats) = ends(side, usual)
            {
                count_established(stats);
            }
            true
        }
    }
}

/// Folds a transition. A global function, the verifier goes through it once and not for each way to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn changed_state(sk: u64, from: u32, to: u32, usual: u32) -> u32 {
    let usual = if usual != 0 { Usual::Yes } else { Usual::No };
    let _ = change(Ptr(sk), from as u8, to as u8, usual);
    0
}

#[inline(always)]
fn change(sk: Ptr, from: u8, to: u8, usual: Usual) -> Option<()> {
    let (side, ports) = traced_side(sk)?;
    match protocol(sk)? {
        TCP => {}
        MPTCP if side == Side::Server => return program_exited(sk, from, to, ports),
        _ => return None,
    }
    let phase = phase();
    let stats = ends(side, usual)?;
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
                if opened || from == ESTABLISHED {
                    let what = if opened {
                        changed::ESTABLISHED
                    } else if side == Side::Server && is_unclaimed(sk)? {
                        changed::CLOSED_QUEUED
                    } else {
                        changed::CLOSED
                    };
                    note_changed(&mut tuple, side, what, phase);
                }
                return None;
            }
            // A program has it by TCP Fast Open, and does not wait for its final ACK.
            let early = side == Side::Server && from == SYN_RECV && !opened && !has_no_file(sk)?;
            if opened || early {
                count_established(stats);
                established(sk, side, &tuple);
            }
            if !opened {
                let from = if early { ESTABLISHED } else { from };
                let end = Leaving { sk, from, to, side };
                left(&end, &tuple, stats)?;
            }
        }
        _ => {}
    }
    Some(())
}

/// One more that became ESTABLISHED, and when. The clock is read for the first, and then once in a tick of the kernel's: it
/// would take as long as all the rest.
#[inline(always)]
fn count_established(stats: &mut EndStats) {
    stats.established += 1;
    // SAFETY: takes no arguments and cannot fail.
    let tick = unsafe { bpf_jiffies64() };
    if stats.established > EACH_TIMED && stats.last_tick == tick {
        return;
    }
    stats.last_tick = tick;
    stats.last_established_ns = now_ns();
    if stats.first_established_ns == 0 {
        stats.first_established_ns = stats.last_established_ns;
    }
}

/// So many of a CPU are timed each: a short run takes but a few ticks.
const EACH_TIMED: u64 = 1000;

/// The entry, if there is one, learns that the attempt got through.
#[inline(always)]
fn established(sk: Ptr, side: Side, tuple: &Tuple) {
    if let Some(facts) = existing(tuple) {
        match side {
            Side::Client => {
                // Whose end has left already was an earlier attempt, unless it met a SYN: a listener would have begun this one,
                // but it is elsewhere.
                let earlier = facts.client.closed_ns != 0 && facts.client.to != SYN_RECV;
                if earlier && let Some(acknowledged) = syn_sequence(sk) {
                    begin(tuple, acknowledged.wrapping_sub(1));
                }
                facts.client_established_ns = now_ns();
            }
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
    let no_socket = is_unclaimed(sk)?;
    let by_program = to == FIN_WAIT1 || (to == CLOSE && !is_closed_by_network(sk));
    let served = side == Side::Server && from == ESTABLISHED;
    let exited = served && is_mptcp(sk) && has_exited(tuple);
    if served && !no_socket && !exited && has_no_file(sk)? {
        crate::maps::stats()?.events[event::MPTCP_CLOSED] += 1;
    }
    // Who closes what carried a connection whose program is gone, and how, tells nothing.
    let (to, local, err) = match exited {
        true => (FIN_WAIT1, true, 0),
        false => (to, by_program, error(leaving, by_program)?),
    };
    let exiting = exited || (local && current_is_exiting());
    let failure = if from != ESTABLISHED {
        true
    } else if to == CLOSE_WAIT {
        stats.closed_by_peer += 1;
        false
    } else if no_socket || exited || (to == CLOSE && !local && err != ECONNRESET) {
        // The one counter that both programs have, which may interrupt each other.
        stats.failed[if by_program { BY_PROGRAM } else { BY_NETWORK }] += 1;
        true
    } else if !local {
        stats.reset_by_peer += 1;
        side == Side::Client && config!(counts_clients) != 0
    } else {
        let orderly = to == FIN_WAIT1;
        if exiting {
            stats.exited += 1;
        } else if orderly {
            stats.closed_locally += 1;
        } else {
            stats.aborted_locally += 1;
        }
        side == Side::Server && (exiting || !orderly || config!(server_close_is_loss) != 0)
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
    let told = end.flags
        & (end_flag::FORGOTTEN
            | end_flag::OUT_OF_MEMORY
            | end_flag::REFUSED_SYNACK
            | end_flag::CHALLENGED);
    end.flags = told
        | if local { end_flag::LOCAL } else { 0 }
        | if exiting { end_flag::EXITING } else { 0 }
        | if no_socket { end_flag::NO_SOCKET } else { 0 }
        | if failure { end_flag::FAILURE } else { 0 };
    // Else it is known who let go of it, and when.
    if !exited {
        // In the context of anybody whom the network interrupted, the process means nothing.
        end.pid = if local { current_pid() } else { 0 };
        end.closed_ns = now_ns();
    }
    Some(())
}

/// The socket of a server's MPTCP connection that its program has: if that exits, a worker of the kernel's closes what carries the
/// connection later, and it is to be known then (`__mptcp_close`). One that no program has accepted has no file.
#[inline(always)]
fn program_exited(sk: Ptr, from: u8, to: u8, ports: (u16, u16)) -> Option<()> {
    let closed = from == ESTABLISHED && matches!(to, FIN_WAIT1 | CLOSE);
    if phase() != phase::RUNNING || !closed || !current_is_exiting() || has_no_file(sk)? {
        return None;
    }
    let mut tuple = NOBODY;
    fill_tuple(sk, Side::Server, ports, &mut tuple)?;
    let end = end(entry(&tuple, hook::STATE)?, Side::Server);
    // Else it tells of an earlier one under the same tuple.
    if end.from != 0 {
        return None;
    }
    end.flags |= end_flag::EXITING;
    end.pid = current_pid();
    end.closed_ns = now_ns();
    Some(())
}

/// Whether that was so.
#[inline(always)]
fn has_exited(tuple: &Tuple) -> bool {
    existing(tuple).is_some_and(|facts| {
        let end = end(facts, Side::Server);
        end.from == 0 && end.flags & end_flag::EXITING != 0
    })
}

/// Whether no program has accepted a socket. That of an MPTCP connection says so when its program has let go of it.
#[inline(always)]
fn is_unclaimed(sk: Ptr) -> Option<bool> {
    Some(has_no_file(sk)? && !is_mptcp(sk))
}

#[inline(always)]
fn current_pid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

#[inline(always)]
fn has_no_file(sk: Ptr) -> Option<bool> {
    Some(sk.read::<u64>(offset!(sk_socket))? == 0)
}

/// Whether a socket carries an MPTCP connection. Once the program has let go of that, it has no `sk_socket` any more, as if it
/// had never been accepted, and a worker of the kernel closes it (`mptcp_worker`).
#[inline(always)]
fn is_mptcp(sk: Ptr) -> bool {
    sk.read::<u8>(offset!(is_mptcp)).is_some_and(|is| is != 0)
}

/// What ended a socket, as an errno: what its program has taken of it already is what a reset says (`tcp_reset`), if there has
/// just been one.
#[inline(always)]
fn error(leaving: &Leaving, local: bool) -> Option<u32> {
    let err: u32 = leaving.sk.read(offset!(sk_err))?;
    if err != 0 || local || window()?.reset != leaving.sk.0 {
        return Some(err);
    }
    Some(match leaving.from {
        SYN_SENT => ECONNREFUSED,
        _ => ECONNRESET,
    })
}

const ECONNRESET: u32 = 104;
const ECONNREFUSED: u32 = 111;
