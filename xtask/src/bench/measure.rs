//! One run of the floor or of `c1m`, measured.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{host, running::Running};
use crate::{command, ebpf};

/// Where measurements listen.
const LISTEN: &str = "127.0.0.1:8765";
/// How long connections are held, so that their memory can be looked at.
const HOLD_S: u64 = 3;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// No run takes longer.
const LIMIT: Duration = Duration::from_secs(600);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Floor,
    Untraced,
    Traced,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Untraced => "untraced",
            Self::Traced => "traced",
        }
    }
}

/// Numbers by name.
pub(super) type Values = BTreeMap<String, f64>;

/// What a client is asked besides the number of connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask {
    pub(super) connections: u64,
    pub(super) client: Vec<String>,
    pub(super) trace: Vec<String>,
    /// Whether some may be lost.
    pub(super) may_lose: bool,
    /// Who listens; `c1m server` unless told otherwise.
    pub(super) server: Server,
}

/// Who listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Server {
    #[default]
    C1m,
    /// The floor's, with listeners that accept and listeners that never do.
    Floor {
        listeners: usize,
        deaf: usize,
    },
    Nobody,
}

/// Where a run keeps its files.
pub(super) fn file(name: &str) -> PathBuf {
    command::target_dir().join("bench").join(name)
}

/// Where the floor's program lies.
fn floor_program() -> PathBuf {
    command::target_dir().join("release/c1m-floor")
}

/// Makes room for a run's files, and builds what is measured, unless it is to be taken `as_built`.
pub(super) fn prepare(as_built: bool) -> Result<()> {
    fs::create_dir_all(file("")).context("cannot make target/bench")?;
    if as_built {
        return Ok(());
    }
    ebpf::build_object()?;
    ebpf::build_c1m()?;
    let floor = ["--release", "--locked", "--package", "c1m-floor"];
    command::run(command::host_cargo("build").args(floor))
}

/// Measures one run.
pub(super) fn run(kind: Kind, ask: &Ask) -> Result<Values> {
    host::settle()?;
    host::warm(ask.connections);
    match kind {
        Kind::Floor => floor(ask),
        Kind::Untraced => client(ask, false),
        Kind::Traced => client(ask, true),
    }
    .with_context(|| format!("{} connections, {}", ask.connections, kind.name()))
}

fn floor(ask: &Ask) -> Result<Values> {
    let slab = host::meminfo("Slab:");
    let mut command = Command::new(floor_program());
    command.args([
        "--listen",
        LISTEN,
        "--connections",
        &ask.connections.to_string(),
    ]);
    let mut running = Running::start(&mut command)?;
    let (_, line) = running.says("conn_per_s", LIMIT)?;
    let told: Value = serde_json::from_str(&line)?;
    let mut values = Values::new();
    let count = |name: &str| told[name].as_u64().unwrap_or(0);
    let all = [count("established"), count("accepted")];
    ensure!(
        all == [ask.connections; 2],
        "the floor has not held all: {line}"
    );
    values.insert("conn_per_s".into(), count("conn_per_s") as f64);
    memory(&mut values, ask, host::pss_of_family(running.pid()), slab);
    drop(running.stdin.take());
    let status = running.child.wait()?;
    ensure!(status.success(), "the floor ended with {status}");
    Ok(values)
}

/// Memory of the processes at a moment, and of the kernel, per end and per connection.
fn memory(values: &mut Values, ask: &Ask, bytes: u64, slab_before: u64) {
    let ends = 2.0 * ask.connections as f64;
    values.insert("held_bytes_per_end".into(), bytes as f64 / ends);
    let slab = host::meminfo("Slab:").saturating_sub(slab_before);
    values.insert(
        "slab_bytes_per_conn".into(),
        slab as f64 / ask.connections as f64,
    );
}

