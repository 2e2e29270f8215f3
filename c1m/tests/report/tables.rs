//! What a reader sees.

use c1m::{
    causes::Cause,
    report::{html, join, json, markdown, table},
};
use serde_json::{Value, json};

use crate::fixtures::{attempt, cause, lossy, quiet, troubled};

#[test]
fn a_table_of_losses() {
    insta::assert_snapshot!(table::render(&lossy(), 120, false));
}

#[test]
fn a_narrow_table_keeps_its_columns() {
    let text = table::render(&lossy(), 80, false);
    let too_wide = text.lines().skip(1).find(|line| line.chars().count() > 80);
    assert_eq!(too_wide, None);
    insta::assert_snapshot!(text);
}

#[test]
fn a_table_without_losses() {
    insta::assert_snapshot!(table::render(&quiet(), 120, false));
}

#[test]
fn a_table_with_everything_in_it() {
    insta::assert_snapshot!(table::render(&troubled(), 120, false));
}

#[test]
fn places_that_are_not_listed_are_counted_in_every_format() {
    let mut record = lossy();
    let row = &mut record.causes[0];
    let listed = row.places.len() as u64;
    row.places_unlisted = 1_234;
    let more = 1_234 + listed.saturating_sub(3);
    let text = table::render(&record, 120, false);
    let words = format!("and {},{:03}", more / 1_000, more % 1_000);
    assert!(text.contains(&words), "{text}");
    let page = html::render(&record);
    assert!(page.contains("/causes/0/places_unlisted"), "{page}");
    let text = markdown::render(&record);
    assert!(text.contains("and 1,234 more ("), "{text}");
}

#[test]
fn an_untraced_run_says_what_it_could_not_see_once() {
    let mut record = quiet();
    record.observability.backend = "none".to_owned();
    record.observability.missing =
        vec!["tracepoint kfree_skb: why a segment was dropped".to_owned()];
    let text = table::render(&record, 120, false);
    assert!(text.contains("nothing was traced"), "{text}");
    assert!(!text.contains("kfree_skb"), "{text}");
}

#[test]
fn a_ledger_that_does_not_balance_says_so_first() {
    let mut record = lossy();
    record.standing -= 8;
    let text = table::render(&record, 120, false);
    insta::assert_snapshot!(text.lines().next().unwrap());
    assert_eq!(record.status(), 3);
    record.standing += 8;
    record.causes[0].count -= 1;
    let text = table::render(&record, 120, false);
    assert!(text.starts_with("c1m  DOES NOT BALANCE"), "{text}");
    assert_eq!(record.status(), 3);
}

#[test]
fn colour_changes_no_letter() {
    let coloured = table::render(&troubled(), 120, true);
    let plain = table::render(&troubled(), 120, false);
    assert_ne!(coloured, plain);
    let mut stripped = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once("\x1b[") {
        stripped.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    stripped.push_str(rest);
    assert_eq!(stripped, plain);
}

#[test]
fn a_closing_row_counts_once_wherever_it_stands() {
    let mut record = troubled();
    assert!(record.adds_up());
    let row = cause(Cause::Unexplained, 5, vec![], "nothing matched", "send it");
    record.causes.push(row);
    assert!(record.adds_up());
    let text = table::render(&record, 120, false);
    let title = "unexplained: everything was";
    assert_eq!(text.matches(title).count(), 1, "{text}");
}

#[test]
fn a_join_names_the_tuples_that_are_told_differently() {
    let client = lossy();
    let mut server = lossy();
    server.role = "server".to_owned();
    server.attempts = vec![
        attempt("127.0.1.1:10000", "lost", Cause::AcceptQueueFullAck),
        attempt("127.0.1.1:10001", "recovered", Cause::AcceptQueueFullSyn),
        attempt("127.0.1.1:10002", "lost", Cause::ResetByPeer),
        attempt("127.0.1.1:0", "lost", Cause::PortsExhausted),
    ];
    let records = [
        ("client.json".to_owned(), client),
        ("server.json".to_owned(), server),
    ];
    insta::assert_snapshot!(join::render(&records, 120));
}

#[test]
fn no_text_of_a_record_drives_the_terminal() {
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\r\n\u{9b}31m\u{202e}";
    let mut value = serde_json::to_value(troubled()).unwrap();
    poison(&mut value, evil);
    value["role"] = json!("client");
    value["attempts"][0]["end"] = json!("lost");
    value["attempts"][0]["source"] = json!(format!("{evil}:1"));
    value["attempts"][1]["end"] = json!("recovered");
    value["attempts"][0]["stage"] = json!("lost");
    value["attempts"][1]["stage"] = json!("lost");
    value["causes"][0]["slug"] = json!(format!("{evil}a"));
    value["detail"]["timeline"]["losses"][0]["slug"] = json!(format!("{evil}a"));
    value["observability"]["lost_facts"] = json!({ evil: 3 });
    let record = json::parse(value.to_string().as_bytes()).unwrap();
    let records = [("a".to_owned(), record.clone()), ("b".to_owned(), quiet())];
    let text = table::render(&record, 100, false) + &join::render(&records, 100);
    assert!(
        !text.contains(|c: char| c.is_control() && c != '\n'),
        "{text:?}"
    );
    assert!(!text.contains('\u{202e}'), "{text:?}");
}

/// Puts `evil` into every string.
fn poison(value: &mut Value, evil: &str) {
    match value {
        Value::String(text) => *text = format!("{evil}{text}"),
        Value::Array(values) => values.iter_mut().for_each(|value| poison(value, evil)),
        Value::Object(map) => map.values_mut().for_each(|value| poison(value, evil)),
        _ => {}
    }
}
