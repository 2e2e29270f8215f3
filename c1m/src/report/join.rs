//! Several records of one run, joined on tuples: where client and server tell different stories.

use std::collections::BTreeMap;

use super::{
    record::{Attempt, Record},
    text::{clean, thousands, wrap},
};

/// How many tuples of a group are named.
const TUPLES_SHOWN: usize = 5;

/// What a record's silence on a tuple means.
const NOT_LISTED: &str = "not listed: stood, was closed as asked, or never came";

/// What the records say of one tuple, in the order of the records: `None` where one does not list it.
type Verdicts<'a> = Vec<Option<&'a Attempt>>;

/// The join of named records, in lines of at most `width` columns: attempts by what each record says of them.
pub fn render(records: &[(String, Record)], width: usize) -> String {
    let mut tuples: BTreeMap<(&str, &str), Verdicts<'_>> = BTreeMap::new();
    let mut without_port = 0_u64;
    for (index, (_, record)) in records.iter().enumerate() {
        for attempt in &record.attempts {
            if attempt.source.ends_with(":0") || !attempt.source.contains(':') {
                without_port += 1;
                continue;
            }
            let key = (attempt.source.as_str(), &*attempt.target);
            let entry = tuples
                .entry(key)
                .or_insert_with(|| vec![None; records.len()]);
            // A tuple that was used again stands in a record more than once: the loss is what counts.
            if entry[index].is_none_or(|before| &*before.end != "lost") {
                entry[index] = Some(attempt);
            }
        }
    }
    let mut groups: BTreeMap<Vec<String>, Vec<(&str, &str)>> = BTreeMap::new();
    for (tuple, verdicts) in &tuples {
        let story = verdicts.iter().map(|attempt| story(*attempt)).collect();
        groups.entry(story).or_default().push(*tuple);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, tuples)| std::cmp::Reverse(tuples.len()));
    let mut out = format!(
        "joined on source and target: {} tuples that a record lists as lost or recovered\n",
        thousands(tuples.len() as u64)
    );
    for (stories, tuples) in &groups {
        group(&mut out, records, stories, tuples, width);
    }
    if without_port > 0 {
        out.push_str(&format!(
            "{:>7}  not joined: they never had a source port\n",
            thousands(without_port)
        ));
    }
    out
}

fn story(attempt: Option<&Attempt>) -> String {
    match attempt {
        Some(attempt) => format!("{}, {}", clean(&attempt.end), clean(&attempt.verdict)),
        None => NOT_LISTED.to_owned(),
    }
}

fn group(
    out: &mut String,
    records: &[(String, Record)],
    stories: &[String],
    tuples: &[(&str, &str)],
    width: usize,
) {
    let agree = stories.windows(2).all(|pair| pair[0] == pair[1]);
    let count = thousands(tuples.len() as u64);
    let head = match () {
        () if agree => "agreed",
        () if stories.iter().any(|story| story == NOT_LISTED) => "listed by some only",
        () => "told differently",
    };
    out.push_str(&format!("{count:>7}  {head}\n"));
    let shown: &[String] = if agree { &stories[..1] } else { stories };
    for (story, (name, _)) in shown.iter().zip(records) {
        let name = if agree { "all" } else { name };
        push(out, &format!("{name}: {story}"), width);
    }
    if !agree {
        let some: Vec<_> = tuples
            .iter()
            .take(TUPLES_SHOWN)
            .map(|(source, target)| format!("{} > {}", clean(source), clean(target)))
            .collect();
        let more = match tuples.len().saturating_sub(TUPLES_SHOWN) {
            0 => String::new(),
            more => format!(", and {} more", thousands(more as u64)),
        };
        push(out, &format!("{}{more}", some.join(", ")), width);
    }
}

fn push(out: &mut String, text: &str, width: usize) {
    for line in wrap(text, width.saturating_sub(11)) {
        out.push_str(&format!("           {line}\n"));
    }
}
