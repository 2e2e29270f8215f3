//! The record as one page for browsers: no script, nothing loaded from elsewhere, light and dark, wide and narrow.
//!
//! Every number of the record carries its place there (`data-path`, a JSON Pointer) and its exact value, so that a
//! test, or a reader's program, can hold the page against the record.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    record::{CauseCount, Record},
    text::{clean, delay, thousands},
    words::{big, closing, imbalance, recoveries, title},
};

mod charts;
mod detail;
mod tables;

/// How many attempts are listed; the others are in the record and its CSV.
const ATTEMPTS_SHOWN: usize = 500;
/// What a browser may load or run for this page: nothing but the style in it.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The page. Every text of the record is escaped.
pub fn render(record: &Record) -> String {
    let lost = thousands(record.lost);
    let heading = format!("{} attempted, {lost} lost", thousands(record.attempted));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "c1m: " (heading) }
                style { (PreEscaped(include_str!("html/style.css"))) }
            }
            body {
                main {
                    (head(record, &heading))
                    (sums(record))
                    (losses(record))
                    (recovered(record))
                    (detail::timeline(record))
                    (detail::latency(record))
                    (tables::shares(record))
                    (tables::crosscheck(record))
                    (tables::rest(record))
                    (tables::attempts(record))
                }
            }
        }
    }
    .into_string()
}

/// A count with its place in the record.
fn count(path: &str, value: u64) -> Markup {
    html! { data value=(value) data-path=(path) { (thousands(value)) } }
}

/// A duration likewise, in words.
fn time(path: &str, value: u64, words: &str) -> Markup {
    html! { data value=(value) data-path=(path) { (words) } }
}

fn head(record: &Record, heading: &str) -> Markup {
    html! {
        @if let Some(wrong) = imbalance(record) {
            p.alarm { (wrong) }
        }
        h1 { "c1m: " (heading) }
        p.soft {
            "the view of the " (clean(&record.role)) " · " (clean(&record.target)) " · " (clean(&record.started))
            " · " (format!("{:.1} s", record.elapsed_s))
            @if record.conn_per_s > 0 {
                " · established in " (format!("{:.1} s", record.establish_s)) ", "
                (count("/conn_per_s", record.conn_per_s)) " per second"
            }
        }
    }
}

fn sums(record: &Record) -> Markup {
    let always = [
        ("attempted", record.attempted),
        ("standing", record.standing),
        ("closed", record.closed),
        ("lost", record.lost),
        ("recovered", record.recovered),
        ("unexplained", record.unexplained),
    ];
    let where_any = [
        ("before", record.before),
        ("evidence_lost", record.evidence_lost),
        ("not_observable", record.not_observable),
    ];
    let name = |field: &str| match field {
        "closed" => "closed as asked".to_owned(),
        "before" => "of the attempted, before".to_owned(),
        _ => field.replace('_', " "),
    };
    let some = where_any.into_iter().filter(|(_, value)| *value > 0);
    html! {
        dl.tiles {
            @for (field, value) in always.into_iter().chain(some) {
                div.lost[field == "lost" && value > 0] {
                    dt { (name(field)) }
                    dd { (count(&format!("/{field}"), value)) }
                }
            }
        }
        p.small.soft {
            "attempted = standing + closed as asked + lost; a recovered attempt met a drop and stands, and is no loss"
        }
    }
}

fn losses(record: &Record) -> Markup {
    let closing = closing(record);
    html! {
        h2 { "What was lost, and why" }
        @if record.causes.is_empty() && closing.is_empty() {
            p.good { "Nothing." }
        } @else {
            table.losses.cards {
                thead { tr {
                    th.n scope="col" { "Lost" } th scope="col" { "Cause" } th scope="col" { "Where" }
                    th scope="col" { "What to do" }
                } }
                tbody {
                    @for (index, row) in record.causes.iter().enumerate() {
                        (loss(index, row))
                    }
                    @for (number, cause) in closing {
                        tr {
                            td.n data-label="lost" { (count(&format!("/{}", cause.slug().replace('-', "_")), number)) }
                            td { (cause.row().title) " " code { (cause.slug()) } }
                            td {}
                            td { (cause.row().remedy) }
                        }
                    }
                }
            }
        }
    }
}

fn loss(index: usize, row: &CauseCount) -> Markup {
    let path = format!("/causes/{index}");
    html! {
        tr {
            td.n data-label="lost" { (count(&format!("{path}/count"), row.count)) }
            td {
                (title(&row.slug)) br;
                code { (clean(&row.slug)) }
                span.soft.small { " " (clean(&row.phase)) }
            }
            td data-label="where" {
                @for (at, place) in row.places.iter().enumerate() {
                    div {
                        (clean(&place.name)) " "
                        span.soft { (count(&format!("{path}/places/{at}/count"), place.count)) }
                    }
                }
                @if row.places_unlisted > 0 {
                    div { "and " (count(&format!("{path}/places_unlisted"), row.places_unlisted)) " more" }
                }
            }
            td {
                (clean(&row.remedy))
                @if !row.evidence.is_empty() {
                    p.small.soft { "seen: " (clean(&row.evidence)) }
                }
            }
        }
    }
}

fn recovered(record: &Record) -> Markup {
    if record.recovered == 0 && record.recoveries.is_empty() {
        return Markup::default();
    }
    html! {
        h2 { "What met a drop, and stands all the same" }
        ul {
            @for (number, slug, delays) in recoveries(record) {
                li {
                    (big(number)) " " (title(slug)) ": "
                    @for (index, (after, number)) in delays.iter().enumerate() {
                        @if index > 0 { ", " }
                        (big(*number)) " after " (delay(*after))
                    }
                }
            }
        }
    }
}
