//! `c1m lab`: one process per lab, several side by side, one line each.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::retry_on_intr,
    process::{
        Pid, PidfdFlags, Signal, pidfd_open, set_child_subreaper, set_parent_process_death_signal,
    },
};

use super::{
    LABS, Skip,
    awake::Awake,
    bench::{Bench, Setup, TIME_MAX},
    fix::Plan,
    host::{self, Keeper},
    line::{judge, judge_fixed, skipped},
    process::{POLL, descendants, signal},
    scratch::Scratch,
    show::{Show, find},
    sum::{Done, End, Fixed, Sum},
    view::{Programs, why_not_foreign},
};
use crate::{
    cli::{Hooks, LabArgs},
    netns::Netns,
    report::json,
};

/// Runs `c1m lab`; the exit status: 0 all exact and, with `--fix`, healed by the settings that they named, 1 some
/// not, 2 all skipped. Errors: unknown names, a host that can't.
pub fn main(args: &LabArgs) -> anyhow::Result<u8> {
    if !args.keep.is_empty() {
        return host::keep(&args.keep);
    }
    if let (Some(name), Some(dir)) = (&args.inside, &args.dir) {
        let plan = args.plan.as_deref().map(Plan::load).transpose()?;
        let lab = Show::inside(name, args)?;
        return inside(&lab, dir, args, plan);
    }
    if args.list {
        for lab in LABS {
            println!("{:<35}{}", lab.name, lab.about);
        }
        return Ok(0);
    }
    for name in &args.names {
        find(name)?;
    }
    let labs = Show::chosen(args);
    ensure!(
        !labs.is_empty(),
        "which lab? `c1m lab --list` names them, `c1m lab --all` runs them"
    );
    ensure!(
        rustix::process::geteuid().is_root(),
        "a lab makes network namespaces and traces the kernel: run it as root (sudo c1m lab …)"
    );
    ensure!(
        labs.len() == 1 || args.outputs.is_empty(),
        "a report is of one lab's runs: name one lab, or keep all records with --records DIR"
    );
    args.outputs.check()?;
    ensure!(
        !args.outputs.uses_stdout(),
        "a lab says how it went on stdout: name a file for the report of its runs"
    );
    let _awake = (!args.let_idle).then(Awake::keep);
    let scratch = Scratch::new()?;
    let shop = Shop {
        scratch,
        hooks: args.hooks,
        fix: args.fix,
        host_wide: args.host_wide,
        quiet: labs.len() > 1,
    };
    let sum = match &labs[..] {
        [lab] => shop.alone(lab)?,
        _ => several(&labs, args.jobs, &shop),
    };
    if let ([lab], false) = (&labs[..], args.outputs.is_empty()) {
        for (number, path) in (1..).zip(shop.scratch.records(&lab.name())) {
            args.outputs.of_run(number).write(&json::read(&path)?)?;
        }
    }
    if let Some(records) = &args.records {
        for lab in &labs {
            shop.scratch.keep(&lab.name(), records)?;
        }
    }
    if args.all {
        let uname = rustix::system::uname();
        println!("{}", sum.proven(&uname.release().to_string_lossy()));
    }
    println!("{sum}");
    Ok(sum.status())
}

/// Runs labs as their processes.
struct Shop {
    scratch: Scratch,
    hooks: Hooks,
    /// Whether to run them again with the settings that they name.
    fix: bool,
    /// Whether they may change settings of the whole host.
    host_wide: bool,
    /// Whether their tables are left out.
    quiet: bool,
}

impl Shop {
    /// One lab, with the tables of its runs.
    fn alone(&self, lab: &Show) -> anyhow::Result<Sum> {
        println!("{}: {}", lab.name(), lab.lab.about);
        let done = self.run(lab)?;
        if !done.line.is_empty() {
            println!("{}", done.line);
        }
        let mut sum = Sum::default();
        sum.add(lab.lab, &done);
        Ok(sum)
    }

