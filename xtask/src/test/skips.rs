//! Which labs a machine may be unable to run.

use super::Count;

/// A lab that a machine may be unable to run: its name, why, and whether this machine could. Every other skip is a
/// failure, for a test that did not run has shown nothing.
pub(crate) type MaySkip = (&'static str, &'static str, fn() -> bool);

/// Labs that may be skipped where they can't run.
pub(crate) const MAY_SKIP: &[MaySkip] = &[
    ("enfile", HOST_WIDE, || false),
    ("conntrack-full", HOST_WIDE, || false),
    ("cpu-backlog", HOST_WIDE, || false),
    ("neighbour-table-full", HOST_WIDE, || false),
    ("memory-pressure", HOST_WIDE, || false),
    ("memory-pressure-tcp-mem", HOST_WIDE, || false),
    (
        "io-uring",
        "kernel.io_uring_disabled lets nobody have a ring",
        || {
            std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
                .is_ok_and(|disabled| disabled.trim() == "0")
        },
    ),
    (
        "server-exited-mptcp",
        "this kernel has no MPTCP (CONFIG_MPTCP)",
        || std::path::Path::new("/proc/sys/net/mptcp").exists(),
    ),
    (
        "no-request-memory",
        "only a function tells it, and this kernel has no kprobes",
        || std::path::Path::new("/sys/bus/event_source/devices/kprobe").exists(),
    ),
];

/// Why some labs run in virtual machines only: `cargo xtask vm` does not let them be skipped.
const HOST_WIDE: &str =
    "it changes a setting of the whole host, which no test does but in a virtual machine";

/// A skip is a failure unless this lab may be skipped and this machine can't run it.
pub(super) fn judge_skip(name: &str, may_skip: &[MaySkip]) -> Count {
    // The same lab with plain programs is skipped for the same reason.
    let lab = name.strip_suffix("-foreign").unwrap_or(name);
    match may_skip.iter().find(|(its, ..)| *its == lab) {
        Some((_, why, can_run)) if !can_run() => {
            println!("lab {name} may be skipped: {why}");
            Count {
                skipped: 1,
                ..Count::default()
            }
        }
        _ => {
            println!("lab {name} was skipped, but this machine can run it");
            Count {
                failed: 1,
                ..Count::default()
            }
        }
    }
}
