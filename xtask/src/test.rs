//! `cargo xtask test`: all there is, on a machine that has nothing yet. The last line says how many passed.

use std::{
    process::{Command, ExitStatus},
    time::Instant,
};

use anyhow::Result;

mod skips;

pub(crate) use skips::MAY_SKIP;
use skips::{MaySkip, judge_skip};

use crate::{bench, command, ebpf, lint, metrics, setup, tidy, vm};

/// How many labs may say that plain programs do not fit them.
const LEFT_OUT_MAX: u64 = 19;
/// Long enough for a scraper to come several times.
const SHORT_SCRAPE: metrics::Options = metrics::Options { seconds: 10 };

/// How many ran, and how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Count {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    pub(crate) fn line(&self) -> String {
        let skipped = if self.skipped > 0 {
            format!(", {} skipped", self.skipped)
        } else {
            String::new()
        };
        format!("{} passed, {} failed{skipped}", self.passed, self.failed)
    }
}

/// What to leave out.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Leave out the core of the labs on each of Debian's kernels from 5.10 to 7.2, which emulated machines take eight minutes for
    #[arg(long)]
    no_kernels: bool,
}

/// Sets the machine up, runs everything to its end, and prints the sum alone on the last line. A step that counts
/// nothing (build, lint, tidy) counts as one failed if it fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::must_be_root("test")?;
    let mut total = Count::default();
    total.add(step("set-up", || setup::tools().map(|()| Count::default())));
    total.add(step("build", || {
        ebpf::run(false).map(|()| Count::default())
    }));
    total.add(step("lint", || lint::run().map(|()| Count::default())));
    total.add(step("tidy", || tidy::run().map(|()| Count::default())));
    total.add(step("tests", tests));
    total.add(step("labs", labs));
    total.add(step("metrics", || metrics::check(&SHORT_SCRAPE)));
    total.add(step("bench", || {
        bench::run(&bench::Options::smoke()).map(|()| Count {
            passed: 1,
            ..Count::default()
        })
    }));
    if options.no_kernels {
        println!("== kernels: left out, as --no-kernels asks");
    } else {
        total.add(step("kernels", kernels));
    }
    // The sum is the last line of all: a failure says no more after it.
    println!("{}", total.line());
    if total.failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}

/// Runs one part and says what it did, and how long it took.
fn step(name: &str, work: impl FnOnce() -> Result<Count>) -> Count {
    println!("== {name}");
    let start = Instant::now();
    let (count, end) = match work() {
        Ok(count) if count == Count::default() => (count, "done".to_owned()),
        Ok(count) => (count, count.line()),
        Err(error) => (
            Count {
                failed: 1,
                ..Count::default()
            },
            format!("FAILED: {error:#}"),
        ),
    };
    println!("== {name}: {end} ({:.0} s)", start.elapsed().as_secs_f64());
    count
}

/// Every test of the workspace but the eBPF package's, which runs in the kernel alone.
fn tests() -> Result<Count> {
    let mut cargo = command::host_cargo("test");
    cargo.args([
        "--locked",
        "--no-fail-fast",
        "--workspace",
        "--exclude",
        "c1m-ebpf",
    ]);
    let mut count = Count::default();
    let status = command::each_line(&mut cargo, |line| {
        count.add(test_result(line).unwrap_or_default())
    })?;
    if count.skipped > 0 {
        println!(
            "{} ignored test(s): a test that can't run here must say why and be no test",
            count.skipped
        );
        count = Count {
            failed: count.failed + count.skipped,
            skipped: 0,
            ..count
        };
    }
    Ok(with_status(count, status))
}

/// Every lab, with c1m's own programs and with plain ones, by the release binary: the one that a user runs.
fn labs() -> Result<Count> {
    let mut c1m = Command::new(ebpf::c1m());
    c1m.args(["lab", "--all", "--programs", "both"])
        .current_dir(command::root());
    let mut labs = Labs::new(MAY_SKIP);
    let status = command::each_line(&mut c1m, |line| labs.line(line))?;
    Ok(with_status(labs.end(), status))
}

