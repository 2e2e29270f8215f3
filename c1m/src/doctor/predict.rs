//! The prediction: what every limit means for what is asked, in the order in which they bind. Pure.

use super::{
    ask::Ask,
    facts::Facts,
    limit::{Bound, Finding},
    table::LIMITS,
};

/// What will happen.
#[derive(Debug)]
pub struct Prediction {
    /// How many connections are asked for.
    pub asked: u64,
    /// Every limit that this host has, by kind, and among these what binds first first.
    pub findings: Vec<Finding>,
}

impl Prediction {
    /// Judges every limit.
    pub fn new(facts: &Facts, ask: &Ask) -> Self {
        let mut findings: Vec<Finding> = LIMITS
            .iter()
            .filter_map(|limit| {
                let judged = (limit.judge)(facts, ask)?;
                Some(Finding { limit, judged })
            })
            .collect();
        findings.sort_by_key(Finding::order);
        Self {
            asked: ask.connections,
            findings,
        }
    }

    /// The limit that stops the count first, at whatever number.
    pub fn first(&self) -> Option<&Finding> {
        let counted = self.findings.iter().filter(|one| one.stands().is_some());
        counted.min_by_key(|one| one.stands())
    }

    /// The one that stops it before what is asked; `None`: all will stand.
    pub fn binding(&self) -> Option<&Finding> {
        self.first().filter(|one| one.binds(self.asked))
    }

    /// How many of those that are asked for will stand.
    pub fn stands(&self) -> u64 {
        let most = self.first().and_then(Finding::stands);
        most.map_or(self.asked, |most| most.min(self.asked))
    }

    /// Every limit that is in the way, be it only of a burst.
    pub fn in_the_way(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|one| one.binds(self.asked))
    }

    /// How a limit is met by what is asked, in a word.
    pub fn verdict(&self, finding: &Finding) -> &'static str {
        match (finding.judged.bound, finding.binds(self.asked)) {
            (Bound::Count(_), true) => "BINDS",
            (Bound::Soft(_) | Bound::Short, true) => "SHORT",
            _ => "",
        }
    }
}
