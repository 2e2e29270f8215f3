//! `docs/performance.md`, made of the numbers alone.

use std::fmt::Write as _;

use super::{Results, Row, Section};

mod targets;

/// How a number is written.
#[derive(Clone, Copy)]
enum Unit {
    /// Whole, with separators.
    Count,
    Seconds,
    Mebibytes,
    Nanoseconds,
    Ratio,
}

/// A column: its heading, the value's name, its unit.
type Column = (&'static str, &'static str, Unit);

const INTRODUCTION: &str = "# Performance

Made by `cargo xtask bench`, from the numbers in [performance.json](performance.json). Every rate stands beside that of
`c1m-floor`, measured in turn on the same machine in the same minutes: forked processes and blocking sockets that do
nothing but open, accept and hold. What c1m takes beyond it is its own cost. Figures are medians over the rounds named.
Both ends of every connection are on the one machine.

What limits larger hosts, and by which formula, is in [scale.md](scale.md).
";

/// The sections in their order: name, heading, what to know, columns.
const SECTIONS: &[(&str, &str, &str, &[Column])] = &[
    (
        "rate",
        "Rate and memory by number of connections",
        "Rate: from the first attempt to the last that settled. Held memory: PSS of all processes while all connections \
         stand, less what an idle server has, per end of a connection. Slab: the rise of the kernel's slab memory per \
         connection, both ends. Table: from the last connect to the table. Tracer: the whole process that traces, \
         supervises and reports. Of a size that was not measured again the row is an earlier commit's.",
        &[
            ("per second", "conn_per_s", Unit::Count),
            ("÷ floor", "ratio_to_floor", Unit::Ratio),
            ("÷ untraced", "ratio_to_untraced", Unit::Ratio),
            ("held B/end", "held_bytes_per_end", Unit::Count),
            ("most B/end", "most_bytes_per_end", Unit::Count),
            ("slab B/connection", "slab_bytes_per_conn", Unit::Count),
            ("idle server MiB", "idle_server_bytes", Unit::Mebibytes),
            ("table s", "table_s", Unit::Seconds),
            ("tracer CPU s", "cpu_s", Unit::Seconds),
            ("tracer MiB", "memory_bytes", Unit::Mebibytes),
            ("most MiB", "memory_bytes_max", Unit::Mebibytes),
            ("maps MiB", "maps_bytes", Unit::Mebibytes),
        ],
    ),
    (
        "dropped",
        "A fifth of all attempts dropped at the listener",
        "Five listeners behind SO_REUSEPORT, one of which never accepts: the kernel gives it every fifth attempt, and drops \
         its SYNs. The rate is that of those that stand.",
        &[
            ("per second", "conn_per_s", Unit::Count),
            ("÷ untraced", "ratio_to_untraced", Unit::Ratio),
            ("standing", "standing", Unit::Count),
            ("lost", "lost", Unit::Count),
            ("table s", "table_s", Unit::Seconds),
            ("tracer CPU s", "cpu_s", Unit::Seconds),
        ],
    ),
    (
        "ports",
        "How full a source address's ports are",
        "One source address, its ports a tenth after the other, each by a client of its own while all before it stand.",
        &[("per second", "conn_per_s", Unit::Count)],
    ),
    (
        "losses",
        "By number of losses",
        "From the last attempt to the table, when most or all of the attempts are lost, each with its facts.",
        &[
            ("lost", "lost", Unit::Count),
            ("standing", "standing", Unit::Count),
            ("table s", "table_s", Unit::Seconds),
            ("tracer CPU s", "cpu_s", Unit::Seconds),
            ("most MiB", "memory_bytes_max", Unit::Mebibytes),
            ("maps MiB", "maps_bytes", Unit::Mebibytes),
        ],
    ),
    (
        "attach",
        "Attaching",
        "From the first look at the kernel's types until the last program is attached.",
        &[
            ("attach s", "attach_s", Unit::Seconds),
            ("CPU s, whole command", "cpu_s", Unit::Seconds),
            ("most MiB", "memory_bytes_max", Unit::Mebibytes),
            ("maps MiB", "maps_bytes", Unit::Mebibytes),
        ],
    ),
    (
        "profile",
        "What the time goes to",
        "Samples of c1m's workers, server's and client's, while traced connections are made, held and ended: the first two \
         lines are what tracing adds, besides what its use of the caches costs others.",
        &[
            ("samples", "samples", Unit::Count),
            ("share", "share", Unit::Ratio),
        ],
    ),
    (
        "two-million",
        "Two million connections",
        "Both ends on this machine, traced, once.",
        &[
            ("standing", "standing", Unit::Count),
            ("lost", "lost", Unit::Count),
            ("per second", "conn_per_s", Unit::Count),
            ("held B/end", "held_bytes_per_end", Unit::Count),
            ("slab B/connection", "slab_bytes_per_conn", Unit::Count),
            ("table s", "table_s", Unit::Seconds),
            ("tracer most MiB", "memory_bytes_max", Unit::Mebibytes),
        ],
    ),
];

