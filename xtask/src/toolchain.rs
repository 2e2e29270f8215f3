//! Which compiler builds the eBPF programs, and with which command line.
//!
//! `core` for `bpfel-unknown-none` comes by two routes: rustup's nightly builds it from `rust-src`, and some
//! distributions package a compiler with one that is built already. What a machine has is probed here; the choice and
//! the command line are pure, so the route that this machine does not have is tested too.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{command, setup};

/// The target of the programs: BPF, little-endian.
pub(crate) const TARGET: &str = "bpfel-unknown-none";
/// What `rust-version` in Cargo.toml asks for.
const RUSTC_MIN: (u32, u32) = (1, 95);
/// The LLVM whose bitcode [`setup::BPF_LINKER_VERSION`] reads: it loads the compiler's own libLLVM.
const LLVM_MAJOR: u32 = 22;
/// A nightly with that LLVM, for machines that have none.
const NIGHTLY: &str = "nightly-2026-05-20";
/// The packages of a distribution's compiler with a prebuilt `core`, in order of preference. Debian 13 and later have
/// the first; Debian 12 has a current compiler under the second names.
const PACKAGES: [[&str; 3]; 2] = [
    ["rustc", "cargo", "libstd-rust-dev-bpf"],
    ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"],
];

/// Where a compiler's `core` for [`TARGET`] comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Core {
    /// cargo builds it: `-Z build-std=core`. The name is rustup's, `nightly-x86_64-…`.
    FromSource { toolchain: String },
    /// It came with the compiler.
    Prebuilt,
    /// There is none.
    None,
}

/// A compiler on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    pub(crate) rustc: PathBuf,
    pub(crate) cargo: PathBuf,
    pub(crate) core: Core,
    pub(crate) version: (u32, u32),
    pub(crate) llvm_major: u32,
}

/// What was found out about a machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) is_root: bool,
    pub(crate) has_rustup: bool,
    pub(crate) compilers: Vec<Compiler>,
    /// A set of [`PACKAGES`] that apt can install and that is new enough.
    pub(crate) packages: Option<[&'static str; 3]>,
}

/// What to do to have a compiler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// It is here.
    Use(Compiler),
    /// Install these packages (we are root).
    Apt([&'static str; 3]),
    /// Install [`NIGHTLY`] with rust-src (we are root).
    Rustup,
    /// The line the user must type.
    Ask(String),
}

/// The arguments to rustup that install a nightly which builds `core`.
fn rustup_args() -> [&'static str; 7] {
    [
        "toolchain",
        "install",
        NIGHTLY,
        "--profile",
        "minimal",
        "--component",
        "rust-src",
    ]
}

/// Chooses: what is here before what must be installed, rustup's before the distribution's, since a user chose it.
pub(crate) fn choose(machine: &Machine) -> Plan {
    let usable = |compiler: &&Compiler| {
        compiler.core != Core::None
            && compiler.version >= RUSTC_MIN
            && compiler.llvm_major == LLVM_MAJOR
    };
    let from_source = |compiler: &&Compiler| matches!(compiler.core, Core::FromSource { .. });
    let mut here = machine.compilers.iter().filter(usable);
    if let Some(found) = here.clone().find(from_source).or_else(|| here.next()) {
        return Plan::Use(found.clone());
    }
    // Not as root, rustup comes first: it needs no one's permission.
    match (machine.is_root, machine.has_rustup, machine.packages) {
        (true, _, Some(packages)) => Plan::Apt(packages),
        (true, true, None) => Plan::Rustup,
        (false, true, _) => Plan::Ask(format!("rustup {}", rustup_args().join(" "))),
        (false, false, Some(packages)) => Plan::Ask(setup::apt_line(&packages)),
        (_, false, None) => Plan::Ask(format!(
            "install rustup (https://rustup.rs), then rustup {}",
            rustup_args().join(" ")
        )),
    }
}

/// What a compiler's command line depends on besides the compiler.
#[derive(Debug)]
pub(crate) struct Paths {
    /// The workspace: its name is cut from what the object's debug information says.
    pub(crate) root: PathBuf,
    pub(crate) cargo_home: PathBuf,
    /// Of this build alone: two compilers in one directory would rebuild each other's work.
    pub(crate) target_dir: PathBuf,
    pub(crate) linker: PathBuf,
    /// Holds one link, to the compiler's libLLVM.
    pub(crate) llvm_dir: PathBuf,
}

/// A command as data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(&'static str, String)>,
}

