//! Markdown and CSV, and `c1m report` as it makes every format from a record.

use c1m::report::{csv, json, markdown, text::thousands};

use crate::{
    c1m,
    fixtures::{lossy, quiet, troubled},
    html::hostile,
};

#[test]
fn markdown_of_everything() {
    insta::assert_snapshot!(markdown::render(&troubled()));
}

#[test]
fn markdown_of_nothing_lost() {
    insta::assert_snapshot!(markdown::render(&quiet()));
}

#[test]
fn markdown_keeps_a_hostile_text_a_text() {
    let record = hostile("a|b\n# c <img src=x> [d](javascript:e) `f`");
    let page = markdown::render(&record);
    let unescaped = page
        .replace("\\]", "")
        .replace("\\`", "")
        .replace("\\#", "");
    for evil in ["<img", "](", "`f", "\n# c"] {
        assert!(!unescaped.contains(evil), "{evil}: {page}");
    }
    // A row has as many cells as its head, whatever is in them.
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    let table: Vec<&str> = page
        .lines()
        .skip_while(|line| !line.starts_with("| lost"))
        .take_while(|line| !line.is_empty())
        .collect();
    assert_eq!(table.len(), 2 + record.causes.len() + 3);
    assert!(table.iter().all(|line| cells(line) == 5), "{table:?}");
}

fn rows(bytes: &[u8]) -> Vec<Vec<String>> {
    let mut reader = ::csv::Reader::from_reader(bytes);
    let head: Vec<&str> = csv::COLUMNS.to_vec();
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), head);
    reader
        .records()
        .map(|row| row.unwrap().iter().map(str::to_owned).collect())
        .collect()
}

#[test]
fn csv_has_a_line_per_attempt() {
    let record = lossy();
    let mut bytes = Vec::new();
    csv::write(&record, &mut bytes).unwrap();
    let rows = rows(&bytes);
    assert_eq!(rows.len(), record.attempts.len());
    assert_eq!(
        rows[0][..4],
        [
            "127.0.1.1:10000",
            "127.0.0.1:8000",
            "lost",
            "accept-queue-full-cookie"
        ]
    );
    assert_eq!(rows[0][4..7], ["established", "", "120"]);
}

#[test]
fn no_spreadsheet_takes_a_text_for_a_formula() {
    let mut bytes = Vec::new();
    csv::write(&hostile("=cmd|' /C calc'!A0,\"\r\nx"), &mut bytes).unwrap();
    let rows = rows(&bytes);
    assert_eq!(rows.len(), 2);
    assert!(rows[0][0].starts_with("'=cmd"), "{:?}", rows[0]);
    assert_eq!(String::from_utf8(bytes).unwrap().lines().count(), 3);
}

#[test]
fn a_report_makes_every_format_of_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let run = path("run.json");
    let mut bytes = Vec::new();
    json::write(&lossy(), &mut bytes).unwrap();
    std::fs::write(&run, &bytes).unwrap();
    let (html, markdown, csv, copy) = (path("r.html"), path("r.md"), path("r.csv"), path("c.json"));
    let output = c1m(&[
        "report",
        &run,
        "--html",
        &html,
        "--markdown",
        &markdown,
        "--csv",
        &csv,
        "--json",
        &copy,
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("c1m  500,000 attempted"));
    let text = |path: &str| std::fs::read_to_string(path).unwrap();
    assert!(text(&html).starts_with("<!DOCTYPE html>"));
    assert!(text(&markdown).contains(&thousands(499_312)));
    assert_eq!(text(&csv).lines().count(), 3);
    assert_eq!(std::fs::read(&copy).unwrap(), bytes);

    let output = c1m(&["report", &run, "--csv", "-"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), text(&csv));
}

#[test]
fn a_format_that_has_nowhere_to_go_is_refused_before_anything_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    for (args, wanted) in [
        (vec!["report", "absent", "--html", dir], "is a directory"),
        (
            vec!["client", "--html", "/nowhere/at/all.html"],
            "is in no directory that is there",
        ),
        (
            vec!["report", "absent", "--html", "-", "--csv", "-"],
            "only one format can go to stdout",
        ),
        (
            vec!["report", "a", "b", "--html", "x"],
            "one record at a time",
        ),
    ] {
        let output = c1m(&args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(wanted), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
