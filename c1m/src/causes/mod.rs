//! The cause table: one row per way in which a connection is lost. Docs, `c1m causes`, the report and the
//! labs are made from it. Slugs are permanent: a cause that goes out of use keeps its slug, and no other
//! ever takes it. The order is that of a connection's life, and of `docs/causes.md`.

pub mod page;
pub mod remedy;
mod table;

pub use table::TABLE;

/// Why an attempt was lost, or met trouble and recovered. One variant per [`Row`] of [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "TABLE says what each is, in a form that can be printed"
)]
pub enum Cause {
    Emfile,
    Enfile,
    NoMemory,
    SourceNotLocal,
    BindConflict,
    PortsExhausted,
    TupleBusy,
    NoRoute,
    Denied,
    GaveUp,
    SelfConnect,
    NetfilterOut,
    NetfilterIn,
    ConntrackFull,
    BpfOrTcDrop,
    QdiscDrop,
    CpuBacklog,
    RpFilter,
    Neighbour,
    IcmpError,
    Refused,
    BadSegment,
    SynBacklogFull,
    SynBacklogLastQuarter,
    AcceptQueueFullSyn,
    NoRequestMemory,
    TimeWaitHit,
    StaleEstablished,
    Fastopen,
    SynackLost,
    SynackRejected,
    SynUnanswered,
    RequestExpired,
    AcceptQueueFullAck,
    AcceptQueueFullReset,
    AcceptQueueFullCookie,
    CookieInvalid,
    ChildFailed,
    AckRejected,
    ListenerGone,
    ListenerClosed,
    AcceptStarved,
    ResetQueued,
    ResetByPeer,
    ClosedByServer,
    ServerExited,
    ClientExited,
    TimedOut,
    MemoryPressure,
    Destroyed,
    TimeWaitOverflow,
    FinWait2Timeout,
    EvidenceLost,
    NotObservable,
    Unexplained,
}

impl Cause {
    /// Its row of [`TABLE`].
    pub fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Its permanent name.
    pub fn slug(self) -> &'static str {
        self.row().slug
    }

    /// The cause of that name, if there is one.
    pub fn from_slug(slug: &str) -> Option<Self> {
        TABLE
            .iter()
            .find(|row| row.slug == slug)
            .map(|row| row.cause)
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.slug())
    }
}

/// Where in a connection's life it was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// On the client's host, before a SYN, or by the client's own decision.
    Local,
    /// The SYN, on its way to the listener.
    Syn,
    /// The SYN, at the listener.
    Listener,
    /// The SYN-ACK, on its way back.
    SynAck,
    /// The ACK that completes the handshake.
    FinalAck,
    /// Complete, and not accepted yet.
    AcceptQueue,
    /// Accepted.
    Life,
    /// Not the network's doing: what the ledger could not tell.
    Ledger,
}

impl Phase {
    /// Its name in the record.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Syn => "syn",
            Self::Listener => "listener",
            Self::SynAck => "syn-ack",
            Self::FinalAck => "final-ack",
            Self::AcceptQueue => "accept-queue",
            Self::Life => "life",
            Self::Ledger => "ledger",
        }
    }

    /// Its heading in the docs.
    pub fn title(self) -> &'static str {
        match self {
            Self::Local => "On the client, before or instead of a SYN",
            Self::Syn => "The SYN on its way",
            Self::Listener => "The SYN at the listener",
            Self::SynAck => "The SYN-ACK on its way back",
            Self::FinalAck => "The final ACK",
            Self::AcceptQueue => "In the accept queue",
            Self::Life => "In life and teardown",
            Self::Ledger => "What the ledger cannot tell",
        }
    }
}

/// One cause: what it is, how it shows, what to do.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which cause.
    pub cause: Cause,
    /// Its permanent name.
    pub slug: &'static str,
    /// Where in a connection's life.
    pub phase: Phase,
    /// What the loss table prints: one short line.
    pub title: &'static str,
    /// The kernel's function and its condition, in two or three sentences.
    pub what: &'static str,
    /// How it looks from the client.
    pub client_sees: &'static str,
    /// How it looks from the server.
    pub server_sees: &'static str,
    /// The facts without which it is never stated.
    pub facts: &'static [&'static str],
    /// The hooks that tell these facts, tracepoints unless they say otherwise.
    pub hooks: &'static [&'static str],
    /// The host counter that rises with it (perhaps with other causes too): the cross-check.
    pub counter: Option<&'static str>,
    /// Whether a retransmit can save the attempt.
    pub recoverable: bool,
    /// What to do, in general; the report puts this host's values in.
    pub remedy: &'static str,
    /// The lab that provokes it, if there is one; else [`SCENARIO_ONLY`] says why.
    pub lab: Option<&'static str>,
}