fn server(ask: &Ask) -> Result<Option<Running>> {
    let mut command = match ask.server {
        Server::Nobody => return Ok(None),
        Server::C1m => {
            let mut command = Command::new(ebpf::c1m());
            command.args(["server", "--listen", LISTEN]);
            command
        }
        Server::Floor { listeners, deaf } => {
            let mut command = Command::new(floor_program());
            let (connections, listeners) = (ask.connections.to_string(), listeners.to_string());
            let deaf = deaf.to_string();
            command.args(["--listen", LISTEN, "--connections", &connections]);
            command.args(["--serve", &listeners, "--deaf", &deaf]);
            command
        }
    };
    let running = Running::start(&mut command)?;
    running.says("listening", Duration::from_secs(20))?;
    Ok(Some(running))
}

/// `c1m client`, or under the tracer if what that costs is to be written to a file.
fn c1m_client(ask: &Ask, cost: Option<&PathBuf>) -> Command {
    let hold = if ask.may_lose { 0 } else { HOLD_S };
    let mut command = Command::new(ebpf::c1m());
    if let Some(cost) = cost {
        command.args(["trace", "--cost"]).arg(cost);
        command.args(&ask.trace).arg("--");
    }
    command
        .args(["client", "--target", LISTEN, "--connections"])
        .arg(ask.connections.to_string())
        .args(["--hold", &format!("{hold}s")])
        .args(&ask.client);
    command
}

fn client(ask: &Ask, traced: bool) -> Result<Values> {
    let server = server(ask)?;
    let server_pid = server.as_ref().map(Running::pid);
    let of_server = || server_pid.map_or(0, host::pss_of_family);
    let idle = of_server();
    let slab = host::meminfo("Slab:");
    let cost = file("cost.json");
    let mut running = Running::start(&mut c1m_client(ask, traced.then_some(&cost)))?;
    let mut values = Values::new();
    let (mut held, mut most) = (0, 0);
    let end = Instant::now() + LIMIT;
    let mut said = String::new();
    let headline = loop {
        match running.lines.recv_timeout(LOOK) {
            Ok((_, line)) if line.contains(" attempted ") => break line,
            Ok((_, line)) => {
                said = line;
                continue;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                bail!("c1m ended without a table; the last that it said: `{said}`")
            }
        }
        ensure!(Instant::now() < end, "no table after {} s", LIMIT.as_secs());
        held = (of_server() + host::pss_of_family(running.pid())).saturating_sub(idle);
        most = most.max(held);
        if !ask.may_lose {
            memory(&mut values, ask, held, slab);
        }
    };
    // The rest of the table, read so that the program can end.
    let rate = running.says("per second", Duration::from_secs(60)).ok();
    let status = running.child.wait()?;
    let lost = status.code() == Some(1);
    ensure!(
        status.success() || (ask.may_lose && lost),
        "c1m ended with {status}: {headline}"
    );
    let standing = word_before(&headline, "standing");
    ensure!(
        ask.may_lose || standing == ask.connections,
        "{standing} of {} stand: no measurement",
        ask.connections
    );
    values.insert("standing".into(), standing as f64);
    values.insert("lost".into(), word_before(&headline, "lost") as f64);
    if let Some((_, line)) = rate {
        speed(&mut values, &line);
    }
    if held > 0 {
        values.insert(
            "most_bytes_per_end".into(),
            most as f64 / (2 * ask.connections) as f64,
        );
        values.insert("idle_server_bytes".into(), idle as f64);
    }
    if traced {
        read_cost(&mut values, &cost)?;
    }
    if let Some(server) = server {
        server.stop()?;
    }
    Ok(values)
}

/// What `established in 3.9 s: 4 per second` says.
fn speed(values: &mut Values, line: &str) {
    values.insert("conn_per_s".into(), word_before(line, "per") as f64);
    let establish = line
        .split(" in ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let establish = establish.and_then(|s| s.parse().ok()).unwrap_or(0.0);
    values.insert("establish_s".into(), establish);
}

/// The number before a word, without separators.
fn word_before(line: &str, word: &str) -> u64 {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|its| *its == word).unwrap_or(0);
    let number = at.checked_sub(1).map_or("", |at| words[at]);
    number.replace(',', "").parse().unwrap_or(0)
}

