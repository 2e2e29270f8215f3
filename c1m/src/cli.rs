//! The command line: clap types only, and the dispatch to the commands.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

mod doctor;
mod examples;
mod install;
mod lab;
mod outputs;

pub use self::doctor::{DoctorArgs, End};
use self::examples::{
    CAUSES_EXAMPLES, CLIENT_EXAMPLES, COMPLETIONS_EXAMPLES, EXAMPLES, REPORT_EXAMPLES,
    SERVER_EXAMPLES, TRACE_EXAMPLES,
};
pub use self::lab::{LabArgs, Plain, Programs, Seeds};
use crate::{load::worker, run, stderr::say, trace::hooks::Backend};

pub use outputs::{MetricsArgs, Outputs};

/// Holds a million TCP connections on ordinary Linux, and says why each missing one is missing.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs of `c1m`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Accept and hold connections
    Server(ServerArgs),
    /// Open and hold connections
    Client(ClientArgs),
    /// Run a server, a client or any other command, and say why connections were lost
    Trace(TraceArgs),
    /// Say beforehand how many connections this host can hold, and which limit ends it
    Doctor(DoctorArgs),
    /// Print one recorded run, or several joined
    Report(ReportArgs),
    /// Provoke a cause in a network namespace of its own and check that the table is exact
    Lab(LabArgs),
    /// Explain the causes
    Causes(CausesArgs),
    /// Print completions for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// Which one
        shell: clap_complete::Shell,
    },
    /// Write the man pages to a directory (for packagers)
    #[command(hide = true)]
    Man {
        /// It has to be there
        dir: PathBuf,
    },
    /// A client or server that knows nothing of c1m (started by a lab, never by hand)
    #[command(hide = true, subcommand)]
    Plain(Plain),
    /// A worker process (started by a server or client, never by hand)
    #[command(hide = true)]
    Worker {
        /// The worker's share of the work, as JSON.
        #[arg(long)]
        config: String,
    },
}

/// How the workers of a server get at connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Listeners {
    /// One listening socket that all workers share
    Shared,
    /// One listening socket per worker (SO_REUSEPORT): a hash chooses, so connections for a full worker wait in its queue
    Reuseport,
}

/// Whether to show a run while it lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Live {
    /// A view on a terminal; elsewhere lines, for a client only; nothing beside another command
    #[default]
    Auto,
    /// A view
    On,
    /// No view, but a client's lines
    Off,
}

/// The option of everything that runs.
#[derive(Args, Clone, Copy, Debug)]
pub struct LiveArgs {
    /// Show the run while it lasts: q or Ctrl-C ends it
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto", default_missing_value = "on",
          num_args = 0..=1, require_equals = true)]
    pub live: Live,
}

/// Options of `c1m server`.
#[derive(Args, Clone, Debug)]
#[command(after_help = SERVER_EXAMPLES)]
pub struct ServerArgs {
    /// Whether to show it while it lasts.
    #[command(flatten)]
    pub live: LiveArgs,
    /// Address and port to listen on
    #[arg(long, default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,
    /// Length of the accept queue, see listen(2); at most net.core.somaxconn [default: somaxconn]
    #[arg(long)]
    pub backlog: Option<u32>,
    /// At most this many worker processes
    #[arg(long, default_value_t = crate::options::WORKERS_MAX)]
    pub workers_max: u32,
    /// Connections per worker [default: what RLIMIT_NOFILE leaves]
    #[arg(long)]
    pub per_worker: Option<u32>,
    /// How the workers get at connections
    #[arg(long, value_enum, default_value_t = Listeners::Shared)]
    pub listeners: Listeners,
    /// Send back what is received
    #[arg(long)]
    pub echo: bool,
    /// Retire a worker that has been empty this long
    #[arg(long, value_parser = humantime::parse_duration, default_value = "10s")]
    pub retire_after: Duration,
    /// Where the report goes besides the terminal
    #[command(flatten)]
    pub outputs: Outputs,
    /// What others can read while it runs
    #[command(flatten)]
    pub metrics: MetricsArgs,
}

