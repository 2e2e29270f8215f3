//! The record as Markdown (GitHub's kind): for an issue, a wiki, a letter.

use std::fmt::Write as _;

use super::{
    record::{CauseCount, Crosscheck, Detail, Record, Share},
    text::{clean, delay, thousands},
    words::{big, blind, closing, duration, explained, imbalance, recoveries, step, title},
};

/// The page. Every text of the record is escaped.
pub fn render(record: &Record) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = page(&mut out, record);
    out
}

fn page(out: &mut String, record: &Record) -> std::fmt::Result {
    if let Some(wrong) = imbalance(record) {
        writeln!(out, "**{wrong}**\n")?;
    }
    writeln!(
        out,
        "## c1m: {} attempted, {} lost\n",
        thousands(record.attempted),
        thousands(record.lost)
    )?;
    writeln!(
        out,
        "{} of {}, {}, {:.1} s\n",
        text(&record.role),
        text(&record.target),
        text(&record.started),
        record.elapsed_s
    )?;
    sums(out, record)?;
    causes(out, record)?;
    recovered(out, record)?;
    crosscheck(out, &record.crosscheck)?;
    detail(out, &record.detail)?;
    rest(out, record)
}

fn sums(out: &mut String, record: &Record) -> std::fmt::Result {
    writeln!(
        out,
        "| attempted | before | standing | closed as asked | lost | recovered | evidence lost | not observable | \
         unexplained |"
    )?;
    writeln!(out, "|{}", " ---: |".repeat(9))?;
    let sums = [
        record.attempted,
        record.before,
        record.standing,
        record.closed,
        record.lost,
        record.recovered,
        record.evidence_lost,
        record.not_observable,
        record.unexplained,
    ];
    writeln!(out, "| {} |\n", sums.map(thousands).join(" | "))
}

fn causes(out: &mut String, record: &Record) -> std::fmt::Result {
    let closing = closing(record);
    if record.causes.is_empty() && closing.is_empty() {
        return writeln!(out, "Nothing lost.\n");
    }
    writeln!(out, "| lost | cause | where | what to do |")?;
    writeln!(out, "| ---: | --- | --- | --- |")?;
    for row in &record.causes {
        let seen = match row.evidence.is_empty() {
            true => String::new(),
            false => format!("<br>seen: {}", text(&row.evidence)),
        };
        writeln!(
            out,
            "| {} | {} ({}) | {} | {}{seen} |",
            thousands(row.count),
            text(&title(&row.slug)),
            text(&row.slug),
            places(row),
            text(&row.remedy),
        )?;
    }
    for (count, cause) in closing {
        writeln!(
            out,
            "| {} | {} ({}) | | {} |",
            thousands(count),
            text(cause.row().title),
            text(cause.slug()),
            text(cause.row().remedy)
        )?;
    }
    writeln!(out)
}

fn places(row: &CauseCount) -> String {
    let listed = row.places.iter();
    let mut lines: Vec<String> = listed
        .map(|place| format!("{} ({})", text(&place.name), thousands(place.count)))
        .collect();
    if row.places_unlisted > 0 {
        lines.push(format!(
            "and {} more ({})",
            thousands(row.places_unlisted),
            thousands(row.count_unlisted())
        ));
    }
    lines.join("<br>")
}

fn recovered(out: &mut String, record: &Record) -> std::fmt::Result {
    if record.recovered == 0 && record.recoveries.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "{} recovered: met a drop, and stand all the same\n",
        thousands(record.recovered)
    )?;
    for (count, slug, delays) in recoveries(record) {
        let delays: Vec<_> = delays
            .iter()
            .map(|(at, count)| format!("{} after {}", big(*count), delay(*at)))
            .collect();
        writeln!(
            out,
            "- {} {}: {}",
            big(count),
            text(&title(slug)),
            delays.join(", ")
        )?;
    }
    writeln!(out)
}

