//! Loads the programs, tells them the filter, attaches them, and takes them away when dropped.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::fd::{AsFd as _, AsRawFd as _},
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData},
    programs::Program,
};
use c1m_common::{
    config::{Config, NAMESPACES_MAX, PORTS_MAX, STATE_MARKS, phase, word},
    listener::Lookups,
};

use super::{
    btf::KernelTypes,
    chosen,
    generations::Generations,
    hooks::{Backend, Choice, Fact},
    load::{Kernel, Loader, has_preemptible_tracepoints},
    preflight::{self, OBJECT},
    read::{Names, PLACES},
    say,
    symbols::Symbols,
    tree,
};
use crate::netns::Netns;

/// Room for this many changes at one end while a census is being taken, however little there is for failures: without, the
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
    /// Whether what runs is not ours: its system calls' errors are not recorded by itself.
    pub foreign: bool,
    /// The kind of hooks to use wherever a fact has one; none for the best that there is.
    pub backend: Option<Backend>,
    /// Whether to show what the kernel side says.
    pub verbose: bool,
    /// Whether to load while no other tracer does that is to do so in turn.
    pub in_turn: bool,
}

impl Filter {
    /// Errors: more namespaces or ports than one trace can cover, or none.
    fn check(&self) -> anyhow::Result<()> {
        if self.namespaces.len() > NAMESPACES_MAX {
            bail!(
                "{} network namespaces: one trace covers at most {NAMESPACES_MAX}",
                self.namespaces.len()
            );
        }
        if self.ports.is_empty() || self.ports.len() > PORTS_MAX {
            bail!(
                "{} ports: a trace covers 1 to {PORTS_MAX}, named by --port",
                self.ports.len()
            );
        }
        Ok(())
    }

    /// Whether a fact can tell anything in such a trace, on this kernel.
    pub(crate) fn wants(&self, fact: Fact, types: &KernelTypes) -> bool {
        match fact {
            Fact::FilesRefused | Fact::DescriptorsRefused | Fact::Calls | Fact::RingCalls => {
                self.foreign
            }
            Fact::DropReasons => infers_reasons(types),
            Fact::StatesPreempted => has_preemptible_tracepoints(),
            _ => true,
        }
    }
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
    /// Facts of earlier attempts.
    pub(super) generations: Generations,
    /// What `which_listener` is asked.
    pub(super) questions: Mutex<Array<MapData, Lookups>>,
    /// Timer interrupts until the run began, where it can be told in which of them programs ran.
    pub(super) interrupts_before: Option<u64>,
    /// Those in which none ran, while the run lasted.
    pub(super) interrupts_skipped: u64,
    /// How long it took to attach everything.
    pub(super) attach_time: Duration,
}

impl Tracer {
    /// Loads and attaches everything; nothing is counted yet. Errors are one sentence each.
    pub fn start(filter: Filter) -> anyhow::Result<Self> {
        // Until it returns.
        let _turn = filter.in_turn.then(turn).transpose()?;
        let begun = Instant::now();
        preflight::check()?;
        filter.check()?;
        let (types, symbols, loading) = read_kernel()?;
        let names = Names::new(&types, symbols);
        let mut ebpf = load_object(loading, &filter, &types, &names)?;
        let mut loader = Loader {
            kernel: Kernel {
                types: &types,
                symbols: &names.symbols,
            },
            btf: types.for_loader()?,
            namespaces: &filter.namespaces,
            attached: Vec::new(),
            refusals: Vec::new(),
            unusable: Vec::new(),
            out_of_descriptors: false,
        };
        let wanted = |fact| filter.wants(fact, &types);
        let mut choice = Choice::make(filter.backend, wanted, |hook| loader.take(&mut ebpf, hook));
        // It would see less than this kernel can tell.
        if loader.out_of_descriptors {
            return Err(preflight::too_few_descriptors());
        }
        choice.refusals = loader.refusals;
        choice.unusable = loader.unusable;
        if let Some(hook) = choice
            .missing
            .iter()
            .find(|hook| matches!(hook.fact, Fact::States | Fact::StatesByNetwork))
        {
            bail!(
                "{} cannot be attached: {}",
                hook.points(),
                choice.refusals.join("; ")
            );
        }
        let by_tracepoint = |fact| {
            let mut taken = choice.taken.iter();
            taken.any(|hook| hook.fact == fact && hook.backend == Backend::Tracepoint)
        };
        let infers = by_tracepoint(Fact::SynDrops);
        set_word(&mut ebpf, word::INFERS_SYN_DROPS, infers.into())?;
        let by_function = choice.has(Fact::Calls) && !by_tracepoint(Fact::Calls);
        set_word(&mut ebpf, word::CALLS_BY_FUNCTION, by_function.into())?;
        if filter.foreign {
            tree::name(&mut ebpf)?;
        }
        if filter.verbose {
            say::listen(&mut ebpf)?;
        }
        let questions = Mutex::new(chosen::questions(&mut ebpf)?);
        Ok(Self {
            generations: Generations::listen(&ebpf, filter.entries as usize)?,
            ebpf,
            choice,
            questions,
            names,
            filter,
            interrupts_before: None,
            interrupts_skipped: 0,
            attach_time: begun.elapsed(),
        })
    }