/// The same on other kernels, in emulated machines.
fn kernels() -> Result<Count> {
    if cfg!(not(target_arch = "x86_64")) {
        println!("the machines are x86_64, and they run the c1m of this host: none here");
        return Ok(Count {
            skipped: 1,
            ..Count::default()
        });
    }
    vm::test()
}

/// A run that says no failure and yet fails has one (it did not compile, or it crashed).
fn with_status(mut count: Count, status: ExitStatus) -> Count {
    if !status.success() && count.failed == 0 {
        println!("ended with {status}");
        count.failed = 1;
    }
    count
}

/// The numbers of cargo's `test result: ok. 10 passed; 0 failed; 1 ignored; …`.
fn test_result(line: &str) -> Option<Count> {
    let result = line.strip_prefix("test result: ")?;
    let number = |what: &str| {
        let before = &result[..result.find(what)?];
        before.split_whitespace().next_back()?.parse().ok()
    };
    Some(Count {
        passed: number(" passed")?,
        failed: number(" failed")?,
        skipped: number(" ignored")?,
    })
}

/// Counts the labs' lines: `lab NAME expected … found … exact` passed, and so did with `--fix` what its remedy healed,
/// `lab NAME … fixed`, or what no setting heals, `lab NAME … no setting: …`; `lab NAME skipped: why` did not run, and
/// every other line of a lab is a failure. By default no lab may be skipped.
#[derive(Debug, Default)]
pub(crate) struct Labs {
    may_skip: &'static [MaySkip],
    count: Count,
    /// Labs that plain programs do not fit.
    left_out: u64,
    /// The sum that c1m itself prints.
    said: Option<(u64, u64)>,
}

impl Labs {
    pub(crate) fn new(may_skip: &'static [MaySkip]) -> Self {
        Self {
            may_skip,
            ..Self::default()
        }
    }

