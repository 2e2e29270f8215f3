//! `c1m causes` and its docs.

use std::path::Path;

use c1m::causes::{TABLE, page};

use crate::c1m;

#[test]
fn docs_are_made_from_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/causes.md");
    let there = std::fs::read_to_string(&path).unwrap();
    assert!(
        there == page::markdown(),
        "docs/causes.md is stale: cargo run -- causes --markdown > docs/causes.md"
    );
}

#[test]
fn causes_lists_explains_and_refuses() {
    let list = c1m(&["causes"]);
    assert_eq!(list.status.code(), Some(0));
    let list = String::from_utf8(list.stdout).unwrap();
    for row in TABLE {
        assert!(list.contains(row.slug), "{}", row.slug);
        let one = c1m(&["causes", row.slug]);
        assert_eq!(one.status.code(), Some(0));
    }
    let one = c1m(&["causes", "accept-queue-full-cookie"]);
    insta::assert_snapshot!(String::from_utf8(one.stdout).unwrap());
    let unknown = c1m(&["causes", "accept-queue-fool"]);
    assert_eq!(unknown.status.code(), Some(2));
    let error = String::from_utf8(unknown.stderr).unwrap();
    assert!(
        error.contains("did you mean accept-queue-full-syn"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1);
}
