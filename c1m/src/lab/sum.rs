//! How labs ended, and how many ended how.

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
}

impl End {
    /// As the exit status of the lab's process.
    pub(super) fn status(self) -> u8 {
        match self {
            Self::Exact => 0,
            Self::Failed => 1,
            Self::Skipped => 4,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) exact: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
    pub(super) helped: usize,
    pub(super) not_helped: usize,
    pub(super) no_setting: usize,
}

impl Sum {
    /// One more.
    pub(super) fn add(&mut self, done: &Done) {
        match done.end {
            End::Exact if done.fixed == Some(Fixed::NotHelped) => self.failed += 1,
            End::Exact => self.exact += 1,
            End::Failed => self.failed += 1,
            End::Skipped => self.skipped += 1,
        }
        match done.fixed {
            None => {}
            Some(Fixed::Helped) => self.helped += 1,
            Some(Fixed::NotHelped) => self.not_helped += 1,
            Some(Fixed::NoSetting) => self.no_setting += 1,
        }
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            exact,
            failed,
            skipped,
            helped,
            not_helped,
            no_setting,
        } = self;
        write!(f, "{exact} passed, {failed} failed")?;
        if *skipped > 0 {
            write!(f, ", {skipped} skipped")?;
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
