//! One machine: started, watched, ended.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::command;

/// How the line begins that tells the work's exit status.
pub(super) const EXIT: &str = "c1m-vm: exit status";
/// How a line begins that the kernel's log had at the end, and that no healthy kernel says.
pub(super) const KERNEL_LOG: &str = "c1m-vm: kernel log:";
/// How many lines of the console a failure shows.
const TAIL_LINES: usize = 40;
/// How a kernel's last words begin: from there on all is kept, up to a limit.
const OOPS: [&str; 5] = [
    "Oops",
    "BUG:",
    "kernel BUG at",
    "int3:",
    "general protection",
];
/// That limit.
const OOPS_LINES_MAX: usize = 120;

/// A machine to be.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) kernel: PathBuf,
    pub(super) initramfs: PathBuf,
    pub(super) memory_mib: u32,
    /// None: as long as it likes.
    pub(super) time_max: Option<Duration>,
    /// Whether the console is the user's terminal; else its lines are read.
    pub(super) interactive: bool,
}

/// How a machine ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// The work's exit status; None if the machine never told one.
    status: Option<i32>,
    /// Why it was ended before.
    why: Option<String>,
    /// The last lines of the console.
    tail: Vec<String>,
}

impl Ended {
    /// The work's exit status. Errors: the kernel panicked or hung, with the console's last lines.
    pub(super) fn status(&self) -> Result<i32> {
        match self.status {
            Some(status) => Ok(status),
            None => {
                let why = self
                    .why
                    .as_deref()
                    .unwrap_or("it ended without an exit status");
                bail!(
                    "{why}; the end of its console:\n  {}",
                    self.tail.join("\n  ")
                )
            }
        }
    }
}

impl Machine {
    /// Runs it to its end, handing on each line of the console; an interactive one has the terminal to itself.
    pub(super) fn run(&self, take: impl FnMut(&str)) -> Result<Ended> {
        // A machine must not outlive this program, however it ends.
        let mut qemu = command::clean("setpriv");
        qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        qemu.args(self.arguments());
        if self.interactive {
            let status = qemu.status().context("cannot start qemu-system-x86_64")?;
            return Ok(Ended {
                status: Some(status.code().unwrap_or(1)),
                why: None,
                tail: Vec::new(),
            });
        }
        let running = Running::start(&mut qemu)?;
        running.watch(self.time_max, take)
    }

    /// Software emulation: a machine in a cloud seldom has KVM for its own. One thread runs all of a machine's CPUs in
    /// turn: with a thread each, a CPU was seen to run half-patched code when the kernel switched a tracepoint on, and
    /// the host's other CPUs are better used by other machines. What makes emulation slow and proves nothing here
    /// (a new CPU's features, mitigations, zeroed memory, waiting for RCU) is off.
    fn arguments(&self) -> Vec<String> {
        let serial = if self.interactive {
            "mon:stdio"
        } else {
            "stdio"
        };
        let text = format!(
            "-accel tcg,thread=single,tb-size=512 -cpu qemu64,+rdrand -smp 2 -m {} -nodefaults -display none -no-reboot -serial {serial}",
            self.memory_mib
        );
        let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        let line = "console=ttyS0 quiet panic=-1 oops=panic mitigations=off init_on_alloc=0 \
             rcupdate.rcu_expedited=1 random.trust_cpu=on";
        for (option, value) in [
            ("-kernel", self.kernel.display().to_string()),
            ("-initrd", self.initramfs.display().to_string()),
            ("-append", line.to_owned()),
        ] {
            words.extend([option.to_owned(), value]);
        }
        words
    }
}

