//! `cargo xtask dist`: one static binary with the eBPF object inside, a tarball and a .deb around it, and checksums.
//!
//! The same commit gives the same files: every time in them is the commit's.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{command, ebpf, setup};

mod check;
mod deb;

/// What to do besides.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Install the .deb in a fresh root made by debootstrap, run man, completions and every lab there, and remove it
    #[arg(long)]
    check: bool,
}

/// What a release is called, and its times.
pub(crate) struct Release {
    version: String,
    /// As Rust names it.
    machine: String,
    /// Of the commit, in s since 1970.
    epoch: String,
    dir: PathBuf,
}

impl Release {
    fn of_this_tree() -> Result<Self> {
        let machine = env::consts::ARCH.to_owned();
        let manifest = fs::read_to_string(command::root().join("Cargo.toml"))?;
        let version = manifest
            .lines()
            .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
            .context("Cargo.toml has no version")?;
        let epoch = match env::var("SOURCE_DATE_EPOCH") {
            Ok(epoch) => epoch,
            Err(_) => command::output(command::clean("git").args(["log", "-1", "--format=%ct"]))?
                .trim()
                .to_owned(),
        };
        Ok(Self {
            version: version.to_owned(),
            machine,
            epoch,
            dir: command::target_dir().join("dist"),
        })
    }

    /// Of every file that is left: `c1m-0.1.0-x86_64-linux`.
    fn name(&self) -> String {
        format!("c1m-{}-{}-linux", self.version, self.machine)
    }

    fn triple(&self) -> String {
        format!("{}-unknown-linux-gnu", self.machine)
    }
}

/// Builds everything below `target/dist`, and checks it if that is asked for.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::dist_tools(options.check)?;
    let release = Release::of_this_tree()?;
    let c1m = build(&release)?;
    if release.dir.exists() {
        fs::remove_dir_all(&release.dir)?;
    }
    let tree = release.dir.join("tree");
    fill(&c1m, &tree)?;
    let files = [tarball(&release, &tree)?, deb::build(&release, &tree)?];
    let sums = command::output(
        command::clean("sha256sum")
            .current_dir(&release.dir)
            .args(&files),
    )?;
    fs::write(release.dir.join("SHA256SUMS"), &sums)?;
    print!("{sums}");
    println!("they are in target/dist");
    if options.check {
        check::run(&release.dir, &files[1])?;
    }
    Ok(())
}

/// A static `c1m`; says so only after a look at it.
fn build(release: &Release) -> Result<PathBuf> {
    ebpf::build_object()?;
    let triple = release.triple();
    let mut cargo = command::host_cargo("build");
    // With a target named, these flags reach no build script and no macro.
    cargo
        .args([
            "--release",
            "--locked",
            "--package",
            "c1m",
            "--target",
            &triple,
        ])
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    command::run(&mut cargo)?;
    let c1m = command::target_dir().join(&triple).join("release/c1m");
    let dynamic = command::output(command::clean("readelf").arg("-ld").arg(&c1m))?;
    ensure!(
        !dynamic.contains("INTERP") && !dynamic.contains("NEEDED"),
        "{} is not static",
        c1m.display()
    );
    ensure!(
        has_inside(&fs::read(&c1m)?, &fs::read(ebpf::object())?),
        "{} has another eBPF object inside than {}",
        c1m.display(),
        ebpf::object().display()
    );
    Ok(c1m)
}

/// Whether a file has another one inside, whole.
fn has_inside(file: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && file.windows(part.len()).any(|window| window == part)
}

/// A file of the tree: where it comes from, and where it goes.
const FILES: [(&str, &str); 11] = [
    ("README.md", "share/doc/c1m/README.md"),
    ("README.zh-CN.md", "share/doc/c1m/README.zh-CN.md"),
    ("CHANGELOG.md", "share/doc/c1m/CHANGELOG.md"),
    ("LICENSE-APACHE", "share/doc/c1m/LICENSE-APACHE"),
    ("LICENSE-MIT", "share/doc/c1m/LICENSE-MIT"),
    ("docs/causes.md", "share/doc/c1m/causes.md"),
    ("docs/metrics.md", "share/doc/c1m/metrics.md"),
    ("docs/grafana.json", "share/doc/c1m/grafana.json"),
    (
        "docs/record.schema.json",
        "share/doc/c1m/record.schema.json",
    ),
    (
        "packaging/systemd/c1m-server.service",
        "lib/systemd/system/c1m-server.service",
    ),
    (
        "packaging/systemd/c1m-trace@.service",
        "lib/systemd/system/c1m-trace@.service",
    ),
];

/// Completions: the shell, and where it looks for them.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/c1m"),
    ("zsh", "share/zsh/vendor-completions/_c1m"),
    ("fish", "share/fish/vendor_completions.d/c1m.fish"),
];

/// What lies below /usr in the end.
fn fill(c1m: &Path, tree: &Path) -> Result<()> {
    place(tree, "bin/c1m", &fs::read(c1m)?, 0o755)?;
    for (from, to) in FILES {
        let content =
            fs::read(command::root().join(from)).with_context(|| format!("cannot read {from}"))?;
        place(tree, to, &content, 0o644)?;
    }
    for (shell, to) in COMPLETIONS {
        let script = command::output(Command::new(c1m).args(["completions", shell]))?;
        place(tree, to, script.as_bytes(), 0o644)?;
    }
    let man = tree.join("share/man/man1");
    fs::create_dir_all(&man)?;
    command::run(Command::new(c1m).arg("man").arg(&man))?;
    let mut pages = fs::read_dir(&man)?
        .map(|page| Ok(page?.path()))
        .collect::<Result<Vec<_>>>()?;
    pages.sort();
    ensure!(pages.len() > 5, "c1m man wrote {} pages", pages.len());
    // -n: without the time, which would be now.
    command::run(command::clean("gzip").args(["-9", "-n"]).args(&pages))
}

fn place(tree: &Path, to: &str, content: &[u8], mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = tree.join(to);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(fs::set_permissions(
        &path,
        fs::Permissions::from_mode(mode),
    )?)
}

/// The tree as a tarball, which unpacks to a directory of its name, or below /usr/local with --strip-components=1.
fn tarball(release: &Release, tree: &Path) -> Result<String> {
    let name = format!("{}.tar.gz", release.name());
    let file = fs::File::create(release.dir.join(&name))?;
    let mut tar = command::clean("tar")
        .current_dir(tree)
        .args([
            "--sort=name",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "--format=gnu",
        ])
        .arg(format!("--mtime=@{}", release.epoch))
        .arg(format!("--transform=s,^\\.,{},", release.name()))
        .args(["--create", "."])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start tar")?;
    let packed = tar.stdout.take().context("tar has no output")?;
    let gzip = command::clean("gzip")
        .args(["-9", "-n"])
        .stdin(packed)
        .stdout(file)
        .status()?;
    if !tar.wait()?.success() || !gzip.success() {
        bail!("{name} could not be made");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::has_inside;

    #[test]
    fn an_older_object_is_not_the_one_inside() {
        assert!(has_inside(b"program, object, more", b"object"));
        assert!(!has_inside(b"program, obsolete, more", b"object"));
        assert!(!has_inside(b"object", b"object and more"));
        assert!(!has_inside(b"a program without one", b""));
    }
}
