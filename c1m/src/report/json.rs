//! The record as JSON: written as it is, read with every check that a file of unknown origin needs.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufWriter, Read, Write},
    path::Path,
};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::record::{Latency, LossTimes, ROLES, Record, SCHEMA};

/// The largest file that [`read`] takes in, in bytes: more than a million attempts with their facts.
pub const SIZE_MAX: u64 = 1 << 30;

/// Writes a record, and a line end after it. Errors are the writer's.
pub fn write(record: &Record, out: impl Write) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, out);
    serde_json::to_writer(&mut out, record)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Reads a record from a file. Errors are one line that names the file and what to do.
pub fn read(path: &Path) -> anyhow::Result<Record> {
    load(path).with_context(|| super::text::clean(&path.display().to_string()).into_owned())
}

fn load(path: &Path) -> anyhow::Result<Record> {
    let file = File::open(path).context("cannot be opened; name a file that --json wrote")?;
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        bail!("is a directory; name a file that --json wrote");
    }
    let mut bytes = Vec::new();
    file.take(SIZE_MAX + 1)
        .read_to_end(&mut bytes)
        .context("cannot be read; copy it again")?;
    ensure!(
        bytes.len() as u64 <= SIZE_MAX,
        "is larger than {SIZE_MAX} bytes, the limit of a record; name a file that --json wrote"
    );
    parse(&bytes)
}

/// Reads a record from bytes. Errors are one line.
pub fn parse(bytes: &[u8]) -> anyhow::Result<Record> {
    /// What every schema has. Read first: the rest of another schema would only confuse.
    #[derive(Deserialize)]
    struct Head {
        schema: u64,
    }
    ensure!(
        !bytes.trim_ascii().is_empty(),
        "is empty: the run that should have written it did not end; run it again"
    );
    // serde would also read a struct from an array of its fields.
    ensure!(
        bytes.trim_ascii_start().starts_with(b"{"),
        "is no JSON record; name a file that --json wrote"
    );
    let head: Head = serde_json::from_slice(bytes).map_err(|error| explain(&error))?;
    ensure!(
        head.schema == u64::from(SCHEMA),
        "has schema {}, this c1m reads schema {SCHEMA}; use the c1m that wrote it",
        head.schema
    );
    let record: Record = serde_json::from_slice(bytes).map_err(|error| explain(&error))?;
    check(&record)?;
    Ok(record)
}

/// What serde_json says is for programmers and may quote the file: place and kind are enough here.
fn explain(error: &serde_json::Error) -> anyhow::Error {
    use serde_json::error::Category;
    let place = format!("line {}, column {}", error.line(), error.column());
    match error.classify() {
        Category::Eof => anyhow::anyhow!("is cut off at {place}; copy it again, or run again"),
        Category::Data => {
            let text = error.to_string();
            let text: String = super::text::clean(&text).chars().take(160).collect();
            anyhow::anyhow!("is no c1m record: {text}; name a file that --json wrote")
        }
        Category::Syntax | Category::Io => {
            anyhow::anyhow!("is no JSON record at {place}; name a file that --json wrote")
        }
    }
}

/// More points, buckets or addresses than this no c1m writes.
const LIST_MAX: usize = 10_000;
/// Nor more causes, of which there are not half as many.
const CAUSES_MAX: usize = 1_000;

