//! The table as text: `c1m causes` and docs/causes.md.

use anyhow::bail;

use super::{Cause, Phase, Row, SCENARIO_ONLY, TABLE};
use crate::{
    cli::CausesArgs,
    lab::LABS,
    report::text::{clean, print, width_of_stdout, wrap},
};

/// `c1m causes`: the list, one cause, or docs/causes.md. Errors name a slug that does not exist.
pub fn command(args: &CausesArgs) -> anyhow::Result<u8> {
    let width = width_of_stdout();
    let page = match &args.slug {
        Some(slug) => match Cause::from_slug(slug) {
            Some(cause) => one(cause.row(), width),
            None => bail!("{}", unknown(slug)),
        },
        None if args.markdown => markdown(),
        None => list(),
    };
    print(&page)?;
    Ok(0)
}

fn unknown(slug: &str) -> String {
    let near: Vec<_> = TABLE
        .iter()
        .map(|row| row.slug)
        .filter(|known| {
            known
                .split('-')
                .any(|word| slug.split('-').any(|s| s == word))
        })
        .take(4)
        .collect();
    let shown: String = clean(slug).chars().take(60).collect();
    match near.is_empty() {
        true => format!("there is no cause {shown}; `c1m causes` lists them"),
        false => format!(
            "there is no cause {shown}; did you mean {}?",
            near.join(", ")
        ),
    }
}

fn list() -> String {
    let mut out = String::new();
    let mut phase: Option<Phase> = None;
    for row in TABLE {
        if phase != Some(row.phase) {
            let gap = if phase.is_some() { "\n" } else { "" };
            out.push_str(&format!("{gap}{}\n", row.phase.title()));
            phase = Some(row.phase);
        }
        out.push_str(&format!("  {:<26}{}\n", row.slug, row.title));
    }
    out.push_str("\n`c1m causes SLUG` says what it is, how it shows and what to do.\n");
    out
}

fn one(row: &Row, width: usize) -> String {
    let mut out = format!("{}: {}\n\n", row.slug, row.title);
    for line in wrap(row.what, width.min(100)) {
        out.push_str(&format!("{line}\n"));
    }
    out.push('\n');
    for (name, text) in fields(row) {
        for (index, line) in wrap(&text, width.min(100) - 16).iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            out.push_str(&format!("{name:<16}{line}\n"));
        }
    }
    out
}

/// What both forms say of a row, besides its title and text.
fn fields(row: &Row) -> Vec<(&'static str, String)> {
    let recovery = match row.recoverable {
        true => "yes: by a retransmit, by data sent later, or once there is room",
        false => "no",
    };
    let labs = LABS.iter().filter(|lab| lab.cause == row.slug);
    let labs: Vec<&str> = labs.map(|lab| lab.name).collect();
    let labs = (!labs.is_empty()).then(|| format!("c1m lab {}", labs.join(" ")));
    let scenario = SCENARIO_ONLY.iter().find(|(cause, _)| *cause == row.cause);
    let scenario = scenario.map(|(_, why)| (*why).to_owned());
    let fields = [
        ("where", Some(row.phase.title().to_owned())),
        ("client sees", Some(row.client_sees.to_owned())),
        ("server sees", Some(row.server_sees.to_owned())),
        ("may recover", Some(recovery.to_owned())),
        ("needs", Some(row.facts.join("; "))),
        ("told by", Some(row.hooks.join(", "))),
        ("host counter", row.counter.map(str::to_owned)),
        ("what to do", Some(row.remedy.to_owned())),
        ("proven by", labs),
        ("tested by scenario only", scenario),
    ];
    fields
        .into_iter()
        .filter_map(|(name, text)| Some((name, text?)))
        .collect()
}

/// docs/causes.md.
pub fn markdown() -> String {
    let mut out = String::from(
        "<!-- Made by `c1m causes --markdown` from c1m/src/causes/table.rs: change that, and run it again. -->\n\
         # Causes\n\n\
         Every way of losing a TCP connection that c1m tells apart, in the order of a connection's life. A \
         cause is\nstated only on the facts that its row needs. Names are permanent.\n",
    );
    let mut phase = None;
    for row in TABLE {
        if phase != Some(row.phase) {
            out.push_str(&format!("\n## {}\n", row.phase.title()));
            phase = Some(row.phase);
        }
        out.push_str(&format!(
            "\n### `{}`\n\n**{}.** {}\n\n",
            row.slug,
            escape(row.title),
            escape(row.what)
        ));
        for (name, text) in fields(row).iter().filter(|(name, _)| *name != "where") {
            let text = match *name {
                "proven by" => format!("`{text}`"),
                _ => escape(text),
            };
            out.push_str(&format!("- {name}: {text}\n"));
        }
    }
    out
}

/// Markdown takes `_` and `*` within words for emphasis, and `<` for a tag; what stands in backquotes is safe.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut code = false;
    for c in text.chars() {
        code ^= c == '`';
        if !code && matches!(c, '_' | '*' | '<' | '>') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
