//! The page says what the record says, number by number, and nothing that a record's text would have it do.

use c1m::report::{html, record::Record, text::thousands};
use scraper::{ElementRef, Html, Selector};
use serde_json::Value;

use crate::fixtures::{lossy, quiet, troubled};

fn select<'a>(page: &'a Html, what: &str) -> Vec<ElementRef<'a>> {
    page.select(&Selector::parse(what).unwrap()).collect()
}

fn text(element: ElementRef<'_>) -> String {
    element.text().collect::<String>().trim().to_owned()
}

/// Every number of the page that has a place in the record, against the record. Returns the places.
fn numbers_equal(record: &Record, page: &Html) -> Vec<String> {
    let json = serde_json::to_value(record).unwrap();
    let mut places = Vec::new();
    for number in select(page, "data[data-path]") {
        let path = number.attr("data-path").unwrap();
        let expected = json
            .pointer(path)
            .unwrap_or_else(|| panic!("no {path} in the record"));
        let value: u64 = number.attr("value").unwrap().parse().unwrap();
        assert_eq!(Some(value), expected.as_u64(), "{path}");
        // A duration is told in words; every other number is the number.
        if !path.ends_with("_us") && !path.ends_with("_ms") {
            assert_eq!(text(number), thousands(value), "{path}");
        }
        places.push(path.to_owned());
    }
    places
}

/// The rows that tell a whole object of the record.
fn rows_equal(record: &Record, page: &Html) {
    let line = record.detail.timeline.clone().unwrap_or_default();
    let rows = select(page, "tr[data-path^='/detail/timeline/points/']");
    assert_eq!(rows.len(), line.points.len());
    let cells = Selector::parse("td").unwrap();
    for (index, (row, point)) in rows.into_iter().zip(&line.points).enumerate() {
        let shown: Vec<String> = row.select(&cells).map(text).collect();
        let mut expected = vec![
            point.at_ms,
            point.attempted,
            point.established,
            point.failed,
            point.accept_queue_max,
        ];
        expected.extend(line.losses.iter().map(|losses| losses.counts[index]));
        assert_eq!(
            shown,
            expected.into_iter().map(thousands).collect::<Vec<_>>()
        );
    }
    for (row, attempt) in select(page, "tr[data-path^='/attempts/']")
        .into_iter()
        .zip(&record.attempts)
    {
        let shown: Vec<String> = row.select(&cells).map(text).collect();
        let facts = attempt.facts.join("; ");
        let expected = [
            &*attempt.source,
            &*attempt.target,
            &*attempt.end,
            &*attempt.verdict,
            &*facts,
        ];
        assert_eq!(shown, expected);
    }
}

/// Every count of the record that a reader must find, by its place.
fn places_of(record: &Record) -> Vec<String> {
    let sums = [
        "attempted",
        "standing",
        "closed",
        "lost",
        "recovered",
        "unexplained",
    ];
    let mut places: Vec<String> = sums.iter().map(|sum| format!("/{sum}")).collect();
    for (cause, row) in record.causes.iter().enumerate() {
        places.push(format!("/causes/{cause}/count"));
        let of = |place| format!("/causes/{cause}/places/{place}/count");
        places.extend((0..row.places.len()).map(of));
    }
    for check in 0..record.crosscheck.len() {
        places.push(format!("/crosscheck/{check}/delta"));
        places.push(format!("/crosscheck/{check}/explained"));
    }
    let detail = &record.detail;
    if let Some(latency) = &detail.latency {
        let fields = ["count", "min_us", "mean_us", "max_us"];
        places.extend(fields.map(|field| format!("/detail/latency/{field}")));
        let percentile = |index| format!("/detail/latency/percentiles/{index}/at_most_us");
        places.extend((0..latency.percentiles.len()).map(percentile));
        for (list, len) in [
            ("buckets", latency.buckets.len()),
            ("steps", latency.steps.len()),
        ] {
            places.extend((0..len).map(|index| format!("/detail/latency/{list}/{index}/count")));
        }
    }
    for (list, shares) in [
        ("sources", &detail.sources),
        ("listeners", &detail.listeners),
    ] {
        for (index, share) in shares.iter().enumerate() {
            places.push(format!("/detail/{list}/{index}/lost"));
            places.push(format!("/detail/{list}/{index}/recovered"));
            if share.attempted.is_some() {
                places.push(format!("/detail/{list}/{index}/attempted"));
            }
        }
    }
    places
}

