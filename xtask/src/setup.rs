//! What a machine needs, and how it gets there: installed when we are root, else the exact command to type.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::{Result, bail};

use crate::command;

/// A program that something here runs, or the path of a file that it needs, and the package that has it (the same name on
/// Debian, Ubuntu and Fedora).
struct Tool {
    program: &'static str,
    package: &'static str,
    needed_by: &'static str,
}

/// Everything beyond cargo and the eBPF toolchain.
const TOOLS: &[Tool] = &[
    Tool {
        program: "ip",
        package: "iproute2",
        needed_by: "the labs' network namespaces",
    },
    Tool {
        program: "nft",
        package: "nftables",
        needed_by: "the labs that drop by a rule",
    },
];

/// What the kernel matrix runs besides.
const VM_TOOLS: &[Tool] = &[
    Tool {
        program: "qemu-system-x86_64",
        package: "qemu-system-x86",
        needed_by: "emulated machines",
    },
    Tool {
        program: "busybox",
        package: "busybox-static",
        needed_by: "what they have inside",
    },
    Tool {
        program: "cpio",
        package: "cpio",
        needed_by: "packing it",
    },
    Tool {
        program: "xz",
        package: "xz-utils",
        needed_by: "unpacking modules",
    },
    Tool {
        program: "depmod",
        package: "kmod",
        needed_by: "their order",
    },
    Tool {
        program: DEBIAN_KEYS,
        package: "debian-archive-keyring",
        needed_by: "a check of what is fetched",
    },
];

/// Debian's keys.
pub(crate) const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What packages are made with.
const DIST_TOOLS: &[Tool] = &[
    Tool {
        program: "dpkg-deb",
        package: "dpkg",
        needed_by: "the .deb",
    },
    Tool {
        program: "readelf",
        package: "binutils",
        needed_by: "a look whether the binary is static",
    },
];

/// What they are checked with.
const DIST_CHECK_TOOLS: &[Tool] = &[Tool {
    program: "debootstrap",
    package: "debootstrap",
    needed_by: "the fresh root that they are checked in",
}];

/// The linker for `bpfel-unknown-none`; later ones want an LLVM besides the compiler's.
pub(crate) const BPF_LINKER_VERSION: &str = "0.10.3";

/// Fails, with the line to type, unless we are root. The line keeps the user's own toolchain.
pub(crate) fn must_be_root(verb: &str) -> Result<()> {
    if is_root() {
        return Ok(());
    }
    bail!(
        "not root: it makes network namespaces and attaches eBPF programs; type: \
         sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask {verb}"
    )
}

/// Whether we may install packages.
pub(crate) fn is_root() -> bool {
    // /proc/self belongs to the effective user; no crate is needed for that.
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// The line a user types to install packages.
pub(crate) fn apt_line(packages: &[&str]) -> String {
    format!(
        "sudo apt-get update && sudo apt-get install --no-install-recommends {}",
        packages.join(" ")
    )
}

/// The arguments to cargo that install the linker.
pub(crate) fn bpf_linker_args() -> [&'static str; 4] {
    ["bpf-linker", "--version", BPF_LINKER_VERSION, "--locked"]
}

/// Installs packages. Only root calls this.
pub(crate) fn apt_install(packages: &[&str]) -> Result<()> {
    apt_update()?;
    println!("installing {}", packages.join(" "));
    let mut apt = command::clean("apt-get");
    // A fresh machine may still be at its first updates.
    apt.args(["-o", "DPkg::Lock::Timeout=300"])
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(packages);
    command::run(apt.env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Fetches the lists of packages, once: a fresh machine has none. Only root calls this.
pub(crate) fn apt_update() -> Result<()> {
    static DONE: OnceLock<()> = OnceLock::new();
    if DONE.set(()).is_err() {
        return Ok(());
    }
    command::run(command::clean("apt-get").args(["update", "--quiet"]))
}

/// The Debian package that a file belongs to, without its architecture.
pub(crate) fn owner_of(file: &Path) -> Option<String> {
    let text = command::output(command::clean("dpkg").arg("-S").arg(file)).ok()?;
    let owner = text.split([':', ',']).next()?.trim();
    (!owner.is_empty()).then(|| owner.to_owned())
}

/// Installs what the labs run and this machine lacks; not as root, fails with the line that does it.
pub(crate) fn tools() -> Result<()> {
    install_missing(TOOLS)
}

/// The same for what emulated machines need, and run inside.
pub(crate) fn vm_tools() -> Result<()> {
    tools()?;
    install_missing(VM_TOOLS)
}

/// The same for what makes packages, and for what checks them.
pub(crate) fn dist_tools(with_check: bool) -> Result<()> {
    install_missing(DIST_TOOLS)?;
    match with_check {
        true => install_missing(DIST_CHECK_TOOLS),
        false => Ok(()),
    }
}

fn install_missing(tools: &'static [Tool]) -> Result<()> {
    let missing: Vec<&Tool> = tools
        .iter()
        .filter(|tool| command::which(tool.program).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    packages.dedup();
    if !is_root() || command::which("apt-get").is_none() {
        let why: Vec<String> = missing
            .iter()
            .map(|tool| format!("{} for {}", tool.program, tool.needed_by))
            .collect();
        bail!(
            "missing: {}; install with: {}",
            why.join(", "),
            apt_line(&packages)
        );
    }
    apt_install(&packages)
}

/// The right bpf-linker, installed if need be (root alone installs; others are told the line).
pub(crate) fn bpf_linker() -> Result<PathBuf> {
    let ours = command::cargo_home().join("bin/bpf-linker");
    let candidates = [Some(ours.clone()), command::which("bpf-linker")];
    if let Some(found) = candidates.into_iter().flatten().find(is_right_linker) {
        return Ok(found);
    }
    let line = format!("cargo install {}", bpf_linker_args().join(" "));
    if !is_root() {
        bail!("bpf-linker {BPF_LINKER_VERSION} is missing; install it with: {line}");
    }
    println!("installing bpf-linker {BPF_LINKER_VERSION}: {line} (about a minute)");
    let mut install = command::host_cargo("install");
    // Its own target directory: cargo install then takes a temporary one.
    install
        .args(bpf_linker_args())
        .arg("--root")
        .arg(command::cargo_home());
    command::run(
        install
            .env_remove("CARGO_TARGET_DIR")
            .current_dir(env::temp_dir()),
    )?;
    if !is_right_linker(&ours) {
        bail!("{} does not run after its installation", ours.display());
    }
    Ok(ours)
}

fn is_right_linker(file: &PathBuf) -> bool {
    command::output(command::clean(file).arg("--version"))
        .is_ok_and(|text| text.split_whitespace().nth(1) == Some(BPF_LINKER_VERSION))
}
