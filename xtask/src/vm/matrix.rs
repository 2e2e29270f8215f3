//! What a console of the matrix tells, judged by what its kernel can tell with each backend.

use super::{
    backend::Backend,
    plan::{BACKEND_LINE, CHECK_LINE, CHECKS_COUNT},
    programs::{List, Needs},
    qemu::KERNEL_LOG,
};
use crate::test::{Count, Labs};

mod labs;

use labs::{
    EXACT_FROM, FENTRY_LACKS_CHILD, MAY_BE_EXACT, NEVER, RUNS_FROM, TOLD_BY_CHILD,
    TRAMPOLINE_OF_MANY,
};

/// How the console tells that a program was refused.
const REFUSED: &str = "the verifier says";

/// The first kernel on which this lab is exact, if `version` is older: it must end in *not observable* there.
fn exact_from(lab: &str, backend: Backend, version: [u32; 2]) -> Option<[u32; 2]> {
    if backend == Backend::Fentry {
        let blind = FENTRY_LACKS_CHILD.contains(&version) && TOLD_BY_CHILD.contains(&lab);
        return blind.then_some(TRAMPOLINE_OF_MANY);
    }
    if !backend.is_tracepoints() {
        return None;
    }
    let row = EXACT_FROM.iter().find(|(name, _)| *name == lab);
    row.map(|(_, from)| *from).filter(|from| version < *from)
}

/// What a console told.
pub(super) struct Seen {
    release: String,
    /// The kernel's first two numbers.
    version: [u32; 2],
    /// The backends that ran, each with what it came to; empty before the first.
    backends: Vec<(Backend, Tally)>,
    /// What c1m said where it can't trace.
    checks: Count,
    /// What belongs to no backend: the machine itself.
    machine_failed: u64,
    programs: List,
    /// Lines of a verifier's log still to be shown.
    log: usize,
}

/// What one backend's labs came to.
#[derive(Debug, Default)]
struct Tally {
    labs: Labs,
    /// Labs that ended as they must where the kernel tells too little.
    blind: u64,
    /// Labs that were exact although [`EXACT_FROM`] says that they can't.
    outdated: u64,
    /// Programs that the kernel did not take.
    refused: u64,
    /// Labs that this kernel cannot run.
    skipped: u64,
}

impl Tally {
    fn end(self) -> Count {
        let mut count = self.labs.end();
        count.passed += self.blind;
        count.failed -= self.blind.min(count.failed);
        count.passed -= self.outdated.min(count.passed);
        count.failed += self.outdated + self.refused;
        count.skipped += self.skipped;
        count
    }
}

