//! What a trace needs, checked before anything is started: one sentence for each thing that is missing.

use std::io;

use anyhow::bail;

use super::btf;

/// The eBPF object, empty in a build without it.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/c1m-ebpf.o"));

/// Checks rights, object and BTF. Errors say what is missing and how to get it.
pub fn check() -> anyhow::Result<()> {
    if OBJECT.is_empty() {
        bail!(
            "this c1m was built without its eBPF object: run `cargo xtask build-ebpf`, which also builds c1m again"
        );
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "tracing needs root (CAP_BPF, CAP_PERFMON, CAP_SYSLOG): run `sudo c1m trace …`; server and client run without"
        );
    }
    if let Ok(modes) = std::fs::read_to_string(LOCKDOWN)
        && hides_memory(&modes)
    {
        bail!(
            "this kernel is locked down ({LOCKDOWN} says confidentiality): it lets no eBPF program read its memory, \
             which tracing does; boot it with lockdown=integrity or none; server and client run as they are"
        );
    }
    btf::is_there()
}

/// Where the kernel tells how far it is locked down; the mode in brackets is in force.
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// Whether that mode refuses LOCKDOWN_BPF_READ_KERNEL.
fn hides_memory(modes: &str) -> bool {
    modes.contains("[confidentiality]")
}

/// What to say when the kernel takes no eBPF at all: the system call's own error, and where to look; or no maps with room for
/// so many `entries`.
pub(super) fn no_bpf(error: &(dyn std::error::Error + 'static), entries: u32) -> anyhow::Error {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let errno = deepest.downcast_ref().and_then(io::Error::raw_os_error);
    match errno {
        Some(libc::EMFILE) => return too_few_descriptors(),
        Some(libc::E2BIG | libc::ENOMEM) => {
            return anyhow::anyhow!(
                "this kernel has no memory for maps with --entries {entries} (bpf(): {deepest}): a smaller --entries, whose \
                 default is 1000000"
            );
        }
        _ => {}
    }
    anyhow::anyhow!(
        "this kernel takes no eBPF maps or programs from c1m (bpf(): {deepest}): it needs CONFIG_BPF_SYSCALL, \
         CAP_BPF and CAP_PERFMON or CAP_SYS_ADMIN, and no lockdown (/sys/kernel/security/lockdown) or seccomp \
         filter in the way; server and client run without"
    )
}

/// What to say when the tracer has no descriptor left for its maps and programs.
pub(super) fn too_few_descriptors() -> anyhow::Error {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let limit = limit.current.unwrap_or(u64::MAX);
    anyhow::anyhow!(
        "RLIMIT_NOFILE is {limit}, too few for the tracer's maps and programs: ulimit -n 1024; to limit a command alone: \
         c1m trace -- sh -c 'ulimit -n {limit} && exec COMMAND'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_confidentiality_hides_the_kernels_memory() {
        assert!(!hides_memory("[none] integrity confidentiality\n"));
        assert!(!hides_memory("none [integrity] confidentiality\n"));
        assert!(hides_memory("none integrity [confidentiality]\n"));
    }
}
