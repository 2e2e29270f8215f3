//! Loads and attaches the programs of a hook: all that it needs, or none.

use std::io;

use anyhow::Context as _;
use aya::{
    Btf, Ebpf,
    programs::{
        BtfTracePoint, FEntry, FExit, Iter, KProbe, Program, ProgramError, RawTracePoint,
        SchedClassifier, TracePoint,
    },
};

use super::{
    btf::KernelTypes,
    hooks::{Backend, Hook, Part, Point},
    queues::read_all,
    symbols::Symbols,
};
use crate::netns::Netns;

/// Where a kernel that has kprobes lists them as a source of events.
const KPROBES: &str = "/sys/bus/event_source/devices/kprobe";

/// Whether perf can name an event: it does so by a number that only tracefs tells, which the loader looks for in these places.
fn is_event(group: &str, name: &str) -> bool {
    let places = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
    let event = |place| std::path::Path::new(place).join("events").join(group);
    places
        .into_iter()
        .any(|place| event(place).join(name).exists())
}

/// Whether tracepoints can be preempted: since Linux 7.0 `__DO_TRACE` holds SRCU instead. No type tells.
pub fn has_preemptible_tracepoints() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let major = release
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    major.is_some_and(|major: u32| major >= 7)
}

/// What the running kernel says of itself.
#[derive(Clone, Copy)]
pub struct Kernel<'a> {
    /// Its types.
    pub types: &'a KernelTypes,
    /// Its functions.
    pub symbols: &'a Symbols,
}

impl Kernel<'_> {
    /// Why a part cannot be attached here; none if it seems that it can.
    pub fn lacks(&self, part: &Part) -> Option<&'static str> {
        match part.point {
            Point::Tracepoint(name) | Point::Typed(name) => {
                match self.types.tracepoint_args(name) {
                    None => Some("not on this kernel"),
                    Some(args) if args < part.args_min => Some("tells too little on this kernel"),
                    // Without the function's place no SYN can be told from other segments.
                    Some(_) if name == "consume_skb" => {
                        self.lacks_function("tcp_rcv_state_process")
                    }
                    Some(_) if name == "sys_exit" && !self.types.has_call_registers() => {
                        Some("arguments are gone when a call returns")
                    }
                    Some(_) if name == "io_uring_complete" && !self.types.has_ring_results() => {
                        Some("tells no request on this kernel")
                    }
                    Some(_) => None,
                }
            }
            Point::Event(..) if !self.types.has_state_event() => {
                Some("its record has no type on this kernel")
            }
            Point::Event(group, name) => match is_event(group, name) {
                true => None,
                false => Some("tracefs is not mounted at /sys/kernel/tracing"),
            },
            Point::Iterator(_) | Point::Lookup => None,
            Point::Kprobe(_) | Point::Kretprobe(_) if !std::path::Path::new(KPROBES).exists() => {
                Some("this kernel has no kprobes")
            }
            Point::Kprobe(name) => self.lacks_function(name),
            Point::Kretprobe(name) => match self.symbols.variant(name) {
                Some(_) => None,
                None => Some("no such function on this kernel"),
            },
            Point::Fentry(name) | Point::Fexit(name) => match self.types.function_args(name) {
                Some(_) => self.lacks_function(name),
                None => Some("no type for this function on this kernel"),
            },
        }
    }

    /// Why a hook is of no use here.
    pub fn lacks_hook(&self, hook: &Hook) -> Option<&'static str> {
        let needed = hook.parts.iter().filter(|part| part.needed);
        needed.filter_map(|part| self.lacks(part)).next()
    }

    fn lacks_function(&self, name: &str) -> Option<&'static str> {
        match self.symbols.range(name) {
            Some(_) => None,
            None => Some("no such function on this kernel"),
        }
    }
}

/// Takes hooks as they are asked for.
pub struct Loader<'a> {
    /// The running kernel.
    pub kernel: Kernel<'a>,
    /// Its types, as the loader of programs wants them.
    pub btf: Btf,
    /// The traced namespaces.
    pub namespaces: &'a [Netns],
    /// The programs that are attached, and where: two facts may share one.
    pub attached: Vec<(&'static str, Point)>,
    /// What the verifier refused.
    pub refusals: Vec<String>,
    /// Kinds of hooks that the kernel refuses as such, and how.
    pub unusable: Vec<(Backend, String)>,
    /// Whether a program was refused for want of a descriptor.
    pub out_of_descriptors: bool,
}

