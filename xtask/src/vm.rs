//! `cargo xtask vm`: Debian's stock kernels under QEMU's emulation, with the `c1m` of this tree inside.
//!
//! Nothing is installed on the host: kernels are unpacked below `target/vm`, and a machine is gone when it powers off.

use std::{io::IsTerminal as _, time::Duration};

use anyhow::{Context as _, Result, bail};

use plan::Limits;

use crate::{command, ebpf, setup, test::Count};

mod apt;
mod backend;
mod initramfs;
mod kernels;
mod matrix;
mod modules;
mod packages;
mod plan;
mod programs;
mod qemu;

/// What to boot, and what to do there.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which kernels: 5.10, 6.1, 6.12, 6 (the newest 6.x), 7.2, another series, or all
    #[arg(required = true, value_name = "KERNEL")]
    kernels: Vec<String>,
    /// Run the labs, one line each, as `all` does without a command
    #[arg(long, conflicts_with = "command")]
    labs: bool,
    /// Run what `cargo xtask test` runs: fewer labs, auto everywhere, every backend on the first and the last kernel
    #[arg(long, conflicts_with_all = ["command", "backends"])]
    core: bool,
    /// Run the labs with each of these backends: all, or a list of auto, fentry, kprobe, tracepoint [default: auto]
    #[arg(long, value_name = "LIST", conflicts_with = "command")]
    backends: Option<String>,
    /// Keep what the eBPF programs take on these kernels in docs/programs.tsv, in place of what it says
    #[arg(long, conflicts_with = "command")]
    record: bool,
    /// How many machines run at once; an emulated machine takes one CPU of this host [default: its CPUs]
    #[arg(long, value_name = "N")]
    machines: Option<usize>,
    /// Memory of the machine
    #[arg(long, value_name = "MIB", default_value_t = MEMORY_MIB)]
    memory: u32,
    /// How long one machine may run, for each backend; a shell has no limit
    #[arg(long, value_name = "MINUTES", default_value_t = MINUTES_OF_ALL)]
    minutes: u64,
    /// What to run inside; for one kernel without it, a shell on the console
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Options {
    fn limits(&self) -> Limits {
        Limits {
            memory_mib: self.memory,
            time_max: Duration::from_secs(self.minutes * 60),
            machines: self.machines.unwrap_or_else(cpus),
        }
    }
}

/// Every kernel of the matrix, as `cargo xtask test` does it. A kernel that cannot be had has failed.
pub(crate) fn test() -> Result<Count> {
    setup::vm_tools()?;
    let all = ["all".to_owned()];
    let (shares, mut count) = plan::standard(&kernels::chosen(&all)?);
    let limits = Limits {
        memory_mib: MEMORY_MIB,
        time_max: Duration::from_secs(MINUTES * 60),
        machines: cpus(),
    };
    count.add(plan::run(shares, limits).judged()?);
    count.add(predictions(limits)?);
    Ok(count)
}

/// What `c1m doctor` foretells of limits that are the whole host's, run into in a machine.
const PREDICTIONS: &str = include_str!("vm/predict.sh");
/// Where that is done, and how many there are.
const PREDICTIONS_ON: &str = "6.12";
const PREDICTIONS_COUNT: u64 = 4;

fn predictions(limits: Limits) -> Result<Count> {
    let series = [PREDICTIONS_ON.to_owned()];
    let mut count = Count::default();
    for series in kernels::chosen(&series)? {
        let kernel = kernels::get(series)?;
        let machine = qemu::Machine {
            kernel: kernel.image.clone(),
            initramfs: initramfs::build(&kernel, PREDICTIONS)?,
            memory_mib: limits.memory_mib,
            time_max: Some(limits.time_max),
            interactive: false,
        };
        let mut warned = false;
        let ended = machine.run(|line| {
            if line.contains(" passed: ") {
                count.passed += 1;
                println!("{}  {line}", kernel.release);
            } else if line.contains(" FAILED: ") {
                println!("{}  {line}", kernel.release);
            } else if line.starts_with(qemu::KERNEL_LOG) {
                println!("{}  {line}", kernel.release);
                warned = true;
            }
        })?;
        count.failed += PREDICTIONS_COUNT.saturating_sub(count.passed);
        match ended.status() {
            Ok(_) => count.failed += u64::from(warned),
            Err(error) => {
                println!("{}  predictions: {error:#}", kernel.release);
                count.failed += 1;
            }
        }
    }
    Ok(count)
}

