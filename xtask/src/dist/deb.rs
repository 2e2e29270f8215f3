//! The .deb: the tree below /usr, and what dpkg wants to know of it. It has no scripts: nothing is started, and nothing
//! of it stays.

use std::{fs, path::Path};

use anyhow::{Result, bail};

use super::Release;
use crate::command;

/// Builds it; returns its name.
pub(super) fn build(release: &Release, tree: &Path) -> Result<String> {
    let machine = match release.machine.as_str() {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => bail!("Debian has another name for {other}, and it is not known here"),
    };
    let root = release.dir.join("deb");
    fs::create_dir_all(root.join("DEBIAN"))?;
    command::run(
        command::clean("cp")
            .arg("-a")
            .arg(tree)
            .arg(root.join("usr")),
    )?;
    let size = command::output(
        command::clean("du")
            .args(["-sk", "--apparent-size"])
            .arg(&root),
    )?;
    let size = size.split_whitespace().next().unwrap_or("0").to_owned();
    let control = control(&release.version, machine, &size);
    fs::write(root.join("DEBIAN/control"), control)?;
    let name = format!("c1m_{}_{machine}.deb", release.version);
    command::run(
        command::clean("dpkg-deb")
            // It sets no file's time later than this.
            .env("SOURCE_DATE_EPOCH", &release.epoch)
            .args(["--root-owner-group", "-Zxz", "--build"])
            .arg(&root)
            .arg(release.dir.join(&name)),
    )?;
    fs::remove_dir_all(&root)?;
    Ok(name)
}

fn control(version: &str, machine: &str, size_kb: &str) -> String {
    format!(
        "Package: c1m\n\
         Version: {version}\n\
         Architecture: {machine}\n\
         Maintainer: The c1m authors <https://github.com/c1m/c1m>\n\
         Installed-Size: {size_kb}\n\
         Section: net\n\
         Priority: optional\n\
         Recommends: iproute2, nftables\n\
         Homepage: https://github.com/c1m/c1m\n\
         Description: holds a million TCP connections, and says why each missing one is missing\n \
         A server and a client that open and hold TCP connections in numbers beyond\n \
         one fd table, and an eBPF tracer that follows every attempt, of theirs or of\n \
         any other program: one goes in, exactly one verdict comes out, and the sum\n \
         is closed.\n"
    )
}
