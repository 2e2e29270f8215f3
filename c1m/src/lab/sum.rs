//! How labs ended, and how many ended how.

use std::collections::BTreeSet;

use super::Lab;
use crate::causes::{Cause, TABLE};

/// Whether the settings that a lab's report named healed what it lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fixed {
    /// What they were named for is gone.
    Helped,
    /// It is not, or something else is lost now.
    NotHelped,
    /// The report named none: it is something to do by hand.
    NoSetting,
}

/// A lab that ended: its first run, its second if there was to be one, and its line.
pub(super) struct Done {
    pub(super) end: End,
    pub(super) fixed: Option<Fixed>,
    pub(super) line: String,
}

/// How a lab ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Every run was exact.
    Exact,
    /// One was not, or the lab could not be carried through.
    Failed,
    /// It can't run here.
    Skipped,
    /// It is not for plain programs.
    LeftOut,
}

impl End {
    /// As the exit status of the lab's process.
    pub(super) fn status(self) -> u8 {
        match self {
            Self::Exact => 0,
            Self::Failed => 1,
            Self::Skipped | Self::LeftOut => 4,
        }
    }

    /// From the exit status of the lab's process.
    pub(super) fn of(status: std::process::ExitStatus) -> Self {
        match status.code() {
            Some(0) => Self::Exact,
            Some(4) => Self::Skipped,
            _ => Self::Failed,
        }
    }
}

/// How many labs ended how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) exact: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
    pub(super) left_out: usize,
    pub(super) helped: usize,
    pub(super) not_helped: usize,
    pub(super) no_setting: usize,
    /// The causes of those that were exact.
    proven: BTreeSet<Cause>,
}

impl Sum {
    /// One more.
    pub(super) fn add(&mut self, lab: &Lab, done: &Done) {
        if done.end == End::Exact {
            self.proven.extend(Cause::from_slug(lab.cause));
        }
        match done.end {
            End::Exact if done.fixed == Some(Fixed::NotHelped) => self.failed += 1,
            End::Exact => self.exact += 1,
            End::Failed => self.failed += 1,
            End::Skipped => self.skipped += 1,
            End::LeftOut => self.left_out += 1,
        }
        match done.fixed {
            None => {}
            Some(Fixed::Helped) => self.helped += 1,
            Some(Fixed::NotHelped) => self.not_helped += 1,
            Some(Fixed::NoSetting) => self.no_setting += 1,
        }
    }
}

impl Sum {
    /// The exit status: 1 if one failed, 2 if there was none but what was skipped, which proves nothing.
    pub(super) fn status(&self) -> u8 {
        match (self.failed, self.exact, self.skipped) {
            (1.., ..) => 1,
            (_, 0, 1..) => 2,
            _ => 0,
        }
    }

    /// How many rows of the cause table the labs have proven on the kernel `release`, and which they have not.
    pub(super) fn proven(&self, release: &str) -> String {
        let rows = TABLE.iter().filter(|row| !self.proven.contains(&row.cause));
        let others: Vec<&str> = rows.map(|row| row.slug).collect();
        let others = match others.is_empty() {
            true => String::new(),
            false => format!("; not by a lab here: {}", others.join(", ")),
        };
        format!(
            "proven on Linux {release}: {} of the {} rows of the cause table{others}",
            self.proven.len(),
            TABLE.len()
        )
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            exact,
            failed,
            skipped,
            left_out,
            helped,
            not_helped,
            no_setting,
            proven: _,
        } = self;
        write!(f, "{exact} passed, {failed} failed")?;
        if *skipped > 0 {
            write!(f, ", {skipped} skipped")?;
        }
        if *left_out > 0 {
            write!(f, "; {left_out} are not for foreign programs")?;
        }
        match helped + not_helped + no_setting {
            0 => Ok(()),
            _ => write!(
                f,
                "; remedies: {helped} helped, {not_helped} did not, {no_setting} are no setting"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::LABS;

    #[test]
    fn only_an_exact_lab_proves_its_row() {
        let mut sum = Sum::default();
        let done = |end| Done {
            end,
            fixed: None,
            line: String::new(),
        };
        let lab = |name: &str| {
            let lab = LABS.iter().find(|lab| lab.name == name);
            lab.expect("a lab")
        };
        sum.add(lab("refused"), &done(End::Exact));
        sum.add(lab("refused-ipv6"), &done(End::Exact));
        sum.add(lab("gave-up"), &done(End::Failed));
        sum.add(lab("enfile"), &done(End::Skipped));
        let told = sum.proven("6.12.1");
        let start = format!("proven on Linux 6.12.1: 1 of the {} rows", TABLE.len());
        assert!(told.starts_with(&start), "{told}");
        assert!(
            told.contains("gave-up") && !told.contains("refused"),
            "{told}"
        );
        assert_eq!(sum.to_string(), "2 passed, 1 failed, 1 skipped");
    }
}
