//! Records as files: written, read, refused, and as the schema has them.

use std::path::{Path, PathBuf};

use c1m::{
    causes::TABLE,
    load::outcome::Stage,
    report::{json, table},
};
use serde_json::{Value, json};

use crate::{
    c1m,
    fixtures::{lossy, quiet, troubled},
};

#[test]
fn what_is_written_is_read_back() {
    for record in [quiet(), lossy(), troubled()] {
        let mut bytes = Vec::new();
        json::write(&record, &mut bytes).unwrap();
        assert_eq!(json::parse(&bytes).unwrap(), record);
    }
}

#[test]
fn every_cut_of_a_record_is_refused() {
    let mut bytes = Vec::new();
    json::write(&lossy(), &mut bytes).unwrap();
    for end in 0..bytes.len() - 1 {
        let error = json::parse(&bytes[..end]).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
    }
}

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/record.schema.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn records_follow_the_published_schema() {
    let schema = schema();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for record in [quiet(), lossy(), troubled()] {
        let value = serde_json::to_value(&record).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert_eq!(errors, [""; 0]);
    }
    let mut value = serde_json::to_value(lossy()).unwrap();
    value["extra"] = json!(1);
    assert!(!validator.is_valid(&value));
}

/// Every stage is in the schema, and every object of the schema has exactly the fields of its type.
#[test]
fn the_schema_forgets_nothing() {
    let schema = schema();
    let stages: Vec<_> = (Stage::ALL.iter())
        .map(|stage| serde_json::to_value(stage).unwrap())
        .collect();
    let attempt = &schema["$defs"]["attempt"]["properties"];
    assert_eq!(attempt["stage"]["enum"], Value::Array(stages));
    let phases: Vec<_> = TABLE.iter().map(|row| row.phase.slug()).collect();
    for phase in schema["$defs"]["cause"]["properties"]["phase"]["enum"]
        .as_array()
        .unwrap()
    {
        assert!(phases.contains(&phase.as_str().unwrap()), "{phase}");
    }
    let record = serde_json::to_value(lossy()).unwrap();
    let fields = |value: &Value| -> Vec<String> {
        let mut fields: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        fields.sort();
        fields
    };
    assert_eq!(fields(&record), fields(&schema["properties"]));
    let mut required: Vec<_> = schema["required"].as_array().unwrap().clone();
    // Older records of the same schema have no detail.
    required.push(json!("detail"));
    required.sort_by_key(|name| name.as_str().unwrap().to_owned());
    assert_eq!(json!(fields(&record)), Value::Array(required));
    let detail = &record["detail"];
    let of = |name: &str| fields(&schema["$defs"][name]["properties"]);
    assert_eq!(fields(detail), of("detail"));
    assert_eq!(fields(&detail["latency"]), of("latency"));
    assert_eq!(fields(&detail["timeline"]), of("timeline"));
    assert_eq!(fields(&detail["timeline"]["points"][0]), of("point"));
    assert_eq!(fields(&detail["sources"][0]), of("share"));
}

/// A record in a file, after a change to its JSON.
fn file(dir: &Path, name: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
    let mut value = serde_json::to_value(lossy()).unwrap();
    change(&mut value);
    let path = dir.join(name);
    std::fs::write(&path, value.to_string()).unwrap();
    path
}

#[test]
fn a_report_exits_as_its_run_did() {
    let dir = tempfile::tempdir().unwrap();
    let good = file(dir.path(), "good.json", |_| {});
    let good = good.to_str().unwrap();
    let output = c1m(&["report", good]);
    assert_eq!(output.status.code(), Some(1));
    let table = table::render(&lossy(), 100, false);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), table);

    let unbalanced = file(dir.path(), "unbalanced.json", |value| {
        value["balanced"] = json!(false);
        value["attempted"] = json!(500_008);
    });
    let output = c1m(&["report", good, unbalanced.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("8 attempts have no verdict"), "{text}");
    assert!(text.contains("joined on source and target"), "{text}");
}

#[test]
fn a_bad_record_gets_one_line_and_exit_status_2() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let mut whole = Vec::new();
    json::write(&lossy(), &mut whole).unwrap();
    let mut trailing = whole.clone();
    trailing.extend_from_slice(b"{}");
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    let deep = format!("{{\"schema\":1,\"host\":{{\"a\":{open}{close}}}}}");
    let cases = [
        (dir.join("absent.json"), "cannot be opened"),
        (dir.to_owned(), "is a directory"),
        (write("empty.json", b" \n"), "is empty"),
        (write("cut.json", &whole[..whole.len() / 2]), "is cut off"),
        (write("trailing.json", &trailing), "is no JSON record"),
        (
            write("binary.json", &[0xff, 0, 27, 91]),
            "is no JSON record",
        ),
        (write("deep.json", deep.as_bytes()), "is no JSON record"),
        (write("list.json", b"[1, 2]"), "is no JSON record"),
        (write("other.json", b"{\"a\":1}"), "is no c1m record"),
        (PathBuf::from("/dev/zero"), "is larger than"),
        (
            file(dir, "schema.json", |v| v["schema"] = json!(2)),
            "has schema 2, this c1m reads schema 1",
        ),
        (
            file(dir, "role.json", |v| v["role"] = json!("\u{1b}[31mroot")),
            "has a role other than",
        ),
        (
            file(dir, "sum.json", |v| v["standing"] = json!(u64::MAX)),
            "says it balances, but",
        ),
        (
            file(dir, "time.json", |v| v["elapsed_s"] = json!(-1.0)),
            "has a negative duration",
        ),
        (
            file(dir, "twice.json", |v| {
                let causes = v["causes"].as_array_mut().unwrap();
                causes.push(causes[0].clone());
                v["balanced"] = json!(false);
            }),
            "has a cause twice",
        ),
        (
            file(dir, "type.json", |v| v["lost"] = json!("\u{1b}]0;x\u{7}")),
            "is no c1m record",
        ),
        (
            file(dir, "end.json", |v| v["attempts"][0]["end"] = json!("won")),
            "neither lost nor recovered",
        ),
    ];
    for (path, wanted) in &cases {
        refused(path, wanted);
    }
}

#[test]
fn a_detail_that_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let cases = [
        (
            file(dir, "gaps.json", |v| {
                v["detail"]["timeline"]["losses"][0]["counts"] = json!([1])
            }),
            "time line with gaps",
        ),
        (
            file(dir, "back.json", |v| {
                v["detail"]["timeline"]["points"][1]["at_ms"] = json!(0)
            }),
            "goes back",
        ),
        (
            file(dir, "steps.json", |v| {
                v["detail"]["latency"]["steps"][0]["count"] = json!(u64::MAX)
            }),
            "the steps of latency adds up",
        ),
        (
            file(dir, "times.json", |v| {
                v["detail"]["timeline"]["losses"][0]["undated"] = json!(1)
            }),
            "the time line of accept-queue-full-cookie adds up to 513, not 512",
        ),
    ];
    for (path, wanted) in &cases {
        refused(path, wanted);
    }
}

fn refused(path: &Path, wanted: &str) {
    let output = c1m(&["report", path.to_str().unwrap()]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains(wanted), "{wanted}: {error}");
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(!error.trim_end().contains(char::is_control), "{error:?}");
    assert!(output.stdout.is_empty());
}