impl Seen {
    pub(super) fn new(release: &str) -> Self {
        let mut numbers = release
            .split(['.', '-', '+'])
            .map(|part| part.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Self {
            release: release.to_owned(),
            version: [next(), next()],
            backends: Vec::new(),
            checks: Count::default(),
            machine_failed: 0,
            programs: List::default(),
            log: 0,
        }
    }

    /// What the programs take here: the kernel's series, and all of them.
    pub(super) fn programs(&mut self) -> (String, Needs) {
        let [major, minor] = self.version;
        let needs = std::mem::take(&mut self.programs.needs);
        (format!("{major}.{minor}"), needs)
    }

    /// The machine itself failed.
    pub(super) fn failed(&mut self) {
        self.machine_failed += 1;
    }

    /// Takes a line of the console; what of it is worth printing.
    pub(super) fn line(&mut self, line: &str) -> Option<String> {
        if let Some(name) = line.strip_prefix(BACKEND_LINE) {
            match Backend::by_name(name.trim()) {
                Ok(backend) => self.backends.push((backend, Tally::default())),
                Err(_) => self.machine_failed += 1,
            }
            return None;
        }
        if let Some(check) = line.strip_prefix(CHECK_LINE) {
            match check.ends_with("passed") {
                true => self.checks.passed += 1,
                false => self.checks.failed += 1,
            }
            return Some(format!("{}  check{check}", self.release));
        }
        if line.starts_with(KERNEL_LOG) {
            self.machine_failed = self.machine_failed.max(1);
            return Some(format!("{}  FAILED: {line}", self.release));
        }
        if self.programs.line(line) {
            return None;
        }
        let place = self.place();
        let (backend, tally) = self.backends.last_mut()?;
        if let Some(told) = tally.skip(line, self.version) {
            return Some(format!("{place}  {told}"));
        }
        tally.labs.line(line);
        if line.contains(REFUSED) {
            tally.refused += 1;
            self.log = 12;
            return Some(format!("{place}  {line}"));
        }
        self.log = match line.starts_with("  ") {
            true => self.log.saturating_sub(1),
            false => 0,
        };
        if line.starts_with("lab ") {
            let told = tally.lab(line, *backend, self.version);
            return Some(format!("{place}  {told}"));
        }
        let told = ["c1m: ", "proven "]
            .iter()
            .any(|head| line.starts_with(head));
        let told = told || line.contains("no module");
        (told || self.log > 0).then(|| format!("{place}  {line}"))
    }

    /// What stands before a line: kernel and backend.
    fn place(&self) -> String {
        let backend = self
            .backends
            .last()
            .map_or("", |(backend, _)| backend.name());
        format!("{}  {backend:<10}", self.release)
    }

    /// One sum per backend that ran, and what the machine itself failed in. Those of `planned` that never ran have
    /// failed.
    pub(super) fn end(self, planned: &[Backend]) -> (Vec<(Backend, Count)>, Count) {
        let mut missing = planned.to_vec();
        missing.retain(|backend| self.backends.iter().all(|(ran, _)| ran != backend));
        let mut counts: Vec<(Backend, Count)> = self
            .backends
            .into_iter()
            .map(|(backend, tally)| (backend, tally.end()))
            .collect();
        counts.extend(missing.into_iter().map(|backend| (backend, failed(1))));
        let mut machine = self.checks;
        let ran = machine.passed + machine.failed;
        machine.failed += self.machine_failed + CHECKS_COUNT.saturating_sub(ran);
        (counts, machine)
    }
}

/// So many failures.
pub(super) fn failed(count: u64) -> Count {
    Count {
        failed: count,
        ..Count::default()
    }
}

impl Tally {
    /// A lab that this kernel cannot run, as [`RUNS_FROM`] says; nothing for any other line.
    fn skip(&mut self, line: &str, version: [u32; 2]) -> Option<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["lab", name, "skipped:", ..] = words.as_slice() else {
            return None;
        };
        let row = RUNS_FROM.iter().find(|(lab, _)| lab == name);
        let can_run = row.is_none_or(|(_, from)| version >= *from);
        if !can_run {
            self.skipped += 1;
        }
        (!can_run).then(|| line.to_owned())
    }

    /// A lab's line, judged by what this kernel can tell with this backend.
    fn lab(&mut self, line: &str, backend: Backend, version: [u32; 2]) -> String {
        let name = line.split_whitespace().nth(1).unwrap_or_default();
        let Some([major, minor]) = exact_from(name, backend, version) else {
            return line.to_owned();
        };
        if let Some((told, wrong)) = line.split_once("WRONG: ")
            && is_only_blind(told, wrong)
        {
            self.blind += 1;
            let when = match [major, minor] {
                NEVER => "by tracepoints".to_owned(),
                [major, minor] => format!("before {major}.{minor}"),
            };
            return format!("{told}not observable {when}, as expected");
        }
        if line.ends_with("exact") && !MAY_BE_EXACT.contains(&name) {
            self.outdated += 1;
            return format!("{line}, but EXACT_FROM says not before {major}.{minor}: FAILED");
        }
        line.to_owned()
    }
}

