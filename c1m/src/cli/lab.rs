//! The labs' options, and those of the programs that run in them.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{ClientArgs, Hooks, Outputs, ServerArgs};

/// Programs as anybody writes them.
#[derive(Debug, Subcommand)]
pub enum Plain {
    /// Opens connections, and holds them
    Client(ClientArgs),
    /// Accepts connections, and holds them
    Server(ServerArgs),
    /// Makes its calls by io_uring, and has some of them fail
    Ring,
    /// Takes memory until there is no more
    Hog,
}

/// A range of seeds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds {
    /// The first.
    pub first: u64,
    /// The last, not before it.
    pub last: u64,
}

impl std::str::FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let no = || format!("`{text}` is no range of seeds: write 1..100");
        let (first, last) = text.split_once("..").ok_or_else(no)?;
        let (first, last) = first.parse().ok().zip(last.parse().ok()).ok_or_else(no)?;
        match first <= last {
            true => Ok(Self { first, last }),
            false => Err(no()),
        }
    }
}

/// Whose programs run in a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Programs {
    /// c1m's own server and client, which record every attempt
    Ours,
    /// Plain ones that know nothing of c1m: the kernel alone tells
    Foreign,
    /// Each lab twice
    Both,
}

/// Options of `c1m lab`.
#[derive(Args, Clone, Debug)]
#[command(after_help = super::examples::LAB_EXAMPLES)]
pub struct LabArgs {
    /// Which labs
    pub names: Vec<String>,
    /// Name the labs and what each provokes
    #[arg(long)]
    pub list: bool,
    /// Run every lab
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// Whose server and client run in them
    #[arg(long, value_enum, default_value_t = Programs::Ours)]
    pub programs: Programs,
    /// Keep the records of the labs' runs in this directory, as NAME-1.json and on
    #[arg(long, value_name = "DIR")]
    pub records: Option<PathBuf>,
    /// Reports of a single lab's runs: FILE of the first, FILE-2 of the second
    #[command(flatten)]
    pub outputs: Outputs,
    /// Which kind of hooks the labs' tracers use
    #[arg(long, value_enum, default_value_t = Hooks::Auto)]
    pub hooks: Hooks,
    /// How many labs run side by side
    #[arg(long, default_value_t = 4)]
    pub jobs: usize,
    /// Let CPUs idle while labs run. Otherwise each is kept busy at the lowest priority: a kernel of a virtual machine may run
    /// no eBPF program in some of its timer interrupts
    #[arg(long)]
    pub let_idle: bool,
    /// Decides the numbers and times of labs that have some to decide: field-notes, random
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Run each lab once with every seed of a range: 1..100
    #[arg(long, value_name = "FIRST..LAST", conflicts_with = "seed")]
    pub seeds: Option<Seeds>,
    /// Apply the settings that each lab's report names, and run its load again: the cause must be gone
    #[arg(long, conflicts_with = "programs")]
    pub fix: bool,
    /// Run also the labs that change settings of the whole host, one at a time; each is put back
    #[arg(long)]
    pub host_wide: bool,
    /// Keep the values of these settings, and put them back when the input ends
    #[arg(long, hide = true, num_args = 1..)]
    pub keep: Vec<String>,
    /// Be the process of this lab (started by `c1m lab`, never by hand)
    #[arg(long, hide = true, requires = "dir")]
    pub inside: Option<String>,
    /// Where that process keeps its files
    #[arg(long, hide = true)]
    pub dir: Option<PathBuf>,
    /// Which settings are in force there
    #[arg(long, hide = true)]
    pub plan: Option<PathBuf>,
}
