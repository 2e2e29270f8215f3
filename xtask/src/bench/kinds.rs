//! The measurements.

use anyhow::{Context as _, Result, ensure};

use super::{
    Options, Row, host, measure,
    measure::{Ask, Kind as Program, Server, Values},
    medians,
};
use crate::command;

/// A measurement: its name, what it tells, and how it is made.
pub(super) type Kind = (&'static str, &'static str, fn(&Options) -> Result<Vec<Row>>);

/// All of them, in the order of the page.
pub(super) const KINDS: &[Kind] = &[
    (
        "rate",
        "floor, c1m untraced and traced in turn, by number of connections",
        rate,
    ),
    (
        "dropped",
        "untraced and traced in turn, a fifth of all attempts dropped at the listener",
        dropped,
    ),
    (
        "ports",
        "rate by how full the ports of a source address are",
        ports,
    ),
    (
        "losses",
        "time to the table and memory, by number of losses",
        losses,
    ),
    ("attach", "time to attach everything", attach),
    (
        "programs",
        "runs and time of each program per connection, on this kernel",
        programs,
    ),
    (
        "profile",
        "what the workers' time goes to while traced connections are made and ended, sampled by perf",
        profile,
    ),
    (
        "kernels",
        "the same with each backend, in emulated machines",
        kernels,
    ),
    (
        "two-million",
        "two million connections, both ends here, traced",
        two_million,
    ),
];

/// What takes long, or all memory, or a program that few have: only by name.
pub(super) const ON_DEMAND: &[&str] = &["profile", "kernels", "two-million"];

/// The number of connections that `--quick` stands for.
const QUICK: u64 = 3_000;

fn sizes(options: &Options, default: &[u64]) -> Vec<u64> {
    match (options.quick, options.sizes.as_slice()) {
        (true, _) => vec![QUICK],
        (false, []) => default.to_vec(),
        (false, sizes) => sizes.to_vec(),
    }
}

fn rounds(options: &Options) -> usize {
    if options.quick {
        1
    } else {
        options.rounds.max(1)
    }
}

/// Runs `kinds` in turn, several rounds, each time another one first; a row of medians for each.
fn in_turn(options: &Options, kinds: &[Program], label: &str, ask: &Ask) -> Result<Vec<Row>> {
    let mut runs: Vec<Vec<Values>> = vec![Vec::new(); kinds.len()];
    for round in 0..rounds(options) {
        for step in 0..kinds.len() {
            let index = (round + step) % kinds.len();
            let values = measure::run(kinds[index], ask)?;
            println!(
                "{} {label}{}, round {}: {}",
                ask.connections,
                kinds[index].name(),
                round + 1,
                told(&values)
            );
            runs[index].push(values);
        }
    }
    let row = |(kind, runs): (&Program, Vec<Values>)| Row {
        label: format!("{label}{}", kind.name()),
        connections: ask.connections,
        rounds: runs.len(),
        values: medians(&runs),
    };
    Ok(kinds.iter().zip(runs).map(row).collect())
}

/// The numbers that one wants to see while it runs.
fn told(values: &Values) -> String {
    let shown = [
        "conn_per_s",
        "table_s",
        "held_bytes_per_end",
        "slab_bytes_per_conn",
        "lost",
        "memory_bytes_max",
        "attach_s",
    ];
    let known = shown
        .iter()
        .filter_map(|name| Some((name, values.get(*name)?)));
    let texts: Vec<String> = known
        .map(|(name, value)| format!("{name} {value:.2}"))
        .collect();
    texts.join(", ")
}

fn rate(options: &Options) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for connections in sizes(options, &[10_000, 50_000, 200_000, 500_000, 1_000_000]) {
        let ask = Ask {
            connections,
            ..Ask::default()
        };
        let kinds = [Program::Floor, Program::Untraced, Program::Traced];
        rows.extend(in_turn(options, &kinds, "", &ask)?);
    }
    Ok(rows)
}

/// One of five listeners behind SO_REUSEPORT never accepts: the kernel gives it every fifth attempt.
fn dropped(options: &Options) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for connections in sizes(options, &[200_000]) {
        let ask = Ask {
            connections,
            may_lose: true,
            // An attempt that gets no answer must not keep its place among those under way for long.
            client: words("--timeout 200ms --in-flight 8192"),
            server: Server::Floor {
                listeners: 4,
                deaf: 1,
            },
            ..Ask::default()
        };
        rows.extend(in_turn(
            options,
            &[Program::Untraced, Program::Traced],
            "",
            &ask,
        )?);
    }
    Ok(rows)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A tenth of one address's ports after the other, each held until the last has stood.
