//! What every format says in the same words.

use std::collections::{BTreeMap, HashSet};

use super::{
    record::{Crosscheck, Record, Step},
    text::{clean, thousands},
};
use crate::causes::{Cause, TABLE};

/// A cause's title. A later c1m of the same schema may know more causes: then its slug.
pub fn title(slug: &str) -> String {
    match Cause::from_slug(slug) {
        Some(cause) => cause.row().title.to_owned(),
        None => clean(slug).into_owned(),
    }
}

/// What is wrong with a ledger that does not balance; nothing if it does.
pub fn imbalance(record: &Record) -> Option<String> {
    if record.balanced && record.adds_up() {
        return None;
    }
    let sum: u128 = [record.standing, record.closed, record.lost]
        .into_iter()
        .map(u128::from)
        .sum();
    let difference = match u128::from(record.attempted).abs_diff(sum) {
        0 => format!("the causes explain {} of the lost", record.lost_by_cause()),
        off if sum < record.attempted.into() => format!("{off} attempts have no verdict"),
        off => format!("{off} verdicts have no attempt"),
    };
    Some(format!(
        "DOES NOT BALANCE: {} attempted, {} standing + {} closed + {} lost: {difference}. Do not rely on the \
         table below.",
        thousands(record.attempted),
        thousands(record.standing),
        thousands(record.closed),
        thousands(record.lost),
    ))
}

/// How much of a counter's rise the facts explain: a number, or the least and the most.
pub fn explained(check: &Crosscheck) -> String {
    let most = thousands(check.explained);
    match check.uncounted_at_most {
        0 => most,
        _ => format!("{} to {most}", thousands(check.least())),
    }
}

/// The closing rows that a record counts without a row of their own: count and cause.
pub fn closing(record: &Record) -> Vec<(u64, Cause)> {
    [
        (record.evidence_lost, Cause::EvidenceLost),
        (record.not_observable, Cause::NotObservable),
        (record.unexplained, Cause::Unexplained),
    ]
    .into_iter()
    .filter(|(count, cause)| {
        *count > 0 && !record.causes.iter().any(|row| row.slug == cause.slug())
    })
    .collect()
}

/// Recovered attempts by cause, most first: how many, the slug, and how many after which delay in ms.
pub fn recoveries(record: &Record) -> Vec<(u128, &str, BTreeMap<u64, u128>)> {
    let mut causes: BTreeMap<&str, BTreeMap<u64, u128>> = BTreeMap::new();
    for recovery in &record.recoveries {
        let delays = causes.entry(&recovery.slug).or_default();
        *delays.entry(recovery.delay_ms).or_default() += u128::from(recovery.count);
    }
    let mut causes: Vec<_> = causes
        .into_iter()
        .map(|(slug, delays)| (delays.values().sum::<u128>(), slug, delays))
        .collect();
    causes.sort_by_key(|(count, ..)| std::cmp::Reverse(*count));
    causes
}

/// A number that is a sum of counts.
pub fn big(number: u128) -> String {
    thousands(u64::try_from(number).unwrap_or(u64::MAX))
}

/// The slugs of the causes that need a hook which `missing` names.
pub fn blind(missing: &str) -> Vec<&'static str> {
    let words: HashSet<_> = missing
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect();
    let needs = |hook: &&str| -> bool {
        let name = hook.split_whitespace().next().unwrap_or_default();
        name.contains('_') && words.contains(&name)
    };
    TABLE
        .iter()
        .filter(|row| row.hooks.iter().any(needs))
        .map(|row| row.slug)
        .collect()
}

/// A duration in µs as a reader takes it in: `90 µs`, `1.25 ms`, `3.05 s`.
pub fn duration(us: u64) -> String {
    let scaled = |unit: u64| {
        let hundredths = (u128::from(us) * 100 + u128::from(unit) / 2) / u128::from(unit);
        match hundredths {
            0..1_000 => format!("{}.{:02}", hundredths / 100, hundredths % 100),
            1_000..9_995 => {
                let tenths = (hundredths + 5) / 10;
                format!("{}.{}", tenths / 10, tenths % 10)
            }
            _ => big((hundredths + 50) / 100),
        }
    };
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", scaled(1_000)),
        _ => format!("{} s", scaled(1_000_000)),
    }
}

/// What an attempt of this step waited for.
pub fn step(step: &Step) -> &'static str {
    match step.from_s {
        0 => "no retransmit: answered at once, or late without one",
        1 => "the 1st retransmit of the SYN or of the SYN-ACK",
        2 => {
            "the SYN's 2nd retransmit, where the first come 1 s apart (tcp_syn_linear_timeouts, Linux 6.5 on)"
        }
        3 => {
            "the 2nd retransmit after 1 + 2 s: of the SYN-ACK, and before Linux 6.5 of the SYN; since then the SYN's 3rd"
        }
        4 => "the SYN's 4th retransmit, 1 s apart",
        5 => "the SYN's 5th retransmit, 1 s apart",
        7 => {
            "the 3rd retransmit after 1 + 2 + 4 s: of the SYN-ACK, and before Linux 6.5 of the SYN; since then the \
             SYN's 6th"
        }
        11 | 19 | 35 => "a later retransmit of the SYN, which doubles its wait from the 5th on",
        _ => "a later retransmit, each after twice the wait of the one before",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        let shown: Vec<_> = [0, 999, 1_000, 1_255, 99_960, 999_999, 3_049_000, u64::MAX]
            .map(duration)
            .into_iter()
            .collect();
        assert_eq!(
            shown,
            [
                "0 µs",
                "999 µs",
                "1.00 ms",
                "1.26 ms",
                "100 ms",
                "1,000 ms",
                "3.05 s",
                "18,446,744,073,710 s"
            ]
        );
    }
}