    /// With the settings of the whole host put back that it changes, however it ends.
    fn run(&self, lab: &Show) -> anyhow::Result<Done> {
        if lab.programs == Programs::Foreign
            && let Some(why) = why_not_foreign(lab.lab.name)
        {
            return Ok(Done {
                end: End::LeftOut,
                fixed: None,
                line: format!("{}not for foreign programs: {why}", lab.head()),
            });
        }
        let settings = host::changed_by(lab.lab.name);
        if settings.is_empty() {
            return self.run_twice(lab);
        }
        if !self.host_wide {
            return Ok(skipped(lab, &Skip(host::unasked(settings))));
        }
        let keeper = match Keeper::start(settings) {
            Ok(keeper) => keeper,
            Err(error) => return Ok(skipped(lab, &error.downcast()?)),
        };
        let done = self.run_twice(lab);
        keeper.end()?;
        done
    }

    /// Once, and once more with the settings that it named, if that was asked for.
    fn run_twice(&self, lab: &Show) -> anyhow::Result<Done> {
        let dir = self.scratch.dir(&lab.name())?;
        let (end, line) = self.process(lab, &dir, None)?;
        let mut done = Done {
            end,
            fixed: None,
            line,
        };
        if !self.fix || end != End::Exact {
            return Ok(done);
        }
        let plan = Plan::of(&dir, lab.lab.cause)?;
        if plan.is_void() {
            return Ok(done);
        }
        if plan.fixes.is_empty() {
            done.fixed = Some(Fixed::NoSetting);
            let (before, remedies) = (plan.before(), plan.remedies());
            done.line = format!("{}{before}  no setting: {remedies}", lab.head());
            return Ok(done);
        }
        let dir = self.scratch.fixed_dir(&lab.name())?;
        let file = dir.join("plan");
        plan.save(&file)?;
        let (end, line) = self.process(lab, &dir, Some(&file))?;
        done.line = line;
        done.fixed = Some(match end {
            End::Exact => Fixed::Helped,
            _ => Fixed::NotHelped,
        });
        Ok(done)
    }

    /// One run in a process of its own: how it ended and, if its tables are left out, its line.
    fn process(
        &self,
        lab: &Show,
        dir: &Path,
        plan: Option<&Path>,
    ) -> anyhow::Result<(End, String)> {
        if !self.quiet {
            let mut child = self.start(lab, dir, plan, [Stdio::inherit(), Stdio::inherit()])?;
            return Ok((wait(&mut child)?, String::new()));
        }
        let output = dir.join("lab.out");
        let file = fs::File::create(&output)?;
        let mut child = self.start(lab, dir, plan, [file.try_clone()?.into(), file.into()])?;
        let end = wait(&mut child)?;
        let output = fs::read_to_string(&output).unwrap_or_default();
        let line = output.lines().rev().find_map(|line| lab.line(line));
        let line = line.unwrap_or_else(|| lab.failed(&anyhow::anyhow!("{}", output.trim())));
        Ok((end, line))
    }

    fn start(
        &self,
        lab: &Show,
        dir: &Path,
        plan: Option<&Path>,
        [stdout, stderr]: [Stdio; 2],
    ) -> anyhow::Result<Child> {
        let mut command = Command::new(super::own_program()?);
        command
            .args(["lab", "--hooks", &self.hooks.to_string()])
            .args(["--inside", lab.lab.name, "--dir"])
            .arg(dir);
        if let Some(plan) = plan {
            command.arg("--plan").arg(plan);
        }
        if lab.programs == Programs::Foreign {
            command.args(["--programs", "foreign"]);
        }
        if let Some(seed) = lab.seed {
            command.args(["--seed", &seed.to_string()]);
        }
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        // Ctrl-C is this process's to answer.
        command.process_group(0);
        command
            .spawn()
            .with_context(|| format!("cannot start the lab {}", lab.name()))
    }
}

