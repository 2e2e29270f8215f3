//! Loads the programs, tells them the filter, attaches them, and takes them away when dropped.

use std::{fs, io::Read as _, os::fd::AsRawFd as _};

use anyhow::{Context as _, bail};
use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::Array,
    programs::{Iter, ProgramError, RawTracePoint},
};
use c1m_common::config::{Config, NAMESPACES_MAX, PORTS_MAX, phase};

use super::{
    btf::KernelTypes,
    hooks::{Choice, Fact, Hook, Point},
    preflight::{self, OBJECT},
    read::Names,
    say,
    symbols::Symbols,
};
use crate::netns::Netns;

/// Room for this many changes while a census is being taken, however little there is for failures: without, the
/// sums would not add up.
const CHANGED_MIN: u32 = 1 << 17;

/// What to trace.
#[derive(Debug)]
pub struct Filter {
    /// The namespaces: at least one, at most [`NAMESPACES_MAX`].
    pub namespaces: Vec<Netns>,
    /// The server ports: at least one, at most [`PORTS_MAX`].
    pub ports: Vec<u16>,
    /// Room for this many attempts that met a failure.
    pub entries: u32,
    /// Whether a server that closes first is a failure of the run.
    pub server_close_is_loss: bool,
    /// Whether to show what the kernel side says.
    pub verbose: bool,
}

/// A trace that runs. Everything it attached goes away with it.
pub struct Tracer {
    pub(super) ebpf: Ebpf,
    /// Which hooks are in use.
    pub choice: Choice,
    /// Names of the running kernel.
    pub names: Names,
    /// What it traces.
    pub filter: Filter,
}

impl Tracer {
    /// Loads and attaches everything; nothing is counted yet. Errors are one sentence each.
    pub fn start(filter: Filter) -> anyhow::Result<Self> {
        let types = preflight::check()?;
        if filter.namespaces.len() > NAMESPACES_MAX {
            bail!(
                "{} network namespaces: one trace covers at most {NAMESPACES_MAX}",
                filter.namespaces.len()
            );
        }
        if filter.ports.is_empty() || filter.ports.len() > PORTS_MAX {
            bail!(
                "{} ports: a trace covers 1 to {PORTS_MAX}, named by --port",
                filter.ports.len()
            );
        }
        let symbols = Symbols::load()?;
        let names = Names::new(&types, symbols);
        let mut choice = Choice::make(|hook| has(&types, hook));
        let config = config(&filter, &types, &names, &mut choice)?;
        let offsets = types.offsets()?;
        let mut ebpf = EbpfLoader::new()
            .override_global("OFFSETS", &offsets, true)
            .override_global("CONFIG", &config, true)
            .map_max_entries("FACTS", filter.entries)
            .map_max_entries("CHANGED", filter.entries.max(CHANGED_MIN))
            .load(OBJECT)
            .map_err(|error| preflight::no_bpf(&error))?;
        let btf = Btf::from_sys_fs().context("the kernel's BTF cannot be read")?;
        let mut refused = Vec::new();
        for hook in &choice.taken {
            if let Err(error) = attach(&mut ebpf, hook, &btf, &filter) {
                refused.push((*hook, error));
            }
        }
        for (hook, error) in refused {
            if matches!(hook.fact, Fact::States | Fact::StatesByNetwork) {
                return Err(error.context(format!("{} cannot be attached", hook.point)));
            }
            choice.taken.retain(|taken| taken.fact != hook.fact);
            choice.missing.push(hook);
            choice.refusals.push(format!("{}: {error:#}", hook.point));
        }
        if filter.verbose {
            say::listen(&mut ebpf)?;
        }
        Ok(Self {
            ebpf,
            choice,
            names,
            filter,
        })
    }

    /// From now on it is noted what changes while what stands is being counted.
    pub fn note_changes(&mut self) -> anyhow::Result<()> {
        self.set_phase(phase::STARTING)
    }

    /// What stands has been counted: the run begins.
    pub fn run(&mut self) -> anyhow::Result<()> {
        self.set_phase(phase::RUNNING)
    }

    /// The end: facts stay as they are from now on.
    pub fn end(&mut self) -> anyhow::Result<()> {
        self.set_phase(phase::ENDED)
    }