/// A machine whose console is read. Dropping it ends it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(qemu: &mut Command) -> Result<Self> {
        qemu.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = qemu.spawn().context("cannot start qemu-system-x86_64")?;
        Ok(Self(child))
    }

    fn watch(mut self, time_max: Option<Duration>, mut take: impl FnMut(&str)) -> Result<Ended> {
        let stdout = self.0.stdout.take().context("qemu has no output")?;
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                if send.send(plain(&String::from_utf8_lossy(&line))).is_err() {
                    return;
                }
            }
        });
        let begin = Instant::now();
        let (mut status, mut why) = (None, None);
        let mut tail = VecDeque::new();
        let mut tail_lines = TAIL_LINES;
        loop {
            let left = time_max.map_or(Duration::MAX, |max| max.saturating_sub(begin.elapsed()));
            match lines.recv_timeout(left) {
                Ok(line) => {
                    // Behind what the work said last, if that did not end in a new line.
                    if let Some((last, told)) = line.split_once(EXIT) {
                        status = told.trim().parse().ok();
                        if !last.is_empty() {
                            take(last);
                        }
                        continue;
                    }
                    take(&line);
                    if line.contains("Kernel panic") {
                        why = Some("the kernel panicked".to_owned());
                    }
                    if OOPS.iter().any(|start| line.contains(start)) {
                        tail_lines = OOPS_LINES_MAX;
                    }
                    tail.push_back(line);
                    if tail.len() > tail_lines {
                        tail.pop_front();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let minutes = time_max.unwrap_or_default().as_secs() / 60;
                    why = Some(format!("it was ended after {minutes} minutes (--minutes)"));
                    break;
                }
            }
        }
        Ok(Ended {
            status,
            why,
            tail: tail.into(),
        })
    }
}

/// A line without what a terminal would swallow: carriage returns and escape sequences.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\x1b' => {
                let sequence = letters.next() == Some('[');
                while sequence && letters.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
            }
            letter if letter.is_control() && letter != '\t' => {}
            letter => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_one_line_of_qemu() {
        let mut machine = Machine {
            kernel: "/k/vmlinuz".into(),
            initramfs: "/k/i.cpio".into(),
            memory_mib: 512,
            time_max: None,
            interactive: false,
        };
        assert_eq!(
            machine.arguments().join(" "),
            "-accel tcg,thread=single,tb-size=512 -cpu qemu64,+rdrand -smp 2 -m 512 -nodefaults -display none -no-reboot -serial stdio \
             -kernel /k/vmlinuz -initrd /k/i.cpio -append console=ttyS0 quiet panic=-1 oops=panic \
             mitigations=off init_on_alloc=0 rcupdate.rcu_expedited=1 random.trust_cpu=on"
        );
        machine.interactive = true;
        assert!(machine.arguments().contains(&"mon:stdio".to_owned()));
    }

    #[test]
    fn a_console_becomes_text() {
        assert_eq!(plain("\x1b[2J\x1b[1;32mlab ok\x1b[0m\r"), "lab ok");
        assert_eq!(plain("\x1bcplain\ttext"), "plain\ttext");
    }

    fn watched(script: &str, time_max: Duration) -> (Ended, Vec<String>) {
        let mut lines = Vec::new();
        let running = Running::start(Command::new("sh").args(["-c", script])).expect("a shell");
        let ended = running.watch(Some(time_max), |line| lines.push(line.to_owned()));
        (ended.expect("a watch"), lines)
    }

    #[test]
    fn a_machine_says_how_its_work_ended() {
        let minute = Duration::from_secs(60);
        let (ended, lines) = watched("echo one; echo 'c1m-vm: exit status 3'", minute);
        assert_eq!(ended.status().expect("a status"), 3);
        assert_eq!(lines, ["one"]);
        let (ended, lines) = watched("echo 'twoc1m-vm: exit status 0'", minute);
        assert_eq!((ended.status().expect("a status"), &*lines[0]), (0, "two"));
        let (ended, _) = watched("echo 'Kernel panic - not syncing: x'", minute);
        let error = ended.status().expect_err("a panic").to_string();
        assert!(error.starts_with("the kernel panicked; the end of its console:\n  Kernel panic"));
        let (ended, _) = watched("echo here; exec sleep 60", Duration::from_millis(200));
        let error = ended.status().expect_err("a hang").to_string();
        assert!(error.starts_with("it was ended after 0 minutes") && error.ends_with("here"));
    }
}