fn crosscheck(out: &mut String, checks: &[Crosscheck]) -> std::fmt::Result {
    if checks.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "| host counter | of | rose by | the facts explain | made of | |"
    )?;
    writeln!(out, "| --- | --- | ---: | ---: | --- | --- |")?;
    for check in checks {
        writeln!(
            out,
            "| {} | {} | {} | {}{} | {} | {} |",
            text(&check.counter),
            text(&check.at),
            thousands(check.delta),
            if check.at_least { "at least " } else { "" },
            explained(check),
            text(&check.made_of),
            if check.agrees() {
                "agrees"
            } else {
                "**DIFFERS**"
            },
        )?;
    }
    writeln!(out)
}

fn detail(out: &mut String, detail: &Detail) -> std::fmt::Result {
    if let Some(latency) = &detail.latency {
        writeln!(
            out,
            "Connecting took, of {} established: {} to {}, {} on average\n",
            thousands(latency.count),
            duration(latency.min_us),
            duration(latency.max_us),
            duration(latency.mean_us)
        )?;
        let cells = |cell: &dyn Fn(&super::record::Percentile) -> String| {
            let cells: Vec<_> = latency.percentiles.iter().map(cell).collect();
            cells.join(" | ")
        };
        writeln!(out, "| {} |", cells(&|one| format!("p{}", one.percent)))?;
        writeln!(out, "|{}", " ---: |".repeat(latency.percentiles.len()))?;
        writeln!(out, "| {} |\n", cells(&|one| duration(one.at_most_us)))?;
        for one in &latency.steps {
            writeln!(
                out,
                "- {} from {} s on: {}",
                thousands(one.count),
                thousands(one.from_s),
                step(one)
            )?;
        }
        writeln!(out)?;
    }
    shares(out, "source", &detail.sources)?;
    shares(out, "listener", &detail.listeners)?;
    if detail.shares_unlisted > 0 {
        writeln!(
            out,
            "{} more sources and listeners are not listed\n",
            thousands(detail.shares_unlisted)
        )?;
    }
    Ok(())
}

fn shares(out: &mut String, what: &str, shares: &[Share]) -> std::fmt::Result {
    if shares.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "| {what} | attempted | standing | closed as asked | lost | recovered |"
    )?;
    writeln!(out, "| --- |{}", " ---: |".repeat(5))?;
    for share in shares {
        let known = |number: Option<u64>| number.map(thousands).unwrap_or_default();
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            text(&share.name),
            known(share.attempted),
            known(share.standing),
            known(share.closed),
            thousands(share.lost),
            thousands(share.recovered)
        )?;
    }
    writeln!(out)
}

fn rest(out: &mut String, record: &Record) -> std::fmt::Result {
    if record.conn_per_s > 0 {
        writeln!(
            out,
            "- established in {:.1} s: {} per second",
            record.establish_s,
            thousands(record.conn_per_s)
        )?;
    }
    let states = record.states;
    if states.time_wait > 0 || states.fin_wait_2 > 0 {
        writeln!(
            out,
            "- went into TIME_WAIT {}, into FIN_WAIT_2 {}",
            thousands(states.time_wait),
            thousands(states.fin_wait_2)
        )?;
    }
    for note in &record.notes {
        writeln!(out, "- note: {}", text(note))?;
    }
    let seen = &record.observability;
    for (hook, count) in &seen.lost_facts {
        let (count, hook) = (thousands(*count), text(hook));
        writeln!(out, "- **{count} facts of {hook} found no room**")?;
    }
    writeln!(out, "- seen by: {}", text(&seen.backend))?;
    for missing in &seen.missing {
        let rows = match blind(missing) {
            blind if blind.is_empty() => String::new(),
            blind => format!("; cannot be told for certain: {}", blind.join(", ")),
        };
        writeln!(out, "- not seen: {}{rows}", text(missing))?;
    }
    let listed = thousands(record.attempts.len() as u64);
    writeln!(
        out,
        "- {listed} lost or recovered attempts are listed in the record"
    )
}

/// A text of the record as Markdown shows it letter by letter, in one line.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let text = clean(text);
    let mut chars = text.chars().peekable();
    let mut before = ' ';
    while let Some(c) = chars.next() {
        let within_word =
            before.is_alphanumeric() && chars.peek().is_some_and(|c| c.is_alphanumeric());
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '_' if within_word => out.push(c),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '!' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
        before = c;
    }
    out
}