/// Measurements of programs: one table per row.
const PROGRAMS: &[(&str, &str, &str)] = &[
    (
        "programs",
        "What each program takes on this kernel",
        "By the kernel's own count (`--run-times`), which adds two readings of the clock to each run. What the kernel takes to \
         enter and leave a program is not in it. Both together are what traced ÷ untraced loses. Tried, and kept: plain loads \
         by type instead of helper calls, most packets told by the state of their socket alone, no tuple and no map as long \
         as nothing has failed, nothing but a comparison where a segment is consumed elsewhere than in a listener, an answered \
         SYN known by its number alone, the clock read once in a tick. Left: two \
         programs for one event, for an interrupt in the middle of one would go unseen, and the state changes that tell \
         nothing, two of four, which a tracepoint hands over all the same.",
    ),
    (
        "kernels",
        "What each program takes on other kernels, by backend",
        "In machines emulated by software, where everything takes some twenty times as long as on hardware: compare the \
         lines with each other, not with the section above.",
    ),
];

/// The page.
pub(super) fn render(results: &Results) -> String {
    let mut page = INTRODUCTION.to_owned();
    targets::write(&mut page, results);
    for (name, heading, text, columns) in SECTIONS {
        if let Some(section) = results.get(*name) {
            begin(&mut page, heading, text, section);
            table(&mut page, &with_ratios(section), columns);
        }
    }
    for (name, heading, text) in PROGRAMS {
        if let Some(section) = results.get(*name) {
            begin(&mut page, heading, text, section);
            programs(&mut page, &section.rows);
        }
    }
    page
}

fn begin(page: &mut String, heading: &str, text: &str, section: &Section) {
    let host = &section.host;
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "\n## {heading}\n\n{text}\n\nLinux {}, {} × {}, {} GiB; commit {}, {}.\n\n",
        host.kernel, host.cpus, host.cpu, host.memory_gib, host.commit, host.date
    );
}

/// The rows with their rates beside those of the same size.
fn with_ratios(section: &Section) -> Vec<Row> {
    let rate_of = |row: &Row, label: &str| {
        let same = section
            .rows
            .iter()
            .find(|other| other.connections == row.connections && other.label == label);
        same.and_then(|row| row.values.get("conn_per_s").copied())
    };
    let mut rows = section.rows.clone();
    for row in &mut rows {
        let own = row.values.get("conn_per_s").copied();
        for (name, label) in [
            ("ratio_to_floor", "floor"),
            ("ratio_to_untraced", "untraced"),
        ] {
            if let (Some(own), Some(other)) = (own, rate_of(row, label))
                && row.label != label
                && !(name == "ratio_to_untraced" && row.label == "floor")
            {
                row.values.insert(name.to_owned(), own / other);
            }
        }
    }
    rows
}

