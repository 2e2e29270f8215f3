//! The report of a run: the record, and one module per format.

pub mod join;
pub mod json;
pub mod record;
pub mod table;
pub mod text;

use std::path::Path;

use crate::cli::ReportArgs;

/// `c1m report`: the table of each record and, of several, where they agree. All are read before anything is
/// printed. Returns the exit status of the worst; errors name the file and the fix.
pub fn command(args: &ReportArgs) -> anyhow::Result<u8> {
    let records = args
        .files
        .iter()
        .map(|path| Ok((name(path), json::read(path)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let (width, colour) = (text::width_of_stdout(), text::colour_of_stdout());
    let mut out = String::new();
    for (name, record) in &records {
        if records.len() > 1 {
            out.push_str(&format!("{name}\n"));
        }
        out.push_str(&table::render(record, width, colour));
        if records.len() > 1 {
            out.push('\n');
        }
    }
    if records.len() > 1 {
        out.push_str(&join::render(&records, width));
    }
    text::print(&out)?;
    let statuses = records.iter().map(|(_, record)| record.status());
    Ok(statuses.max().unwrap_or(0))
}

fn name(path: &Path) -> String {
    text::clean(&path.display().to_string()).into_owned()
}
