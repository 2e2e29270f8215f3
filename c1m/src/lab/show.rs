//! What is to be shown: labs, each with the programs that run in it.

use anyhow::Context;

use super::{LABS, Lab, view::Programs};
use crate::cli::{self, LabArgs};

/// A lab, and whose programs are to run in it.
#[derive(Clone, Copy)]
pub(super) struct Show {
    pub(super) lab: &'static Lab,
    pub(super) programs: Programs,
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
        let with = |lab| programs.iter().map(move |&programs| Self { lab, programs });
        LABS.iter().filter(chosen).flat_map(with).collect()
    }

    /// Its name in the lines and files of a run.
    pub(super) fn name(&self) -> String {
        match self.programs {
            Programs::Ours => self.lab.name.to_owned(),
            Programs::Foreign => format!("{}-foreign", self.lab.name),
        }
    }

    /// How its line begins.
    pub(super) fn head(&self) -> String {
        format!("lab {:<38}", self.name())
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