    pub(crate) fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["lab", name, "skipped" | "skipped:", ..] => {
                self.count.add(judge_skip(name, self.may_skip))
            }
            ["lab", _, "expected", .., "exact"] if !line.contains("WRONG") => {
                self.count.passed += 1
            }
            ["lab", _, lost, .., "fixed"] if lost.starts_with('{') => self.count.passed += 1,
            ["lab", _, lost, ..] if lost.starts_with('{') && line.contains("}  no setting: ") => {
                self.count.passed += 1
            }
            // c1m knows why, and says it.
            ["lab", _, "not", "for", "foreign", "programs:", _, ..] => self.left_out += 1,
            // `WRONG: …`, `FAILED: …`, `NOT FIXED: …`, or whatever else is not exact.
            ["lab", _, _, ..] => self.count.failed += 1,
            [
                passed,
                "passed,",
                failed,
                "failed" | "failed," | "failed;",
                ..,
            ] => {
                self.said = passed.parse().ok().zip(failed.parse().ok());
            }
            _ => {}
        }
    }

    /// The count, checked against the sum that c1m printed.
    pub(crate) fn end(self) -> Count {
        let mut count = self.count;
        if self.left_out > LEFT_OUT_MAX {
            println!(
                "labs: {} are not for foreign programs, and no more than {LEFT_OUT_MAX} may be",
                self.left_out
            );
            count.failed += 1;
        }
        // A skip that counts as a failure here is none there, so failures may be more.
        let agrees = |(passed, failed)| passed == count.passed && failed <= count.failed;
        if !self.said.is_some_and(agrees) || count.passed == 0 {
            println!(
                "labs: counted {}, but c1m said {:?}",
                count.line(),
                self.said
            );
            count.failed += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(passed: u64, failed: u64, skipped: u64) -> Count {
        Count {
            passed,
            failed,
            skipped,
        }
    }

    #[test]
    fn cargos_results_are_summed() {
        let lines = "running 2 tests\n\
             test result: ok. 10 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
             test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\n";
        let mut sum = Count::default();
        lines
            .lines()
            .filter_map(test_result)
            .for_each(|result| sum.add(result));
        assert_eq!(sum, count(13, 2, 1));
        assert_eq!(sum.line(), "13 passed, 2 failed, 1 skipped");
        assert_eq!(count(13, 0, 0).line(), "13 passed, 0 failed");
    }

    fn labs_of(text: &str) -> Count {
        let mut labs = Labs::default();
        text.lines().for_each(|line| labs.line(line));
        labs.end()
    }

    #[test]
    fn labs_are_counted() {
        let good = "lab emfile expected 20 found 20 exact\nlab refused  expected 5  found 5  exact\n2 passed, 0 failed\n";
        assert_eq!(labs_of(good), count(2, 0, 0));
        let wrong = "lab emfile expected 20 found 19  WRONG: emfile is not exact\nlab refused expected 5 found 5 exact\n1 passed, 1 failed\n";
        assert_eq!(labs_of(wrong), count(1, 1, 0));
        let not = "lab emfile FAILED: nft is missing\nlab refused expected 5 found 5 exact\n1 passed, 1 failed\n";
        assert_eq!(labs_of(not), count(1, 1, 0));
    }

    #[test]
    fn a_remedy_that_does_not_help_is_a_failure() {
        let helped = "lab emfile  {emfile 5}  with ulimit -n 512: {}  fixed\nlab refused  {refused 9}  no setting: nobody \
                      listens\n2 passed, 0 failed; remedies: 1 helped, 0 did not, 1 are no setting\n";
        assert_eq!(labs_of(helped), count(2, 0, 0));
        let not = "lab a  {a 5}  with ulimit -n 512: {a 5}  NOT FIXED: 5 still lost to a\nlab b  {b 9}  no setting: it\n1 \
                   passed, 1 failed; remedies: 0 helped, 1 did not, 1 are no setting\n";
        assert_eq!(labs_of(not), count(1, 1, 0));
    }

    #[test]
    fn a_lab_that_is_not_for_plain_programs_counts_as_nothing_and_they_are_few() {
        let exact = "lab a expected 1 found 1 exact\n";
        let not = "lab b-foreign  not for foreign programs: its own\n";
        let of = |count: u64| {
            let lines = not.repeat(count as usize);
            labs_of(&format!(
                "{exact}{lines}1 passed, 0 failed; {count} are not for foreign programs\n"
            ))
        };
        assert_eq!(of(LEFT_OUT_MAX), count(1, 0, 0));
        assert_eq!(of(LEFT_OUT_MAX + 1), count(1, 1, 0));
    }

    #[test]
    fn a_sum_that_is_missing_or_another_fails() {
        assert_eq!(labs_of(""), count(0, 1, 0));
        assert_eq!(labs_of("0 passed, 0 failed\n"), count(0, 1, 0));
        assert_eq!(
            labs_of("lab emfile expected 20 found 20 exact\n1 passed, 1 failed\n"),
            count(1, 1, 0)
        );
        assert_eq!(
            labs_of("lab emfile expected 20 found 20 exact\n"),
            count(1, 1, 0)
        );
        assert_eq!(
            labs_of("lab emfile expected 20 found 20 exact\n2 passed, 0 failed\n"),
            count(1, 1, 0)
        );
    }

    #[test]
    fn a_skip_passes_only_where_the_lab_cannot_run() {
        let may: &[MaySkip] = &[
            ("a", "needs kprobes", || false),
            ("b", "needs kprobes", || true),
        ];
        assert_eq!(judge_skip("a", may), count(0, 0, 1));
        assert_eq!(judge_skip("b", may), count(0, 1, 0));
        assert_eq!(judge_skip("c", may), count(0, 1, 0));
        assert_eq!(judge_skip("a-foreign", may), count(0, 0, 1));
        let skipped = "lab emfile skipped: no nft\nlab b expected 1 found 1 exact\n1 passed, 0 failed, 1 skipped\n";
        assert_eq!(labs_of(skipped), count(1, 1, 0));
        let mut labs = Labs::new(&[("emfile", "no nft", || false)]);
        skipped.lines().for_each(|line| labs.line(line));
        assert_eq!(labs.end(), count(1, 0, 1));
    }
}
