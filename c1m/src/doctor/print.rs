//! The prediction for people.

use super::{
    ask::Ask,
    facts::Facts,
    limit::{Bound, Finding, When},
    predict::Prediction,
};
use crate::{
    cli::End,
    report::text::{thousands, wrap},
};

/// Columns of the number, the name and the value here; what is needed gets the rest.
const NUMBER: usize = 11;
/// See [`NUMBER`].
const NAME: usize = 29;
/// See [`NUMBER`].
const HERE: usize = 27;
/// A number of connections from here on is no limit that anybody meets.
const ENDLESS: u64 = 1_000_000_000;

/// The whole answer of `c1m doctor`.
pub(super) fn render(facts: &Facts, ask: &Ask, prediction: &Prediction, width: usize) -> String {
    let mut out = format!(
        "c1m doctor  {} connections to {}, {}, made by {}\n\n",
        thousands(ask.connections),
        ask.target,
        match ask.end {
            End::Both => "both ends on this host",
            End::Client => "the server elsewhere",
            End::Server => "the clients elsewhere",
        },
        facts.user
    );
    for line in wrap(&headline(prediction), width.saturating_sub(2)) {
        out.push_str(&format!("  {line}\n"));
    }
    for when in When::ALL {
        let mut findings = prediction
            .findings
            .iter()
            .filter(|one| one.limit.when == when)
            .peekable();
        if findings.peek().is_none() {
            continue;
        }
        let first = if when == When::Count { "UP TO" } else { "" };
        out.push_str(&format!(
            "\n  {first:>NUMBER$}  {:<NAME$}  {:<HERE$}  NEEDED\n",
            when.title().to_uppercase(),
            "HERE"
        ));
        for finding in findings {
            out.push_str(&row(prediction, finding, width));
        }
    }
    out
}

/// What will happen, in a sentence or two.
pub(super) fn headline(prediction: &Prediction) -> String {
    let asked = thousands(prediction.asked);
    match (prediction.binding(), prediction.first()) {
        (Some(finding), _) => format!(
            "{} of {asked} will stand. {} will stop them: {}. {}",
            thousands(prediction.stands()),
            capital(finding.limit.name),
            finding.limit.how,
            advice(finding)
        ),
        (None, Some(first)) => format!(
            "All {asked} will stand. The first limit beyond is {}, at {}.",
            first.limit.name,
            thousands(first.stands().unwrap_or(0))
        ),
        (None, None) => format!("All {asked} will stand: this host names no limit."),
    }
}

/// The same as the beginning of a sentence.
fn capital(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + rest.as_str()
}

/// What to do about a limit: settings that can be pasted, then words.
fn advice(finding: &Finding) -> String {
    let fixes = finding.judged.fixes.iter().map(ToString::to_string);
    let mut all: Vec<String> = fixes.collect();
    all.dedup();
    all.extend((!finding.judged.remedy.is_empty()).then(|| finding.judged.remedy.clone()));
    all.join("; ")
}

fn row(prediction: &Prediction, finding: &Finding, width: usize) -> String {
    let judged = &finding.judged;
    let number = match judged.bound {
        Bound::Count(most) | Bound::Soft(most) if most < ENDLESS => thousands(most),
        Bound::Short => "SHORT".to_owned(),
        _ => "–".to_owned(),
    };
    let rest = width.saturating_sub(NUMBER + NAME + HERE + 8).max(HERE / 2);
    let (here, need) = (wrap(&judged.here, HERE), wrap(&judged.need, rest));
    let mut out = String::new();
    for line in 0..here.len().max(need.len()) {
        let cell = |cells: &[String]| cells.get(line).cloned().unwrap_or_default();
        let (number, name) = match line {
            0 => (number.as_str(), finding.limit.name),
            _ => ("", ""),
        };
        let text = format!(
            "  {number:>NUMBER$}  {name:<NAME$}  {:<HERE$}  {}",
            cell(&here),
            cell(&need)
        );
        out.push_str(text.trim_end());
        out.push('\n');
    }
    if finding.binds(prediction.asked) {
        let indent = NUMBER + 6;
        let text = format!("{}: {}", finding.limit.how, advice(finding));
        for line in wrap(&text, width.saturating_sub(indent)) {
            out.push_str(&format!("{:indent$}{line}\n", ""));
        }
    }
    out
}
