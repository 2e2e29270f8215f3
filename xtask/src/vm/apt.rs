//! An apt of its own below `target/vm`: Debian's suites beside whatever the host uses, signatures and sums checked,
//! nothing of the host's changed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{
    make_dir,
    packages::{self, Package},
};
use crate::{command, setup::DEBIAN_KEYS as KEYS};

/// How old an index may be.
const INDEX_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Fetches and unpacks as apt does, with its proxies.
const HELPER: &str = "/usr/lib/apt/apt-helper";
/// Fetches the indexes and does no more; one that cannot be fetched is an error, whatever it was.
const UPDATE: [&str; 6] = [
    "update",
    "--quiet=2",
    "-o",
    "PkgCacheFile::Generate=false",
    "-o",
    "APT::Update::Error-Mode=any",
];

/// One of Debian's archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Archive {
    Main,
    Security,
    /// Where the other two go once nobody supports them.
    OldMain,
    OldSecurity,
}

impl Archive {
    /// How its address ends, on every mirror.
    fn ending(self) -> &'static str {
        match self {
            Self::Main | Self::OldMain => "/debian",
            Self::Security | Self::OldSecurity => "/debian-security",
        }
    }

    /// The mirror that this machine's apt uses, or Debian's own.
    fn address(self, sources: &str) -> String {
        if matches!(self, Self::OldMain | Self::OldSecurity) {
            return format!("http://archive.debian.org{}", self.ending());
        }
        mirrors(sources)
            .into_iter()
            .find(|mirror| mirror.ends_with(self.ending()))
            .unwrap_or_else(|| format!("http://deb.debian.org{}", self.ending()))
    }
}

/// The kernel packages of these suites, as their indexes have them now.
pub(super) fn kernel_packages(name: &str, suites: &[(Archive, &str)]) -> Result<Vec<Package>> {
    let apt = Apt::new(super::dir().join("apt").join(name), suites)?;
    if !apt.is_fresh() {
        println!("asking {} for its kernels", listed(suites));
        // A suite that has moved away is no failure as long as another has the kernel.
        match command::run(apt.tool("apt-get").args(UPDATE)) {
            Ok(()) => fs::write(apt.stamp(), "").context("cannot note the time")?,
            Err(error) => eprintln!("xtask: {error:#}; going on with what there is"),
        }
    }
    apt.packages()
}

/// Fetches a package of an index, and checks it against the index's sum.
pub(super) fn fetch(name: &str, package: &Package, to: &Path) -> Result<()> {
    let apt = Apt::at(super::dir().join("apt").join(name));
    let address = format!("{}/{}", package.archive, package.file);
    println!("fetching {address}");
    command::run(
        apt.tool(HELPER)
            .args(["-qq", "download-file"])
            .arg(address)
            .arg(to)
            .arg(format!("SHA256:{}", package.sha256)),
    )
}

fn listed(suites: &[(Archive, &str)]) -> String {
    let names: Vec<&str> = suites.iter().map(|(_, suite)| *suite).collect();
    names.join(", ")
}

struct Apt {
    dir: PathBuf,
}

impl Apt {
    fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Writes its configuration.
    fn new(dir: PathBuf, suites: &[(Archive, &str)]) -> Result<Self> {
        if !Path::new(KEYS).exists() || !Path::new(HELPER).exists() {
            bail!(
                "Debian's kernels come by apt, and {KEYS} checks them: apt or debian-archive-keyring is missing here"
            );
        }
        for part in ["lists/partial", "cache/archives/partial", "parts"] {
            make_dir(&dir.join(part))?;
        }
        let sources = host_sources();
        let line = |(archive, suite): &(Archive, &str)| {
            format!(
                "deb [arch=amd64 target=Packages check-valid-until=no signed-by={KEYS}] {} {suite} main\n",
                archive.address(&sources)
            )
        };
        let apt = Self { dir };
        let lines: String = suites.iter().map(line).collect();
        let old = fs::read_to_string(apt.dir.join("sources.list")).unwrap_or_default();
        if old != lines {
            let _ = fs::remove_file(apt.stamp());
        }
        fs::write(apt.dir.join("sources.list"), lines).context("cannot write sources.list")?;
        let dump = command::output(command::clean("apt-config").arg("dump"))?;
        let config = config(&apt.dir, &dump);
        fs::write(apt.dir.join("apt.conf"), config).context("cannot write apt.conf")?;
        Ok(apt)
    }

