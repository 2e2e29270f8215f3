//! What stands under the loss table: recoveries, the cross-check, rates and states, and what could be seen.

use std::cmp::Ordering;

use super::{Page, Style};
use crate::report::{
    record::Record,
    text::{clean, delay, thousands},
    words::{self, big, blind},
};

/// Recovered attempts, one line per cause: how often after what delay.
pub(super) fn recoveries(page: &mut Page, record: &Record) {
    if record.recovered == 0 && record.recoveries.is_empty() {
        return;
    }
    page.line("");
    page.line(&format!(
        "  {} recovered: met a drop, and stand all the same",
        thousands(record.recovered)
    ));
    for (count, slug, delays) in words::recoveries(record) {
        let title = words::title(slug);
        let delays = delays
            .iter()
            .map(|(at, count)| format!("{} after {}", big(*count), delay(*at)));
        let delays: Vec<_> = delays.collect();
        let text = format!("{}  {title}: {}", big(count), delays.join(", "));
        page.hang(4, &text, None);
    }
}

/// Host counters: agreeing ones in short, each other one with both numbers.
pub(super) fn crosscheck(page: &mut Page, record: &Record) {
    if record.crosscheck.is_empty() {
        return;
    }
    page.line("");
    let (agree, differ): (Vec<_>, Vec<_>) =
        record.crosscheck.iter().partition(|check| check.agrees());
    if !agree.is_empty() {
        let parts: Vec<_> = agree
            .iter()
            .map(|check| match (check.delta, clean(&check.made_of)) {
                (0, _) => format!("{} 0", clean(&check.counter)),
                (delta, of) if of.is_empty() => {
                    format!("{} +{}", clean(&check.counter), thousands(delta))
                }
                (delta, of) => {
                    let sign = match delta.cmp(&check.explained) {
                        Ordering::Less => "≤",
                        Ordering::Equal => "=",
                        Ordering::Greater => "≥",
                    };
                    format!(
                        "{} +{} {sign} {of}",
                        clean(&check.counter),
                        thousands(delta)
                    )
                }
            })
            .collect();
        page.hang(2, &format!("cross-check: {}", parts.join("; ")), None);
    }
    for check in differ {
        let (more, side) = match check.delta > check.explained {
            true => (
                check.delta - check.explained,
                "on the host than in the table",
            ),
            false => (check.least() - check.delta, "in the table than on the host"),
        };
        let whose = match check.at.as_str() {
            "client" => " (the client's namespace)",
            "server" => " (the server's namespace)",
            _ => "",
        };
        let of = match clean(&check.made_of) {
            of if of.is_empty() => String::new(),
            of => format!(" ({of})"),
        };
        let text = format!(
            "cross-check DIFFERS: {}{whose} rose by {}, the facts explain {}{of}: {} more {side}",
            clean(&check.counter),
            thousands(check.delta),
            words::explained(check),
            thousands(more),
        );
        page.hang(2, &text, Some(Style::Alarm));
    }
}

/// Rates, states, notes.
pub(super) fn rest(page: &mut Page, record: &Record) {
    page.line("");
    if record.conn_per_s > 0 {
        page.line(&format!(
            "  established in {:.1} s: {} per second",
            record.establish_s,
            thousands(record.conn_per_s)
        ));
    }
    let states = record.states;
    if states.time_wait > 0 || states.fin_wait_2 > 0 {
        page.line(&format!(
            "  went into TIME_WAIT {}, into FIN_WAIT_2 {}",
            thousands(states.time_wait),
            thousands(states.fin_wait_2)
        ));
    }
    for note in &record.notes {
        page.hang(2, &format!("note: {}", clean(note)), None);
    }
}

/// What could be seen, and which causes could not.
pub(super) fn seen_by(page: &mut Page, record: &Record) {
    let seen = &record.observability;
    for (hook, count) in &seen.lost_facts {
        let text = format!(
            "{} facts of {} found no room",
            thousands(*count),
            clean(hook)
        );
        page.hang(2, &text, Some(Style::Alarm));
    }
    if seen.backend == "none" {
        let text = "seen by: the run's own processes alone, nothing was traced. Causes in the kernel and at \
                    the other end are not observable; sudo c1m trace -- … sees them";
        page.hang(2, text, None);
    } else {
        page.hang(2, &format!("seen by: {}", clean(&seen.backend)), None);
    }
    // With no hook at all the line above says it in one sentence.
    let missing = if seen.backend == "none" {
        &[]
    } else {
        seen.missing.as_slice()
    };
    for missing in missing {
        let blind = blind(missing);
        let rows = match blind.is_empty() {
            true => String::new(),
            false => format!("; cannot be told for certain: {}", blind.join(", ")),
        };
        let text = format!("not seen: {}{rows}", clean(missing));
        page.hang(2, &text, None);
    }
}
