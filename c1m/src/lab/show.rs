//! What is to be shown: labs, each with the programs that run in it.

use anyhow::Context;

use super::{LABS, Lab, view::Programs};
use crate::cli::{self, LabArgs, Seeds};

/// A lab, and whose programs are to run in it.
#[derive(Clone, Copy)]
pub(super) struct Show {
    pub(super) lab: &'static Lab,
    pub(super) programs: Programs,
    /// What decides its numbers, if it has some to decide.
    pub(super) seed: Option<u64>,
    /// Whether it is one of several seeds.
    of_many: bool,
}

impl Show {
    /// What the command line asks for, in the labs' order.
    pub(super) fn chosen(args: &LabArgs) -> Vec<Self> {
        let programs: &[Programs] = match args.programs {
            cli::Programs::Ours => &[Programs::Ours],
            cli::Programs::Foreign => &[Programs::Foreign],
            cli::Programs::Both => &[Programs::Ours, Programs::Foreign],
        };
        let chosen = |lab: &&Lab| args.all || args.names.iter().any(|name| name == lab.name);
        let seeds: Vec<Option<u64>> = match args.seeds {
            Some(Seeds { first, last }) => (first..=last).map(Some).collect(),
            None => vec![args.seed],
        };
        let mut shows = Vec::new();
        for lab in LABS.iter().filter(chosen) {
            for &programs in programs {
                shows.extend(seeds.iter().map(|&seed| Self {
                    lab,
                    programs,
                    seed,
                    of_many: args.seeds.is_some(),
                }));
            }
        }
        shows
    }

    /// The one that a lab's own process is to be.
    pub(super) fn inside(name: &str, args: &LabArgs) -> anyhow::Result<Self> {
        Ok(Self {
            lab: find(name)?,
            programs: match args.programs {
                cli::Programs::Foreign => Programs::Foreign,
                _ => Programs::Ours,
            },
            seed: args.seed,
            of_many: false,
        })
    }

    /// Its name in the lines and files of a run.
    pub(super) fn name(&self) -> String {
        let mut name = self.lab.name.to_owned();
        if self.programs == Programs::Foreign {
            name.push_str("-foreign");
        }
        if let (Some(seed), true) = (self.seed, self.of_many) {
            name.push_str(&format!("-seed-{seed}"));
        }
        name
    }

    /// How its line begins.
    pub(super) fn head(&self) -> String {
        format!("lab {:<44}", self.name())
    }

    /// The line that its process printed, which knows of one seed alone, as its own.
    pub(super) fn line(&self, printed: &str) -> Option<String> {
        let inside = Self {
            of_many: false,
            ..*self
        };
        let rest = printed.strip_prefix(&inside.head())?;
        Some(self.head() + rest)
    }

    /// The line of one that could not be carried through.
    pub(super) fn failed(&self, error: &anyhow::Error) -> String {
        // One line, whatever a program complained of.
        let error = format!("{error:#}");
        let error: Vec<&str> = error.lines().map(str::trim).collect();
        format!("{}FAILED: {}", self.head(), error.join("; "))
    }
}

/// The lab of this name. Errors: there is none.
pub(super) fn find(name: &str) -> anyhow::Result<&'static Lab> {
    let lab = LABS.iter().find(|lab| lab.name == name);
    lab.with_context(|| format!("there is no lab {name}: `c1m lab --list` names them"))
}