    fn stamp(&self) -> PathBuf {
        self.dir.join("updated")
    }

    fn is_fresh(&self) -> bool {
        let written = fs::metadata(self.stamp()).and_then(|meta| meta.modified());
        written.is_ok_and(|time| time.elapsed().is_ok_and(|age| age < INDEX_AGE_MAX))
    }

    fn tool(&self, program: &str) -> Command {
        let mut tool = command::clean(program);
        tool.env("APT_CONFIG", self.dir.join("apt.conf"));
        tool
    }

    fn packages(&self) -> Result<Vec<Package>> {
        let format = "$(FILENAME) $(REPO_URI)";
        let indexes =
            command::output(
                self.tool("apt-get")
                    .args(["indextargets", "--format", format]),
            )?;
        let mut all = Vec::new();
        for line in indexes.lines() {
            // The path of this tree may have spaces.
            let Some((file, archive)) = line.rsplit_once(' ') else {
                continue;
            };
            let index = command::output(self.tool(HELPER).args(["cat-file", file]))?;
            all.extend(packages::parse(&index, archive.trim_end_matches('/')));
        }
        Ok(all)
    }
}

/// apt's configuration: nothing of the host's but how it reaches the network. The host's hooks (after an update, say)
/// are the host's.
fn config(dir: &Path, host: &str) -> String {
    let dir = dir.display();
    let mut text = format!(
        "Dir::Etc::Main \"/dev/null\";\nDir::Etc::Parts \"{dir}/parts\";\n\
         Dir::Etc::SourceList \"{dir}/sources.list\";\nDir::Etc::SourceParts \"/dev/null\";\n\
         Dir::State::Lists \"{dir}/lists\";\nDir::State::Status \"/dev/null\";\nDir::Cache \"{dir}/cache\";\n\
         Dir::Cache::PkgCache \"\";\nDir::Cache::SrcPkgCache \"\";\n\
         APT::Architecture \"amd64\";\nAPT::Architectures \"amd64\";\nAPT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\nAcquire::Retries \"3\";\n"
    );
    let kept = |line: &&str| {
        ["http", "https", "Check-Date", "ForceIPv", "socks"]
            .iter()
            .any(|name| line.starts_with(&format!("Acquire::{name}")))
    };
    for line in host.lines().filter(kept) {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Everything that the host's apt has for sources.
fn host_sources() -> String {
    let parts = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten();
    let mut files: Vec<PathBuf> = parts.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.insert(0, PathBuf::from("/etc/apt/sources.list"));
    let texts = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    texts.collect::<Vec<_>>().join("\n")
}

/// The addresses in sources of either format, in their order. Lists of mirrors (`mirror+file:`) have no address.
fn mirrors(sources: &str) -> Vec<String> {
    let lines = sources.lines().map(str::trim_start);
    let used = lines.filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"));
    let words = used.flat_map(str::split_whitespace);
    let addresses = words.filter(|word| {
        ["http://", "https://", "file:"]
            .iter()
            .any(|scheme| word.starts_with(scheme))
    });
    addresses
        .map(|address| address.trim_end_matches('/').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_hosts() {
        let sources = "# http://old/debian\nTypes: deb\nURIs: http://near/debian/\nSuites: bookworm\n\n\
             URIs: https://other/node\ndeb [signed-by=/k.gpg] https://near/debian-security bookworm-security main\n";
        assert_eq!(Archive::Main.address(sources), "http://near/debian");
        assert_eq!(
            Archive::Security.address(sources),
            "https://near/debian-security"
        );
        let ubuntu = "deb http://archive/ubuntu noble main\ndeb mirror+file:/etc/apt/mirrors/debian x main\n";
        assert_eq!(
            Archive::Main.address(ubuntu),
            "http://deb.debian.org/debian"
        );
    }

    #[test]
    fn of_the_hosts_configuration_only_the_way_out_is_kept() {
        let host = "Acquire::http::Proxy \"http://proxy:3128\";\nAcquire::Languages:: \"de\";\n\
             APT::Update::Post-Invoke:: \"rm -rf x\";\nAcquire::Retries \"0\";\n";
        let text = config(Path::new("/t"), host);
        assert!(text.contains("Proxy \"http://proxy:3128\""));
        assert!(text.contains("Retries \"3\""));
        assert!(!text.contains("Post-Invoke"));
        assert!(!text.contains("\"de\""));
    }
}