/// Whether all that differs is that attempts are not observable, instead of lost by a cause that was expected, or of
/// recovered.
fn is_only_blind(told: &str, wrong: &str) -> bool {
    let expected = told.split("found").next().unwrap_or("");
    let of_blindness = |difference: &str| {
        let (what, numbers) = difference.split_once(": ").unwrap_or((difference, ""));
        // A sum of the record, or its row, or a place in that.
        let row = what.split_once(" at ").map_or(what, |(row, _)| row);
        let what = row.replace(' ', "-");
        let mut numbers = numbers
            .split(", not ")
            .map(|n| n.trim().parse::<u64>().ok());
        let (found, wanted) = (numbers.next().flatten(), numbers.next().flatten());
        match what.as_str() {
            "not-observable" => found > wanted,
            what if what == "recovered" || expected.contains(&format!("{what} ")) => {
                found.is_some() && found < wanted
            }
            _ => false,
        }
    };
    wrong.split("; ").all(of_blindness)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(release: &str, lines: &[&str]) -> (Vec<String>, Count) {
        seen_with(Backend::Tracepoint, release, lines)
    }

    fn seen_with(backend: Backend, release: &str, lines: &[&str]) -> (Vec<String>, Count) {
        let mut seen = Seen::new(release);
        seen.line(&format!("{BACKEND_LINE} {}", backend.name()));
        let shown = lines.iter().filter_map(|line| seen.line(line)).collect();
        pass_checks(&mut seen);
        let (counts, mut sum) = seen.end(&[backend]);
        sum.passed -= CHECKS_COUNT;
        counts.iter().for_each(|(_, count)| sum.add(*count));
        (shown, sum)
    }

    fn pass_checks(seen: &mut Seen) {
        for _ in 0..CHECKS_COUNT {
            seen.line(&format!("{CHECK_LINE} x passed"));
        }
    }

    const EXACT: &str = "lab emfile  expected {emfile 5}  found {emfile 5}  exact";

    #[test]
    fn a_refused_program_is_a_failure_beside_the_labs() {
        let (shown, count) = seen(
            "6.12.117+deb13-cloud-amd64",
            &[
                "boot noise",
                "c1m: the kernel refused tracepoint kfree_skb: EACCES; the verifier says:",
                "  invalid access",
                "lab refused expected {refused 5}  found {refused 5}  exact",
                "1 passed, 0 failed",
            ],
        );
        assert_eq!(shown.len(), 3);
        assert_eq!((count.passed, count.failed), (1, 1));
    }

    const BLIND: &str = "lab refused  expected {refused 5}  found {not-observable 5}  WRONG: recovered: 0, not 2; \
        not observable: 5, not 0; refused: 0, not 5; not-observable: 5, not 0";

    #[test]
    fn not_observable_passes_where_the_kernel_tells_too_little() {
        let (shown, count) = seen("5.10.0-46-cloud-amd64", &[BLIND, "0 passed, 1 failed"]);
        assert!(shown[0].contains("found {not-observable 5}  not observable before 5.17"));
        assert_eq!(
            (count.passed, count.failed),
            (1, 1),
            "no lab at all was exact"
        );
        let (_, count) = seen("5.10.0-46", &[EXACT, BLIND, "1 passed, 1 failed"]);
        assert_eq!((count.passed, count.failed), (2, 0));
        let with_place = format!("{BLIND}; refused at 127.0.1.2: 0, not 5");
        let (_, count) = seen("5.10.0-46", &[EXACT, &with_place, "1 passed, 1 failed"]);
        assert_eq!((count.passed, count.failed), (2, 0));
        let (_, count) = seen("6.1.0-56", &[EXACT, BLIND, "1 passed, 1 failed"]);
        assert_eq!((count.passed, count.failed), (1, 1));
    }

    #[test]
    fn what_found_no_room_may_be_not_observable_where_nothing_could_be_told_of_it() {
        let told = "lab evidence-lost  expected {evidence-lost 936, refused 64}  found {evidence-lost 64, not-observable 936}  \
            WRONG: evidence lost: 64, not 936; not observable: 936, not 0; evidence-lost: 64, not 936; refused: 0, not 64; \
            not-observable: 936, not 0";
        let (shown, count) = seen("5.10.0-46", &[EXACT, told, "1 passed, 1 failed"]);
        assert!(shown[1].ends_with("not observable before 6.5, as expected"));
        assert_eq!((count.passed, count.failed), (2, 0));
    }

    #[test]
    fn a_lab_is_skipped_only_where_the_kernel_lacks_what_it_needs() {
        let skip = "lab listener-gone-migrate  skipped: this kernel has none";
        let lines = [EXACT, skip, "1 passed, 0 failed, 1 skipped"];
        let (shown, count) = seen("5.10.0-46", &lines);
        assert_eq!(shown.len(), 2);
        assert_eq!((count.passed, count.failed, count.skipped), (1, 0, 1));
        let (_, count) = seen("6.1.0-56", &lines);
        assert_eq!((count.passed, count.failed, count.skipped), (1, 1, 0));
        let (_, count) = seen(
            "5.10.0-46",
            &[
                EXACT,
                "lab refused  skipped: why",
                "1 passed, 0 failed, 1 skipped",
            ],
        );
        assert_eq!((count.passed, count.failed), (1, 1));
    }

    #[test]
    fn only_tracepoints_may_be_blind() {
        let lines = [EXACT, BLIND, "1 passed, 1 failed"];
        for backend in [Backend::Fentry, Backend::Kprobe] {
            let (_, count) = seen_with(backend, "5.10.0-46", &lines);
            assert_eq!((count.passed, count.failed), (1, 1));
        }
    }

    #[test]
    fn a_wrong_cause_never_passes() {
        for wrong in [
            "lab refused  expected {refused 5}  found {gave-up 5}  WRONG: refused: 0, not 5; gave-up: 5, not 0",
            "lab refused  expected {refused 5}  found {not-observable 4}  WRONG: standing: 1, not 0; not observable: 4, not 0",
            "lab refused  FAILED: no nft",
        ] {
            let (_, count) = seen("5.10.0", &[EXACT, wrong, "1 passed, 1 failed"]);
            assert_eq!((count.passed, count.failed), (1, 1), "{wrong}");
        }
    }

    #[test]
    fn a_lab_that_became_exact_asks_for_its_entry_to_go_unless_the_time_decides() {
        let exact = "lab refused  expected {refused 5}  found {refused 5}  exact";
        let (_, count) = seen("5.10.0", &[exact, "1 passed, 0 failed"]);
        assert_eq!((count.passed, count.failed), (0, 1));
        let exact = exact.replace("refused", MAY_BE_EXACT[0]);
        let (_, count) = seen("5.10.0", &[&exact, "1 passed, 0 failed"]);
        assert_eq!((count.passed, count.failed), (1, 0));
    }

    #[test]
    fn a_backend_that_never_ran_and_a_kernel_that_complained_have_failed() {
        let mut seen = Seen::new("6.1.0-56");
        for line in [
            &format!("{BACKEND_LINE} kprobe"),
            EXACT,
            "1 passed, 0 failed",
            &format!("{KERNEL_LOG} WARNING: CPU: 0 PID: 1 at kernel/bpf/x.c:1"),
        ] {
            seen.line(line);
        }
        let (counts, machine) = seen.end(&[Backend::Kprobe, Backend::Fentry]);
        let counts: Vec<_> = counts
            .iter()
            .map(|(b, c)| (b.name(), c.passed, c.failed))
            .collect();
        assert_eq!(counts, [("kprobe", 1, 0), ("fentry", 0, 1)]);
        assert_eq!(
            (machine.passed, machine.failed),
            (0, 1 + CHECKS_COUNT),
            "no check ran"
        );
    }
}