/// The memory of a machine.
const MEMORY_MIB: u32 = 2048;
/// How long it may run for what `cargo xtask test` has it do.
const MINUTES: u64 = 10;
/// How long it may for all labs: those of the newest kernel took some 14 on one machine, and 30 on another.
const MINUTES_OF_ALL: u64 = 60;

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What a machine does when it is up.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Work {
    Shell,
    Labs,
    Command(Vec<String>),
}

/// Boots the kernels one after the other. Exits with the command's own status if it is not 0.
pub(crate) fn run(options: &Options) -> Result<()> {
    let series = kernels::chosen(&options.kernels)?;
    let backends = backend::chosen(options.backends.as_deref().unwrap_or("auto"))?;
    let work = work(options, series.len());
    if cfg!(not(target_arch = "x86_64")) {
        bail!(
            "the machines are x86_64, and they run the c1m of this host: this needs an x86_64 host"
        );
    }
    if work == Work::Shell && !std::io::stdin().is_terminal() {
        bail!("a shell needs a terminal: name a command after --, or run the labs by --labs");
    }
    setup::vm_tools()?;
    ebpf::build_object()?;
    ebpf::build_c1m()?;
    if work == Work::Labs {
        let (shares, mut count) = match options.core {
            true => plan::standard(&series),
            false => plan::shares(&series, &backends),
        };
        let done = plan::run(shares, options.limits());
        count.add(match options.record {
            true => done.recorded()?,
            false => done.judged()?,
        });
        println!("{}", count.line());
        if count.failed > 0 {
            std::process::exit(1);
        }
        return Ok(());
    }
    for series in series {
        let kernel = kernels::get(series)?;
        println!("== {}: Linux {}", series.name, kernel.release);
        let script = script(&work);
        let machine = qemu::Machine {
            kernel: kernel.image.clone(),
            initramfs: initramfs::build(&kernel, &script)?,
            memory_mib: options.memory,
            time_max: (work != Work::Shell).then(|| Duration::from_secs(options.minutes * 60)),
            // A terminal shared with QEMU would hide the command's exit status.
            interactive: work == Work::Shell,
        };
        if machine.interactive {
            println!("(Ctrl-A X ends the machine)");
        }
        let status = machine.run(|line| println!("{line}"))?.status()?;
        if status != 0 {
            std::process::exit(status);
        }
    }
    Ok(())
}

fn work(options: &Options, kernels: usize) -> Work {
    if !options.command.is_empty() {
        Work::Command(options.command.clone())
    } else if options.labs
        || options.core
        || options.record
        || kernels > 1
        || options.backends.is_some()
    {
        Work::Labs
    } else {
        Work::Shell
    }
}

/// The shell script that does it inside.
fn script(work: &Work) -> String {
    match work {
        Work::Shell | Work::Labs => "exec sh -l\n".to_owned(),
        // One word is a line of shell, several are a command and its arguments.
        Work::Command(words) => match words.as_slice() {
            [line] => format!("{line}\n"),
            words => format!("{}\n", quoted(words)),
        },
    }
}

/// Words as a POSIX shell takes them unchanged.
fn quoted(words: &[String]) -> String {
    let one = |word: &String| format!("'{}'", word.replace('\'', r"'\''"));
    words.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// Where everything of this verb lies.
fn dir() -> std::path::PathBuf {
    command::target_dir().join("vm")
}

/// Makes a directory and its parents.
fn make_dir(path: &std::path::Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reaches_the_shell_unchanged() {
        let words = |list: &[&str]| Work::Command(list.iter().map(|&word| word.into()).collect());
        assert_eq!(script(&words(&["uname -a; id"])), "uname -a; id\n");
        assert_eq!(
            script(&words(&["c1m", "trace", "--", "it's"])),
            "'c1m' 'trace' '--' 'it'\\''s'\n"
        );
    }
}
