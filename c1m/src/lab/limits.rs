//! Labs of limits of the whole host.

use std::fs;

use anyhow::{Context as _, ensure};

use super::{Outcome, bench::Bench, process::Place, truth::Truth};

/// The user and group `nobody`.
const NOBODY: u32 = 65_534;

/// Open files run out under a client that has no privileges; then the same load is run by root.
pub(super) fn enfile(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    /// Each takes two files, one at either end.
    const ATTEMPTS: u64 = 400;
    /// More than a client needs to start with, and its tracer; less than the connections take.
    const ROOM: u64 = 450;
    let _server = bench.server(Place::default(), "--backlog 1024 --workers-max 1")?;
    bench.host_sysctl("fs.file-max", files_open()? + ROOM)?;
    let args = format!(
        "--sources 127.0.1.1 --ips 1 --per-ip {ATTEMPTS} --per-worker {ATTEMPTS} --unchecked --hold 1s"
    );
    let mut outcomes = Vec::new();
    for user in [Some(NOBODY), None] {
        let place = Place {
            user,
            ..Place::default()
        };
        let before = bench.opened()?;
        let run = bench.traced_client(place, None, &args)?.finish(bench)?;
        // The kernel's counter of files is exact at the limit alone: who came to connect() had one.
        let refused = ATTEMPTS - (bench.opened()? - before);
        let mut truth = Truth::of(ATTEMPTS, &[("enfile", refused)]);
        match user {
            Some(_) => ensure!(
                refused > 0 || bench.is_fixed(),
                "{ATTEMPTS} connections did not reach fs.file-max"
            ),
            None => {
                ensure!(refused == 0, "root met fs.file-max");
                truth.notes = vec!["ran as root, which is exempt from fs.file-max".to_owned()];
            }
        }
        outcomes.push(Outcome { truth, run });
    }
    Ok(outcomes)
}

/// How many files are open on the host.
fn files_open() -> anyhow::Result<u64> {
    let path = "/proc/sys/fs/file-nr";
    let text = fs::read_to_string(path).context(path)?;
    let first = text.split_whitespace().next().unwrap_or_default();
    first.parse().context(path)
}