/// Rows that no lab proves, but scenarios alone (facts as data, and the verdict on them), and why.
pub static SCENARIO_ONLY: &[(Cause, &str)] = &[
    (
        Cause::NotObservable,
        "it is what other labs end in where a kernel or a kind of hook tells too little; `cargo xtask vm` demands it of \
         them by name",
    ),
    (
        Cause::Unexplained,
        "a way to provoke it would be a gap of this table; every lab demands that it is 0",
    ),
];

/// [`Cause::row`] indexes the table by the variant: checked here, so that it cannot panic.
const _: () = {
    let mut index = 0;
    while index < TABLE.len() {
        assert!(TABLE[index].cause as usize == index);
        index += 1;
    }
    assert!(TABLE.len() == Cause::Unexplained as usize + 1);
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn slugs_are_unique_and_well_formed() {
        let slugs: BTreeSet<_> = TABLE.iter().map(|row| row.slug).collect();
        assert_eq!(slugs.len(), TABLE.len());
        for slug in slugs {
            assert!(
                slug.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                "{slug}"
            );
        }
    }

    #[test]
    fn a_slug_is_its_variant_in_kebab_case() {
        for row in TABLE {
            let variant = format!("{:?}", row.cause).to_lowercase();
            assert_eq!(row.slug.replace('-', ""), variant);
        }
    }

    #[test]
    fn nothing_is_empty_and_a_title_is_one_short_line() {
        for row in TABLE {
            let texts = [
                row.title,
                row.what,
                row.client_sees,
                row.server_sees,
                row.remedy,
            ];
            let lists = row.facts.iter().chain(row.hooks);
            for text in texts.iter().chain(lists).copied().chain(row.counter) {
                assert!(!text.trim().is_empty(), "{}", row.slug);
                assert_eq!(text, text.trim(), "{}", row.slug);
                assert!(!text.contains("  "), "{}: {text}", row.slug);
                assert!(!text.contains(['\n', '|']), "{}: {text}", row.slug);
            }
            assert!(!row.facts.is_empty(), "{}", row.slug);
            assert!(!row.hooks.is_empty(), "{}", row.slug);
            assert!(row.title.len() <= 78, "{}: {}", row.slug, row.title);
            assert!(row.what.ends_with('.'), "{}", row.slug);
        }
    }

    #[test]
    fn rows_stand_in_the_order_of_a_connections_life() {
        assert!(TABLE.windows(2).all(|pair| pair[0].phase <= pair[1].phase));
        assert!(TABLE.windows(2).all(|pair| pair[0].cause < pair[1].cause));
    }

    #[test]
    fn a_slug_leads_back_to_its_cause() {
        for row in TABLE {
            assert_eq!(Cause::from_slug(row.slug), Some(row.cause));
            assert_eq!(row.cause.slug(), row.slug);
        }
        assert_eq!(Cause::from_slug("Emfile"), None);
    }

    #[test]
    fn a_row_has_a_lab_or_a_reason_why_not() {
        for row in TABLE {
            let excused = SCENARIO_ONLY.iter().any(|(cause, _)| *cause == row.cause);
            assert_ne!(row.lab.is_some(), excused, "{}", row.slug);
        }
        assert!(SCENARIO_ONLY.len() < 5);
    }

    #[test]
    fn a_lab_has_the_name_of_the_cause_it_proves() {
        for row in TABLE.iter().filter(|row| row.lab.is_some()) {
            assert_eq!(row.lab, Some(row.slug));
            let lab = crate::lab::LABS
                .iter()
                .find(|lab| Some(lab.name) == row.lab);
            assert_eq!(lab.map(|lab| lab.cause), row.lab);
        }
    }
}
