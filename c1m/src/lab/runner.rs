//! `c1m lab`: one process per lab, several side by side, one line each.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, set_child_subreaper, set_parent_process_death_signal};
use tokio::signal::unix::{self, SignalKind};

use super::{
    LABS, Lab, Outcome, Skip,
    bench::{Bench, TIME_MAX},
    process::{POLL, descendants, signal},
    truth::{causes, listed},
};
use crate::{
    cli::{Hooks, LabArgs},
    netns::Netns,
};

/// Runs `c1m lab`; the exit status: 0 all exact, 1 some not. Errors: unknown names, a host that can't.
pub fn main(args: &LabArgs) -> anyhow::Result<u8> {
    if let (Some(name), Some(dir)) = (&args.inside, &args.dir) {
        return inside(find(name)?, dir, args.hooks);
    }
    if args.list {
        for lab in LABS {
            println!("{:<28}{}", lab.name, lab.about);
        }
        return Ok(0);
    }
    for name in &args.names {
        find(name)?;
    }
    let chosen = |lab: &&Lab| args.all || args.names.iter().any(|name| name == lab.name);
    let labs: Vec<&Lab> = LABS.iter().filter(chosen).collect();
    ensure!(
        !labs.is_empty(),
        "which lab? `c1m lab --list` names them, `c1m lab --all` runs them"
    );
    ensure!(
        rustix::process::geteuid().is_root(),
        "a lab makes network namespaces and traces the kernel: run it as root (sudo c1m lab …)"
    );
    let scratch = Scratch::new()?;
    clear_away_if_interrupted(scratch.0.clone())?;
    let sum = match labs[..] {
        [lab] => Sum::of(alone(lab, args.hooks, &scratch)?),
        _ => side_by_side(&labs, args, &scratch)?,
    };
    if let Some(records) = &args.records {
        for lab in &labs {
            keep(lab, &scratch.dir(lab)?, records)?;
        }
    }
    println!("{sum}");
    Ok(u8::from(sum.failed > 0))
}

/// How a lab ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Every run was exact.
    Exact,
    /// One was not, or the lab could not be carried through.
    Failed,
    /// It can't run here.
    Skipped,
}

impl End {
    /// As the exit status of the lab's process.
    fn status(self) -> u8 {
        match self {
            Self::Exact => 0,
            Self::Failed => 1,
            Self::Skipped => 4,
        }
    }

    fn of(status: std::process::ExitStatus) -> Self {
        match status.code() {
            Some(0) => Self::Exact,
            Some(4) => Self::Skipped,
            _ => Self::Failed,
        }
    }
}

/// How many labs ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    exact: usize,
    failed: usize,
    skipped: usize,
}

impl Sum {
    fn of(end: End) -> Self {
        let mut sum = Self::default();
        sum.add(end);
        sum
    }

    fn add(&mut self, end: End) {
        match end {
            End::Exact => self.exact += 1,
            End::Failed => self.failed += 1,
            End::Skipped => self.skipped += 1,
        }
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            exact,
            failed,
            skipped,
        } = self;
        write!(f, "{exact} passed, {failed} failed")?;
        match skipped {
            0 => Ok(()),
            _ => write!(f, ", {skipped} skipped"),
        }
    }
}

/// Copies a lab's records to `records`, as NAME-1.json and on, in the order of its runs.
fn keep(lab: &Lab, from: &Path, records: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(records).with_context(|| format!("cannot make {}", records.display()))?;
    let files = fs::read_dir(from)?.filter_map(|file| Some(file.ok()?.path()));
    let number = |path: &PathBuf| path.file_stem()?.to_str()?.parse::<u32>().ok();
    let mut runs: Vec<(u32, PathBuf)> = files
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .filter_map(|path| Some((number(&path)?, path)))
        .collect();
    runs.sort();
    for (run, (_, path)) in (1..).zip(runs) {
        let to = records.join(format!("{}-{run}.json", lab.name));
        fs::copy(&path, &to).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

fn find(name: &str) -> anyhow::Result<&'static Lab> {
    let lab = LABS.iter().find(|lab| lab.name == name);
    lab.with_context(|| format!("there is no lab {name}: `c1m lab --list` names them"))
}

/// One lab, with the tables of its runs.
fn alone(lab: &Lab, hooks: Hooks, scratch: &Scratch) -> anyhow::Result<End> {
    println!("{}: {}", lab.name, lab.about);
    let mut child = start(lab, hooks, scratch, [Stdio::inherit(), Stdio::inherit()])?;
    wait(&mut child)
}

/// Several labs, `jobs` at a time; their lines come in the labs' order.
fn side_by_side(labs: &[&Lab], args: &LabArgs, scratch: &Scratch) -> anyhow::Result<Sum> {
    let next = AtomicUsize::new(0);
    let lines = Mutex::new(Lines {
        ready: labs.iter().map(|_| None).collect(),
        printed: 0,
        sum: Sum::default(),
    });
    // A lab dies with the thread that started it, so the threads live as long as their labs.
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.clamp(1, labs.len()) {
            scope.spawn(|| {
                while let Some(lab) = labs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let index = labs
                        .iter()
                        .position(|other| std::ptr::eq(*other, *lab))
                        .unwrap_or(0);
                    let done = quietly(lab, args.hooks, scratch);
                    lines
                        .lock()
                        .unwrap_or_else(|poisoned| poisoned.into_inner())
                        .add(index, lab, done);
                }
            });
        }
    });
    Ok(lines
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
        .sum)
}

/// The lines of labs that ended, printed in order.
struct Lines {
    ready: Vec<Option<String>>,
    printed: usize,
    sum: Sum,
}

