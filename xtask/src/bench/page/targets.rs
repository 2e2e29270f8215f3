//! What is demanded of the figures.

use std::fmt::Write as _;

use super::{Results, Row, Section, Unit, shown, with_ratios};

/// One demand: what, the measurement, the row's label and size, the value, the limit, and whether it is a lower one.
type Target = (
    &'static str,
    &'static str,
    (&'static str, u64),
    (&'static str, Unit),
    (f64, Bound),
);

#[derive(Clone, Copy, PartialEq)]
enum Bound {
    AtLeast,
    AtMost,
}
use Bound::{AtLeast, AtMost};

const MIB: f64 = (1 << 20) as f64;
const NOBODY: &str = "nobody listens, traced";

const TARGETS: &[Target] = &[
    (
        "untraced ÷ floor, 200k",
        "rate",
        ("untraced", 200_000),
        ("ratio_to_floor", Unit::Ratio),
        (0.95, AtLeast),
    ),
    (
        "untraced ÷ floor, 1M",
        "rate",
        ("untraced", 1_000_000),
        ("ratio_to_floor", Unit::Ratio),
        (0.95, AtLeast),
    ),
    (
        "traced ÷ untraced, 200k",
        "rate",
        ("traced", 200_000),
        ("ratio_to_untraced", Unit::Ratio),
        (0.97, AtLeast),
    ),
    (
        "traced ÷ untraced, 1M",
        "rate",
        ("traced", 1_000_000),
        ("ratio_to_untraced", Unit::Ratio),
        (0.97, AtLeast),
    ),
    (
        "traced ÷ untraced, a fifth dropped",
        "dropped",
        ("traced", 200_000),
        ("ratio_to_untraced", Unit::Ratio),
        (0.90, AtLeast),
    ),
    (
        "user memory per held end at 1M, traced, B",
        "rate",
        ("traced", 1_000_000),
        ("held_bytes_per_end", Unit::Count),
        (128.0, AtMost),
    ),
    (
        "idle server, MiB",
        "rate",
        ("untraced", 200_000),
        ("idle_server_bytes", Unit::Mebibytes),
        (8.0 * MIB, AtMost),
    ),
    (
        "tracer's process, 1M, nothing lost, MiB",
        "rate",
        ("traced", 1_000_000),
        ("memory_bytes", Unit::Mebibytes),
        (64.0 * MIB, AtMost),
    ),
    (
        "tracer's process at its most, 1M lost, MiB",
        "losses",
        (NOBODY, 1_000_000),
        ("memory_bytes_max", Unit::Mebibytes),
        (400.0 * MIB, AtMost),
    ),
    (
        "last connect to table, 1M, s",
        "rate",
        ("traced", 1_000_000),
        ("table_s", Unit::Seconds),
        (3.0, AtMost),
    ),
    (
        "the same with 100k losses, s",
        "losses",
        ("one in ten dropped at the listener, traced", 1_000_000),
        ("table_s", Unit::Seconds),
        (5.0, AtMost),
    ),
    (
        "attach, s",
        "attach",
        ("attach", 0),
        ("attach_s", Unit::Seconds),
        (0.5, AtMost),
    ),
    (
        "2,000,000 standing, traced, lost",
        "two-million",
        ("traced", 2_000_000),
        ("lost", Unit::Count),
        (0.0, AtMost),
    ),
];

/// What is demanded, and what was found.
pub(super) fn write(page: &mut String, results: &Results) {
    let mut lines = String::new();
    for (what, name, (label, connections), (value, unit), (limit, bound)) in TARGETS {
        let Some(section) = results.get(*name) else {
            continue;
        };
        let rows = with_ratios(section);
        let row = rows
            .iter()
            .find(|row| row.label == *label && row.connections == *connections);
        let Some(found) = row.and_then(|row| row.values.get(*value)) else {
            continue;
        };
        let (sign, met) = match bound {
            AtLeast => ("≥", found >= limit),
            AtMost => ("≤", found <= limit),
        };
        let met = if met { "yes" } else { "**no**" };
        let (limit, found) = (shown(*limit, *unit), shown(*found, *unit));
        let _ = writeln!(lines, "| {what} | {sign} {limit} | {found} | {met} |");
    }
    if let Some(ratio) = results.get("ports").and_then(last_to_first) {
        let met = if ratio >= 0.8 { "yes" } else { "**no**" };
        let _ = writeln!(
            lines,
            "| last tenth of an address's ports ÷ the first | ≥ 0.800 | {ratio:.3} | {met} |"
        );
    }
    if !lines.is_empty() {
        page.push_str(
            "\n## Targets\n\n| what | target | measured | met |\n| --- | ---: | ---: | --- |\n",
        );
        page.push_str(&lines);
    }
}

fn last_to_first(section: &Section) -> Option<f64> {
    let rate = |row: &Row| row.values.get("conn_per_s").copied();
    Some(rate(section.rows.last()?)? / rate(section.rows.first()?)?)
}