fn ports(options: &Options) -> Result<Vec<Row>> {
    const PORTS: u64 = 55_000;
    let all = if options.quick { QUICK } else { PORTS };
    let mut runs: Vec<Vec<Values>> = vec![Vec::new(); 10];
    for _ in 0..rounds(options) {
        host::settle()?;
        let tenths = measure::tenths(all)?;
        println!("tenths: {tenths:?}");
        for (run, rate) in runs.iter_mut().zip(tenths) {
            run.push(Values::from([("conn_per_s".to_owned(), rate)]));
        }
    }
    let row = |(index, runs): (usize, Vec<Values>)| Row {
        label: format!("tenth {}", index + 1),
        connections: all / 10,
        rounds: runs.len(),
        values: medians(&runs),
    };
    Ok(runs.into_iter().enumerate().map(row).collect())
}

/// All attempts of each size are lost, for nobody listens; then a million of which one in ten is dropped at a listener.
fn losses(options: &Options) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for connections in sizes(options, &[1_000, 10_000, 100_000, 1_000_000]) {
        let ask = Ask {
            connections,
            may_lose: true,
            server: Server::Nobody,
            ..Ask::default()
        };
        rows.extend(in_turn(
            options,
            &[Program::Traced],
            "nobody listens, ",
            &ask,
        )?);
    }
    if options.quick || !options.sizes.is_empty() {
        return Ok(rows);
    }
    let ask = Ask {
        connections: 1_000_000,
        may_lose: true,
        client: words("--timeout 200ms --in-flight 8192"),
        server: Server::Floor {
            listeners: 9,
            deaf: 1,
        },
        ..Ask::default()
    };
    let once = Options {
        rounds: 1,
        ..options.clone()
    };
    rows.extend(in_turn(
        &once,
        &[Program::Traced],
        "one in ten dropped at the listener, ",
        &ask,
    )?);
    Ok(rows)
}

fn attach(options: &Options) -> Result<Vec<Row>> {
    let runs: Result<Vec<Values>> = (0..rounds(options)).map(|_| measure::attach()).collect();
    let runs = runs?;
    Ok(vec![Row {
        label: "attach".to_owned(),
        connections: 0,
        rounds: runs.len(),
        values: medians(&runs),
    }])
}

fn programs(options: &Options) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for connections in sizes(options, &[50_000]) {
        let ask = Ask {
            connections,
            trace: words("--run-times"),
            ..Ask::default()
        };
        rows.extend(in_turn(options, &[Program::Traced], "this kernel, ", &ask)?);
    }
    Ok(rows)
}

fn profile(options: &Options) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for connections in sizes(options, &[200_000]) {
        rows.extend(super::profile::run(&Ask {
            connections,
            ..Ask::default()
        })?);
    }
    Ok(rows)
}

/// What a machine does: a server, and a traced client whose cost it prints.
const IN_MACHINE: &str = "c1m server --listen 127.0.0.1:8000 >/run/server 2>&1 &
    for _ in $(seq 60); do grep -q listening /run/server && break; sleep 1; done
    for backend in fentry kprobe tracepoint; do
        c1m trace --hooks $backend --cost /run/cost.json --run-times -- client --connections COUNT --hold 0s
        echo; echo \"cost of $backend $(tr -d '\\n' </run/cost.json)\"
    done";
/// How the line of a backend's cost begins.
const COST_LINE: &str = "cost of ";

fn kernels(options: &Options) -> Result<Vec<Row>> {
    let connections = if options.quick { 1_000 } else { 10_000 };
    let mut rows = Vec::new();
    for kernel in ["5.10", "6.1", "6.12", "7.2"] {
        let script = IN_MACHINE.replace("COUNT", &connections.to_string());
        let xtask = std::env::current_exe().context("where xtask is")?;
        let mut machine = command::clean(xtask);
        machine.args(["vm", kernel, "--", &script]);
        let mut failed = None;
        let status = command::each_line(&mut machine, |line| {
            let Some((backend, cost)) = cost_line(line) else {
                return;
            };
            match measure::cost_of(cost) {
                Ok(values) => rows.push(Row {
                    label: format!("{kernel} {backend}"),
                    connections,
                    rounds: 1,
                    values,
                }),
                Err(error) => failed = Some(error),
            }
        })?;
        if let Some(error) = failed {
            return Err(error.context(format!("{kernel}: no cost")));
        }
        ensure!(status.success(), "{kernel}: {status}");
    }
    Ok(rows)
}

/// A backend and what the trace with it cost, from a line of a machine's console.
fn cost_line(line: &str) -> Option<(&str, &str)> {
    let at = line.find(COST_LINE)?;
    line[at + COST_LINE.len()..].trim_end().split_once(' ')
}

fn two_million(options: &Options) -> Result<Vec<Row>> {
    let connections = if options.quick { QUICK } else { 2_000_000 };
    let ask = Ask {
        connections,
        ..Ask::default()
    };
    let once = Options {
        rounds: 1,
        ..options.clone()
    };
    in_turn(&once, &[Program::Traced], "", &ask)
}
