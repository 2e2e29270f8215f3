//! How many connections stand with data that nobody reads. A pure function of what the host said.

use super::{
    ask::Ask,
    count::PAGE_BYTES,
    facts::{Facts, Room},
    limit::{Bound, Judged},
};
use crate::{
    causes::remedy::{Fix, Who, power_of_two},
    report::text::thousands,
};

/// What a segment of payload takes besides, in bytes (`SKB_TRUESIZE`): the head of the buffer and its descriptor.
const SEGMENT_OVERHEAD_BYTES: u64 = 1_024;
/// As long as one gets on one host before it is split: half of the receiver's first window (`tcp_bound_to_half_wnd`).
const SEGMENT_BYTES_MAX: u64 = 32_768;

fn segments(ask: &Ask) -> u64 {
    ask.queued_bytes.div_ceil(SEGMENT_BYTES_MAX)
}

/// Pages that wait at one end of each connection: what this kernel was seen to take for one, or else about.
pub(super) fn queued_pages(facts: &Facts, ask: &Ask) -> u64 {
    let bytes = ask
        .queued_bytes
        .saturating_add(segments(ask).saturating_mul(SEGMENT_OVERHEAD_BYTES));
    facts.queued_pages.unwrap_or(bytes.div_ceil(PAGE_BYTES))
}

/// From which number on the data is refused (`__sk_mem_raise_allocated`): at the limit; and where there is pressure, as
/// soon as all sockets could not have as much. A first segment is let in all the same, also beyond the limit.
fn most(facts: &Facts, room: Room, ask: &Ask, pages: u64) -> Option<Bound> {
    let limit = room.left() / pages;
    if segments(ask) < 2 {
        return Some(Bound::Soft(limit));
    }
    let pressure = *facts.host.tcp_mem.as_ref()?.get(1)?;
    let free = pressure.saturating_sub(room.used) / pages;
    let shared = (room.limit / pages).saturating_sub(facts.tcp_sockets) / ask.ends();
    Some(Bound::Count(free.max(shared).min(limit)))
}

pub(super) fn tcp_mem(facts: &Facts, ask: &Ask) -> Option<Judged> {
    let room = facts.tcp_pages?;
    let here = format!(
        "{} of {} pages in use",
        thousands(room.used),
        thousands(room.limit)
    );
    let pages = queued_pages(facts, ask);
    if pages == 0 {
        return Some(Judged {
            here,
            need: "none without data".to_owned(),
            ..Judged::default()
        });
    }
    let bound = most(facts, room, ask, pages)?;
    let need = ask.connections.saturating_mul(pages);
    // So much that there is no pressure, which begins at three quarters of it.
    let wanted = power_of_two(room.used.saturating_add(need).div_ceil(3).saturating_mul(4));
    let three = format!("{} {} {wanted}", wanted / 2, wanted / 4 * 3);
    Some(Judged {
        bound,
        here,
        need: format!("{} pages, {pages} each", thousands(need)),
        remedy: String::new(),
        fixes: match bound {
            Bound::Count(most) | Bound::Soft(most) if most < ask.connections => {
                vec![Fix::sysctl(Who::Server, "net.ipv4.tcp_mem", three)]
            }
            _ => Vec::new(),
        },
    })
}
