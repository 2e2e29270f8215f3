//! What tracing needs of this host. Pure functions of what the host said; `--hooks` tries each hook.

use super::{
    ask::Ask,
    facts::Facts,
    limit::{Bound, Judged},
};

fn judged(has: bool, here: &str, need: &str, remedy: &str) -> Option<Judged> {
    Some(Judged {
        bound: if has { Bound::Free } else { Bound::Short },
        here: here.to_owned(),
        need: need.to_owned(),
        remedy: if has { "" } else { remedy }.to_owned(),
        fixes: Vec::new(),
    })
}

pub(super) fn rights(facts: &Facts, _: &Ask) -> Option<Judged> {
    let (here, remedy) = match (facts.may_trace, facts.is_root) {
        (true, _) => ("root", ""),
        (false, true) => (
            "root without these capabilities",
            "a container: --privileged, or --cap-add SYS_ADMIN",
        ),
        (false, false) => (
            "not root",
            "sudo c1m trace …; server and client run without",
        ),
    };
    judged(facts.may_trace, here, "root (CAP_BPF, CAP_PERFMON)", remedy)
}

pub(super) fn object(facts: &Facts, _: &Ask) -> Option<Judged> {
    let has = facts.bpf.object;
    let here = if has {
        "built in"
    } else {
        "missing in this build"
    };
    judged(has, here, "built in", "cargo xtask build-ebpf")
}

pub(super) fn btf(facts: &Facts, _: &Ask) -> Option<Judged> {
    let has = facts.bpf.btf;
    let here = if has {
        "/sys/kernel/btf/vmlinux"
    } else {
        "none"
    };
    judged(
        has,
        here,
        "CONFIG_DEBUG_INFO_BTF",
        "a kernel with BTF: those of distributions have it",
    )
}

pub(super) fn lockdown(facts: &Facts, _: &Ask) -> Option<Judged> {
    let mode = facts.bpf.lockdown.as_deref().unwrap_or("none");
    judged(
        mode != "confidentiality",
        mode,
        "none or integrity",
        "boot with lockdown=integrity or none",
    )
}

pub(super) fn hooks(facts: &Facts, _: &Ask) -> Option<Judged> {
    let kprobes = if facts.bpf.kprobes {
        "kprobes"
    } else {
        "no kprobes"
    };
    let fentry = if facts.bpf.jit {
        "fentry to be tried"
    } else {
        "no fentry (no JIT)"
    };
    Some(Judged {
        here: format!("{kprobes}, {fentry}"),
        need: "c1m doctor --hooks tries each".to_owned(),
        ..Judged::default()
    })
}
