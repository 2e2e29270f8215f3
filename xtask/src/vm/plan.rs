//! Every lab on every kernel with every backend that was asked for: a machine per kernel, several machines at once.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    backend::{self, Backend},
    initramfs, kernels,
    kernels::{Kernel, Series},
    matrix::{Seen, failed},
    programs::{self, Needs, Recorded},
    qemu::Machine,
};
use crate::test::Count;

/// How the console's line begins that names the backend whose labs follow.
pub(super) const BACKEND_LINE: &str = "c1m-vm: backend";

/// How the line begins that tells how one of [`CHECKS`] ended.
pub(super) const CHECK_LINE: &str = "c1m-vm: check";

/// An emulated machine is so slow that the timers of thousands of attempts expire in one tick: the burst that they send must
/// not overflow what no lab but `cpu-backlog` is about, which sets its own.
const ROOM: &str = "echo 100000 >/proc/sys/net/core/netdev_max_backlog\n";

/// What c1m says on a host that can't: one line, exit status 2. The last locks the kernel down for good.
const CHECKS: &str = r#"
check() {
    name=$1 words=$2; shift 2
    "$@" >/run/check 2>&1
    status=$?
    # On a slow machine c1m says first what it is doing.
    if [ $status = 2 ] && grep -q "$words" /run/check && [ "$(grep -vc '…$' /run/check)" = 1 ]; then
        echo "CHECK_LINE $name passed"
    else
        echo "CHECK_LINE $name FAILED: status $status: $(tr '\n' ' ' </run/check)"
    fi
}
check no-btf CONFIG_DEBUG_INFO_BTF \
    unshare -m sh -c 'mount -t tmpfs none /sys/kernel/btf && exec c1m trace --port 9 -- true'
check no-root 'needs root' su nobody -s /bin/sh -c 'c1m trace --port 9 -- true'
check unprivileged 'takes no eBPF' unshare -U -r c1m trace --port 9 -- true
mount -t securityfs security /sys/kernel/security
echo confidentiality >/sys/kernel/security/lockdown
check lockdown 'locked down' c1m trace --port 9 -- true
"#;

/// How many they are.
pub(super) const CHECKS_COUNT: u64 = 4;

/// What `cargo xtask test` proves on each kernel: one lab for each way in which a listener, its queues, the network and a
/// limit lose connections, and one for the tracer's own losses. An emulated machine takes about 9 seconds of CPU time for
/// each; `cargo xtask vm all` runs all.
const CORE: &str = "enfile conntrack-full evidence-lost netfilter-in syn-backlog-full accept-queue-full-syn \
    accept-queue-full-ack accept-queue-full-cookie request-expired server-exited";

/// The same with a backend that is forced: what each backend sees by hooks of its own, and one that is exact with every one.
const CORE_FORCED: &str =
    "netfilter-in syn-backlog-full accept-queue-full-syn accept-queue-full-ack request-expired";

/// Besides, on the newest kernel: the other labs that change settings of the whole host, or need kprobes, which no other test
/// runs.
const CORE_NEWEST: &str =
    "cpu-backlog neighbour-table-full memory-pressure memory-pressure-tcp-mem no-request-memory";

fn core(backend: Backend) -> String {
    let labs = match backend {
        Backend::Auto => CORE,
        _ => CORE_FORCED,
    };
    labs.to_owned()
}

fn core_newest(backend: Backend) -> String {
    match backend {
        Backend::Auto => format!("{CORE} {CORE_NEWEST}"),
        _ => core(backend),
    }
}

/// Labs that run side by side in one machine. Each loads its programs, which is what an emulated CPU is slowest at:
/// with more, the kernel's own times (TIME_WAIT) would be over before a lab has begun.
const JOBS: usize = 3;

/// Likewise where loading them takes more than [`SLOW_S`] seconds.
const JOBS_SLOW: usize = 2;
const SLOW_S: u64 = 6;

/// How machines are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) memory_mib: u32,
    /// For one backend's labs on one kernel.
    pub(super) time_max: Duration,
    /// How many machines run at once.
    pub(super) machines: usize,
}

