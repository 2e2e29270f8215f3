//! Whether the .deb works where nothing else is: a root made by debootstrap, without a compiler, with what the package
//! recommends and what reads man pages and completions.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    command, setup,
    test::{Labs, MAY_SKIP},
};

/// What the root has besides the smallest system.
const PACKAGES: &str = "iproute2,nftables,procps,man-db,bash-completion,systemd";
/// What must not be there.
const COMPILERS: [&str; 6] = ["cc", "gcc", "clang", "rustc", "cargo", "bpf-linker"];
/// Where dpkg, man, systemd and ldconfig keep their own books: an installation leaves its traces there, and no files of ours.
const BOOKS: [&str; 6] = [
    "./run",
    "./var/lib/dpkg",
    "./var/log",
    "./var/cache",
    "./proc",
    "./sys",
];

/// Makes the root, installs, looks, runs every lab, removes, and compares. Root alone can.
pub(super) fn run(dir: &Path, deb: &str) -> Result<()> {
    setup::must_be_root("dist --check")?;
    let root = Root::make(dir.join("root"))?;
    for compiler in COMPILERS {
        let there = root.sh(&format!("command -v {compiler}")).is_ok();
        ensure!(!there, "{compiler} is in a root that should have none");
    }
    let before = root.files()?;
    fs::copy(dir.join(deb), root.0.join("tmp/c1m.deb"))?;
    root.sh("dpkg --install /tmp/c1m.deb && rm /tmp/c1m.deb")?;
    println!("{}", root.sh("c1m --version")?.trim());
    look(&root)?;
    labs(&root)?;
    root.sh("dpkg --purge c1m")?;
    let after = root.files()?;
    let left: Vec<&String> = after
        .iter()
        .filter(|file| !before.contains(*file))
        .collect();
    let gone: Vec<&String> = before
        .iter()
        .filter(|file| !after.contains(*file))
        .collect();
    ensure!(
        left.is_empty() && gone.is_empty(),
        "removal left {left:?} and took {gone:?}"
    );
    println!("removed: nothing is left of {} files", after.len());
    Ok(())
}

/// Man pages, completions and units.
fn look(root: &Root) -> Result<()> {
    for page in ["c1m", "c1m-trace", "c1m-lab"] {
        let text = root.sh(&format!("MANWIDTH=80 man {page} | col -b"))?;
        ensure!(
            text.contains("NAME") && text.contains("SYNOPSIS"),
            "man {page} shows {text}"
        );
        println!("man {page}: {} lines", text.lines().count());
    }
    // What bash does at Tab, without a terminal: load the function, and ask it.
    let script = ". /usr/share/bash-completion/bash_completion; _completion_loader c1m; COMP_WORDS=(c1m la); \
                  COMP_CWORD=1; COMP_LINE='c1m la'; COMP_POINT=6; _c1m c1m la c1m; echo \"${COMPREPLY[@]}\"";
    let replies = root.sh(&format!("bash -c '{}'", script.replace('\'', "'\\''")))?;
    ensure!(
        replies.trim() == "lab",
        "completions of `c1m la`: {replies}"
    );
    println!("completions of `c1m la`: {}", replies.trim());
    for unit in ["c1m-server.service", "c1m-trace@9001.service"] {
        let file = unit.replace("@9001", "@");
        root.sh(&format!(
            "systemd-analyze verify --man=no /usr/lib/systemd/system/{file}"
        ))?;
        let exposure = root.sh(&format!(
            "systemd-analyze security --offline=true --no-pager /usr/lib/systemd/system/{file} | tail -n 1"
        ))?;
        println!("{unit}: {}", exposure.trim());
    }
    Ok(())
}

/// Every lab, as `cargo xtask test` counts them.
fn labs(root: &Root) -> Result<()> {
    let mut labs = Labs::new(MAY_SKIP);
    let status = command::each_line(&mut root.command("c1m lab --all"), |line| labs.line(line))?;
    let count = labs.end();
    println!("labs in the fresh root: {}", count.line());
    ensure!(
        status.success() && count.failed == 0 && count.passed > 0,
        "labs failed there"
    );
    Ok(())
}

/// A root that goes away in the end.
struct Root(PathBuf);

impl Root {
    fn make(dir: PathBuf) -> Result<Self> {
        let release = fs::read_to_string("/etc/os-release")?;
        let codename = release
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
            .context("/etc/os-release has no VERSION_CODENAME: this is no Debian")?;
        command::run(
            command::clean("debootstrap")
                .args([
                    "--variant=minbase",
                    &format!("--include={PACKAGES}"),
                    codename,
                ])
                .arg(&dir),
        )?;
        Ok(Self(dir))
    }

    /// A line of shell in it, with /proc and /sys, in mounts that end with it.
    fn command(&self, line: &str) -> Command {
        let mut command = command::clean("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c"])
            .arg(
                "mount -t proc proc \"$0/proc\" && mount --rbind /sys \"$0/sys\" && \
                 exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root chroot \"$0\" sh -c \"$1\"",
            )
            .arg(&self.0)
            .arg(line);
        command
    }

    fn sh(&self, line: &str) -> Result<String> {
        command::output(&mut self.command(line))
    }

    /// Every file but those that dpkg and others keep for themselves.
    fn files(&self) -> Result<std::collections::BTreeSet<String>> {
        let list = command::output(command::clean("find").current_dir(&self.0).arg("."))?;
        let own = |file: &&str| !BOOKS.iter().any(|book| file.starts_with(book));
        Ok(list.lines().filter(own).map(str::to_owned).collect())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // Its mounts ended with the commands: what is below is this directory's own.
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}
