//! `c1m lab --fix`: applies the settings that the report of a lab named, and runs the same load again. What they
//! were named for must be gone; of what needs no setting but a hand, the report's words are told.
//!
//! The second run is that of the same lab, with the settings in force: in a sysctl's place, in c1m's own command
//! lines and in the limits of its processes without the lab's doing. A lab whose server is its own asks
//! [`Bench::backlog`](super::bench::Bench::backlog).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::truth::{Truth, causes, listed};
use crate::{
    causes::remedy::{Fix, Who},
    report::record::Record,
};

/// Settings that are in force in a lab; none in its first run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Fixes(BTreeSet<Fix>);

impl Fixes {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every sysctl, with its value.
    pub(super) fn sysctls(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|fix| match fix {
            Fix::Sysctl { name, value, .. } => Some((name.as_str(), value.as_str())),
            _ => None,
        })
    }

    /// Every address, as `ip` writes it.
    pub(super) fn addresses(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(|fix| match fix {
            Fix::Address { address, prefix } => Some(format!("{address}/{prefix}")),
            _ => None,
        })
    }

    /// The second argument of listen().
    pub(super) fn backlog(&self) -> Option<u32> {
        self.0.iter().find_map(|fix| match fix {
            Fix::Backlog { value } => u32::try_from(*value).ok(),
            Fix::Option { name, value, .. } if name == "--backlog" => value.parse().ok(),
            _ => None,
        })
    }

    /// RLIMIT_NOFILE.
    pub(super) fn nofile(&self, whose: Who) -> Option<u64> {
        self.0.iter().find_map(|fix| match fix {
            Fix::Nofile { who, limit } if *who == whose => Some(*limit),
            _ => None,
        })
    }

    /// Arguments of c1m's own client or server, with each option of that end in place of the lab's.
    pub(super) fn args(&self, whose: Who, args: &str) -> Vec<String> {
        let mut words: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        for fix in &self.0 {
            let Fix::Option { who, name, value } = fix else {
                continue;
            };
            if *who != whose {
                continue;
            }
            let at = words.iter().position(|word| word == name);
            match at.and_then(|at| words.get_mut(at + 1)) {
                Some(old) => old.clone_from(value),
                None => words.extend([name.clone(), value.clone()]),
            }
        }
        words
    }
}

/// What a first run lost, and the settings that its reports named against the lab's own cause: what else it lost on
/// the way is not its subject.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The settings.
    pub(super) fixes: Fixes,
    /// What the reports said to do.
    remedies: BTreeSet<String>,
    /// By cause.
    lost: BTreeMap<String, u64>,
}

impl Plan {
    /// From the records that a lab of `cause` left in `dir`. Errors: they cannot be read.
    pub(super) fn of(dir: &Path, cause: &str) -> anyhow::Result<Self> {
        let mut plan = Self::default();
        for file in fs::read_dir(dir)? {
            let path = file?.path();
            if path.extension().is_some_and(|kind| kind == "json") {
                let text = fs::read_to_string(&path)?;
                let record = serde_json::from_str(&text).context("the record of a lab")?;
                plan.add(&record, cause);
            }
        }
        Ok(plan)
    }

    fn add(&mut self, record: &Record, cause: &str) {
        for row in record.causes.iter().filter(|row| row.count > 0) {
            *self.lost.entry(row.slug.clone()).or_default() += row.count;
            if row.slug == cause {
                self.remedies.insert(row.remedy.clone());
                self.fixes.0.extend(row.fixes.iter().cloned());
            }
        }
    }

    /// The plan in a file. Errors: it cannot be read.
    pub(super) fn load(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Writes it to a file. Errors: it cannot be written.
    pub(super) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_vec(self)?;
        fs::write(path, text).with_context(|| path.display().to_string())
    }

    /// `{refused 20}`: what the first run lost.
    pub(super) fn before(&self) -> String {
        listed(
            self.lost
                .iter()
                .map(|(slug, count)| (slug.as_str(), *count)),
        )
    }

    /// Whether the lab's cause took nothing, as in labs of what is got over.
    pub(super) fn is_void(&self) -> bool {
        self.remedies.is_empty()
    }

    /// What the reports said to do.
    pub(super) fn remedies(&self) -> String {
        let remedies: Vec<&str> = self.remedies.iter().map(String::as_str).collect();
        remedies.join("; ")
    }

    /// The settings, as they are pasted.
    pub(super) fn settings(&self) -> String {
        let settings: Vec<String> = self.fixes.0.iter().map(Fix::to_string).collect();
        settings.join(", ")
    }

