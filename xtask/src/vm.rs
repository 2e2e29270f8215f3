//! `cargo xtask vm`: Debian's stock kernels under QEMU's emulation, with the `c1m` of this tree inside.
//!
//! Nothing is installed on the host: kernels are unpacked below `target/vm`, and a machine is gone when it powers off.

use std::{io::IsTerminal as _, time::Duration};

use anyhow::{Context as _, Result, bail};

use crate::{command, ebpf, setup};

mod apt;
mod initramfs;
mod kernels;
mod matrix;
mod modules;
mod packages;
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
    /// Memory of the machine
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    memory: u32,
    /// How long one machine may run; a shell has no limit
    #[arg(long, value_name = "MINUTES", default_value_t = 15)]
    minutes: u64,
    /// What to run inside; for one kernel without it, a shell on the console
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
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
        return matrix::run(&series, options);
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
    } else if options.labs || kernels > 1 {
        Work::Labs
    } else {
        Work::Shell
    }
}

/// The shell script that does it inside.
fn script(work: &Work) -> String {
    match work {
        Work::Shell => "exec sh -l\n".to_owned(),
        Work::Labs => matrix::SCRIPT.to_owned(),
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
