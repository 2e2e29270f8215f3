//! The report of a run: the record, and one module per format.

pub mod csv;
pub mod html;
pub mod join;
pub mod json;
pub mod markdown;
pub(crate) mod outputs;
pub mod record;
pub mod table;
pub mod text;
pub mod words;

use std::path::Path;

use anyhow::ensure;
use record::Record;

use crate::cli::{Outputs, ReportArgs};

/// `c1m report`: the table of each record and, of several, where they agree; or one record in other formats. All are
/// read before anything is printed. Returns the exit status of the worst; errors name the file and the fix.
pub fn command(args: &ReportArgs) -> anyhow::Result<u8> {
    args.outputs.check()?;
    ensure!(
        args.files.len() == 1 || args.outputs.is_empty(),
        "another format is made of one record at a time; name one file"
    );
    let records = args
        .files
        .iter()
        .map(|path| Ok((name(path), json::read(path)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    if let [(_, record)] = &records[..] {
        publish(record, &args.outputs)?;
        return Ok(record.status());
    }
    let (width, colour) = (text::width_of_stdout(), text::colour_of_stdout());
    let mut out = String::new();
    for (name, record) in &records {
        out.push_str(&format!("{name}\n"));
        out.push_str(&table::render(record, width, colour));
        out.push('\n');
    }
    out.push_str(&join::render(&records, width));
    text::print(&out)?;
    let statuses = records.iter().map(|(_, record)| record.status());
    Ok(statuses.max().unwrap_or(0))
}

/// Prints the table, unless another format takes its place, and writes the files that are wanted.
pub fn publish(record: &Record, outputs: &Outputs) -> anyhow::Result<()> {
    let printed = match outputs.uses_stdout() {
        true => Ok(()),
        false => {
            let (width, colour) = (text::width_of_stdout(), text::colour_of_stdout());
            text::print(&table::render(record, width, colour))
        }
    };
    // Also for whoever's terminal is gone.
    outputs.write(record)?;
    Ok(printed?)
}

fn name(path: &Path) -> String {
    text::clean(&path.display().to_string()).into_owned()
}
