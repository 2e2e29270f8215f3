//! The hook table: which programs give which fact, where they are attached, and what it costs. Several hooks may give
//! one fact; the loader takes the first that this kernel has.

use std::fmt;

mod table;

pub use table::HOOKS;

/// What the kernel side can know, in units that a kernel has or lacks as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// Established or closed by a program.
    States,
    /// Established or closed by what the network brought.
    StatesByNetwork,
    /// Either, where both programs that tell of it were preempted (7.x).
    StatesPreempted,
    /// Listeners that are older than the trace.
    OldListeners,
    /// SYNs that a listener dropped.
    SynDrops,
    /// Final ACKs that a listener refused.
    AckRefusals,
    /// Final ACKs that failed a check of the request.
    AckChecks,
    /// Segments freed with a reason.
    Drops,
    /// The reason, where the event of a segment's end does not have it (before 6.11, not every one).
    DropReasons,
    /// A full conntrack table, told apart from a rule.
    ConntrackFull,
    /// SYNs sent again.
    SynRetransmits,
    /// SYN-ACKs sent again.
    SynAckRetransmits,
    /// Requests that the listener gave up.
    RequestsExpired,
    /// RSTs sent.
    ResetsSent,
    /// RSTs received.
    ResetsReceived,
    /// ICMP errors that reach a connecting socket.
    IcmpErrors,
    /// Connections that ended in a closed listener's queue.
    Forgotten,
    /// Connections given up for want of memory.
    OutOfMemory,
    /// Processes that the OOM killer chose.
    OomVictims,
    /// Sockets that entered TIME_WAIT.
    TimeWait,
    /// Sockets that found no room for their TIME_WAIT.
    TimeWaitRefused,
    /// Ports that connect() found held by TIME_WAIT.
    PortsInTimeWait,
    /// System calls of a traced command that failed before there was a connection.
    Calls,
    /// The same calls, made by io_uring.
    RingCalls,
    /// Files refused at fs.file-max.
    FilesRefused,
    /// Descriptors refused at RLIMIT_NOFILE.
    DescriptorsRefused,
    /// Timer interrupts in which the kernel runs programs; there are kernels that do not in some.
    TimerInterrupts,
}

impl Fact {
    /// Whether a verdict may rest on it; what only confirms another fact is not missed.
    pub fn decides(self) -> bool {
        !matches!(
            self,
            Self::OomVictims
                | Self::PortsInTimeWait
                | Self::FilesRefused
                | Self::DescriptorsRefused
                | Self::TimerInterrupts
        )
    }
}

impl Fact {
    /// Whether it tells what became of a segment, so that an attempt of which none is known had none.
    fn breaks_silence(self) -> bool {
        !matches!(
            self,
            Self::OldListeners
                | Self::Forgotten
                | Self::OutOfMemory
                | Self::OomVictims
                | Self::TimeWait
                | Self::TimeWaitRefused
                | Self::PortsInTimeWait
                | Self::Calls
                | Self::RingCalls
                | Self::FilesRefused
                | Self::DescriptorsRefused
                | Self::TimerInterrupts
        )
    }
}

/// The kind of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    /// A trampoline at a function's entry and return: from 5.5, not on every architecture.
    Fentry,
    /// A breakpoint or jump at a function's entry and return.
    Kprobe,
    /// A place that the kernel's authors marked.
    Tracepoint,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        })
    }
}

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A raw tracepoint: the kernel's own arguments, no record made.
    Tracepoint(&'static str),
    /// The same, and the verifier knows what the arguments point to.
    Typed(&'static str),
    /// An event of perf's, by its group and name: what runs there is not preempted.
    Event(&'static str, &'static str),
    /// An iterator that is read once, at the start.
    Iterator(&'static str),
    /// Attached nowhere: it is run to ask where the kernel sends a segment, when the run is over.
    Lookup,
    /// A function's entry.
    Kprobe(&'static str),
    /// A function's return.
    Kretprobe(&'static str),
    /// A function's entry, by trampoline.
    Fentry(&'static str),
    /// A function's return, by trampoline.
    Fexit(&'static str),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tracepoint(name) | Self::Typed(name) => write!(f, "tracepoint {name}"),
            Self::Event(group, name) => write!(f, "event {group}:{name}"),
            Self::Iterator(name) => write!(f, "iterator {name}"),
            Self::Lookup => f.write_str("socket lookup"),
            Self::Kprobe(name) => write!(f, "kprobe {name}"),
            Self::Kretprobe(name) => write!(f, "kretprobe {name}"),
            Self::Fentry(name) => write!(f, "fentry {name}"),
            Self::Fexit(name) => write!(f, "fexit {name}"),
        }
    }
}

/// How often a hook works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// So many times per good connection, returning early.
    PerConnection(u8),
    /// Only when something fails.
    OnFailure,
    /// Once per trace.
    Once,
    /// In every timer interrupt.
    PerInterrupt,
}

/// One program of a hook.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Its name in the object.
    pub program: &'static str,
    /// Where it is attached.
    pub point: Point,
    /// How many arguments the tracepoint must have for it to be of use; 0 for others.
    pub args_min: u32,
    /// Whether the hook is of no use without it.
    pub needed: bool,
}

/// One way to a fact.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// The fact it gives.
    pub fact: Fact,
    /// The kind of its programs.
    pub backend: Backend,
    /// Its programs, at least one.
    pub parts: &'static [Part],
    /// What it costs.
    pub cost: Cost,
    /// What cannot be told without it.
    pub without: &'static str,
}

impl Hook {
    /// Where it is attached, in words.
    pub fn points(&self) -> String {
        let points: Vec<String> = self
            .parts
            .iter()
            .map(|part| part.point.to_string())
            .collect();
        points.join(", ")
    }
}

/// What this kernel gives, and what it does not.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// The hooks in use, one per fact.
    pub taken: Vec<&'static Hook>,
    /// The facts without one, with the hook that would give them best.
    pub missing: Vec<&'static Hook>,
    /// What the kernel said when it refused one that it seemed to have.
    pub refusals: Vec<String>,
    /// Kinds of hooks that the kernel refuses as such, and how.
    pub unusable: Vec<(Backend, String)>,
}