    /// When it returns, no program runs any more that has seen the phase before.
    fn set_phase(&mut self, value: u32) -> anyhow::Result<()> {
        let map = self
            .ebpf
            .map_mut("PHASE")
            .context("the eBPF object has no map PHASE")?;
        Array::<_, u32>::try_from(map)?
            .set(0, value, 0)
            .context("cannot set the phase of the trace")?;
        // Waits for every RCU reader, as which programs run. A kernel without it leaves but a few microseconds
        // of doubt.
        // SAFETY: takes numbers only.
        unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
        Ok(())
    }

    /// How often the kernel skipped a program because it was running on that CPU already.
    pub fn recursion_misses(&self) -> Vec<(&'static str, u64)> {
        let misses = |hook: &&'static Hook| {
            let program = self.ebpf.program(hook.program)?;
            let fd = program.fd().ok()?.as_fd().as_raw_fd();
            let text = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
            let count = text
                .lines()
                .find_map(|line| line.strip_prefix("recursion_misses:"))?;
            Some((hook.program, count.trim().parse().ok()?))
        };
        self.choice.taken.iter().filter_map(misses).collect()
    }
}

use std::os::fd::AsFd as _;

/// Whether this kernel has a hook, as far as its BTF tells.
fn has(types: &KernelTypes, hook: &Hook) -> bool {
    match hook.point {
        Point::Tracepoint(name) => types
            .tracepoint_args(name)
            .is_some_and(|args| args >= hook.args_min),
        Point::Iterator(_) => true,
    }
}

/// The kernel side's configuration; takes the hooks out of `choice` that have no use without it.
fn config(
    filter: &Filter,
    types: &KernelTypes,
    names: &Names,
    choice: &mut Choice,
) -> anyhow::Result<Config> {
    let mut config = Config {
        kfree_skb_args: types.tracepoint_args("kfree_skb").unwrap_or(2),
        consume_skb_args: types.tracepoint_args("consume_skb").unwrap_or(1),
        send_reset_args: types.tracepoint_args("tcp_send_reset").unwrap_or(2),
        reason_not_specified: names.drop_reason("NOT_SPECIFIED").unwrap_or(0),
        reason_listen_overflow: names.drop_reason("TCP_LISTEN_OVERFLOW").unwrap_or(u32::MAX),
        reason_no_socket: names.drop_reason("NO_SOCKET").unwrap_or(u32::MAX),
        syn_queue_full_at_equal: 0,
        server_close_is_loss: u32::from(filter.server_close_is_loss),
        ..Config::default()
    };
    for (slot, namespace) in config.namespaces.iter_mut().zip(&filter.namespaces) {
        *slot = namespace.inum;
    }
    for (slot, port) in config.ports.iter_mut().zip(&filter.ports) {
        *slot = *port;
    }
    match names.symbols.range("tcp_rcv_state_process") {
        Some(range) => {
            config.rcv_state_process_start = range.start;
            config.rcv_state_process_end = range.end;
        }
        None => {
            let (lost, kept) = choice
                .taken
                .iter()
                .partition(|hook| hook.fact == Fact::SynsTaken);
            choice.taken = kept;
            let lost: Vec<&Hook> = lost;
            choice.missing.extend(lost);
        }
    }
    Ok(config)
}

fn attach(ebpf: &mut Ebpf, hook: &Hook, btf: &Btf, filter: &Filter) -> anyhow::Result<()> {
    let program = ebpf
        .program_mut(hook.program)
        .with_context(|| format!("the eBPF object has no program {}", hook.program))?;
    match hook.point {
        Point::Tracepoint(name) => {
            let program: &mut RawTracePoint = program.try_into()?;
            program.load().map_err(shorten)?;
            program.attach(name).map_err(shorten)?;
        }
        Point::Iterator(name) => {
            let program: &mut Iter = program.try_into()?;
            program.load(name, btf).map_err(shorten)?;
            for namespace in &filter.namespaces {
                let id = program.attach().map_err(shorten)?;
                let link = program.take_link(id).map_err(shorten)?;
                // The iterator walks the namespace of the thread that opens it.
                namespace.run(|| -> anyhow::Result<()> {
                    let mut nothing = Vec::new();
                    link.into_file()?.read_to_end(&mut nothing)?;
                    Ok(())
                })??;
            }
        }
    }
    Ok(())
}

/// A verifier's log is long: its last lines tell what it refused.
fn shorten(error: ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(12)..].join("\n  ");
            anyhow::anyhow!("{io_error}; the verifier says:\n  {tail}")
        }
        other => other.into(),
    }
}