fn check_detail(record: &Record) -> anyhow::Result<()> {
    let detail = &record.detail;
    let lists = [detail.sources.len(), detail.listeners.len()];
    let timeline = detail.timeline.as_ref();
    let latency = detail.latency.as_ref();
    let points = timeline.map_or(0, |line| line.points.len());
    let of_latency = latency.map_or([0; 3], |latency| {
        let Latency {
            percentiles,
            buckets,
            steps,
            ..
        } = latency;
        [percentiles.len(), buckets.len(), steps.len()]
    });
    ensure!(
        lists
            .into_iter()
            .chain(of_latency)
            .chain([points])
            .all(|len| len <= LIST_MAX),
        "has a list longer than {LIST_MAX}; it was changed after c1m wrote it"
    );
    let in_order = timeline.is_none_or(|line| line.points.is_sorted_by_key(|point| point.at_ms));
    ensure!(
        in_order,
        "has a time line that goes back; it was changed after c1m wrote it"
    );
    let as_long = |losses: &LossTimes| losses.counts.len() == points;
    ensure!(
        timeline.is_none_or(|line| line.losses.iter().all(as_long)),
        "has a time line with gaps; it was changed after c1m wrote it"
    );
    let losses = timeline.map_or(&[][..], |line| &line.losses);
    ensure!(
        are_distinct(losses.iter().map(|losses| &losses.slug)) && losses.len() <= CAUSES_MAX,
        "has a cause twice in its time line; it was changed after c1m wrote it"
    );
    if let Some(wrong) = detail.contradictions(record).first() {
        let wrong = super::text::clean(wrong);
        bail!("does not agree with itself: {wrong}; it was changed after c1m wrote it");
    }
    Ok(())
}

fn are_distinct<'a>(mut slugs: impl Iterator<Item = &'a String>) -> bool {
    let mut seen = BTreeSet::new();
    slugs.all(|slug| seen.insert(slug))
}

/// What is told twice must be the same: the rows that close the table, and those that recovered.
fn check_sums(record: &Record) -> anyhow::Result<()> {
    for (slug, counted) in [
        ("evidence-lost", record.evidence_lost),
        ("not-observable", record.not_observable),
        ("unexplained", record.unexplained),
    ] {
        let row = record.causes.iter().find(|row| row.slug == slug);
        ensure!(
            row.is_none_or(|row| row.count == counted),
            "counts {counted} as {slug}, and another number in its row; it was changed after c1m wrote it"
        );
    }
    let recovered = record.recoveries.iter().map(|one| u128::from(one.count));
    ensure!(
        recovered.sum::<u128>() <= record.recovered.into(),
        "has more recoveries than the {} that recovered; it was changed after c1m wrote it",
        record.recovered
    );
    Ok(())
}

/// What a record must keep though each of its fields may be well formed.
fn check(record: &Record) -> anyhow::Result<()> {
    ensure!(
        ROLES.contains(&record.role.as_str()),
        "has a role other than {}; use the c1m that wrote it",
        ROLES.join(", ")
    );
    let seconds = [record.elapsed_s, record.establish_s];
    ensure!(
        seconds.iter().all(|s| s.is_finite() && *s >= 0.0),
        "has a negative duration; it was changed after c1m wrote it"
    );
    ensure!(
        !record.balanced || record.adds_up(),
        "says it balances, but {} attempted are not {} standing + {} closed + {} lost (by cause: {}); it \
         was changed after c1m wrote it",
        record.attempted,
        record.standing,
        record.closed,
        record.lost,
        record.lost_by_cause()
    );
    ensure!(
        record.causes.len() <= CAUSES_MAX,
        "has more than {CAUSES_MAX} causes; it was changed after c1m wrote it"
    );
    ensure!(
        are_distinct(record.causes.iter().map(|row| &row.slug)),
        "has a cause twice; it was changed after c1m wrote it"
    );
    check_sums(record)?;
    check_detail(record)?;
    for end in ["lost", "recovered"] {
        let listed = record.attempts.iter().filter(|a| *a.end == *end).count() as u64;
        let counted = if end == "lost" {
            record.lost
        } else {
            record.recovered
        };
        ensure!(
            listed <= counted,
            "lists {listed} attempts as {end} but counts {counted}; it was changed after c1m wrote it"
        );
    }
    ensure!(
        record
            .attempts
            .iter()
            .all(|a| matches!(&*a.end, "lost" | "recovered")),
        "has an attempt that is neither lost nor recovered; use the c1m that wrote it"
    );
    Ok(())
}