impl Choice {
    /// Takes, for every fact that is `wanted`, the first of its [`candidates`] that `usable` says this kernel has.
    pub fn make(
        forced: Option<Backend>,
        wanted: impl Fn(Fact) -> bool,
        mut usable: impl FnMut(&'static Hook) -> bool,
    ) -> Self {
        let mut choice = Self::default();
        for of_one_fact in HOOKS.chunk_by(|one, next| one.fact == next.fact) {
            let [best, ..] = of_one_fact else { continue };
            if !wanted(best.fact) {
                continue;
            }
            let candidates = candidates(of_one_fact, forced);
            match candidates.iter().find(|hook| usable(hook)) {
                Some(hook) => choice.taken.push(hook),
                None => choice.missing.push(candidates.first().unwrap_or(&best)),
            }
        }
        choice
    }

    /// Whether silence means nothing once `program` was skipped.
    pub fn breaks_silence(&self, program: &str) -> bool {
        let is_its = |hook: &&&Hook| hook.parts.iter().any(|part| part.program == program);
        let mut its = self.taken.iter().filter(is_its);
        its.any(|hook| hook.fact.breaks_silence())
    }

    /// Whether `fact` can be known.
    pub fn has(&self, fact: Fact) -> bool {
        self.taken.iter().any(|hook| hook.fact == fact)
    }

    /// Whether `fact` was wanted and cannot be known.
    pub fn lacks(&self, fact: Fact) -> bool {
        self.missing.iter().any(|hook| hook.fact == fact)
    }

    /// The kinds of hooks in use, the best first.
    pub fn backends(&self) -> String {
        let mut kinds: Vec<Backend> = self.taken.iter().map(|hook| hook.backend).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let names: Vec<String> = kinds.iter().map(Backend::to_string).collect();
        names.join(" + ")
    }

    /// The missing facts in words, for the report.
    pub fn missing_in_words(&self) -> Vec<String> {
        self.missing
            .iter()
            .filter(|hook| hook.fact.decides())
            .map(|hook| format!("{}: {}", hook.parts[0].point, hook.without))
            .collect()
    }
}

/// The hooks of one fact that a forced backend leaves: its own if it has any for this fact, else what comes after it.
/// Tracepoints are there for whatever has no function hook.
fn candidates(hooks: &'static [Hook], forced: Option<Backend>) -> Vec<&'static Hook> {
    let Some(forced) = forced else {
        return hooks.iter().collect();
    };
    let mut left: Vec<&Hook> = hooks.iter().filter(|hook| hook.backend >= forced).collect();
    if left.iter().any(|hook| hook.backend == forced) {
        left.retain(|hook| hook.backend == forced);
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Vec<Fact> {
        let mut facts: Vec<Fact> = HOOKS.iter().map(|hook| hook.fact).collect();
        facts.dedup();
        facts
    }

    #[test]
    fn every_fact_is_taken_once_or_missing_once() {
        let all = Choice::make(None, |_| true, |_| true);
        let none = Choice::make(None, |_| true, |_| false);
        assert_eq!(all.taken.len(), facts().len());
        assert!(all.missing.is_empty());
        assert_eq!(none.missing.len(), facts().len());
        assert!(none.taken.is_empty());
    }

    #[test]
    fn hooks_stand_by_fact_and_each_has_programs_of_its_backend() {
        let mut seen = facts();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(
            seen.len(),
            facts().len(),
            "hooks of one fact stand together"
        );
        for part in HOOKS.iter().flat_map(|hook| {
            assert!(!hook.parts.is_empty() && hook.parts[0].needed);
            hook.parts.iter().map(move |part| (hook.backend, part))
        }) {
            let kind = match part.1.point {
                // The process tree is one for all.
                Point::Tracepoint(name) if name.starts_with("sched_") => continue,
                Point::Tracepoint(_) | Point::Typed(_) | Point::Event(..) => Backend::Tracepoint,
                Point::Iterator(_) | Point::Lookup => Backend::Tracepoint,
                Point::Kprobe(_) | Point::Kretprobe(_) => Backend::Kprobe,
                Point::Fentry(_) | Point::Fexit(_) => Backend::Fentry,
            };
            assert_eq!(kind, part.0, "{}", part.1.program);
        }
    }

    #[test]
    fn a_forced_backend_gives_nothing_of_a_better_one() {
        for forced in [Backend::Fentry, Backend::Kprobe, Backend::Tracepoint] {
            let choice = Choice::make(Some(forced), |_| true, |_| true);
            assert!(choice.taken.iter().all(|hook| hook.backend >= forced));
            assert!(choice.has(Fact::SynDrops) && choice.has(Fact::States));
            let at_the_listener = choice.taken.iter().find(|hook| hook.fact == Fact::SynDrops);
            assert_eq!(at_the_listener.map(|hook| hook.backend), Some(forced));
        }
    }
}