#[test]
fn its_numbers_are_the_records() {
    for record in [quiet(), lossy(), troubled()] {
        let page = Html::parse_document(&html::render(&record));
        let shown = numbers_equal(&record, &page);
        for place in places_of(&record) {
            assert!(shown.contains(&place), "the page does not tell {place}");
        }
        rows_equal(&record, &page);
    }
}

#[test]
fn the_sums_of_causes_that_have_no_row_are_told() {
    let page = Html::parse_document(&html::render(&troubled()));
    let cells: Vec<String> = select(&page, ".losses td.n")
        .into_iter()
        .map(text)
        .collect();
    assert_eq!(cells, ["512", "176", "7", "8", "5"]);
}

/// The lines have a point for each of the record's, and end where the record ends.
#[test]
fn its_lines_are_the_time_line() {
    let record = lossy();
    let line = record.detail.timeline.clone().unwrap();
    let page = Html::parse_document(&html::render(&record));
    for (class, last) in [("attempted", "1000.0,0.0"), ("established", "1000.0,0.1")] {
        let lines = select(&page, &format!("polyline.{class}"));
        let points: Vec<&str> = lines[0].attr("points").unwrap().split(' ').collect();
        assert_eq!(points.len(), line.points.len());
        assert_eq!(points.last(), Some(&last));
    }
    let bars = |index: usize| {
        line.losses[index]
            .counts
            .iter()
            .filter(|count| **count > 0)
            .count()
    };
    assert_eq!(select(&page, "rect").len(), bars(0) + bars(1));
}

/// Puts a hostile text into every text of a JSON value.
fn poison(value: &mut Value, evil: &str) {
    match value {
        Value::String(text) => *text = evil.to_owned(),
        Value::Array(list) => list.iter_mut().for_each(|one| poison(one, evil)),
        Value::Object(map) => {
            for (_, one) in map.iter_mut() {
                poison(one, evil);
            }
            if map.contains_key("somaxconn") {
                map.insert(evil.to_owned(), Value::from(evil));
            }
        }
        _ => {}
    }
}

/// A record with a hostile text wherever its type lets one be.
pub(crate) fn hostile(evil: &str) -> Record {
    let mut value = serde_json::to_value(troubled()).unwrap();
    poison(&mut value, evil);
    for attempt in value["attempts"].as_array_mut().unwrap() {
        attempt["stage"] = "established".into();
    }
    for (index, cause) in value["causes"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .enumerate()
    {
        cause["slug"] = format!("{evil}{index}").into();
        cause["fixes"] = Value::Array(Vec::new());
    }
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_hostile_record_does_nothing_but_show() {
    let good = Html::parse_document(&html::render(&troubled()));
    for evil in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "</style></title></textarea><b onclick='x'>",
        "'--><!--<svg/onload=alert(1)>",
        "\u{202e}\u{1b}[31m&lt;",
    ] {
        let source = html::render(&hostile(evil));
        let page = Html::parse_document(&source);
        for element in [
            "script", "img", "b", "iframe", "link", "object", "a", "form", "textarea",
        ] {
            assert!(select(&page, element).is_empty(), "{element} of {evil}");
        }
        for element in select(&page, "*") {
            for (name, value) in element.value().attrs() {
                assert!(!name.starts_with("on"), "{name} of {evil}");
                assert!(!value.contains("alert"), "{name}={value}");
            }
        }
        // As many elements of each kind: the text opened and closed none.
        for element in ["svg", "style", "title", "body", "main"] {
            let count = |page| select(page, element).len();
            assert_eq!(count(&page), count(&good), "{element} of {evil}");
        }
        assert!(!source.contains(['\u{202e}', '\u{1b}']));
    }
    let policy = select(&good, "meta[http-equiv='Content-Security-Policy']");
    assert!(
        policy[0]
            .attr("content")
            .unwrap()
            .starts_with("default-src 'none'")
    );
}