    /// From now on it is noted what changes while what stands is being counted.
    pub fn note_changes(&mut self) -> anyhow::Result<()> {
        self.set_phase(phase::STARTING)
    }

    /// What stands has been counted: the run begins.
    pub fn run(&mut self) -> anyhow::Result<()> {
        self.set_phase(phase::RUNNING)?;
        self.begin_interrupts();
        Ok(())
    }

    /// The end: facts stay as they are from now on.
    pub fn end(&mut self) -> anyhow::Result<()> {
        self.end_interrupts();
        self.set_phase(phase::ENDED)
    }

    /// When it returns, no program runs any more that has seen the phase before.
    fn set_phase(&mut self, value: u32) -> anyhow::Result<()> {
        set_word(&mut self.ebpf, word::PHASE, value)?;
        // Waits for every RCU reader, which is what programs run as. A kernel without it leaves but a few microseconds
        // of doubt.
        // SAFETY: takes numbers only.
        unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
        Ok(())
    }

    /// The programs that the kernel took.
    pub fn programs(&self) -> anyhow::Result<Vec<LoadedProgram<'_>>> {
        let loaded = self.ebpf.programs().filter(|(_, it)| it.fd().is_ok());
        let told = |(name, program): (_, &Program)| {
            let info = program
                .info()
                .with_context(|| format!("the kernel tells nothing of program {name}"))?;
            Ok(LoadedProgram {
                name,
                size: info.size_translated().unwrap_or(0) / INSTRUCTION_BYTES,
                verified: info.verified_instruction_count().filter(|&count| count > 0),
            })
        };
        loaded.map(told).collect()
    }

    /// How often the kernel skipped a program because it was running on that CPU already.
    pub fn recursion_misses(&self) -> Vec<(&'static str, u64)> {
        let misses = |name: &'static str| {
            let program = self.ebpf.program(name)?;
            let fd = program.fd().ok()?.as_fd().as_raw_fd();
            let text = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
            let count = text
                .lines()
                .find_map(|line| line.strip_prefix("recursion_misses:"))?;
            Some((name, count.trim().parse().ok()?))
        };
        let parts = self.choice.taken.iter().flat_map(|hook| hook.parts);
        let programs: BTreeSet<&str> = parts.map(|part| part.program).collect();
        programs.into_iter().filter_map(misses).collect()
    }
}

/// A program as the kernel has it.
#[derive(Clone, Copy, Debug)]
pub struct LoadedProgram<'a> {
    /// Its name in the object.
    pub name: &'a str,
    /// How many instructions it has, as the kernel runs them.
    pub size: u32,
    /// How many the verifier went through; none before Linux 5.16.
    pub verified: Option<u32>,
}

/// `sizeof(struct bpf_insn)`
const INSTRUCTION_BYTES: u32 = 8;

/// What the kernel says of itself: its types, its functions, and a loader, which reads the types for itself. Each takes a tenth of a
/// second at most, so they are read side by side.
fn read_kernel() -> anyhow::Result<(KernelTypes, Symbols, EbpfLoader<'static>)> {
    std::thread::scope(|scope| {
        let symbols = scope.spawn(Symbols::load);
        let loader = scope.spawn(EbpfLoader::new);
        let types = KernelTypes::load()?;
        let panicked = |_| anyhow::anyhow!("reading what the kernel says of itself failed");
        let symbols = symbols.join().map_err(panicked)??;
        Ok((types, symbols, loader.join().map_err(panicked)?))
    })
}

/// Waits until no other process has a turn of this program's file: it has one as long as it keeps what is returned.
fn turn() -> anyhow::Result<File> {
    let own = File::open("/proc/self/exe").context("cannot open this program's file")?;
    own.lock().context("cannot wait for a turn")?;
    Ok(own)
}

/// The object's maps, and its programs with all that they are told once.
fn load_object(
    loading: EbpfLoader<'_>,
    filter: &Filter,
    types: &KernelTypes,
    names: &Names,
) -> anyhow::Result<Ebpf> {
    let log_level = match filter.verbose {
        true => aya_log::Level::Trace as u8,
        false => 0,
    };
    let (offsets, config) = (types.offsets()?, config(filter, types, names));
    let state_marks = match config.preemptible_tracepoints {
        0 => 1,
        _ => STATE_MARKS,
    };
    // Lives no longer than what it is told.
    let mut loading = loading;
    loading
        .override_global("OFFSETS", &offsets, true)
        .override_global("CONFIG", &config, true)
        // What nobody listens to is no part of the programs.
        .override_global(aya_log::LEVEL, &log_level, true)
        .map_max_entries("FACTS", filter.entries)
        .map_max_entries(
            "CHANGED",
            filter.entries.max(CHANGED_MIN << u32::from(filter.foreign)),
        )
        .map_max_entries("STATE_MARKS", state_marks)
        .load(OBJECT)
        .map_err(|error| preflight::no_bpf(&error, filter.entries))
}

