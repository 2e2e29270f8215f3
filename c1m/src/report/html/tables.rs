//! The tables below the charts: by address, the cross-check, the rest, the attempts.

use maud::{Markup, html};

use super::{ATTEMPTS_SHOWN, charts, count};
use crate::report::{
    record::{Record, Share},
    text::{clean, thousands},
    words::blind,
};

/// By the client's address, and by the server's.
pub(super) fn shares(record: &Record) -> Markup {
    let detail = &record.detail;
    html! {
        @if !detail.listeners.is_empty() {
            h2 { "By listener" }
            (by_address("listeners", &detail.listeners))
        }
        @if !detail.sources.is_empty() {
            h2 { "By source" }
            (by_address("sources", &detail.sources))
        }
        @if detail.shares_unlisted > 0 {
            p.small.soft {
                (count("/detail/shares_unlisted", detail.shares_unlisted)) " more sources and listeners are not listed"
            }
        }
    }
}

fn by_address(list: &str, shares: &[Share]) -> Markup {
    let most = shares.iter().map(|share| share.lost).max().unwrap_or(0);
    html! {
        table.cards {
            thead { tr {
                th { "Address" } th.n { "Attempted" } th.n { "Standing" } th.n { "Closed" } th.n { "Recovered" }
                th.n { "Lost" } th {}
            } }
            tbody {
                @for (index, share) in shares.iter().enumerate() {
                    @let path = format!("/detail/{list}/{index}");
                    tr {
                        td { (clean(&share.name)) }
                        @for (field, value) in [
                            ("attempted", share.attempted),
                            ("standing", share.standing),
                            ("closed", share.closed),
                            ("recovered", Some(share.recovered)),
                            ("lost", Some(share.lost)),
                        ] {
                            @if let Some(value) = value {
                                td.n data-label=(field) { (count(&format!("{path}/{field}"), value)) }
                            } @else {
                                td.n {}
                            }
                        }
                        (charts::bar(share.lost, most))
                    }
                }
            }
        }
    }
}

/// The host's counters against the table.
pub(super) fn crosscheck(record: &Record) -> Markup {
    if record.crosscheck.is_empty() {
        return Markup::default();
    }
    html! {
        h2 { "Do the host's counters agree?" }
        table.cards {
            thead { tr {
                th { "Counter" } th { "Of" } th.n { "Rose by" } th.n { "Explained" } th { "Made of" } th {}
            } }
            tbody {
                @for (index, check) in record.crosscheck.iter().enumerate() {
                    @let path = format!("/crosscheck/{index}");
                    tr {
                        td { code { (clean(&check.counter)) } }
                        td data-label="of" { (clean(&check.at)) }
                        td.n data-label="rose by" { (count(&format!("{path}/delta"), check.delta)) }
                        td.n data-label="explained" {
                            @if check.at_least { "≥ " }
                            @if check.uncounted_at_most > 0 { (thousands(check.least())) " to " }
                            (count(&format!("{path}/explained"), check.explained))
                        }
                        td { (clean(&check.made_of)) }
                        @if check.agrees() { td.good { "agrees" } } @else { td.bad { "differs" } }
                    }
                }
            }
        }
    }
}

/// States, notes, what could be seen, and the host.
pub(super) fn rest(record: &Record) -> Markup {
    let seen = &record.observability;
    html! {
        h2 { "What could be seen" }
        ul {
            @if seen.backend == "none" {
                li { "Nothing was traced: the run's own processes alone tell." }
            } @else {
                li { "Seen by " (clean(&seen.backend)) "." }
            }
            @for (hook, number) in &seen.lost_facts {
                li.bad { (thousands(*number)) " facts of " (clean(hook)) " found no room" }
            }
            @for missing in &seen.missing {
                @let blind = blind(missing);
                li {
                    "Not seen: " (clean(missing))
                    @if !blind.is_empty() { "; cannot be told for certain: " (blind.join(", ")) }
                }
            }
            @if record.states.time_wait > 0 || record.states.fin_wait_2 > 0 {
                li {
                    "Went into TIME_WAIT " (count("/states/time_wait", record.states.time_wait)) ", into FIN_WAIT_2 "
                    (count("/states/fin_wait_2", record.states.fin_wait_2))
                }
            }
            @for note in &record.notes {
                li { "Note: " (clean(note)) }
            }
        }
        details {
            summary { "The host and its limits" }
            table {
                tbody {
                    @for (name, value) in &record.host {
                        tr { td { code { (clean(name)) } } td { (clean(&shown(value))) } }
                    }
                }
            }
        }
    }
}

fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The first of the lost and the recovered.
pub(super) fn attempts(record: &Record) -> Markup {
    let all = record.attempts.len();
    if all == 0 {
        return Markup::default();
    }
    html! {
        h2 { "The lost and the recovered, one by one" }
        details {
            summary { "The first " (thousands(all.min(ATTEMPTS_SHOWN) as u64)) " of " (thousands(all as u64)) }
            @if all > ATTEMPTS_SHOWN {
                p.small.soft { "All of them: c1m report RECORD --csv FILE" }
            }
            table.cards {
                thead { tr { th { "Source" } th { "Target" } th { "End" } th { "Verdict" } th { "Evidence" } } }
                tbody {
                    @for (index, attempt) in record.attempts.iter().take(ATTEMPTS_SHOWN).enumerate() {
                        tr data-path={ "/attempts/" (index) } {
                            td { (clean(&attempt.source)) }
                            td data-label="to" { (clean(&attempt.target)) }
                            td { (clean(&attempt.end)) }
                            td { (clean(&attempt.verdict)) }
                            td { (clean(&attempt.facts.join("; "))) }
                        }
                    }
                }
            }
        }
    }
}