/// Labs of a thousand attempts and more at once: beside others a slow machine takes longer for them than SYNs and requests wait.
const BUSY: &[&str] = &["field-notes", "mixed", "random"];

/// Several labs, `jobs` at a time; their lines come in the labs' order. The busy ones, and those that change settings of the
/// whole host, come after all others, one at a time.
fn several(labs: &[Show], jobs: usize, shop: &Shop) -> Sum {
    let (alone, others): (Vec<Show>, Vec<Show>) = labs.iter().partition(|show| {
        let name = show.lab.name;
        BUSY.contains(&name) || !host::changed_by(name).is_empty()
    });
    let sum = side_by_side(&others, jobs, shop, Sum::default());
    side_by_side(&alone, 1, shop, sum)
}

/// The same, all of one kind, added to a sum.
fn side_by_side(labs: &[Show], jobs: usize, shop: &Shop, sum: Sum) -> Sum {
    let next = AtomicUsize::new(0);
    let lines = Mutex::new(Lines {
        ready: labs.iter().map(|_| None).collect(),
        printed: 0,
        sum,
    });
    // A lab dies with the thread that started it, so the threads live as long as their labs.
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, labs.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(lab) = labs.get(index) else { return };
                    let done = shop.run(lab);
                    lines
                        .lock()
                        .unwrap_or_else(|poisoned| poisoned.into_inner())
                        .add(index, lab, done);
                }
            });
        }
    });
    lines
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
        .sum
}

/// The lines of labs that ended, printed in order.
struct Lines {
    ready: Vec<Option<String>>,
    printed: usize,
    sum: Sum,
}

impl Lines {
    fn add(&mut self, index: usize, lab: &Show, done: anyhow::Result<Done>) {
        let done = done.unwrap_or_else(|error| Done {
            end: End::Failed,
            fixed: None,
            line: lab.failed(&error),
        });
        self.sum.add(lab.lab, &done);
        self.ready[index] = Some(done.line);
        while let Some(line) = self.ready.get_mut(self.printed).and_then(Option::take) {
            println!("{line}");
            self.printed += 1;
        }
    }
}

/// Waits for a lab, which keeps its own time; ends it if even that fails.
fn wait(child: &mut Child) -> anyhow::Result<End> {
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("cannot watch a lab's process")?;
    let time_max = Timespec::try_from(TIME_MAX + Duration::from_secs(20))?;
    let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
    // Asking again and again would cost the labs beside it their time, on a slow machine.
    retry_on_intr(|| poll(&mut ended, Some(&time_max)))?;
    if let Some(status) = child.try_wait()? {
        return Ok(End::of(status));
    }
    child.kill()?;
    child.wait()?;
    bail!("it took more than {TIME_MAX:?} and was killed")
}

/// The body of a lab's own process.
fn inside(lab: &Show, dir: &Path, args: &LabArgs, plan: Option<Plan>) -> anyhow::Result<u8> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(std::io::Error::from)?;
    set_child_subreaper(Some(Pid::INIT)).map_err(std::io::Error::from)?;
    let host = Netns::current()?;
    Netns::create()?
        .enter()
        .context("cannot enter the lab's network namespace")?;
    let fixes = plan.as_ref().map(|plan| plan.fixes.clone());
    let setup = Setup {
        host: (host, host::changed_by(lab.lab.name)),
        hooks: args.hooks,
        seed: lab.seed,
        programs: lab.programs,
        fixes: fixes.unwrap_or_default(),
    };
    let bench = Bench::new(dir, setup);
    let done = bench.and_then(|mut bench| (lab.lab.run)(&mut bench));
    end_descendants();
    let (end, line) = match done {
        Ok(outcomes) => match &plan {
            None => judge(lab, &outcomes),
            Some(plan) => judge_fixed(lab, &outcomes, plan),
        },
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(why) => (End::Skipped, skipped(lab, why).line),
            None => (End::Failed, lab.failed(&error)),
        },
    };
    println!("{line}");
    Ok(end.status())
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
