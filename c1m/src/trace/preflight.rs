//! What a trace needs, checked before anything is started: one sentence for each thing that is missing.

use anyhow::bail;

use super::btf::KernelTypes;

/// The eBPF object, empty in a build without it.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/c1m-ebpf.o"));

/// Checks rights, object and BTF. Errors say what is missing and how to get it.
pub fn check() -> anyhow::Result<KernelTypes> {
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
    KernelTypes::load()
}
