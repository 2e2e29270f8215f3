//! The lines of labs: whether what a run's record says is what the lab did.

use super::{
    Lab, Outcome, Skip,
    fix::Plan,
    sum::{Done, End},
    truth::{causes, listed},
};
use crate::report::record::Record;

/// Prints the tables of a lab's runs; whether all were exact, and the lab's line.
pub(super) fn judge(lab: &Lab, outcomes: &[Outcome]) -> (End, String) {
    let mut wrong = Vec::new();
    let [mut expected, mut found] = [const { Vec::new() }; 2];
    for Outcome { truth, run } in outcomes {
        println!("{}\n", run.printed.trim_end());
        expected.push(listed(
            truth.lost.iter().map(|(slug, count)| (*slug, *count)),
        ));
        found.push(listed(causes(&run.record)));
        let differences = truth.differences(&run.record, run.status);
        if !differences.is_empty() {
            eprint!("{}", run.complaints);
        }
        wrong.extend(differences);
    }
    let verdict = if wrong.is_empty() {
        "exact".to_owned()
    } else {
        format!("WRONG: {}", wrong.join("; "))
    };
    let [expected, found] = [expected, found].map(|all| all.join(" then "));
    let end = match wrong.is_empty() {
        true => End::Exact,
        false => End::Failed,
    };
    (
        end,
        format!("{}expected {expected}  found {found}  {verdict}", head(lab)),
    )
}

/// The same for a lab's second run: whether the settings of its first have helped.
pub(super) fn judge_fixed(lab: &Lab, outcomes: &[Outcome], plan: &Plan) -> (End, String) {
    for Outcome { run, .. } in outcomes {
        println!("{}\n", run.printed.trim_end());
    }
    let records: Vec<&Record> = outcomes.iter().map(|one| &one.run.record).collect();
    let found: Vec<String> = records
        .iter()
        .map(|record| listed(causes(record)))
        .collect();
    let left = plan.left(lab.cause, &records);
    let (end, verdict) = match left.is_empty() {
        true => (End::Exact, "fixed".to_owned()),
        false => (End::Failed, format!("NOT FIXED: {}", left.join("; "))),
    };
    let (before, settings, found) = (plan.before(), plan.settings(), found.join(" then "));
    let line = format!("{}{before}  with {settings}: {found}  {verdict}", head(lab));
    (end, line)
}

/// How a lab's line begins.
pub(super) fn head(lab: &Lab) -> String {
    format!("lab {:<30}", lab.name)
}

pub(super) fn skipped(lab: &Lab, why: &Skip) -> Done {
    Done {
        end: End::Skipped,
        fixed: None,
        line: format!("{}skipped: {why}", head(lab)),
    }
}

pub(super) fn failed(lab: &Lab, error: &anyhow::Error) -> String {
    // One line, whatever a program complained of.
    let error = format!("{error:#}");
    let error: Vec<&str> = error.lines().map(str::trim).collect();
    format!("{}FAILED: {}", head(lab), error.join("; "))
}
