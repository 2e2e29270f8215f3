//! Where a report goes besides the terminal: one exporter per format.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{csv, html, json, markdown, name, record::Record, text};
use crate::cli::Outputs;

/// Writes a record in its format.
type Exporter = fn(&Record, &mut dyn Write) -> anyhow::Result<()>;

/// In place of a file: stdout, without the table.
const STDOUT: &str = "-";

impl Outputs {
    /// Each file that is asked for, and who writes it.
    fn wanted(&self) -> impl Iterator<Item = (&'static str, &PathBuf, Exporter)> {
        let all: [(&str, &Option<PathBuf>, Exporter); 4] = [
            ("--json", &self.json, |record, out| json::write(record, out)),
            ("--html", &self.html, |record, out| {
                Ok(out.write_all(html::render(record).as_bytes())?)
            }),
            ("--markdown", &self.markdown, |record, out| {
                Ok(out.write_all(markdown::render(record).as_bytes())?)
            }),
            ("--csv", &self.csv, |record, out| csv::write(record, out)),
        ];
        all.into_iter()
            .filter_map(|(option, path, write)| Some((option, path.as_ref()?, write)))
    }

    /// Whether none is asked for.
    pub fn is_empty(&self) -> bool {
        self.wanted().next().is_none()
    }

    /// What is asked for here or there; this one counts first.
    pub fn or(&self, other: &Self) -> Self {
        let either = |one: &Option<PathBuf>, another: &Option<PathBuf>| {
            one.clone().or_else(|| another.clone())
        };
        Self {
            json: either(&self.json, &other.json),
            html: either(&self.html, &other.html),
            markdown: either(&self.markdown, &other.markdown),
            csv: either(&self.csv, &other.csv),
        }
    }

    /// The same for a later run: `run.html` becomes `run-2.html`.
    pub fn of_run(&self, number: usize) -> Self {
        let named = |path: &Option<PathBuf>| {
            let path = path.as_ref()?;
            if number < 2 || is_stdout(path) {
                return Some(path.clone());
            }
            let stem = path.file_stem()?.to_string_lossy().into_owned();
            let name = match path.extension() {
                Some(kind) => format!("{stem}-{number}.{}", kind.to_string_lossy()),
                None => format!("{stem}-{number}"),
            };
            Some(path.with_file_name(name))
        };
        Self {
            json: named(&self.json),
            html: named(&self.html),
            markdown: named(&self.markdown),
            csv: named(&self.csv),
        }
    }

    /// Looks, before a run, whether its report has somewhere to go. Errors name the option and the path.
    pub fn check(&self) -> anyhow::Result<()> {
        let mut to_stdout = 0;
        for (option, path, _) in self.wanted() {
            if is_stdout(path) {
                to_stdout += 1;
                continue;
            }
            check_writable(option, path)?;
        }
        ensure!(to_stdout < 2, "only one format can go to stdout (-)");
        Ok(())
    }

    /// Whether a format goes to stdout, in place of the table.
    pub fn uses_stdout(&self) -> bool {
        self.wanted().any(|(_, path, _)| is_stdout(path))
    }

    /// Writes every file that is asked for; each replaces what was there. What cannot be written keeps none of the others
    /// from being. Errors name the first such file.
    pub fn write(&self, record: &Record) -> anyhow::Result<()> {
        let mut done = Ok(());
        for (option, path, export) in self.wanted() {
            let written = write(record, path, export)
                .with_context(|| format!("cannot write {option} {}", name(path)));
            done = done.and(written);
        }
        done
    }
}

fn write(record: &Record, path: &Path, export: Exporter) -> anyhow::Result<()> {
    if is_stdout(path) {
        let mut bytes = Vec::new();
        export(record, &mut bytes)?;
        text::print(&String::from_utf8_lossy(&bytes))?;
        return Ok(());
    }
    let mut file = BufWriter::with_capacity(1 << 16, File::create(path)?);
    export(record, &mut file)?;
    file.flush()?;
    Ok(())
}

/// Looks, before a run, whether a file can be written after it. Errors name the option and the path.
pub(crate) fn check_writable(option: &str, path: &Path) -> anyhow::Result<()> {
    let shown = name(path);
    ensure!(
        !path.is_dir(),
        "{option} {shown} is a directory; name a file"
    );
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    ensure!(
        dir.is_dir(),
        "{option} {shown} is in no directory that is there; make it first, or name another"
    );
    // The file, or else the place for it.
    let asked = if path.exists() { path } else { dir };
    accessat(CWD, asked, Access::WRITE_OK, AtFlags::EACCESS)
        .with_context(|| format!("{option} {shown} cannot be written; name another"))
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new(STDOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_has_files_of_its_own() {
        let outputs = Outputs {
            html: Some("a.b/run.html".into()),
            csv: Some("run".into()),
            json: Some("-".into()),
            markdown: None,
        };
        let second = outputs.of_run(2);
        assert_eq!(second.html, Some("a.b/run-2.html".into()));
        assert_eq!(second.csv, Some("run-2".into()));
        assert_eq!(second.json, outputs.json);
        assert_eq!(outputs.of_run(1).html, outputs.html);
    }
}
