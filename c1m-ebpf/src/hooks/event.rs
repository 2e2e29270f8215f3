//! What `kfree_skb` tells by itself, on each kernel.

use aya_ebpf::programs::RawTracePointContext;
use c1m_common::{
    config::{PLACE_OF_FILTER, PLACES_MAX},
    fact::why,
};

use super::reason::{is_discarded, taken};
use crate::{
    kernel::Ptr,
    maps::{Window, config},
    segment::Header,
};

/// A segment is freed.
pub(super) struct Event {
    pub(super) skb: Ptr,
    pub(super) location: u64,
    pub(super) reason: u32,
    /// The socket that it was for, where the kernel says so.
    pub(super) receiver: Ptr,
}

impl Event {
    #[inline(always)]
    pub(super) fn of(ctx: &RawTracePointContext) -> Self {
        let mut event = Event {
            skb: Ptr(ctx.arg(0)),
            location: ctx.arg(1),
            reason: config!(reason_not_specified),
            receiver: Ptr(0),
        };
        if config!(kfree_skb_args) >= 3 {
            event.reason = ctx.arg::<u64>(2) as u32;
        }
        if config!(kfree_skb_args) >= 4 {
            event.receiver = Ptr(ctx.arg(3));
        }
        event
    }
}

/// Whether the kernel's own reason, or its silence, is to be taken: from 6.11 on it names the receiver besides. Before, it has reasons
/// for some drops only, and before 5.17 for none.
#[inline(always)]
pub(super) fn speaks(reason: u32) -> bool {
    match config!(kfree_skb_args) {
        4.. => true,
        3 => reason != config!(reason_not_specified),
        _ => false,
    }
}

/// Why the segment is freed, where the kernel's `kfree_skb` does not say.
#[inline(always)]
pub(super) fn decided(window: &mut Window, event: &Event, header: &Header) -> u8 {
    if config!(kfree_skb_args) >= 4 {
        return why::NOT_SEEN;
    }
    match taken(window, event.skb) {
        _ if speaks(event.reason) => why::NOT_SEEN,
        why::NOT_SEEN if header.is_syn() && is_discarded(event.location) => why::DISCARDED,
        why => why,
    }
}

/// Whether a packet filter dropped it.
#[inline(always)]
pub(super) fn is_filtered(event: &Event) -> bool {
    if config!(kfree_skb_args) >= 3 {
        return event.reason == config!(reason_netfilter_drop);
    }
    lies_in(event.location, config!(places[PLACE_OF_FILTER]))
}

/// Whether the kernel says why: by a reason, or, where it has none, by the function, if that has but one.
#[inline(always)]
pub(super) fn tells_why(event: &Event) -> bool {
    if speaks(event.reason) {
        return event.reason != config!(reason_not_specified);
    }
    let mut i = 0;
    while i < PLACES_MAX {
        if lies_in(event.location, config!(places[i])) {
            return true;
        }
        i += 1;
    }
    false
}

/// Whether an address lies in a function, of which the beginning and the end are told.
#[inline(always)]
pub(super) fn lies_in(location: u64, [start, end]: [u64; 2]) -> bool {
    location >= start && location < end
}
