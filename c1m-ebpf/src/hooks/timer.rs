//! A request that waits for its final ACK, and the timer that gives it up.

use aya_ebpf::{
    macros::{fexit, kretprobe},
    programs::{FExitContext, RetProbeContext},
};
use c1m_common::{state::LISTEN, stats::hook};

use super::function::{Arguments, at_entry};
use crate::{
    fold::{NOBODY, entry, entry_of_answer},
    kernel::{Ptr, sock_state, traced_request},
    maps::{folding, offset, window},
};

// `void reqsk_timer_handler(struct timer_list *t)`: sends the SYN-ACK again, or gives the request up. In the first
// case it counts one more time-out.
at_entry!(k_reqsk_timer, f_reqsk_timer, timer_fires);

#[inline(always)]
fn timer_fires(args: &impl Arguments) -> Option<()> {
    let timer = &mut window()?.timer;
    timer.request = 0;
    if !folding() {
        return None;
    }
    let request = Ptr(args.pointer(0).0.wrapping_sub(offset!(req_timer) as u64));
    timer.tuple = NOBODY;
    traced_request(request, &mut timer.tuple)?;
    timer.timeouts = u32::from(request.read::<u8>(offset!(req_num_timeout))?);
    timer.sequence = request.read(offset!(rcv_isn)).unwrap_or(0);
    let listener = sock_state(Ptr(request.read(offset!(req_listener)).unwrap_or(0)));
    timer.orphaned = u64::from(listener.is_some_and(|state| state != LISTEN));
    timer.request = request.0;
    Some(())
}

/// `reqsk_timer_handler` returns.
#[kretprobe]
pub(crate) fn kr_reqsk_timer(_: RetProbeContext) -> u32 {
    let _ = timer_fired();
    0
}

/// The same.
#[fexit]
pub(crate) fn fx_reqsk_timer(_: FExitContext) -> i32 {
    let _ = timer_fired();
    0
}

#[inline(always)]
fn timer_fired() -> Option<()> {
    let timer = &mut window()?.timer;
    let request = Ptr(timer.request);
    timer.request = 0;
    // A request that was given up may be freed by now; its memory stays a request's, and the byte as it was.
    let timeouts: u8 = request.read(offset!(req_num_timeout))?;
    if u32::from(timeouts) != timer.timeouts {
        return None;
    }
    let facts = match timer.sequence {
        0 => entry(&timer.tuple, hook::TIMER)?,
        sequence => entry_of_answer(&timer.tuple, sequence, hook::TIMER)?,
    };
    // Another listener may have taken it over, as a new request: then it goes on.
    let times = match timer.orphaned {
        0 => &mut facts.requests_expired,
        _ => &mut facts.requests_orphaned,
    };
    *times = times.saturating_add(1);
    Some(())
}
