//! What each eBPF program takes on each kernel, kept in a file: its size, what it took the verifier, its stack. A jump
//! is a failure, for the next kernel's verifier may be the one that gives up.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{command, ebpf, stack};

/// Where it is kept.
const FILE: &str = "docs/programs.tsv";
const HEAD: &str = "# What each eBPF program takes: instructions as the kernel runs them, instructions that its verifier went\n\
     # through (- before 5.16, which does not tell), and bytes of stack, of 512. Made by\n\
     # `cargo xtask vm all --backends all --record`; a test run fails if one of them jumps.\n\
     # kernel\tprogram\tsize\tverified\tstack\n";

/// By how much a number may grow before it is a jump: compilers and point releases differ by a little.
const GROWTH_MAX_PERCENT: u32 = 25;
/// What small programs may grow by.
const GROWTH_MIN: u32 = 64;
/// By how many bytes a stack may grow.
const STACK_GROWTH_MAX: u32 = 32;

/// What one program takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    size: u32,
    /// None where the kernel does not tell.
    verified: Option<u32>,
}

/// What all programs take on one kernel, by name.
pub(super) type Needs = BTreeMap<String, Need>;

/// How the list begins that `c1m trace --list-programs` prints.
const LIST: &str = "PROGRAM ";

/// The list as a console shows it.
#[derive(Debug, Default)]
pub(super) struct List {
    begun: bool,
    pub(super) needs: Needs,
}

impl List {
    /// Takes a line; whether it belongs to the list.
    pub(super) fn line(&mut self, line: &str) -> bool {
        if line.starts_with(LIST) {
            self.begun = true;
            return true;
        }
        let need = self.begun.then(|| need(line)).flatten();
        self.begun = need.is_some();
        let Some((name, need)) = need else {
            return false;
        };
        self.needs.insert(name.to_owned(), need);
        true
    }
}

/// `kfree_skb  1829  29628`
fn need(line: &str) -> Option<(&str, Need)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, size, verified] = words.as_slice() else {
        return None;
    };
    let size = size.parse().ok()?;
    let verified = match *verified {
        "-" => None,
        number => Some(number.parse().ok()?),
    };
    Some((name, Need { size, verified }))
}

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    kernels: BTreeMap<String, Needs>,
    stack: BTreeMap<String, u32>,
}

impl Recorded {
    pub(super) fn read() -> Result<Self> {
        let text = fs::read_to_string(path()).with_context(|| format!("cannot read {FILE}"))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut recorded = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split('\t').collect();
            let [kernel, program, size, verified, stack] = words.as_slice() else {
                bail!("{FILE} has a line of another form: {line}");
            };
            let list = format!("{program} {size} {verified}");
            let (Some((_, need)), Ok(stack)) = (need(&list), stack.parse()) else {
                bail!("{FILE} has a line without numbers: {line}");
            };
            let needs = recorded.kernels.entry((*kernel).to_owned()).or_default();
            needs.insert((*program).to_owned(), need);
            recorded.stack.insert((*program).to_owned(), stack);
        }
        Ok(recorded)
    }

    /// What has jumped on this kernel, or is not recorded; nothing for a kernel that is new.
    pub(super) fn jumps(&self, kernel: &str, needs: &Needs) -> Vec<String> {
        let Some(before) = self.kernels.get(kernel) else {
            return Vec::new();
        };
        let mut jumps = Vec::new();
        for (name, now) in needs {
            let Some(before) = before.get(name) else {
                jumps.push(format!("program {name} is not in {FILE}: --record adds it"));
                continue;
            };
            let verified = before.verified.zip(now.verified);
            let numbers = [
                ("size", Some((before.size, now.size))),
                ("verified", verified),
            ];
            for (what, (before, now)) in numbers
                .into_iter()
                .filter_map(|(what, pair)| Some((what, pair?)))
            {
                if now > before + (before / 100 * GROWTH_MAX_PERCENT).max(GROWTH_MIN) {
                    jumps.push(format!(
                        "program {name}: {what} {before} -> {now} instructions: a jump; --record if it must be"
                    ));
                }
            }
        }
        jumps
    }

    /// Whose stack has jumped in the object as it is now, or is not recorded.
    pub(super) fn stack_jumps(&self, stack: &BTreeMap<String, u32>) -> Vec<String> {
        let jump = |(name, now): (&String, &u32)| match self.stack.get(name) {
            Some(before) if *now <= before + STACK_GROWTH_MAX => None,
            Some(before) => Some(format!(
                "program {name}: stack {before} -> {now} bytes of 512: a jump; --record if it must be"
            )),
            // No kernel takes it.
            None => None,
        };
        stack.iter().filter_map(jump).collect()
    }

    /// Writes the file with what these kernels told in place of what it had of them.
    pub(super) fn write(mut self, told: BTreeMap<String, Needs>) -> Result<()> {
        self.kernels.extend(told);
        self.stack = stacks()?;
        fs::write(path(), self.text()).with_context(|| format!("cannot write {FILE}"))
    }

    fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        let mut kernels: Vec<_> = self.kernels.iter().collect();
        kernels.sort_by_key(|(kernel, _)| numbers(kernel));
        for (kernel, needs) in kernels {
            for (name, need) in needs {
                let verified = match need.verified {
                    Some(count) => count.to_string(),
                    None => "-".to_owned(),
                };
                let stack = self.stack.get(name).copied().unwrap_or(0);
                let size = need.size;
                // A String takes whatever is written to it.
                let _ = writeln!(text, "{kernel}\t{name}\t{size}\t{verified}\t{stack}");
            }
        }
        text
    }
}

