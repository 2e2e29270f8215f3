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
    let mut seen = Seen::default();
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

/// What a console told.
#[derive(Default)]
struct Seen {
    labs: Labs,
    labs_failed: bool,
    refused: u64,
    /// Lines of a verifier's log still to be shown.
    log: usize,
}

impl Seen {
    /// Takes a line of the console; what of it is worth printing.
    fn line<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        self.labs.line(line);
        if line.contains(REFUSED) {
            self.refused += 1;
            self.log = 12;
            return Some(line);
        }
        if line.starts_with("lab ") || line.contains("no module") || line.starts_with("c1m: ") {
            self.log = 0;
            return Some(line);
        }
        self.log = self.log.saturating_sub(1);
        (self.log > 0).then_some(line)
    }

    fn end(self) -> Count {
        let mut count = self.labs.end();
        count.failed += self.refused + u64::from(self.labs_failed);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_program_is_a_failure_beside_the_labs() {
        let mut seen = Seen::default();
        let shown: Vec<&str> = [
            "boot noise",
            "c1m: tracepoint kfree_skb: EACCES; the verifier says:",
            "  invalid access",
            "lab refused expected {refused 5}  found {refused 5}  exact",
            "1 passed, 0 failed",
        ]
        .into_iter()
        .filter_map(|line| seen.line(line))
        .collect();
        assert_eq!(shown.len(), 3);
        let count = seen.end();
        assert_eq!((count.passed, count.failed), (1, 1));
    }
}