fn table(page: &mut String, rows: &[Row], columns: &[Column]) {
    let used: Vec<&Column> = columns
        .iter()
        .filter(|(_, name, _)| rows.iter().any(|row| row.values.contains_key(*name)))
        .collect();
    let headings: Vec<&str> = used.iter().map(|(heading, ..)| *heading).collect();
    let _ = writeln!(
        page,
        "| connections | | rounds | {} |",
        headings.join(" | ")
    );
    let _ = writeln!(
        page,
        "| ---: | --- | ---: |{}",
        " ---: |".repeat(used.len())
    );
    for row in rows {
        let cell = |(_, name, unit): &&Column| match row.values.get(*name) {
            Some(value) => shown(*value, *unit),
            None => String::new(),
        };
        let cells: Vec<String> = used.iter().map(cell).collect();
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} |",
            thousands(row.connections as f64),
            row.label.trim_end_matches(", traced"),
            row.rounds,
            cells.join(" | ")
        );
    }
}

fn programs(page: &mut String, rows: &[Row]) {
    page.push_str(
        "| | program | runs per connection | ns per run | ns per connection | verified |\n",
    );
    page.push_str("| --- | --- | ---: | ---: | ---: | ---: |\n");
    for row in rows {
        let label = row.label.trim_end_matches(", traced");
        let each = row.connections.max(1) as f64;
        let mut all = 0.0;
        let programs = row.values.iter().filter_map(|(name, runs)| {
            let program = name.strip_prefix("runs ")?;
            let ns = row.values.get(&format!("ns {program}"))?;
            let verified = row.values.get(&format!("verified {program}"))?;
            Some((program, runs / each, *ns, *verified))
        });
        let mut programs: Vec<_> = programs.collect();
        programs.sort_by(|a, b| (b.1 * b.2).total_cmp(&(a.1 * a.2)));
        for (program, runs, ns, verified) in programs {
            all += runs * ns;
            // What did not run for the connections is not worth a line.
            if runs >= 0.01 {
                let _ = writeln!(
                    page,
                    "| {label} | `{program}` | {runs:.2} | {} | {} | {} |",
                    shown(ns, Unit::Nanoseconds),
                    shown(runs * ns, Unit::Nanoseconds),
                    thousands(verified)
                );
            }
        }
        let all = shown(all, Unit::Nanoseconds);
        let _ = writeln!(page, "| {label} | all | | | {all} | |");
    }
}

fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Count | Unit::Nanoseconds => thousands(value),
        Unit::Seconds => format!("{value:.2}"),
        Unit::Mebibytes => format!("{:.1}", value / f64::from(1 << 20)),
        Unit::Ratio => format!("{value:.3}"),
    }
}

/// Whole, with separators.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{host::Host, measure::Values};

    fn row(label: &str, rate: f64) -> Row {
        Row {
            label: label.to_owned(),
            connections: 200_000,
            rounds: 5,
            values: Values::from([("conn_per_s".to_owned(), rate)]),
        }
    }

    #[test]
    fn rates_stand_beside_each_other_and_the_targets_judge_them() {
        let rows = vec![
            row("floor", 40_000.0),
            row("untraced", 38_400.0),
            row("traced", 37_000.0),
        ];
        let host = Host::default();
        let results = Results::from([("rate".to_owned(), Section { host, rows })]);
        let page = render(&results);
        assert!(
            page.contains("| 200,000 | untraced | 5 | 38,400 | 0.960 |  |"),
            "{page}"
        );
        assert!(
            page.contains("| untraced ÷ floor, 200k | ≥ 0.950 | 0.960 | yes |"),
            "{page}"
        );
        assert!(
            page.contains("| traced ÷ untraced, 200k | ≥ 0.970 | 0.964 | **no** |"),
            "{page}"
        );
    }

    #[test]
    fn large_numbers_have_separators() {
        assert_eq!(thousands(1_234_567.0), "1,234,567");
        assert_eq!(thousands(999.0), "999");
    }
}
