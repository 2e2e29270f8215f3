//! The labs and the cause table name each other; `c1m lab` takes nothing it does not know.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
};

use c1m::{causes, lab::LABS};

#[test]
fn every_lab_proves_a_cause_and_every_cause_with_a_lab_has_it() {
    let names: BTreeSet<_> = LABS.iter().map(|lab| lab.name).collect();
    assert_eq!(names.len(), LABS.len(), "two labs of one name");
    for lab in LABS {
        let row = causes::TABLE.iter().find(|row| row.slug == lab.cause);
        let knows = row.map(|row| row.lab.is_some());
        assert_eq!(knows, Some(true), "{}: {}", lab.name, lab.cause);
        assert!(!lab.about.is_empty());
    }
    for row in causes::TABLE {
        if let Some(name) = row.lab {
            let lab = LABS.iter().find(|lab| lab.name == name);
            assert_eq!(lab.map(|lab| lab.cause), Some(row.slug));
        }
    }
}

fn lab(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_c1m"))
        .arg("lab")
        .args(args)
        .output()
        .expect("c1m starts")
}

#[test]
fn the_list_names_every_lab() {
    let done = lab(&["--list"]);
    assert!(done.status.success());
    let list = String::from_utf8(done.stdout).expect("UTF-8");
    let named: Vec<_> = list
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(named, LABS.iter().map(|lab| lab.name).collect::<Vec<_>>());
}

#[test]
fn bad_input_is_one_line_and_status_2() {
    for (args, word) in [
        (&[][..], "--list"),
        (&["no-such-lab"], "no-such-lab"),
        (&["refused", "nor-this"], "nor-this"),
    ] {
        let done = lab(args);
        let said = String::from_utf8(done.stderr).expect("UTF-8");
        assert_eq!(done.status.code(), Some(2), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(word), "{said}");
        assert!(done.stdout.is_empty());
    }
}
