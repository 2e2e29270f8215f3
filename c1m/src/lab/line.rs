//! The lines of labs: whether what a run's record says is what the lab did.

use super::{
    Outcome, Skip,
    fix::Plan,
    show::Show,
    sum::{Done, End},
    truth::{causes, listed},
    view::Programs,
};

/// Prints the tables of a lab's runs; whether all were exact, and the lab's line.
pub(super) fn judge(lab: &Show, outcomes: &[Outcome]) -> (End, String) {
    let mut wrong = Vec::new();
    let [mut expected, mut found] = [const { Vec::new() }; 2];
    for Outcome { truth, run } in outcomes {
        let truth = &match lab.programs {
            Programs::Ours => truth.clone(),
            Programs::Foreign => truth.of_the_kernel(&run.record, run.ended),
        };
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
        format!(
            "{}expected {expected}  found {found}  {verdict}",
            lab.head()
        ),
    )
}

/// The same for a lab's second run: whether the settings of its first have helped.
pub(super) fn judge_fixed(lab: &Show, outcomes: &[Outcome], plan: &Plan) -> (End, String) {
    for Outcome { run, .. } in outcomes {
        println!("{}\n", run.printed.trim_end());
    }
    let found: Vec<String> = outcomes
        .iter()
        .map(|one| listed(causes(&one.run.record)))
        .collect();
    let runs: Vec<_> = outcomes
        .iter()
        .map(|one| (&one.run.record, &one.truth))
        .collect();
    let left = Plan::left(lab.lab.cause, &runs);
    let (end, verdict) = match left.is_empty() {
        true => (End::Exact, "fixed".to_owned()),
        false => (End::Failed, format!("NOT FIXED: {}", left.join("; "))),
    };
    let (before, settings, found) = (plan.before(), plan.settings(), found.join(" then "));
    let line = format!(
        "{}{before}  with {settings}: {found}  {verdict}",
        lab.head()
    );
    (end, line)
}

pub(super) fn skipped(lab: &Show, why: &Skip) -> Done {
    Done {
        end: End::Skipped,
        fixed: None,
        line: format!("{}skipped: {why}", lab.head()),
    }
}