    /// What is lost in the second run to the lab's `cause`, or to another one more than the lab itself did then; empty
    /// if the settings helped.
    pub(super) fn left(cause: &str, runs: &[(&Record, &Truth)]) -> Vec<String> {
        let mut left = Vec::new();
        for (record, truth) in runs {
            for (slug, count) in causes(record) {
                let done = truth.lost.get(slug).copied().unwrap_or(0);
                if slug == cause {
                    left.push(format!("{count} still lost to {slug}"));
                } else if count > done {
                    left.push(format!("{} more now lost to {slug}", count - done));
                }
            }
            if !record.adds_up() {
                left.push("the sum does not balance".to_owned());
            }
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::{Ledger, balance::Frame},
        report::record::CauseCount,
    };

    fn fixes(all: impl IntoIterator<Item = Fix>) -> Fixes {
        Fixes(all.into_iter().collect())
    }

    #[test]
    fn options_take_the_place_of_the_lab_s_own() {
        let fixes = fixes([
            Fix::option(Who::Client, "--timeout", "4s"),
            Fix::option(Who::Client, "--ports", "kernel"),
            Fix::option(Who::Server, "--backlog", 64),
        ]);
        assert_eq!(
            fixes
                .args(Who::Client, "client --timeout 500ms --hold 1s")
                .join(" "),
            "client --timeout 4s --hold 1s --ports kernel"
        );
        assert_eq!(
            fixes.args(Who::Server, "server --backlog 16").join(" "),
            "server --backlog 64"
        );
        assert_eq!(Fixes::default().args(Who::Server, "a  b").join(" "), "a b");
    }

    #[test]
    fn each_kind_of_setting_is_found() {
        let all = fixes([
            Fix::Backlog { value: 64 },
            Fix::sysctl(Who::Server, "net.core.somaxconn", 64),
            Fix::Nofile {
                who: Who::Server,
                limit: 256,
            },
            Fix::Address {
                address: "10.9.0.3".to_owned(),
                prefix: 32,
            },
        ]);
        assert_eq!(all.backlog(), Some(64));
        assert_eq!(all.nofile(Who::Server), Some(256));
        assert_eq!(all.nofile(Who::Client), None);
        assert_eq!(
            all.sysctls().collect::<Vec<_>>(),
            [("net.core.somaxconn", "64")]
        );
        assert_eq!(all.addresses().collect::<Vec<_>>(), ["10.9.0.3/32"]);
        let own = fixes([Fix::option(Who::Server, "--backlog", 32)]);
        assert_eq!(own.backlog(), Some(32));
    }

    fn row(slug: &str, count: u64, fixes: Vec<Fix>) -> CauseCount {
        CauseCount {
            slug: slug.to_owned(),
            phase: "syn".to_owned(),
            count,
            places: Vec::new(),
            places_unlisted: 0,
            evidence: String::new(),
            remedy: format!("mend {slug}"),
            fixes,
        }
    }

    fn record(rows: Vec<CauseCount>) -> Record {
        let mut record = Ledger::default().close(Frame::default());
        record.lost = rows.iter().map(|row| row.count).sum();
        record.attempted = record.lost;
        record.causes = rows;
        record
    }

    #[test]
    fn a_plan_has_the_settings_against_the_lab_s_own_cause() {
        let timeout = Fix::option(Who::Client, "--timeout", "2s");
        let backlog = Fix::Backlog { value: 64 };
        let mut plan = Plan::default();
        let first = record(vec![
            row("gave-up", 3, vec![timeout]),
            row("accept-queue-full-syn", 4, vec![backlog]),
        ]);
        plan.add(&first, "accept-queue-full-syn");
        assert_eq!(plan.settings(), "listen(fd, 64)");
        assert_eq!(plan.remedies(), "mend accept-queue-full-syn");
        assert_eq!(plan.before(), "{accept-queue-full-syn 4, gave-up 3}");

        let truth = Truth::of(9, &[("gave-up", 3), ("accept-queue-full-syn", 4)]);
        let left = |rows| Plan::left("accept-queue-full-syn", &[(&record(rows), &truth)]);
        assert_eq!(left(vec![]), [""; 0]);
        assert_eq!(left(vec![row("gave-up", 3, vec![])]), [""; 0]);
        assert_eq!(
            left(vec![
                row("accept-queue-full-syn", 1, vec![]),
                row("gave-up", 5, vec![]),
                row("refused", 2, vec![])
            ]),
            [
                "1 still lost to accept-queue-full-syn",
                "2 more now lost to gave-up",
                "2 more now lost to refused"
            ]
        );
    }
}
