//! The time line, and how long connecting took.

use maud::{Markup, html};

use super::{charts, count, time};
use crate::report::{
    record::{Latency, LossTimes, Record, Timeline},
    text::{clean, thousands},
    words::{duration, step, title},
};

/// The heights of plots, in px.
const HIGH: u32 = 160;
const LOW: u32 = 70;
const STRIP: u32 = 36;

/// The run over time; nothing without points.
pub(super) fn timeline(record: &Record) -> Markup {
    let Some(line) = &record.detail.timeline else {
        return Markup::default();
    };
    if line.points.is_empty() {
        return Markup::default();
    }
    let at_ms: Vec<u64> = line.points.iter().map(|point| point.at_ms).collect();
    let attempted: Vec<u64> = line.points.iter().map(|point| point.attempted).collect();
    let established: Vec<u64> = line.points.iter().map(|point| point.established).collect();
    let queue: Vec<u64> = (line.points.iter())
        .map(|point| point.accept_queue_max)
        .collect();
    let most = attempted
        .iter()
        .chain(&established)
        .copied()
        .max()
        .unwrap_or(0);
    let deepest = queue.iter().copied().max().unwrap_or(0);
    let end = at_ms.last().copied().unwrap_or(0);
    html! {
        h2 { "Time line" }
        div.axis {
            span { span.key.attempted { "attempted" } " " span.key.established { "established, as this end sees it" } }
            span { "up to " (thousands(most)) }
        }
        (charts::lines(&at_ms, &[("attempted", attempted), ("established", established)], most, HIGH))
        (scale(end))
        @if deepest > 0 {
            div.axis {
                span { span.key.queue { "accept queue of the listeners" } }
                span { "up to " (thousands(deepest)) }
            }
            (charts::lines(&at_ms, &[("queue", queue)], deepest, LOW))
            (scale(end))
        }
        @for losses in &line.losses {
            (strip(record, &at_ms, losses))
        }
        @if !line.losses.is_empty() { (scale(end)) }
        p.small.soft {
            "Looked at every " (time("/detail/timeline/interval_ms", line.interval_ms,
                &duration(line.interval_ms.saturating_mul(1_000))))
            ": what comes and goes between two looks is not in the lines, and is in the counts."
        }
        (numbers(line))
    }
}

fn strip(record: &Record, at_ms: &[u64], losses: &LossTimes) -> Markup {
    let highest = losses.counts.iter().copied().max().unwrap_or(0);
    let total = record.causes.iter().find(|row| row.slug == losses.slug);
    html! {
        div.axis {
            span {
                span.key.failed { "lost: " (title(&losses.slug)) }
                @if let Some(row) = total { ", " (thousands(row.count)) }
                @if losses.undated > 0 { ", of " (thousands(losses.undated)) " nobody knows when" }
            }
            span { "up to " (thousands(highest)) }
        }
        (charts::bars(at_ms, &losses.counts, STRIP))
    }
}

/// The ends of the time axis.
fn scale(end_ms: u64) -> Markup {
    let at = |part: u64| {
        duration((u128::from(end_ms) * 1_000 * u128::from(part) / 2).min(u64::MAX.into()) as u64)
    };
    html! { div.axis { span { "0" } span { (at(1)) } span { (at(2)) } } }
}

fn numbers(line: &Timeline) -> Markup {
    html! {
        details {
            summary { "The numbers of the time line" }
            div.scroll { table {
                thead { tr {
                    th.n { "ms" } th.n { "attempted" } th.n { "established" } th.n { "failed" } th.n { "accept queue" }
                    @for losses in &line.losses { th.n { "lost: " (clean(&losses.slug)) } }
                } }
                tbody {
                    @for (index, point) in line.points.iter().enumerate() {
                        tr data-path={ "/detail/timeline/points/" (index) } {
                            @for value in [point.at_ms, point.attempted, point.established, point.failed,
                                point.accept_queue_max]
                            {
                                td.n { (thousands(value)) }
                            }
                            @for losses in &line.losses {
                                td.n { (thousands(losses.counts.get(index).copied().unwrap_or(0))) }
                            }
                        }
                    }
                }
            } }
        }
    }
}

/// How long connecting took; nothing where nobody knows.
pub(super) fn latency(record: &Record) -> Markup {
    let Some(latency) = &record.detail.latency else {
        return Markup::default();
    };
    let path = |field: &str| format!("/detail/latency/{field}");
    let word = |field: &str, us: u64| time(&path(field), us, &duration(us));
    html! {
        h2 { "How long connecting took" }
        p {
            "Of " (count(&path("count"), latency.count)) " that were established, from connect() until the client's "
            "program knew: " (word("min_us", latency.min_us)) " to " (word("max_us", latency.max_us)) ", "
            (word("mean_us", latency.mean_us)) " on average."
        }
        table.cards {
            thead { tr { @for one in &latency.percentiles { th.n { "p" (one.percent) } } } }
            tbody { tr {
                @for (index, one) in latency.percentiles.iter().enumerate() {
                    td.n data-label={ "p" (one.percent) } {
                        (word(&format!("percentiles/{index}/at_most_us"), one.at_most_us))
                    }
                }
            } }
        }
        (steps(latency))
        (buckets(latency))
    }
}

fn steps(latency: &Latency) -> Markup {
    html! {
        h3 { "Retransmits" }
        p.small.soft {
            "A handshake whose segment was dropped waits for a timer: 1 s, then twice as long each time, so that "
            "attempts come through after 1 s, 3 s, 7 s."
        }
        table.cards {
            thead { tr { th.n { "Attempts" } th.n { "from" } th { "waited for" } } }
            tbody {
                @for (index, one) in latency.steps.iter().enumerate() {
                    tr {
                        td.n data-label="attempts" {
                            (count(&format!("/detail/latency/steps/{index}/count"), one.count))
                        }
                        td.n data-label="from" { (thousands(one.from_s)) " s" }
                        td { (step(one)) }
                    }
                }
            }
        }
    }
}

fn buckets(latency: &Latency) -> Markup {
    let most = (latency.buckets.iter().map(|bucket| bucket.count))
        .max()
        .unwrap_or(0);
    html! {
        h3 { "Distribution" }
        table.bars {
            thead { tr { th { "up to" } th.n { "Attempts" } th {} } }
            tbody {
                @for (index, bucket) in latency.buckets.iter().enumerate() {
                    tr {
                        td { (duration(bucket.at_most_us)) }
                        td.n { (count(&format!("/detail/latency/buckets/{index}/count"), bucket.count)) }
                        (charts::bar(bucket.count, most))
                    }
                }
            }
        }
    }
}