fn read_cost(values: &mut Values, file: &std::path::Path) -> Result<()> {
    let text = fs::read_to_string(file).context("no --cost")?;
    values.extend(cost_of(&text)?);
    Ok(())
}

/// What `c1m trace --cost` wrote.
pub(super) fn cost_of(text: &str) -> Result<Values> {
    let cost: Value = serde_json::from_str(text)?;
    let mut values = Values::new();
    for name in [
        "attach_s",
        "table_s",
        "cpu_s",
        "memory_bytes",
        "memory_bytes_max",
        "maps_bytes",
    ] {
        values.insert(name.into(), cost[name].as_f64().unwrap_or(0.0));
    }
    for program in cost["programs"].as_array().into_iter().flatten() {
        let number = |name: &str| program[name].as_f64().unwrap_or(0.0);
        let name = program["program"].as_str().unwrap_or("?");
        if number("runs") > 0.0 {
            values.insert(format!("runs {name}"), number("runs"));
            values.insert(format!("ns {name}"), number("run_ns") / number("runs"));
        }
        values.insert(format!("verified {name}"), number("verified"));
    }
    Ok(values)
}

/// The rate in each tenth of one source address's ports, `all` ports together: ten clients, each of which holds what it has
/// until the last has settled.
pub(super) fn tenths(all: u64) -> Result<Vec<f64>> {
    let ask = Ask::default();
    let server = server(&ask)?;
    let each = all / 10;
    let mut clients = Vec::new();
    for tenth in 0..10 {
        let first = 10_000 + tenth * each;
        let mut command = Command::new(ebpf::c1m());
        command.args([
            "client",
            "--target",
            LISTEN,
            "--sources",
            "127.0.1.1",
            "--hold",
            "600s",
        ]);
        command.args(["--port-range", &format!("{first}-{}", first + each - 1)]);
        command.args([
            "--per-ip",
            &each.to_string(),
            "--connections",
            &each.to_string(),
        ]);
        clients.push(Running::start(&mut command)?);
        let (limit, wanted) = (Instant::now() + LIMIT, 2 * each * (tenth + 1));
        while host::sockets() < wanted {
            ensure!(Instant::now() < limit, "tenth {tenth} does not stand");
            thread::sleep(Duration::from_millis(10));
        }
    }
    let mut rates = Vec::new();
    for client in &mut clients {
        command::run(Command::new("kill").args(["-INT", &client.pid().to_string()]))?;
        let (_, line) = client.says("per second", Duration::from_secs(60))?;
        rates.push(word_before(&line, "per") as f64);
        client.child.wait()?;
    }
    if let Some(server) = server {
        server.stop()?;
    }
    Ok(rates)
}

/// How long it takes to attach, and what that takes of memory.
pub(super) fn attach() -> Result<Values> {
    let cost = file("cost.json");
    let mut command = Command::new(ebpf::c1m());
    command.arg("trace").arg("--cost").arg(&cost);
    command.args(["--port", "9", "--", "true"]);
    command::output(&mut command)?;
    let mut values = Values::new();
    read_cost(&mut values, &cost)?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::word_before;

    #[test]
    fn numbers_are_read_from_the_table() {
        let line =
            "c1m  1,000,000 attempted   999,990 standing   10 lost   0 unexplained      client";
        assert_eq!(word_before(line, "standing"), 999_990);
        assert_eq!(word_before(line, "lost"), 10);
        assert_eq!(
            word_before("  established in 1.9 s: 26,636 per second", "per"),
            26_636
        );
        assert_eq!(word_before("", "per"), 0);
    }
}
