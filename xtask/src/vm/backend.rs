//! The backends of the tracer, as `c1m lab --hooks` names them.

use anyhow::{Result, bail};

/// A backend: by which kind of hook the tracer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    /// The cheapest exact hook for each fact.
    Auto,
    Fentry,
    Kprobe,
    Tracepoint,
}

/// All, in the order in which they run.
pub(super) const ALL: &[Backend] = &[
    Backend::Auto,
    Backend::Fentry,
    Backend::Kprobe,
    Backend::Tracepoint,
];

impl Backend {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }

    /// The one of that name.
    pub(super) fn by_name(name: &str) -> Result<Self> {
        match ALL.iter().find(|backend| backend.name() == name) {
            Some(backend) => Ok(*backend),
            None => bail!("there is no backend {name}: auto, fentry, kprobe, tracepoint, or all"),
        }
    }

    /// Whether it has no more than tracepoints, so that older kernels tell it less.
    pub(super) fn is_tracepoints(self) -> bool {
        self == Self::Tracepoint
    }
}

/// Those of a list like `auto,kprobe`, or all; each once.
pub(super) fn chosen(list: &str) -> Result<Vec<Backend>> {
    if list == "all" {
        return Ok(ALL.to_vec());
    }
    let mut chosen = Vec::new();
    for name in list.split(',') {
        let backend = Backend::by_name(name.trim())?;
        if !chosen.contains(&backend) {
            chosen.push(backend);
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_named() {
        assert_eq!(chosen("all").expect("all"), ALL);
        assert_eq!(
            chosen("kprobe, auto,kprobe").expect("two"),
            [Backend::Kprobe, Backend::Auto]
        );
        let error = chosen("uprobe").expect_err("none").to_string();
        assert!(error.contains("auto, fentry, kprobe, tracepoint"));
    }
}
