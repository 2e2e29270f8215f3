//! The true counts of a lab, and how a record differs from them.

use std::collections::BTreeMap;

use crate::{
    causes::Cause,
    report::{record::Record, words},
};

/// What a record must say, to the last connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Truth {
    /// Attempts.
    pub(super) attempted: u64,
    /// Lost, by slug; every other cause is 0.
    pub(super) lost: BTreeMap<&'static str, u64>,
    /// Closed as the run asked, or in the view of a server by anybody.
    pub(super) closed: u64,
    /// Of those that stood before the trace began, how many were closed: the kernel alone tells of them.
    pub(super) closed_before: u64,
    /// Attempts that met a drop and stand.
    pub(super) recovered: u64,
    /// Places that a cause's row must name, with their counts.
    pub(super) places: Vec<(&'static str, String, u64)>,
    /// How many went into FIN_WAIT_2, if the lab knows.
    pub(super) fin_wait_2: Option<u64>,
    /// Words that its notes must hold.
    pub(super) notes: Vec<String>,
    /// Words that a cause's row must hold, in its evidence or its remedy.
    pub(super) words: Vec<(&'static str, String)>,
}

impl Truth {
    /// Of `attempted`, the given ones are lost, where there are any; the others stand without trouble.
    pub(super) fn of(attempted: u64, lost: &[(&'static str, u64)]) -> Self {
        Self {
            attempted,
            lost: lost
                .iter()
                .copied()
                .filter(|(_, count)| *count > 0)
                .collect(),
            ..Self::default()
        }
    }

    /// What stands.
    pub(super) fn standing(&self) -> u64 {
        self.attempted - self.closed - self.lost.values().sum::<u64>()
    }

    /// Everything in which the record of a run and its exit status differ; empty if it is exact.
    pub(super) fn differences(&self, record: &Record, status: i32) -> Vec<String> {
        let lost: u64 = self.lost.values().sum();
        let mut wrong = Vec::new();
        let mut compare = |what: &str, expected: u64, found: u64| {
            if expected != found {
                wrong.push(format!("{what}: {found}, not {expected}"));
            }
        };
        compare("attempted", self.attempted, record.attempted);
        compare("standing", self.standing(), record.standing);
        compare("closed", self.closed, record.closed);
        compare("lost", lost, record.lost);
        compare("recovered", self.recovered, record.recovered);
        let evidence_lost = self.lost.get("evidence-lost").copied().unwrap_or(0);
        compare("evidence lost", evidence_lost, record.evidence_lost);
        let more_lost = record.evidence_lost > evidence_lost;
        compare("not observable", 0, record.not_observable);
        compare("unexplained", 0, record.unexplained);
        let found = causes(record);
        for (slug, &expected) in &self.lost {
            compare(slug, expected, found.get(slug).copied().unwrap_or(0));
        }
        for (slug, &count) in found
            .iter()
            .filter(|(slug, _)| !self.lost.contains_key(*slug))
        {
            compare(slug, 0, count);
        }
        for (slug, place, expected) in &self.places {
            let rows = record.causes.iter().filter(|row| row.slug == *slug);
            let count = rows
                .flat_map(|row| &row.places)
                .filter(|found| found.name == *place);
            compare(
                &format!("{slug} at {place}"),
                *expected,
                count.map(|place| place.count).sum(),
            );
        }
        wrong.extend(
            more_lost.then(|| format!("facts lost: {:?}", record.observability.lost_facts)),
        );
        wrong.extend(crosschecks(record));
        wrong.extend(record.detail.contradictions(record));
        let expected = i32::from(lost > 0);
        if status != expected {
            wrong.push(format!("exit status: {status}, not {expected}"));
        }
        wrong.extend(self.other_fin_wait_2(record));
        for words in &self.notes {
            if !record.notes.iter().any(|note| note.contains(words)) {
                wrong.push(format!("no note of `{words}`, but {:?}", record.notes));
            }
        }
        if !record.balanced {
            wrong.push("the sum does not balance".to_owned());
        }
        for (slug, words) in &self.words {
            let rows = record.causes.iter().filter(|row| row.slug == *slug);
            let mut told = rows.flat_map(|row| [&row.evidence, &row.remedy]);
            if !told.any(|text| text.contains(words)) {
                wrong.push(format!("{slug} without the words `{words}`"));
            }
        }
        wrong
    }

    fn other_fin_wait_2(&self, record: &Record) -> Option<String> {
        let (found, expected) = (record.states.fin_wait_2, self.fin_wait_2?);
        (found != expected).then(|| format!("into FIN_WAIT_2: {found}, not {expected}"))
    }
}

/// Where the host's counters contradict a record, or one that a row names was not looked at.
fn crosschecks(record: &Record) -> Vec<String> {
    let mut wrong = Vec::new();
    for check in record.crosscheck.iter().filter(|check| !check.agrees()) {
        wrong.push(format!(
            "{} rose by {}, and the facts explain {}",
            check.counter,
            check.delta,
            words::explained(check)
        ));
    }
    let named = record
        .causes
        .iter()
        .filter_map(|row| Cause::from_slug(&row.slug)?.row().counter);
    for counter in named {
        if record
            .crosscheck
            .iter()
            .all(|check| check.counter != counter)
        {
            wrong.push(format!("{counter} was not compared"));
        }
    }
    wrong
}

/// The causes of a record that decided something.
pub(super) fn causes(record: &Record) -> BTreeMap<&str, u64> {
    let mut causes = BTreeMap::new();
    for row in record.causes.iter().filter(|row| row.count > 0) {
        *causes.entry(row.slug.as_str()).or_default() += row.count;
    }
    causes
}

/// `{refused 20, gave-up 3}`
pub(super) fn listed<'a>(causes: impl IntoIterator<Item = (&'a str, u64)>) -> String {
    let all: Vec<String> = causes
        .into_iter()
        .map(|(slug, count)| format!("{slug} {count}"))
        .collect();
    format!("{{{}}}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::{CauseCount, Crosscheck, Place};

    fn record(attempted: u64, standing: u64, causes: &[(&str, u64)]) -> Record {
        let row = |&(slug, count): &(&str, u64)| CauseCount {
            slug: slug.into(),
            phase: "syn".into(),
            count,
            places: vec![Place {
                name: "pid 7".into(),
                count,
            }],
            places_unlisted: 0,
            evidence: "20 live".into(),
            remedy: String::new(),
            fixes: Vec::new(),
        };
        let compared = |&(slug, count): &(&str, u64)| {
            Some(Crosscheck {
                counter: Cause::from_slug(slug)?.row().counter?.into(),
                at: "server".into(),
                delta: count,
                explained: count,
                at_least: true,
                uncounted_at_most: 0,
                made_of: String::new(),
            })
        };
        Record {
            schema: 1,
            role: "client".into(),
            started: String::new(),
            elapsed_s: 1.0,
            establish_s: 1.0,
            conn_per_s: 1,
            host: serde_json::Map::new(),
            target: String::new(),
            attempted,
            before: 0,
            standing,
            closed: 0,
            lost: attempted - standing,
            recovered: 0,
            balanced: true,
            causes: causes.iter().map(row).collect(),
            recoveries: Vec::new(),
            evidence_lost: 0,
            not_observable: 0,
            unexplained: 0,
            observability: Default::default(),
            crosscheck: causes.iter().filter_map(compared).collect(),
            states: Default::default(),
            notes: Vec::new(),
            detail: Default::default(),
            attempts: Vec::new(),
        }
    }

    #[test]
    fn an_exact_record_has_no_difference() {
        let mut truth = Truth::of(50, &[("refused", 20)]);
        truth.places = vec![("refused", "pid 7".into(), 20)];
        truth.words = vec![("refused", "20 live".into())];
        assert_eq!(
            truth.differences(&record(50, 30, &[("refused", 20)]), 1),
            [""; 0]
        );
        assert_eq!(
            Truth::of(5, &[]).differences(&record(5, 5, &[]), 0),
            [""; 0]
        );
        // A row of 0 is no cause.
        assert_eq!(
            Truth::of(5, &[]).differences(&record(5, 5, &[("refused", 0)]), 0),
            [""; 0]
        );
    }

    #[test]
    fn every_difference_is_told() {
        let truth = Truth::of(50, &[("refused", 20)]);
        let of = |record: &Record, status| truth.differences(record, status).join("; ");
        assert_eq!(
            of(&record(50, 30, &[("refused", 19), ("gave-up", 1)]), 1),
            "refused: 19, not 20; gave-up: 1, not 0"
        );
        assert_eq!(
            of(&record(50, 30, &[("refused", 20)]), 0),
            "exit status: 0, not 1"
        );
        let mut off = record(50, 30, &[("refused", 20)]);
        off.balanced = false;
        off.unexplained = 1;
        off.evidence_lost = 2;
        off.not_observable = 3;
        off.recovered = 4;
        off.closed = 5;
        let told = of(&off, 1);
        for word in [
            "balance",
            "unexplained: 1",
            "lost: 2",
            "observable: 3",
            "recovered: 4",
            "closed: 5",
        ] {
            assert!(told.contains(word), "{told}");
        }
    }

    #[test]
    fn the_host_must_agree() {
        let truth = Truth::of(50, &[("refused", 20)]);
        let mut off = record(50, 30, &[("refused", 20)]);
        off.crosscheck[0].delta = 19;
        assert_eq!(
            truth.differences(&off, 1),
            ["TcpOutRsts rose by 19, and the facts explain 20"]
        );
        off.crosscheck.clear();
        assert_eq!(truth.differences(&off, 1), ["TcpOutRsts was not compared"]);
    }

    #[test]
    fn places_and_words_are_compared() {
        let mut truth = Truth::of(50, &[("refused", 20)]);
        truth.places = vec![("refused", "pid 8".into(), 20)];
        truth.words = vec![("refused", "10 in TIME_WAIT".into())];
        let told = truth
            .differences(&record(50, 30, &[("refused", 20)]), 1)
            .join("; ");
        assert_eq!(
            told,
            "refused at pid 8: 0, not 20; refused without the words `10 in TIME_WAIT`"
        );
    }
}