impl Line {
    /// The command, free of what the cargo around us has set.
    pub(crate) fn command(&self) -> Command {
        let mut command = command::clean(&self.program);
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (*name, value)));
        command
    }
}

impl Compiler {
    /// The command that runs a cargo verb (`build`, `check`) on the eBPF package.
    pub(crate) fn line(&self, verb: &str, paths: &Paths, more_rustflags: &[&str]) -> Line {
        let path = |path: &Path| path.display().to_string();
        let mut args = vec![verb.to_owned()];
        let words = [
            "--release",
            "--locked",
            "--package",
            "c1m-ebpf",
            "--target",
            TARGET,
            "--target-dir",
        ];
        args.extend(words.map(str::to_owned));
        args.push(path(&paths.target_dir));
        let mut flags = vec![
            format!("-Clinker={}", path(&paths.linker)),
            "-Cdebuginfo=2".to_owned(),
            "-Clink-arg=--btf".to_owned(),
            // BTF names source files; the verifier's log then reads the same on every machine.
            format!("--remap-path-prefix={}=.", path(&paths.root)),
            format!("--remap-path-prefix={}=cargo", path(&paths.cargo_home)),
        ];
        flags.extend(more_rustflags.iter().map(|&flag| flag.to_owned()));
        let mut env = vec![
            ("RUSTC", path(&self.rustc)),
            // Unlike RUSTFLAGS, this allows spaces in paths.
            ("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")),
            // bpf-linker opens the first libLLVM that it finds here.
            ("LD_LIBRARY_PATH", path(&paths.llvm_dir)),
        ];
        match &self.core {
            Core::FromSource { .. } => args.extend(["-Z".to_owned(), "build-std=core".to_owned()]),
            // aya-ebpf uses an unstable feature, and this compiler is a stable one.
            Core::Prebuilt | Core::None => env.push(("RUSTC_BOOTSTRAP", "1".to_owned())),
        }
        Line {
            program: self.cargo.clone(),
            args,
            env,
        }
    }

    /// One line for the user.
    pub(crate) fn told(&self) -> String {
        let (major, minor) = self.version;
        let core = match &self.core {
            Core::FromSource { toolchain } => {
                format!("rustup's {toolchain}, core built from rust-src")
            }
            Core::Prebuilt => format!(
                "{}, core prebuilt by the distribution",
                self.rustc.display()
            ),
            Core::None => "no core".to_owned(),
        };
        let linker = setup::BPF_LINKER_VERSION;
        format!(
            "rustc {major}.{minor} ({core}), LLVM {}, bpf-linker {linker}",
            self.llvm_major
        )
    }
}

/// Finds a compiler, installing one if there is none and we are root. Fails with the line to type otherwise.
pub(crate) fn find() -> Result<Compiler> {
    let mut machine = probe();
    let mut plan = choose(&machine);
    if !matches!(plan, Plan::Use(_)) && command::which("apt-cache").is_some() {
        // A fresh machine's lists are empty: what apt knows is asked after they are there.
        if machine.is_root && command::which("apt-get").is_some() {
            setup::apt_update()?;
        }
        machine.packages = installable_packages();
        plan = choose(&machine);
    }
    match plan {
        Plan::Use(compiler) => return Ok(compiler),
        Plan::Ask(line) => bail!("no compiler here has core for {TARGET}; to get one: {line}"),
        Plan::Apt(packages) => setup::apt_install(&packages)?,
        Plan::Rustup => command::run(command::clean("rustup").args(rustup_args()))?,
    }
    match choose(&probe()) {
        Plan::Use(compiler) => Ok(compiler),
        _ => bail!(
            "what was installed does not do: rustc {}.{} or later with LLVM {LLVM_MAJOR} and core for {TARGET} is needed, {:?} is here",
            RUSTC_MIN.0,
            RUSTC_MIN.1,
            probe().compilers,
        ),
    }
}

fn probe() -> Machine {
    let toolchains = command::home("RUSTUP_HOME", ".rustup").join("toolchains");
    let mut compilers = Vec::new();
    for entry in fs::read_dir(toolchains).into_iter().flatten().flatten() {
        let toolchain = entry.file_name().to_string_lossy().into_owned();
        let has_source = entry
            .path()
            .join("lib/rustlib/src/rust/library/Cargo.lock")
            .is_file();
        if toolchain.starts_with("nightly") && has_source {
            compilers.extend(probe_compiler(
                &entry.path().join("bin"),
                Core::FromSource { toolchain },
            ));
        }
    }
    // Not "rustc" in PATH: that is rustup's, where there is one.
    compilers.extend(probe_compiler(Path::new("/usr/bin"), Core::Prebuilt));
    compilers.sort_by_key(|compiler| std::cmp::Reverse(compiler.version));
    Machine {
        is_root: setup::is_root(),
        has_rustup: command::which("rustup").is_some(),
        compilers,
        packages: None,
    }
}

