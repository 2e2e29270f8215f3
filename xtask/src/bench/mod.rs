//! `cargo xtask bench`: what c1m takes beside what the kernel alone takes, measured in turn in one go, and the page that
//! says so.

use std::{collections::BTreeMap, fs, io, path::PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{command, setup};

mod host;
mod kinds;
mod measure;
mod page;
mod profile;
mod running;

use host::Host;
use measure::Values;

/// Which measurements, and how long they may take.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Which measurements [default: all but profile, two-million and kernels]
    names: Vec<String>,
    /// Name them
    #[arg(long)]
    list: bool,
    /// How often each is made; what is kept is the median
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How many connections, for measurements that take a list of sizes
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    sizes: Vec<u64>,
    /// A few thousand connections, once: whether it works, and no more; nothing is kept
    #[arg(long, conflicts_with_all = ["rounds", "sizes"])]
    quick: bool,
    /// Measure the release programs as they are, without building them first
    #[arg(long)]
    as_built: bool,
    /// Also write what was measured to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Options {
    /// A very small one, for the test run.
    pub(crate) fn smoke() -> Self {
        Self {
            names: ["rate", "attach"].map(str::to_owned).into(),
            list: false,
            rounds: 1,
            sizes: Vec::new(),
            quick: true,
            as_built: false,
            json: None,
        }
    }
}

/// What one measurement found, with the machine that it was made on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Section {
    host: Host,
    rows: Vec<Row>,
}

/// Medians under one condition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Row {
    label: String,
    connections: u64,
    rounds: usize,
    values: Values,
}

/// Everything that is known, by measurement.
type Results = BTreeMap<String, Section>;

/// Where the numbers behind the page are kept, so that one of them can be measured again alone.
fn kept() -> PathBuf {
    command::root().join("docs/performance.json")
}

/// Measures, and writes the page anew.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.list {
        for (name, what, _) in kinds::KINDS {
            println!("{name:<12} {what}");
        }
        return Ok(());
    }
    setup::must_be_root("bench")?;
    let chosen = chosen(&options.names)?;
    measure::prepare(options.as_built)?;
    let mut measured = Results::new();
    for (name, what, measure) in chosen {
        println!("== {name}: {what}");
        let section = Section {
            host: Host::read(),
            rows: measure(options)?,
        };
        measured.insert((*name).to_owned(), section);
        // After each: what was measured stays, whatever comes.
        if !options.quick {
            keep(&measured)?;
        }
    }
    if let Some(file) = &options.json {
        fs::write(file, serde_json::to_string_pretty(&measured)? + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<&'static kinds::Kind>> {
    if names.is_empty() {
        let by_default = kinds::KINDS.iter();
        return Ok(by_default
            .filter(|(name, ..)| !kinds::ON_DEMAND.contains(name))
            .collect());
    }
    let find = |name: &String| {
        let found = kinds::KINDS.iter().find(|(its, ..)| its == name);
        found.with_context(|| format!("no measurement `{name}`: cargo xtask bench --list"))
    };
    names.iter().map(find).collect()
}

/// Adds what was measured to what is kept, and makes the page of it.
fn keep(measured: &Results) -> Result<()> {
    let mut results = match fs::read_to_string(kept()) {
        Ok(text) => serde_json::from_str(&text).context("docs/performance.json")?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Results::new(),
        Err(error) => return Err(error).context("docs/performance.json"),
    };
    for (name, section) in measured.clone() {
        let kept = results.remove(&name).unwrap_or_default();
        results.insert(name, joined(kept, section));
    }
    fs::write(kept(), serde_json::to_string_pretty(&results)? + "\n")?;
    fs::write(
        command::root().join("docs/performance.md"),
        page::render(&results),
    )
    .context("cannot write docs/performance.md")
}

/// What was measured on the same machine under other conditions stays; the line above the table names the last commit.
fn joined(kept: Section, mut new: Section) -> Section {
    let same =
        |row: &Row, other: &Row| row.connections == other.connections && row.label == other.label;
    if (&kept.host.kernel, &kept.host.cpu) == (&new.host.kernel, &new.host.cpu) {
        let rows = kept.rows.into_iter();
        let others: Vec<Row> = rows
            .filter(|row| !new.rows.iter().any(|new| same(row, new)))
            .collect();
        new.rows.extend(others);
    }
    // Stable: what belongs together keeps its order.
    new.rows.sort_by_key(|row| row.connections);
    new
}

/// The medians of several runs' values, name by name.
fn medians(runs: &[Values]) -> Values {
    let names = runs.iter().flat_map(|values| values.keys());
    let median = |name: &String| {
        let mut all: Vec<f64> = runs
            .iter()
            .filter_map(|values| values.get(name).copied())
            .collect();
        all.sort_by(f64::total_cmp);
        let middle = all.len() / 2;
        let median = match all.len() % 2 {
            1 => all[middle],
            _ => (all[middle - 1] + all[middle]) / 2.0,
        };
        (name.clone(), median)
    };
    names.map(median).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_two() {
        let of = |numbers: &[f64]| {
            let runs = numbers.iter().map(|&n| Values::from([("a".to_owned(), n)]));
            medians(&runs.collect::<Vec<_>>())["a"]
        };
        assert_eq!(of(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(of(&[4.0, 1.0]), 2.5);
        assert_eq!(of(&[7.0]), 7.0);
    }

    #[test]
    fn the_page_is_what_the_numbers_say() -> Result<()> {
        let text = fs::read_to_string(kept())?;
        let results = serde_json::from_str(&text).context("docs/performance.json")?;
        let page = fs::read_to_string(command::root().join("docs/performance.md"))?;
        assert_eq!(page, page::render(&results), "measure again, never edit it");
        Ok(())
    }
}