/// Sets one of the words that the programs look at.
fn set_word(ebpf: &mut Ebpf, word: u32, value: u32) -> anyhow::Result<()> {
    let map = ebpf
        .map_mut("WORDS")
        .context("the eBPF object has no map WORDS")?;
    Array::<_, u32>::try_from(map)?
        .set(word, value, 0)
        .context("cannot tell the programs what to do")
}

/// Whether `kfree_skb` gives no reason here, or not for every drop (before it names the receiver), so that functions must tell it.
fn infers_reasons(types: &KernelTypes) -> bool {
    types
        .tracepoint_args("kfree_skb")
        .is_some_and(|args| args < 4)
}

/// The kernel side's configuration.
fn config(filter: &Filter, types: &KernelTypes, names: &Names) -> Config {
    let args = |function| types.function_args(function).unwrap_or(0);
    let text = names.symbols.range("tcp_rcv_state_process");
    let text = text.unwrap_or(0..u64::MAX);
    let mut config = Config {
        rcv_state_process_start: text.start,
        rcv_state_process_end: text.end,
        kfree_skb_args: types.tracepoint_args("kfree_skb").unwrap_or(2),
        consume_skb_args: types.tracepoint_args("consume_skb").unwrap_or(1),
        retransmit_skb_args: types.tracepoint_args("tcp_retransmit_skb").unwrap_or(2),
        mark_victim_args: types.tracepoint_args("mark_victim").unwrap_or(0),
        send_reset_args: types.tracepoint_args("tcp_send_reset").unwrap_or(2),
        reason_not_specified: names.drop_reason("NOT_SPECIFIED").unwrap_or(0),
        reason_listen_overflow: names.drop_reason("TCP_LISTEN_OVERFLOW").unwrap_or(u32::MAX),
        reason_no_socket: names.drop_reason("NO_SOCKET").unwrap_or(u32::MAX),
        reason_invalid_syn: names.drop_reason("TCP_INVALID_SYN").unwrap_or(u32::MAX),
        reason_netfilter_drop: names.drop_reason("NETFILTER_DROP").unwrap_or(u32::MAX),
        preemptible_tracepoints: has_preemptible_tracepoints().into(),
        server_close_is_loss: u32::from(filter.server_close_is_loss),
        counts_clients: u32::from(filter.foreign),
        syn_recv_sock_v4_args: args("tcp_v4_syn_recv_sock"),
        syn_recv_sock_v6_args: args("tcp_v6_syn_recv_sock"),
        syn_flood_action_args: args("tcp_syn_flood_action"),
        peer_is_proven_args: args("tcp_peer_is_proven"),
        twsk_alloc_args: args("inet_twsk_alloc"),
        check_req_args: args("tcp_check_req"),
        timewait_args: args("tcp_timewait_state_process"),
        cgroup_filter_args: args("__cgroup_bpf_run_filter_skb"),
        twsk_unique_args: args("tcp_twsk_unique"),
        check_oom_args: args("tcp_check_oom"),
        alloc_empty_file_args: args("alloc_empty_file"),
        alloc_fd_args: args("alloc_fd"),
        sys_socket_args: args("__sys_socket"),
        sys_bind_args: args("__sys_bind"),
        sys_connect_file_args: args("__sys_connect_file"),
        sys_accept4_args: args("__sys_accept4"),
        time_wait_syn: types.enum_value("tcp_tw_status", "TCP_TW_SYN"),
        nr_socket: libc::SYS_socket as u32,
        nr_bind: libc::SYS_bind as u32,
        nr_connect: libc::SYS_connect as u32,
        nr_accept: libc::SYS_accept as u32,
        nr_accept4: libc::SYS_accept4 as u32,
        ..Config::default()
    };
    let place = |function: &str| {
        let place = names.symbols.range(names.symbols.variant(function)?)?;
        Some([place.start, place.end])
    };
    for (slot, (function, _)) in config.places.iter_mut().zip(PLACES) {
        *slot = place(function).unwrap_or_default();
    }
    if infers_reasons(types) && filter.backend != Some(Backend::Tracepoint) {
        let receivers = ["tcp_v4_rcv", "tcp_v6_rcv"];
        config.receive = receivers.map(|function| place(function).unwrap_or_default());
    }
    let icmp = ["icmp_rcv", "icmpv6_rcv"].map(|function| names.symbols.range(function));
    for (slot, place) in config.icmp.iter_mut().zip(icmp.into_iter().flatten()) {
        *slot = [place.start, place.end];
    }
    for (slot, namespace) in config.namespaces.iter_mut().zip(&filter.namespaces) {
        *slot = namespace.inum;
    }
    for (slot, port) in config.ports.iter_mut().zip(&filter.ports) {
        *slot = *port;
    }
    config
}