/// The stack of each program of the object that c1m has inside.
pub(super) fn stacks() -> Result<BTreeMap<String, u32>> {
    stack::depths(&ebpf::object())
}

fn path() -> PathBuf {
    command::root().join(FILE)
}

/// `6.12` as numbers, so that 6.1 comes before.
fn numbers(kernel: &str) -> Vec<u32> {
    let parts = kernel.split('.');
    parts.filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(lines: &[&str]) -> List {
        let mut list = List::default();
        for line in lines {
            list.line(line);
        }
        list
    }

    #[test]
    fn a_list_is_read_from_its_head_to_the_first_other_line() {
        let list = list(&[
            "lab x 3 4",
            "PROGRAM                          SIZE  VERIFIED",
            "kfree_skb                        1829     29628",
            "process_exit                       17         -",
            "lab a 1 2",
            "late 1 2",
        ]);
        let names: Vec<&str> = list.needs.keys().map(String::as_str).collect();
        assert_eq!(names, ["kfree_skb", "process_exit"]);
        assert_eq!(list.needs["process_exit"].verified, None);
    }

    const TEXT: &str = "6.1\ta\t100\t1000\t64\n6.12\ta\t100\t-\t64\n";

    #[test]
    fn a_jump_is_told_and_a_little_growth_is_not() {
        let recorded = Recorded::parse(TEXT).expect("a file");
        let needs = |size, verified| {
            let need = Need { size, verified };
            Needs::from([("a".to_owned(), need)])
        };
        assert!(recorded.jumps("6.1", &needs(160, Some(1250))).is_empty());
        assert_eq!(recorded.jumps("6.1", &needs(165, Some(1000))).len(), 1);
        assert_eq!(recorded.jumps("6.1", &needs(100, Some(1251))).len(), 1);
        assert!(recorded.jumps("6.12", &needs(100, Some(90_000))).is_empty());
        assert!(
            recorded.jumps("7.3", &needs(9_000, None)).is_empty(),
            "a new kernel"
        );
        let other = Needs::from([(
            "b".to_owned(),
            Need {
                size: 1,
                verified: None,
            },
        )]);
        assert!(recorded.jumps("6.1", &other)[0].contains("--record"));
        let stack = |bytes| BTreeMap::from([("a".to_owned(), bytes)]);
        assert!(recorded.stack_jumps(&stack(96)).is_empty());
        assert_eq!(recorded.stack_jumps(&stack(104)).len(), 1);
    }

    #[test]
    fn the_file_is_written_as_it_is_read() {
        let recorded = Recorded::parse(TEXT).expect("a file");
        assert_eq!(recorded.text(), format!("{HEAD}{TEXT}"));
        assert!(Recorded::parse("6.1 a").is_err());
    }
}
