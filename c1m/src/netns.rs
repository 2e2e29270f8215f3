//! Network namespaces: naming one, making one, and doing something inside one.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Seek as _},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use netlink_sys::{Socket as Netlink, protocols::NETLINK_SOCK_DIAG};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Where `ip netns` keeps its names.
const NAMED: &str = "/run/netns";
/// The calling thread's own namespace: a thread may be elsewhere than its process.
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace, kept alive by an open file.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    /// Its inode number, `net.ns.inum` in the kernel: what the eBPF side filters by.
    pub inum: u32,
    /// What the user called it, for messages: a name, a pid, a path, or `net:[inum]`.
    pub name: String,
    kept: Mutex<Kept>,
}

/// What stays open once it was used: a run that fills the host's table of open files is looked at all the same.
#[derive(Debug, Default)]
struct Kept {
    /// By path.
    files: BTreeMap<&'static str, File>,
    sock_diag: Option<Netlink>,
}

impl Netns {
    /// The namespace of the calling thread.
    pub fn current() -> io::Result<Self> {
        let mut own = Self::from_path(Path::new(OWN), String::new())?;
        own.name = format!("net:[{}]", own.inum);
        Ok(own)
    }

    /// Another namespace: a name of `ip netns`, a pid, or a path. The error says which of them was tried.
    pub fn open(which: &str) -> io::Result<Self> {
        let named = Path::new(NAMED).join(which);
        let path = if which.contains('/') {
            Path::new(which).to_owned()
        } else if !named.exists() && which.parse::<u32>().is_ok_and(|pid| pid > 0) {
            Path::new("/proc").join(which).join("ns/net")
        } else {
            named
        };
        Self::from_path(&path, which.to_owned()).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound if path.starts_with("/proc") => ": no such process",
                io::ErrorKind::NotFound if path.starts_with(NAMED) => {
                    ": `ip netns list` names those that exist; a pid or a path will do as well"
                }
                io::ErrorKind::PermissionDenied => ": looking at another user's process needs root",
                _ => "",
            };
            let message = format!(
                "network namespace {which}: {}: {error}{hint}",
                path.display()
            );
            io::Error::new(error.kind(), message)
        })
    }

    /// The same namespace by another file. Errors: no file descriptor is left.
    pub fn again(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
            inum: self.inum,
            name: self.name.clone(),
            kept: Mutex::default(),
        })
    }

    /// A new one, with nothing but a loopback device that is up. It lasts as long as this value and what
    /// runs in it. Needs root.
    pub fn create() -> io::Result<Self> {
        in_thread(|| {
            // SAFETY: only the network namespace is unshared, never the fd table.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map_err(|error| {
                let message =
                    format!("a new network namespace needs root (CAP_SYS_ADMIN): {error}");
                io::Error::new(io::Error::from(error).kind(), message)
            })?;
            loopback_up()?;
            Self::current()
        })?
    }

    fn from_path(path: &Path, name: String) -> io::Result<Self> {
        let file = File::open(path)?;
        // `PROC_SUPER_MAGIC`'s sibling for namespaces, `NSFS_MAGIC` of linux/magic.h.
        const NSFS_MAGIC: u64 = 0x6e73_6673;
        if rustix::fs::fstatfs(&file)?.f_type as u64 != NSFS_MAGIC {
            return Err(io::Error::other("this file is no namespace"));
        }
        // The kernel counts them in 32 bits (`ns_common.inum`).
        let inum = u32::try_from(file.metadata()?.ino()).map_err(io::Error::other)?;
        let fd = file.into();
        let kept = Mutex::default();
        Ok(Self {
            fd,
            inum,
            name,
            kept,
        })
    }

    /// Whether the calling thread is in this namespace.
    pub fn is_current(&self) -> bool {
        fs::metadata(OWN).is_ok_and(|own| own.ino() == u64::from(self.inum))
    }

    /// Moves the calling thread into this namespace, for good: for the child side of a fork, or a thread
    /// that ends. Makes one system call and allocates nothing. Errors: EPERM without CAP_SYS_ADMIN.
    pub fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(
            self.fd.as_fd(),
            Some(LinkNameSpaceType::Network),
        )?)
    }

    /// The text of a file below /proc/thread-self/net, which stays open: to read it again takes no other one. Errors name
    /// the file.
    pub fn read_kept(&self, path: &'static str) -> io::Result<String> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"));
        let mut kept = self.kept();
        let mut file = match kept.files.remove(path) {
            Some(file) => file,
            None => self.run(|| File::open(path))?.map_err(named)?,
        };
        let mut text = String::new();
        file.rewind()
            .and_then(|()| file.read_to_string(&mut text))
            .map_err(named)?;
        kept.files.insert(path, file);
        Ok(text)
    }

    /// A sock_diag socket of this namespace, for one who gives it back ([`Netns::keep_sock_diag`]) when all was read that it
    /// was asked for.
    pub fn sock_diag(&self) -> io::Result<Netlink> {
        match self.kept().sock_diag.take() {
            Some(kept) => Ok(kept),
            // It belongs to the namespace it is made in: only this needs to happen inside.
            None => self.run(|| Netlink::new(NETLINK_SOCK_DIAG))?,
        }
    }

    /// Keeps it for the next one.
    pub fn keep_sock_diag(&self, netlink: Netlink) {
        self.kept().sock_diag = Some(netlink);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Whoever panicked took out what he used.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` inside the namespace. The caller's thread stays where it is: `f` runs in a thread of its
    /// own, unless the caller is in this namespace already (so that no privilege is needed then).
    ///
    /// Sockets made by `f` stay in the namespace for good; processes too, but a `PR_SET_PDEATHSIG` of
    /// theirs would fire when the thread ends.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> io::Result<T> {
        if self.is_current() {
            return Ok(f());
        }
        in_thread(|| {
            self.enter().map_err(|error| {
                let hint = match error.raw_os_error() {
                    Some(libc::EPERM) => " (needs root: CAP_SYS_ADMIN)",
                    Some(libc::EINVAL) => " (it is a namespace of another kind)",
                    _ => "",
                };
                let message = format!(
                    "cannot enter network namespace {}: {error}{hint}",
                    self.name
                );
                io::Error::new(error.kind(), message)
            })?;
            Ok(f())
        })?
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Runs `f` in a thread of its own and hands its panic on.
fn in_thread<T: Send>(f: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, f)?;
        Ok(thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Takes the loopback device of the calling thread's namespace up.
fn loopback_up() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let up = rtnetlink::LinkUnspec::new_with_index(LOOPBACK_INDEX)
            .up()
            .build();
        handle
            .link()
            .set(up)
            .execute()
            .await
            .map_err(io::Error::other)
    })
}

/// `LOOPBACK_IFINDEX`: the loopback device of every namespace.
const LOOPBACK_INDEX: u32 = 1;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_runs_inside_does_not_move_the_caller() {
        let here = Netns::current().unwrap();
        let other = Netns::create().unwrap();
        assert_ne!(here.inum, other.inum);
        let inside = other.run(|| Netns::current().unwrap().inum).unwrap();
        assert_eq!(inside, other.inum);
        assert!(here.is_current());
        assert!(!other.is_current());
    }

    #[test]
    fn a_new_namespace_has_a_working_loopback_of_its_own() {
        let [one, two] = [(); 2].map(|()| Netns::create().unwrap());
        let listen = || TcpListener::bind("127.0.0.1:8000").unwrap();
        let listener = one.run(listen).unwrap();
        let _same_port_elsewhere = two.run(listen).unwrap();
        let address = listener.local_addr().unwrap();
        let stream = one.run(|| TcpStream::connect(address).unwrap()).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(stream.local_addr().unwrap(), peer);
    }

    #[test]
    fn opens_by_pid_and_by_path() {
        let here = Netns::current().unwrap().inum;
        assert_eq!(
            Netns::open(&std::process::id().to_string()).unwrap().inum,
            here
        );
        assert_eq!(Netns::open("/proc/self/ns/net").unwrap().inum, here);
    }

    #[test]
    fn errors_name_what_was_tried() {
        for (which, word) in [
            ("no-such-name", "ip netns list"),
            ("4294967294", "no such process"),
            ("/proc/self/status", "no namespace"),
            ("0", "/run/netns/0"),
            ("", "namespace"),
        ] {
            let error = Netns::open(which).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let mount = Netns::open("/proc/self/ns/mnt").unwrap();
        let error = mount.run(|| ()).unwrap_err().to_string();
        assert!(error.contains("another kind"), "{error}");
    }

    #[test]
    fn a_panic_inside_reaches_the_caller() {
        let other = Netns::create().unwrap();
        let caught = std::panic::catch_unwind(|| other.run(|| panic!("inside")));
        assert!(caught.is_err());
    }
}
