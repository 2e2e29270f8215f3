//! The attempts as CSV (RFC 4180): the lost and the recovered, a line each.

use std::io::Write;

use super::{
    record::{Attempt, Record},
    text::clean,
};

/// The columns.
pub const COLUMNS: [&str; 8] = [
    "source",
    "target",
    "end",
    "verdict",
    "stage",
    "errno",
    "connect_us",
    "facts",
];

/// Writes a head and a line per attempt. Errors are the writer's.
pub fn write(record: &Record, out: impl Write) -> anyhow::Result<()> {
    let mut out = csv::Writer::from_writer(out);
    out.write_record(COLUMNS)?;
    for attempt in &record.attempts {
        out.write_record(cells(attempt))?;
    }
    Ok(out.flush()?)
}

fn cells(attempt: &Attempt) -> [String; 8] {
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let stage = attempt.stage.map(|stage| {
        let name = serde_json::to_value(stage).ok();
        name.and_then(|name| name.as_str().map(str::to_owned))
            .unwrap_or_default()
    });
    [
        text(&attempt.source),
        text(&attempt.target),
        text(&attempt.end),
        text(&attempt.verdict),
        stage.unwrap_or_default(),
        number(attempt.errno.map(u64::from)),
        number(attempt.connect_us),
        text(&attempt.facts.join("; ")),
    ]
}

/// Text without what drives a terminal, and that no spreadsheet takes for a formula: one that begins like a formula
/// gets an apostrophe.
fn text(text: &str) -> String {
    let text = clean(text);
    match text.starts_with(['=', '+', '-', '@']) {
        true => format!("'{text}"),
        false => text.into_owned(),
    }
}