/// How the client ends a connection that it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Close {
    /// RST (SO_LINGER 0): leaves no TIME_WAIT behind
    Rst,
    /// FIN, the orderly way: leaves TIME_WAIT sockets
    Fin,
    /// Leave it to the end of the process
    None,
}

/// Who chooses the source ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ports {
    /// c1m: every connection has its own address and port, no search in the kernel
    Explicit,
    /// The kernel, from ip_local_port_range, as most programs let it
    Kernel,
}

/// Options of `c1m client`.
#[derive(Args, Clone, Debug)]
#[command(after_help = CLIENT_EXAMPLES)]
pub struct ClientArgs {
    /// Whether to show it while it lasts.
    #[command(flatten)]
    pub live: LiveArgs,
    /// Address and port to connect to
    #[arg(long, default_value = "127.0.0.1:8000")]
    pub target: SocketAddr,
    /// How many source addresses, counted on from --sources [default: what --connections needs, or 40]
    #[arg(long)]
    pub ips: Option<u32>,
    /// Connections per source address [default: 25000, or what --connections takes and --port-range has]
    #[arg(long)]
    pub per_ip: Option<u32>,
    /// Connections in all [default: --ips × --per-ip, or what this host can hold of them]
    #[arg(long)]
    pub connections: Option<u64>,
    /// Source addresses: a first one (127.0.1.1), a range (10.0.0.100-139) or a network (127.0.1.0/24)
    #[arg(long)]
    pub sources: Option<String>,
    /// Device to put missing --addresses on, for as long as the run lasts (needs root)
    #[arg(long, requires = "addresses")]
    pub dev: Option<String>,
    /// Source addresses on --dev, written as --sources
    #[arg(long, requires = "dev", conflicts_with = "sources")]
    pub addresses: Option<String>,
    /// Source ports to use on each address
    #[arg(long, default_value = "10000-65535")]
    pub port_range: String,
    /// Who chooses the source ports
    #[arg(long, value_enum, default_value_t = Ports::Explicit)]
    pub ports: Ports,
    /// Attempts per second, all workers together: 5000, or 5000/s [default: as fast as it goes]
    #[arg(long)]
    pub rate: Option<String>,
    /// Attempts under way at one time, all workers together
    #[arg(long, default_value_t = 1024)]
    pub in_flight: u32,
    /// Give an attempt up after this long
    #[arg(long, value_parser = humantime::parse_duration, default_value = "10s")]
    pub timeout: Duration,
    /// Hold the connections this long after the last attempt settled; not at all if none was established
    #[arg(long, value_parser = humantime::parse_duration, default_value = "60s")]
    pub hold: Duration,
    /// How to end a connection
    #[arg(long, value_enum, default_value_t = Close::Rst)]
    pub close: Close,
    /// Try a failed attempt again, up to this many times
    #[arg(long, default_value_t = 0)]
    pub retry: u32,
    /// Connections per worker process [default: what RLIMIT_NOFILE leaves]
    #[arg(long)]
    pub per_worker: Option<u32>,
    /// Try even what the checks before the run say must fail
    #[arg(long)]
    pub unchecked: bool,
    /// Where the report goes besides the terminal
    #[command(flatten)]
    pub outputs: Outputs,
    /// What others can read while it runs
    #[command(flatten)]
    pub metrics: MetricsArgs,
}

/// Which kind of hooks the tracer uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Hooks {
    /// For each fact the cheapest that is exact here
    Auto,
    /// Trampolines at functions, wherever a fact has one
    Fentry,
    /// Probes of functions likewise
    Kprobe,
    /// Tracepoints alone, as on a kernel without kprobes and trampolines
    Tracepoint,
}

impl std::fmt::Display for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        })
    }
}

