//! State changes of both ends.

use aya_ebpf::{EbpfContext as _, macros::raw_tracepoint, programs::RawTracePointContext};
use c1m_common::{
    config::{changed, phase},
    fact::end_flag,
    state::*,
    stats::{EndStats, hook},
    tuple::Tuple,
};

use crate::{
    fold::{NOBODY, end, entry, existing, note_changed, now_ns},
    kernel::{Ptr, Side, current_is_exiting, is_tcp, traced_socket},
    listeners,
    maps::{config, offset, phase, stats},
};

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub(crate) fn inet_sock_set_state(ctx: RawTracePointContext) -> i32 {
    let sk = Ptr(ctx.arg(0));
    let (from, to) = (ctx.arg::<u64>(1) as u8, ctx.arg::<u64>(2) as u8);
    match (from, to) {
        // Happen once per good connection and tell nothing: the first is without a port, the second without
        // a result.
        (CLOSE, SYN_SENT) | (LISTEN, SYN_RECV) => return 0,
        (_, LISTEN) => listeners::add(sk),
        (LISTEN, _) => listeners::remove(sk),
        _ => {
            let _ = changed_state(&ctx, sk, from, to);
        }
    }
    0
}

#[inline(always)]
fn changed_state(ctx: &RawTracePointContext, sk: Ptr, from: u8, to: u8) -> Option<()> {
    let mut tuple = NOBODY;
    let side = traced_socket(sk, &mut tuple)?;
    if !is_tcp(sk) {
        return None;
    }
    let phase = phase();
    let stats = &mut stats()?.ends[side as usize];
    match (from, to) {
        (FIN_WAIT1, FIN_WAIT2) => stats.fin_wait_2 += 1,
        (FIN_WAIT2 | CLOSING, CLOSE) => {
            if sk.read::<u32>(offset!(sk_err))? == 0 {
                stats.time_wait += 1;
            }
        }
        (SYN_SENT | SYN_RECV, ESTABLISHED) => {
            if phase != phase::RUNNING {
                note_changed(
                    &tuple,
                    match side {
                        Side::Client => changed::CLIENT_ESTABLISHED,
                        Side::Server => changed::SERVER_ESTABLISHED,
                    },
                );
            }
            if phase != phase::ENDED {
                stats.established += 1;
                established(side, &tuple);
            }
        }
        (SYN_SENT | SYN_RECV | ESTABLISHED, _) => {
            if phase != phase::RUNNING && from == ESTABLISHED {
                note_changed(
                    &tuple,
                    match side {
                        Side::Client => changed::CLIENT_CLOSED,
                        Side::Server => changed::SERVER_CLOSED,
                    },
                );
            }
            if phase != phase::ENDED {
                left(
                    Change {
                        sk,
                        from,
                        to,
                        side,
                        pid: ctx.tgid(),
                    },
                    &tuple,
                    stats,
                )?;
            }
        }
        _ => {}
    }
    Some(())
}

/// The entry, if there is one, learns that the attempt got through.
#[inline(always)]
fn established(side: Side, tuple: &Tuple) {
    if let Some(facts) = existing(tuple) {
        match side {
            Side::Client => facts.client_established_ns = now_ns(),
            Side::Server => facts.server_established_ns = now_ns(),
        }
    }
}

struct Change {
    sk: Ptr,
    from: u8,
    to: u8,
    side: Side,
    pid: u32,
}

/// A socket left SYN_SENT, SYN_RECV or ESTABLISHED: counts how, and keeps the facts of a failure.
#[inline(always)]
fn left(change: Change, tuple: &Tuple, stats: &mut EndStats) -> Option<()> {
    let Change {
        sk,
        from,
        to,
        side,
        pid,
    } = change;
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
        stats.failed += 1;
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
        side as u32 == Side::Server as u32 && (exiting || config!(server_close_is_loss) != 0)
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
    end.flags = if local { end_flag::LOCAL } else { 0 }
        | if exiting { end_flag::EXITING } else { 0 }
        | if no_socket { end_flag::NO_SOCKET } else { 0 };
    // In the context of anybody whom the network interrupted, the process means nothing.
    end.pid = if local { pid } else { 0 };
    end.closed_ns = now_ns();
    Some(())
}

const ECONNRESET: u32 = 104;
