//! What a limit is, and what is said of it on this host.

use super::{ask::Ask, facts::Facts};
use crate::causes::remedy::Fix;

/// When a limit is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// By the number of connections that stand.
    Count,
    /// By how many come at once.
    Burst,
    /// By what connections leave behind.
    After,
    /// By the tracer alone.
    Tracing,
}

impl When {
    /// All, in the order in which they are printed.
    pub const ALL: [Self; 4] = [Self::Count, Self::Burst, Self::After, Self::Tracing];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Count => "the count",
            Self::Burst => "how fast they come",
            Self::After => "what they leave behind",
            Self::Tracing => "seeing why",
        }
    }
}

/// One limit: a row of the table.
pub struct Limit {
    /// What it is called, for good: tests and messages name it by this.
    pub id: &'static str,
    /// The same for people.
    pub name: &'static str,
    /// When it is met.
    pub when: When,
    /// What happens then.
    pub how: &'static str,
    /// What it means on this host; `None`: this host does not have it.
    pub judge: fn(&Facts, &Ask) -> Option<Judged>,
}

impl std::fmt::Debug for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id)
    }
}

/// Where it stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bound {
    /// So many connections stand, and not one more.
    Count(u64),
    /// More than this many stand, but not as well.
    Soft(u64),
    /// The number does not matter: what is needed at once is more than there is.
    Short,
    /// It does not bind.
    #[default]
    Free,
}

/// What a limit means on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Where it stops.
    pub bound: Bound,
    /// The value here.
    pub here: String,
    /// What is asked of it.
    pub need: String,
    /// What to do, where it binds; besides the settings.
    pub remedy: String,
    /// The settings that would do, where there are some.
    pub fixes: Vec<Fix>,
}

/// A limit and what it means here.
#[derive(Debug)]
pub struct Finding {
    /// The row.
    pub limit: &'static Limit,
    /// What it means.
    pub judged: Judged,
}

impl Finding {
    /// How many connections stand before it stops them.
    pub fn stands(&self) -> Option<u64> {
        match self.judged.bound {
            Bound::Count(most) => Some(most),
            _ => None,
        }
    }

    /// Whether it is in the way of so many connections.
    pub fn binds(&self, connections: u64) -> bool {
        match self.judged.bound {
            Bound::Count(most) | Bound::Soft(most) => most < connections,
            Bound::Short => true,
            Bound::Free => false,
        }
    }

    /// The order in which they bind.
    pub(super) fn order(&self) -> (When, u64) {
        let at = match self.judged.bound {
            Bound::Count(most) | Bound::Soft(most) => most,
            Bound::Short => 0,
            Bound::Free => u64::MAX,
        };
        (self.limit.when, at)
    }
}