impl Loader<'_> {
    /// Attaches the programs of `hook`; whether it did. If one that is needed is refused, the others are taken away.
    pub fn take(&mut self, ebpf: &mut Ebpf, hook: &Hook) -> bool {
        let unusable = self.unusable.iter().any(|(kind, _)| *kind == hook.backend);
        if unusable || self.kernel.lacks_hook(hook).is_some() {
            return false;
        }
        let before = self.attached.len();
        for part in hook.parts {
            let there = (part.program, part.point);
            if self.attached.contains(&there) || self.kernel.lacks(part).is_some() {
                continue;
            }
            match self.attach(ebpf, part) {
                Ok(()) => self.attached.push(there),
                Err(error) => {
                    self.refused(hook.backend, part.point, &error);
                    if part.needed {
                        self.take_away(ebpf, before);
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Keeps in mind how the kernel refused.
    fn refused(&mut self, backend: Backend, point: Point, error: &anyhow::Error) {
        let errno = error
            .chain()
            .find_map(|cause| cause.downcast_ref::<io::Error>())
            .and_then(io::Error::raw_os_error);
        self.out_of_descriptors |= errno == Some(libc::EMFILE);
        match (backend, errno) {
            // Every program of this kind, whatever it does: seccomp, or an architecture without trampolines.
            (Backend::Fentry, Some(libc::EPERM | libc::EACCES)) => {
                self.unusable.push((backend, format!("{error:#}")));
            }
            // A function of more arguments than this kernel's trampolines can pass on.
            (Backend::Fentry, Some(ENOTSUPP)) => {}
            _ => self.refusals.push(format!("{point}: {error:#}")),
        }
    }

    /// Takes away what was attached after the first `kept` programs.
    fn take_away(&mut self, ebpf: &mut Ebpf, kept: usize) {
        for (program, _) in self.attached.drain(kept..) {
            // One that is not loaded has nothing to take away.
            let _ = match ebpf.program_mut(program) {
                Some(Program::KProbe(program)) => program.unload(),
                Some(Program::FEntry(program)) => program.unload(),
                Some(Program::FExit(program)) => program.unload(),
                Some(Program::RawTracePoint(program)) => program.unload(),
                Some(Program::BtfTracePoint(program)) => program.unload(),
                Some(Program::TracePoint(program)) => program.unload(),
                Some(Program::SchedClassifier(program)) => program.unload(),
                _ => Ok(()),
            };
        }
    }

    fn attach(&self, ebpf: &mut Ebpf, part: &Part) -> anyhow::Result<()> {
        let program = ebpf
            .program_mut(part.program)
            .with_context(|| format!("the eBPF object has no program {}", part.program))?;
        let loaded = program.fd().is_ok();
        match part.point {
            Point::Tracepoint(name) => {
                let program: &mut RawTracePoint = program.try_into()?;
                program.load().map_err(shorten)?;
                program.attach(name).map_err(shorten)?;
            }
            Point::Typed(name) => {
                let program: &mut BtfTracePoint = program.try_into()?;
                program.load(name, &self.btf).map_err(shorten)?;
                program.attach().map_err(shorten)?;
            }
            Point::Event(group, name) => {
                let program: &mut TracePoint = program.try_into()?;
                program.load().map_err(shorten)?;
                program.attach(group, name).map_err(shorten)?;
            }
            Point::Iterator(name) => {
                let program: &mut Iter = program.try_into()?;
                program.load(name, &self.btf).map_err(shorten)?;
                for namespace in self.namespaces {
                    read(program, namespace)?;
                }
            }
            Point::Lookup => {
                let program: &mut SchedClassifier = program.try_into()?;
                program.load().map_err(shorten)?;
            }
            Point::Kprobe(name) => kprobe(program, name, loaded)?,
            Point::Kretprobe(name) => {
                let name = self.kernel.symbols.variant(name).unwrap_or(name);
                kprobe(program, name, loaded)?;
            }
            Point::Fentry(name) => {
                let program: &mut FEntry = program.try_into()?;
                program.load(name, &self.btf).map_err(shorten)?;
                program.attach().map_err(shorten)?;
            }
            Point::Fexit(name) => {
                let program: &mut FExit = program.try_into()?;
                program.load(name, &self.btf).map_err(shorten)?;
                program.attach().map_err(shorten)?;
            }
        }
        Ok(())
    }
}

/// The kernel's own "not supported", which libc does not know.
const ENOTSUPP: i32 = 524;

/// One program may be attached to several functions.
fn kprobe(program: &mut Program, function: &str, loaded: bool) -> anyhow::Result<()> {
    let program: &mut KProbe = program.try_into()?;
    if !loaded {
        program.load().map_err(shorten)?;
    }
    program.attach(function, 0).map_err(shorten)?;
    Ok(())
}

/// Runs an iterator over one namespace: it walks that of the thread that opens it.
fn read(program: &mut Iter, namespace: &Netns) -> anyhow::Result<()> {
    let id = program.attach().map_err(shorten)?;
    let link = program.take_link(id).map_err(shorten)?;
    namespace.run(|| -> anyhow::Result<()> {
        read_all(link.into_file()?)?;
        Ok(())
    })?
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
            // What the verifier took may still find no descriptor.
            if lines.is_empty() || io_error.raw_os_error() == Some(libc::EMFILE) {
                return io_error.into();
            }
            let tail = lines[lines.len().saturating_sub(12)..].join("\n  ");
            anyhow::anyhow!("{io_error}; the verifier says:\n  {tail}")
        }
        other => other.into(),
    }
}
