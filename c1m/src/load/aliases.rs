//! `--dev … --addresses …`: source addresses that are put on a device for the time of a run, and taken away
//! after it. A file in /run/c1m tells which, for the case that this process is killed.

use std::{
    net::{IpAddr, UdpSocket},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use rtnetlink::{
    Handle,
    packet_route::address::{AddressHeaderFlags, AddressMessage},
};
use serde::{Deserialize, Serialize};

use crate::{netns::Netns, stderr::say};

/// Where the files lie that tell what is to be taken back.
pub const STATE_DIR: &str = "/run/c1m";

/// What was added to which device: the content of `/run/c1m/aliases-PID.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// The device.
    pub dev: String,
    /// Its index, in the network namespace of process `pid`.
    pub index: u32,
    /// The process that added them.
    pub pid: u32,
    /// The network namespace, as the inode number of /proc/thread-self/ns/net.
    pub netns: u32,
    /// The addresses, each as a /32 or /128.
    pub addresses: Vec<IpAddr>,
}

/// Addresses on a device for as long as this lives: dropping it takes them away.
#[derive(Debug)]
pub struct Aliases {
    added: Added,
    file: PathBuf,
}

impl Aliases {
    /// Adds those of `addresses` that this host does not have to `dev`. With an error, nothing stays.
    pub async fn add(dev: &str, addresses: impl Iterator<Item = IpAddr>) -> anyhow::Result<Self> {
        let probe = UdpSocket::bind("0.0.0.0:0").context("a socket to look devices up")?;
        let index = match rustix::net::netdevice::name_to_index(&probe, dev) {
            Ok(index) => index,
            Err(_) => {
                bail!("there is no device `{dev}` (ip link shows them): choose another --dev")
            }
        };
        let pid = std::process::id();
        let mut aliases = Self {
            added: Added {
                dev: dev.into(),
                index,
                pid,
                netns: Netns::current().context("/proc/thread-self/ns/net")?.inum,
                addresses: Vec::new(),
            },
            file: PathBuf::from(STATE_DIR).join(format!("aliases-{pid}.json")),
        };
        let missing = |address: &IpAddr| UdpSocket::bind((*address, 0)).is_err();
        let missing: Vec<IpAddr> = addresses.filter(missing).collect();
        if missing.is_empty() {
            return Ok(aliases);
        }
        // Written before the first one is added: better one too many in it than one too few.
        aliases.added.addresses = missing.clone();
        aliases.save()?;
        aliases.added.addresses.clear();
        // From here on an error drops `aliases`, and that takes away what was added.
        let handle = connect()?;
        for address in missing {
            if put(&handle, index, address)
                .await
                .with_context(|| format!("adding {address} to {dev}"))?
            {
                aliases.added.addresses.push(address);
            }
        }
        aliases.save()?;
        Ok(aliases)
    }

    /// Takes away what was added.
    pub async fn remove(mut self) -> anyhow::Result<()> {
        take_away(&mut self.added, &self.file).await
    }

    /// Takes away at once what was added, from wherever it is called.
    pub fn undo(&self) -> impl FnOnce() + Send + use<> {
        let (added, file) = (self.added.clone(), self.file.clone());
        move || {
            // Also while unwinding, and inside another runtime: hence a thread with a runtime of its own. It shares the
            // network namespace of this one.
            let done = std::thread::spawn(|| take_back(added, file)).join();
            if let Ok(Err(error)) = done {
                say(format_args!("{error:#}"));
            }
        }
    }

    fn save(&self) -> anyhow::Result<()> {
        std::fs::create_dir_all(STATE_DIR).context(STATE_DIR)?;
        let text = serde_json::to_vec_pretty(&self.added)?;
        std::fs::write(&self.file, text).with_context(|| self.file.display().to_string())
    }
}

/// Takes away what `file` tells that was added, and the file. Errors: an address cannot be taken away; the file stays.
async fn take_away(added: &mut Added, file: &Path) -> anyhow::Result<()> {
    if !added.addresses.is_empty() {
        let handle = connect()?;
        while let Some(&address) = added.addresses.last() {
            let removed = handle
                .address()
                .del(message(added.index, address))
                .execute()
                .await;
            match removed {
                // Somebody else may have taken it away, or the device: then that is done.
                Err(error) if !is(&error, libc::EADDRNOTAVAIL) && !is(&error, libc::ENODEV) => {
                    let dev = &added.dev;
                    return Err(error).with_context(|| {
                        format!(
                            "taking {address} away: ip addr del {address} dev {dev}, for each in {}",
                            file.display()
                        )
                    });
                }
                _ => added.addresses.pop(),
            };
        }
    }
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| file.display().to_string())
        }
        _ => Ok(()),
    }
}

impl Drop for Aliases {
    fn drop(&mut self) {
        if self.added.addresses.is_empty() && !self.file.exists() {
            return;
        }
        self.undo()();
    }
}

/// Takes away what a killed run left, as its `file` tells; the calling thread is in its network namespace. Errors: an
/// address cannot be taken away; the file stays.
pub fn take_back(mut added: Added, file: PathBuf) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(take_away(&mut added, &file))
}

fn connect() -> anyhow::Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection().context("netlink")?;
    tokio::spawn(connection);
    Ok(handle)
}

/// Whether it was added; if not, it was there.
async fn put(handle: &Handle, index: u32, address: IpAddr) -> anyhow::Result<bool> {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let mut request = handle.address().add(index, address, bits);
    // An IPv6 address is no source before duplicate address detection is over, unless it is left out.
    request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
    match request.execute().await {
        Ok(()) => Ok(true),
        Err(error) if is(&error, libc::EEXIST) => Ok(false),
        Err(error) if is(&error, libc::EPERM) => {
            bail!("this needs root or CAP_NET_ADMIN: run it with sudo")
        }
        Err(error) => Err(error.into()),
    }
}

fn message(index: u32, address: IpAddr) -> AddressMessage {
    match address {
        IpAddr::V4(v4) => rtnetlink::AddressMessageBuilder::<std::net::Ipv4Addr>::new()
            .index(index)
            .address(v4, 32)
            .build(),
        IpAddr::V6(v6) => rtnetlink::AddressMessageBuilder::<std::net::Ipv6Addr>::new()
            .index(index)
            .address(v6, 128)
            .build(),
    }
}

fn is(error: &rtnetlink::Error, errno: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -errno)
}