impl Hooks {
    /// The kind that is asked for; none for the best.
    pub fn forced(self) -> Option<Backend> {
        match self {
            Self::Auto => None,
            Self::Fentry => Some(Backend::Fentry),
            Self::Kprobe => Some(Backend::Kprobe),
            Self::Tracepoint => Some(Backend::Tracepoint),
        }
    }
}

/// Options of `c1m trace`.
#[derive(Args, Clone, Debug)]
#[command(after_help = TRACE_EXAMPLES)]
pub struct TraceArgs {
    /// Whether to show it while it lasts.
    #[command(flatten)]
    pub live: LiveArgs,
    /// Where the report goes besides the terminal
    #[command(flatten)]
    pub outputs: Outputs,
    /// What others can read while it runs
    #[command(flatten)]
    pub metrics: MetricsArgs,
    /// Server port to trace (server and client know theirs)
    #[arg(long)]
    pub port: Vec<u16>,
    /// Also trace this network namespace: a name of `ip netns`, a pid, or a path
    #[arg(long)]
    pub netns: Vec<String>,
    /// Room for this many attempts that met a failure
    #[arg(long, default_value_t = 1_000_000)]
    pub entries: u32,
    /// Which kind of hooks to use
    #[arg(long, value_enum, default_value_t = Hooks::Auto)]
    pub hooks: Hooks,
    /// Print fact, hook and this kernel's choice, and leave
    #[arg(long)]
    pub list_hooks: bool,
    /// Print the eBPF programs that this kernel takes, with their size and what it took to verify them, and leave
    #[arg(long)]
    pub list_programs: bool,
    /// Write to this file, as JSON, what the trace itself cost: time to attach, time to the table, CPU, memory, programs
    #[arg(long)]
    pub cost: Option<PathBuf>,
    /// Have the kernel count runs and time of the programs for --cost, which slows each of them a little
    #[arg(long, requires = "cost")]
    pub run_times: bool,
    /// Show what the kernel side says of listeners that come and go
    #[arg(long, short)]
    pub verbose: bool,
    /// Load the programs while no other tracer with this option does (labs side by side)
    #[arg(long, hide = true)]
    pub in_turn: bool,
    /// What to run: `server …`, `client …` or any other command with its arguments, which has no terminal to read from
    #[arg(last = true)]
    pub workload: Vec<String>,
}

/// Options of `c1m report`.
#[derive(Args, Clone, Debug)]
#[command(after_help = REPORT_EXAMPLES)]
pub struct ReportArgs {
    /// Records written by --json
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Other formats of a single record
    #[command(flatten)]
    pub outputs: Outputs,
}

/// Options of `c1m causes`.
#[derive(Args, Clone, Debug)]
#[command(after_help = CAUSES_EXAMPLES)]
pub struct CausesArgs {
    /// One cause, by its slug
    pub slug: Option<String>,
    /// Print docs/causes.md
    #[arg(long, conflicts_with = "slug")]
    pub markdown: bool,
}

/// Parses the arguments, runs the command, and turns its outcome into an exit status.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done: anyhow::Result<u8> = match cli.command {
        Command::Server(args) => block_on(run::server(args, None)),
        Command::Client(args) => block_on(run::client(args, None)),
        Command::Doctor(args) => crate::doctor::main(&args),
        Command::Report(args) => crate::report::command(&args),
        Command::Causes(args) => crate::causes::page::command(&args),
        Command::Completions { shell } => install::completions(shell),
        Command::Man { dir } => install::man(&dir),
        Command::Worker { config } => worker::run(&config),
        Command::Plain(what) => crate::lab::plain::run(what),
        Command::Trace(args) => block_on(run::trace(args)),
        Command::Lab(args) => crate::lab::main(&args),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            say(format_args!("{error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Runs a command on one thread: what is many is in worker processes and in the kernel.
fn block_on(command: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(command)
}