impl Lines {
    fn add(&mut self, index: usize, lab: &Lab, done: anyhow::Result<(End, String)>) {
        let (end, line) = done.unwrap_or_else(|error| (End::Failed, failed(lab, &error)));
        self.sum.add(end);
        self.ready[index] = Some(line);
        while let Some(line) = self.ready.get_mut(self.printed).and_then(Option::take) {
            println!("{line}");
            self.printed += 1;
        }
    }
}

/// One lab without its tables: how it ended, and its line.
fn quietly(lab: &Lab, hooks: Hooks, scratch: &Scratch) -> anyhow::Result<(End, String)> {
    let output = scratch.dir(lab)?.join("lab.out");
    let file = fs::File::create(&output)?;
    let mut child = start(lab, hooks, scratch, [file.try_clone()?.into(), file.into()])?;
    let end = wait(&mut child)?;
    let output = fs::read_to_string(&output).unwrap_or_default();
    let line = output
        .lines()
        .rev()
        .find(|line| line.starts_with(&head(lab)));
    let line = line.map_or_else(
        || failed(lab, &anyhow::anyhow!("{}", output.trim())),
        str::to_owned,
    );
    Ok((end, line))
}

fn start(
    lab: &Lab,
    hooks: Hooks,
    scratch: &Scratch,
    [stdout, stderr]: [Stdio; 2],
) -> anyhow::Result<Child> {
    let dir = scratch.dir(lab)?;
    let mut command = Command::new(super::own_program()?);
    command
        .args(["lab", "--hooks", &hooks.to_string()])
        .args(["--inside", lab.name, "--dir"])
        .arg(dir);
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    // Ctrl-C is this process's to answer.
    command.process_group(0);
    command
        .spawn()
        .with_context(|| format!("cannot start the lab {}", lab.name))
}

/// Waits for a lab, which keeps its own time; ends it if even that fails.
fn wait(child: &mut Child) -> anyhow::Result<End> {
    let begin = Instant::now();
    while begin.elapsed() < TIME_MAX + Duration::from_secs(20) {
        if let Some(status) = child.try_wait()? {
            return Ok(End::of(status));
        }
        std::thread::sleep(POLL);
    }
    child.kill()?;
    child.wait()?;
    bail!("it took more than {TIME_MAX:?} and was killed")
}

/// The body of a lab's own process.
fn inside(lab: &Lab, dir: &Path, hooks: Hooks) -> anyhow::Result<u8> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(std::io::Error::from)?;
    set_child_subreaper(Some(Pid::INIT)).map_err(std::io::Error::from)?;
    Netns::create()?
        .enter()
        .context("cannot enter the lab's network namespace")?;
    let done = Bench::new(dir, hooks).and_then(|mut bench| (lab.run)(&mut bench));
    end_descendants();
    let (end, line) = match done {
        Ok(outcomes) => judge(lab, &outcomes),
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(why) => (End::Skipped, format!("{}skipped: {why}", head(lab))),
            None => (End::Failed, failed(lab, &error)),
        },
    };
    println!("{line}");
    Ok(end.status())
}

/// Prints the tables of a lab's runs; whether all were exact, and the lab's line.
fn judge(lab: &Lab, outcomes: &[Outcome]) -> (End, String) {
    let mut wrong = Vec::new();
    let [mut expected, mut found] = [const { Vec::new() }; 2];
    for Outcome { truth, run } in outcomes {
        println!("{}\n", run.printed.trim_end());
        expected.push(listed(
            truth.lost.iter().map(|(slug, count)| (*slug, *count)),
        ));
        found.push(listed(causes(&run.record)));
        let differences = truth.differences(&run.record, run.status);
        if !differences.is_empty() {
            eprint!("{}", run.complaints);
        }
        wrong.extend(differences);
    }
    let verdict = if wrong.is_empty() {
        "exact".to_owned()
    } else {
        format!("WRONG: {}", wrong.join("; "))
    };
    let [expected, found] = [expected, found].map(|all| all.join(" then "));
    let end = match wrong.is_empty() {
        true => End::Exact,
        false => End::Failed,
    };
    (
        end,
        format!("{}expected {expected}  found {found}  {verdict}", head(lab)),
    )
}

/// How a lab's line begins.
fn head(lab: &Lab) -> String {
    format!("lab {:<28}", lab.name)
}

fn failed(lab: &Lab, error: &anyhow::Error) -> String {
    // One line, whatever a program complained of.
    let error = format!("{error:#}");
    let error: Vec<&str> = error.lines().map(str::trim).collect();
    format!("{}FAILED: {}", head(lab), error.join("; "))
}

/// Whatever a lab's programs left running is ours now: none of it survives the lab.
fn end_descendants() {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(5) {
        let left = descendants(std::process::id());
        if left.is_empty() {
            return;
        }
        for pid in left {
            let _ = signal(pid, Signal::KILL);
        }
        while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
        std::thread::sleep(POLL);
    }
}

/// A directory for the labs' records and logs, removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("c1m-lab-{}", std::process::id()));
        // Fails if it exists: nobody else's directory or link is ever used.
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    fn dir(&self, lab: &Lab) -> anyhow::Result<PathBuf> {
        let path = self.0.join(lab.name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }
}

/// Ctrl-C and SIGTERM: the labs die with this process (and their programs clean up), the files do not.
fn clear_away_if_interrupted(files: PathBuf) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let signals = {
        let _inside = runtime.enter();
        [SignalKind::interrupt(), SignalKind::terminate()].map(unix::signal)
    };
    let [interrupt, terminate] = signals;
    let (mut interrupt, mut terminate) = (interrupt?, terminate?);
    std::thread::spawn(move || {
        let status = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            }
        });
        let _ = fs::remove_dir_all(files);
        std::process::exit(status);
    });
    Ok(())
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("c1m: cannot remove {}: {error}", self.0.display());
        }
    }
}