/// The labs of a backend, as `c1m lab` takes them.
type Labs = fn(Backend) -> String;

/// One kernel's share.
#[derive(Debug)]
pub(super) struct Share {
    kernel: Kernel,
    backends: Vec<Backend>,
    labs: Labs,
}

/// The kernels with the same backends each; the newest first, for its labs take the longest.
pub(super) fn shares(series: &[Series<'_>], backends: &[Backend]) -> (Vec<Share>, Count) {
    let all: Labs = |_| "--all".to_owned();
    let each = series.iter().rev();
    let each = each.map(|series| (*series, backends.to_vec(), all));
    fetched(each.collect())
}

/// What `cargo xtask test` does: the labs of [`core`], and of [`core_newest`] on the newest kernel, with `auto` on every kernel,
/// with every backend on the oldest and the newest.
pub(super) fn standard(series: &[Series<'_>]) -> (Vec<Share>, Count) {
    let last = series.len().saturating_sub(1);
    let each = series.iter().enumerate().map(|(index, series)| {
        let backends = match index == 0 || index == last {
            true => backend::ALL.to_vec(),
            false => vec![Backend::Auto],
        };
        let labs: Labs = if index == last { core_newest } else { core };
        (*series, backends, labs)
    });
    fetched(each.collect())
}

/// Fetches the kernels, one after the other. One that cannot be had has failed.
fn fetched(plan: Vec<(Series<'_>, Vec<Backend>, Labs)>) -> (Vec<Share>, Count) {
    let mut shares = Vec::new();
    let mut count = Count::default();
    for (series, backends, labs) in plan {
        match kernels::get(series) {
            // What is taken instead of one may be another.
            Ok(kernel)
                if shares
                    .iter()
                    .any(|share: &Share| share.kernel.release == kernel.release) =>
            {
                println!("{}: {} is there already", series.name, kernel.release);
            }
            Ok(kernel) => shares.push(Share {
                kernel,
                backends,
                labs,
            }),
            Err(error) => {
                println!("{}: FAILED: {error:#}", series.name);
                count.add(failed(backends.len() as u64));
            }
        }
    }
    (shares, count)
}

/// What all machines came to.
#[derive(Debug, Default)]
pub(super) struct Done {
    count: Count,
    /// What the programs take, by the kernel's first two numbers.
    needs: BTreeMap<String, Needs>,
}

impl Done {
    /// The sum; a program that takes far more than it did has failed.
    pub(super) fn judged(self) -> Result<Count> {
        let recorded = Recorded::read()?;
        let mut count = self.count;
        let of_kernels = self.needs.iter().flat_map(|(kernel, needs)| {
            let jumps = recorded.jumps(kernel, needs).into_iter();
            jumps.map(move |jump| format!("{kernel}: {jump}"))
        });
        for jump in of_kernels.chain(recorded.stack_jumps(&programs::stacks()?)) {
            println!("FAILED: {jump}");
            count.add(failed(1));
        }
        Ok(count)
    }

    /// The sum; what the programs take is what they may take from now on.
    pub(super) fn recorded(self) -> Result<Count> {
        Recorded::read().unwrap_or_default().write(self.needs)?;
        Ok(self.count)
    }
}

/// Runs every share, the longest first, and prints lines as they come.
pub(super) fn run(mut shares: Vec<Share>, limits: Limits) -> Done {
    shares.sort_by_key(|share| std::cmp::Reverse(share.backends.len()));
    let machines = limits.machines.clamp(1, shares.len().max(1));
    let waiting = Mutex::new(VecDeque::from(shares));
    let next = || {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.pop_front()
    };
    let (tell, told) = mpsc::channel();
    let mut done = Done::default();
    thread::scope(|scope| {
        for _ in 0..machines {
            let (tell, next) = (tell.clone(), &next);
            scope.spawn(move || {
                while let Some(share) = next() {
                    let (series, needs, count) =
                        one(&share, limits, |line| drop(tell.send(Told::Line(line))));
                    drop(tell.send(Told::End(series, needs, count)));
                }
            });
        }
        drop(tell);
        for what in told {
            match what {
                Told::Line(line) => println!("{line}"),
                Told::End(series, needs, count) => {
                    done.count.add(count);
                    done.needs.entry(series).or_default().extend(needs);
                }
            }
        }
    });
    done
}

/// What a machine's thread tells.
enum Told {
    Line(String),
    /// The kernel's series, what its programs take, and how its labs ended.
    End(String, Needs, Count),
}

/// One machine from its start to its end: as [`Told::End`] has it.
fn one(share: &Share, limits: Limits, say: impl Fn(String)) -> (String, Needs, Count) {
    let release = &share.kernel.release;
    let begin = Instant::now();
    let mut seen = Seen::new(release);
    let mut times = Vec::new();
    let done = machine(share, limits).and_then(|machine| {
        machine.run(|line| {
            if line.starts_with(BACKEND_LINE) {
                times.push(Instant::now());
            }
            if let Some(told) = seen.line(line) {
                say(told);
            }
        })
    });
    match done.and_then(|ended| ended.status()) {
        // The labs' own lines are judged; what the script's last command said is nothing more.
        Ok(_) => {}
        Err(error) => {
            say(format!("{release}: FAILED: {error:#}"));
            seen.failed();
        }
    }
    times.push(Instant::now());
    let (series, needs) = seen.programs();
    let (counts, machine) = seen.end(&share.backends);
    let mut total = machine;
    for (index, (backend, count)) in counts.iter().enumerate() {
        let time = times.get(index).zip(times.get(index + 1));
        let seconds = time.map_or(0, |(from, to)| (*to - *from).as_secs());
        let (name, line) = (backend.name(), count.line());
        say(format!("== {release} {name}: {line} ({seconds} s)"));
        total.add(*count);
    }
    let seconds = begin.elapsed().as_secs();
    say(format!("== {release}: {} ({seconds} s)", total.line()));
    (series, needs, total)
}

fn machine(share: &Share, limits: Limits) -> Result<Machine> {
    Ok(Machine {
        initramfs: initramfs::build(&share.kernel, &script(&share.backends, share.labs))?,
        kernel: share.kernel.image.clone(),
        memory_mib: limits.memory_mib,
        time_max: Some(limits.time_max * share.backends.len() as u32),
        interactive: false,
    })
}

/// What a machine of the matrix runs: for each backend, the programs are loaded once for their own sake, then the labs.
fn script(backends: &[Backend], labs: Labs) -> String {
    let part = |backend: &Backend| {
        let (name, labs) = (backend.name(), labs(*backend));
        // What `auto` means needs no word.
        let hooks = match backend {
            Backend::Auto => String::new(),
            _ => format!(" --hooks {name}"),
        };
        format!(
            "echo '{BACKEND_LINE} {name}'\n\
             read begin idle </proc/uptime\n\
             c1m trace{hooks} --list-programs\n\
             read end idle </proc/uptime\n\
             jobs={JOBS}; [ $((${{end%.*}} - ${{begin%.*}})) -le {SLOW_S} ] || jobs={JOBS_SLOW}\n\
             c1m lab {labs} --let-idle --host-wide --jobs $jobs{hooks}\n"
        )
    };
    let parts: String = backends.iter().map(part).collect();
    format!("{ROOM}{parts}{}", CHECKS.replace("CHECK_LINE", CHECK_LINE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_has_its_part_of_the_script() {
        let script = script(&[Backend::Auto, Backend::Kprobe], core);
        assert!(script.contains("backend auto'\nread begin idle </proc/uptime\nc1m trace --list"));
        let forced =
            format!("c1m lab {CORE_FORCED} --let-idle --host-wide --jobs $jobs --hooks kprobe\n");
        assert!(script.contains(&forced));
        // What every kernel runs, the newest does.
        let newest = core_newest(Backend::Auto);
        let newest: Vec<&str> = newest.split_whitespace().collect();
        assert!(CORE.split_whitespace().all(|lab| newest.contains(&lab)));
        assert!(newest.contains(&"no-request-memory"));
    }
}