/// The compiler in a directory, if there is one that runs. `core` is what it would have.
fn probe_compiler(bin: &Path, core: Core) -> Option<Compiler> {
    let (rustc, cargo) = (bin.join("rustc"), bin.join("cargo"));
    if !rustc.is_file() || !cargo.is_file() {
        return None;
    }
    let ask = |args: &[&str]| command::output(command::clean(&rustc).args(args)).ok();
    let (version, llvm_major) = parse_versions(&ask(&["-vV"])?)?;
    let is_there = match &core {
        Core::FromSource { .. } => true,
        Core::Prebuilt | Core::None => {
            let libdir = ask(&["--print", "target-libdir", "--target", TARGET]);
            libdir.is_some_and(|dir| has_prebuilt_core(Path::new(dir.trim())))
        }
    };
    let core = if is_there { core } else { Core::None };
    Some(Compiler {
        rustc,
        cargo,
        core,
        version,
        llvm_major,
    })
}

fn has_prebuilt_core(libdir: &Path) -> bool {
    let mut files = fs::read_dir(libdir).into_iter().flatten().flatten();
    files.any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
}

/// The compiler's version and its LLVM's major version, from `rustc -vV`.
fn parse_versions(text: &str) -> Option<((u32, u32), u32)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let mut numbers = field("release: ")?
        .split(['.', '-'])
        .map_while(|part| part.parse().ok());
    let version = (numbers.next()?, numbers.next()?);
    let llvm_major = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
    Some((version, llvm_major))
}

/// The first set of [`PACKAGES`] that apt can install in a new enough version.
fn installable_packages() -> Option<[&'static str; 3]> {
    PACKAGES.into_iter().find(|set| {
        let policies = set
            .map(|package| command::output(command::clean("apt-cache").args(["policy", package])));
        policies
            .iter()
            .all(|policy| policy.as_ref().is_ok_and(|text| is_new_enough(text)))
    })
}

/// Whether the candidate that `apt-cache policy` names is at least [`RUSTC_MIN`] (cargo has the same number).
fn is_new_enough(policy: &str) -> bool {
    let candidate = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "));
    let Some(candidate) = candidate else {
        return false;
    };
    // An epoch may stand before the version.
    let version = candidate
        .rsplit_once(':')
        .map_or(candidate, |(_, version)| version);
    let mut numbers = version
        .split(['.', '+', '-', '~'])
        .map_while(|part| part.parse().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) >= RUSTC_MIN)
}

/// Fills a private directory with one link, to the libLLVM that this compiler is linked with.
///
/// bpf-linker opens the first `libLLVM*` in the directories it is given: in a system directory that may be another
/// version, which then cannot read this compiler's bitcode.
pub(crate) fn link_llvm(compiler: &Compiler, dir: &Path) -> Result<()> {
    let listing = command::output(command::clean("ldd").arg(&compiler.rustc))?;
    let rustc = compiler.rustc.display();
    let library = parse_ldd(&listing)
        .with_context(|| format!("{rustc} is not linked with libLLVM, which bpf-linker loads"))?;
    let name = library.file_name().context("a library has a name")?;
    let link = dir.join(name);
    let is_right = fs::read_link(&link).is_ok_and(|to| to == library);
    let is_alone = fs::read_dir(dir).is_ok_and(|entries| entries.count() == 1);
    if is_right && is_alone {
        return Ok(());
    }
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    std::os::unix::fs::symlink(&library, &link)
        .with_context(|| format!("cannot make {}", link.display()))
}

/// The path of libLLVM in the output of ldd.
fn parse_ldd(listing: &str) -> Option<PathBuf> {
    let line = listing
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("libLLVM"))?;
    let path = line.split_once("=> ")?.1;
    let end = path.rfind(" (0x").unwrap_or(path.len());
    Some(PathBuf::from(&path[..end])).filter(|path| path.is_absolute())
}

/// The paths of this workspace's build.
pub(crate) fn paths(linker: PathBuf) -> Paths {
    let target = command::target_dir();
    Paths {
        root: command::root(),
        cargo_home: command::cargo_home(),
        target_dir: target.join("ebpf"),
        linker,
        llvm_dir: target.join("ebpf-llvm"),
    }
}

#[cfg(test)]
mod tests;
