//! Every lab on every kernel: a line each, and their sum.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Options, initramfs, kernels, kernels::Series, qemu::Machine};
use crate::test::{Count, Labs};

/// What a machine of the matrix runs: the programs are loaded once for their own sake, then the labs.
pub(super) const SCRIPT: &str = "c1m trace --port 9 -- true\nc1m lab --all\n";

/// How the console tells that a program was refused.
const REFUSED: &str = "the verifier says";

/// Runs the labs on each kernel. The last line is the sum; exits with 1 if anything failed.
pub(super) fn run(series: &[Series<'_>], options: &Options) -> Result<()> {
    let mut total = Count::default();
    for series in series {
        let begin = Instant::now();
        let (name, count) = match one(*series, options) {
            Ok(done) => done,
            Err(error) => {
                println!("{}: FAILED: {error:#}", series.name);
                (series.name.to_owned(), FAILED)
            }
        };
        let seconds = begin.elapsed().as_secs();
        println!("== {name}: {} ({seconds} s)", count.line());
        total.add(count);
    }
    println!("{}", total.line());
    if total.failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}

const FAILED: Count = Count {
    passed: 0,
    failed: 1,
    skipped: 0,
};

fn one(series: Series<'_>, options: &Options) -> Result<(String, Count)> {
    let kernel = kernels::get(series)?;
    let release = kernel.release.clone();
    println!("== {release}");
    let machine = Machine {
        initramfs: initramfs::build(&kernel, SCRIPT)?,
        kernel: kernel.image,
        memory_mib: options.memory,
        time_max: Some(Duration::from_secs(options.minutes * 60)),
        interactive: false,
    };
    let mut seen = Seen::new(&release);
    let ended = machine.run(|line| {
        if let Some(told) = seen.line(line) {
            println!("{release}  {told}");
        }
    })?;
    if let Err(error) = ended.status() {
        println!("{release}: FAILED: {error:#}");
        seen.labs_failed = true;
    }
    Ok((release, seen.end()))
}

/// Labs that older kernels can't be exact in, and from which on they are: before, each must end in *not observable*,
/// and never in another cause.
const EXACT_FROM: &[(&str, [u32; 2])] = &[
    // kfree_skb tells a reason.
    ("netfilter-in", [5, 17]),
    ("netfilter-out", [5, 17]),
    ("netfilter-out-ipv6", [5, 17]),
    ("netfilter-in-ipv6", [5, 17]),
    ("netfilter-in-reset", [5, 17]),
    ("netfilter-in-icmp", [5, 17]),
    ("bpf-or-tc-drop", [5, 17]),
    ("bpf-or-tc-drop-tc", [5, 17]),
    ("qdisc-drop", [5, 17]),
    ("rp-filter", [5, 17]),
    ("neighbour", [5, 17]),
    ("bad-segment", [5, 17]),
    ("bad-segment-minttl", [5, 17]),
    ("bad-segment-xfrm", [5, 17]),
    ("synack-lost", [5, 17]),
    ("synack-lost-out", [5, 17]),
    ("synack-lost-ipv6", [5, 17]),
    ("refused", [5, 17]),
    ("refused-ipv6", [5, 17]),
    // consume_skb tells where from.
    ("gave-up", [6, 5]),
    ("icmp-error", [6, 5]),
    ("syn-unanswered", [6, 5]),
    ("request-expired", [6, 5]),
    ("request-expired-ipv6", [6, 5]),
    ("syn-backlog-full", [6, 5]),
    ("syn-backlog-last-quarter", [6, 5]),
    ("accept-queue-full-syn", [6, 5]),
    ("accept-queue-full-syn-ipv6", [6, 5]),
    // kfree_skb tells the receiving socket.
    ("accept-queue-full-ack", [6, 11]),
    ("accept-queue-full-reset", [6, 11]),
    ("accept-queue-full-cookie", [6, 11]),
    ("listener-gone", [6, 11]),
    ("child-failed", [6, 11]),
    ("time-wait-hit", [6, 11]),
    ("time-wait-hit-ipv6", [6, 11]),
    ("stale-established", [6, 11]),
    ("stale-established-ipv6", [6, 11]),
    ("synack-rejected", [6, 11]),
    ("synack-rejected-ipv6", [6, 11]),
    ("cookie-invalid", [6, 11]),
    ("cookie-invalid-ipv6", [6, 11]),
    ("field-notes", [6, 11]),
    // tcp_check_req tells a reason.
    ("ack-rejected", [6, 15]),
    ("ack-rejected-ipv6", [6, 15]),
];

/// What a console told.
struct Seen {
    /// The kernel's first two numbers.
    version: [u32; 2],
    labs: Labs,
    labs_failed: bool,
    /// Labs that ended as they must where the kernel tells too little.
    blind: u64,
    /// Labs that were exact although [`EXACT_FROM`] says that they can't.
    outdated: u64,
    refused: u64,
    /// Lines of a verifier's log still to be shown.
    log: usize,
}

impl Seen {
    fn new(release: &str) -> Self {
        let mut numbers = release
            .split(['.', '-', '+'])
            .map(|part| part.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Self {
            version: [next(), next()],
            labs: Labs::default(),
            labs_failed: false,
            blind: 0,
            outdated: 0,
            refused: 0,
            log: 0,
        }
    }

    /// Takes a line of the console; what of it is worth printing.
    fn line(&mut self, line: &str) -> Option<String> {
        self.labs.line(line);
        if line.contains(REFUSED) {
            self.refused += 1;
            self.log = 12;
            return Some(line.to_owned());
        }
        self.log = match line.starts_with("  ") {
            true => self.log.saturating_sub(1),
            false => 0,
        };
        if line.starts_with("lab ") {
            return Some(self.lab(line));
        }
        let told = line.contains("no module") || line.starts_with("c1m: the kernel refused");
        (told || self.log > 0).then(|| line.to_owned())
    }

    /// A lab's line, judged by what this kernel can tell.
    fn lab(&mut self, line: &str) -> String {
        let name = line.split_whitespace().nth(1);
        let from = EXACT_FROM
            .iter()
            .find(|(lab, from)| Some(*lab) == name && self.version < *from);
        let Some((_, [major, minor])) = from else {
            return line.to_owned();
        };
        if let Some((told, wrong)) = line.split_once("WRONG: ")
            && is_only_blind(told, wrong)
        {
            self.blind += 1;
            return format!("{told}not observable before {major}.{minor}");
        }
        if line.ends_with("exact") {
            self.outdated += 1;
            return format!("{line}, but EXACT_FROM says not before {major}.{minor}");
        }
        line.to_owned()
    }

    fn end(self) -> Count {
        let mut count = self.labs.end();
        count.passed += self.blind;
        count.failed -= self.blind.min(count.failed);
        count.passed -= self.outdated.min(count.passed);
        count.failed += self.outdated + self.refused + u64::from(self.labs_failed);
        count
    }
}

/// Whether all that differs is that attempts are not observable, instead of lost by a cause that was expected, or of
/// recovered.
fn is_only_blind(told: &str, wrong: &str) -> bool {
    let expected = told.split("found").next().unwrap_or("");
    let of_blindness = |difference: &str| {
        let (what, numbers) = difference.split_once(": ").unwrap_or((difference, ""));
        let mut numbers = numbers
            .split(", not ")
            .map(|n| n.trim().parse::<u64>().ok());
        let (found, wanted) = (numbers.next().flatten(), numbers.next().flatten());
        match what {
            "not observable" | "not-observable" => found > wanted,
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
        let mut seen = Seen::new(release);
        let shown = lines.iter().filter_map(|line| seen.line(line)).collect();
        (shown, seen.end())
    }

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
        assert!(shown[0].ends_with("found {not-observable 5}  not observable before 5.17"));
        assert_eq!(
            (count.passed, count.failed),
            (1, 1),
            "no lab at all was exact"
        );
        let exact = "lab emfile  expected {emfile 5}  found {emfile 5}  exact";
        let (_, count) = seen("5.10.0-46", &[exact, BLIND, "1 passed, 1 failed"]);
        assert_eq!((count.passed, count.failed), (2, 0));
        let (_, count) = seen("6.1.0-56", &[exact, BLIND, "1 passed, 1 failed"]);
        assert_eq!((count.passed, count.failed), (1, 1));
    }

    #[test]
    fn a_wrong_cause_never_passes() {
        for wrong in [
            "lab refused  expected {refused 5}  found {gave-up 5}  WRONG: refused: 0, not 5; gave-up: 5, not 0",
            "lab refused  expected {refused 5}  found {not-observable 4}  WRONG: standing: 1, not 0; not observable: 4, not 0",
            "lab refused  FAILED: no nft",
        ] {
            let exact = "lab emfile  expected {emfile 5}  found {emfile 5}  exact";
            let (_, count) = seen("5.10.0", &[exact, wrong, "1 passed, 1 failed"]);
            assert_eq!((count.passed, count.failed), (1, 1), "{wrong}");
        }
    }

    #[test]
    fn a_lab_that_became_exact_asks_for_its_entry_to_go() {
        let exact = "lab refused  expected {refused 5}  found {refused 5}  exact";
        let (_, count) = seen("5.10.0", &[exact, "1 passed, 0 failed"]);
        assert_eq!((count.passed, count.failed), (0, 1));
    }
}
