//! What the documents say must be so: links lead somewhere, commands exist, the generated page is the program's.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::{Finding, Text};
use crate::command;

/// The command of the README that CI runs too, and nothing else.
const TEST_COMMAND: &str = "cargo xtask test";

/// Links to files that are not there, and to headings that are not in them.
pub(super) fn links(text: &Text, root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let dir = Path::new(&text.path).parent().unwrap_or(Path::new(""));
    for (line, link) in links_of(&text.content) {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let (file, heading) = link.split_once('#').unwrap_or((link, ""));
        let target = if file.is_empty() {
            root.join(&text.path)
        } else {
            root.join(dir).join(file)
        };
        if !target.exists() {
            findings.push(Finding::new(
                &text.path,
                line,
                format!("the link {link} leads nowhere"),
            ));
        } else if !heading.is_empty() && file_lacks(&target, heading) {
            findings.push(Finding::new(
                &text.path,
                line,
                format!("no heading for the link {link}"),
            ));
        }
    }
    findings
}

/// Each Markdown link's line (from 1) and target; what stands in code is no link.
fn links_of(content: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    let mut in_code = false;
    for (index, line) in content.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        for (at, _) in line.match_indices("](") {
            let is_code = in_code || line[..at].matches('`').count() % 2 == 1;
            let target = line[at + 2..].split([')', ' ']).next().unwrap_or_default();
            if !is_code {
                links.push((index + 1, target));
            }
        }
    }
    links
}

fn file_lacks(file: &Path, heading: &str) -> bool {
    let content = fs::read_to_string(file).unwrap_or_default();
    let mut headings = content.lines().filter(|line| line.starts_with('#'));
    let has_anchor = content.contains(&format!("<a id=\"{heading}\">"));
    !has_anchor && !headings.any(|line| anchor(line.trim_start_matches('#').trim()) == heading)
}

/// The anchor that forges give a heading.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase)
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// `docs/causes.md` against what the program prints. Fails if the program does.
pub(super) fn causes(c1m: &Path) -> Result<Vec<Finding>> {
    let expected = command::output(Command::new(c1m).args(["causes", "--markdown"]))?;
    let page = "docs/causes.md";
    // A page that is not there is a finding of its own.
    let Ok(found) = fs::read_to_string(command::root().join(page)) else {
        return Ok(Vec::new());
    };
    if found == expected {
        return Ok(Vec::new());
    }
    let same = found
        .lines()
        .zip(expected.lines())
        .take_while(|(a, b)| a == b)
        .count();
    let what = format!("differs from the cause table: c1m causes --markdown > {page}");
    Ok(vec![Finding::new(page, same + 1, what)])
}

/// A command line in a document.
#[derive(Debug, PartialEq, Eq)]
enum Used<'a> {
    /// `cargo xtask VERB`
    Xtask(&'a str),
    /// `c1m VERB --flag…`
    C1m { verb: &'a str, flags: Vec<&'a str> },
}

/// Verbs and flags in the README that do not exist, and a test command that CI does not run.
pub(super) fn commands(readme: &Text, c1m: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let verbs = crate::verbs();
    for (line, used) in used_commands(&readme.content) {
        match used {
            Used::Xtask(verb) if verbs.iter().any(|known| known == verb) => {}
            Used::Xtask(verb) => {
                findings.push(Finding::new(
                    &readme.path,
                    line,
                    format!("no verb of cargo xtask: {verb}"),
                ));
            }
            Used::C1m { verb, flags } => {
                let help = Command::new(c1m)
                    .args([verb, "--help"])
                    .output()
                    .context("cannot start c1m")?;
                if !help.status.success() {
                    findings.push(Finding::new(
                        &readme.path,
                        line,
                        format!("no verb of c1m: {verb}"),
                    ));
                    continue;
                }
                let help = String::from_utf8_lossy(&help.stdout).into_owned();
                let unknown = flags.iter().filter(|flag| !help_has(&help, flag));
                findings.extend(unknown.map(|flag| {
                    Finding::new(&readme.path, line, format!("c1m {verb} has no {flag}"))
                }));
            }
        }
    }
    let ci = fs::read_to_string(command::root().join(".ci/run")).unwrap_or_default();
    if !readme.content.contains(TEST_COMMAND) || !ci.lines().any(|line| line == TEST_COMMAND) {
        findings.push(Finding::new(
            ".ci/run",
            0,
            format!("it and README.md must both say: {TEST_COMMAND}"),
        ));
    }
    Ok(findings)
}

fn help_has(help: &str, flag: &str) -> bool {
    help.split(|c: char| !(c.is_alphanumeric() || c == '-'))
        .any(|word| word == flag)
}

/// The commands in the code of a document, with their lines (from 1).
fn used_commands(content: &str) -> Vec<(usize, Used<'_>)> {
    let mut used = Vec::new();
    let mut in_code = false;
    for (index, line) in content.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if in_code {
            used.extend(
                commands_in(line)
                    .into_iter()
                    .map(|command| (index + 1, command)),
            );
        } else {
            let spans = line.split('`').skip(1).step_by(2).flat_map(commands_in);
            used.extend(spans.map(|command| (index + 1, command)));
        }
    }
    used
}

/// The commands that a line of code starts with: behind `--` of `c1m trace` stands a second one.
fn commands_in(code: &str) -> Vec<Used<'_>> {
    // `a && b`, `a | b`, `a; b` are several commands, and a comment is none.
    let code = code.split(" # ").next().unwrap_or_default();
    code.split([';', '|', '&']).flat_map(command_in).collect()
}

fn command_in(code: &str) -> Vec<Used<'_>> {
    let mut words = code
        .split_whitespace()
        .skip_while(|word| ["$", "#", "sudo"].contains(word))
        .peekable();
    let Some(program) = words.next() else {
        return Vec::new();
    };
    if program == "cargo" && words.next_if_eq(&"xtask").is_some() {
        return words
            .next()
            .filter(|verb| is_verb(verb))
            .map(Used::Xtask)
            .into_iter()
            .collect();
    }
    if program.rsplit('/').next() != Some("c1m") {
        return Vec::new();
    }
    let words: Vec<&str> = words.collect();
    let mut parts = words.split(|word| *word == "--");
    let mut used: Vec<Used<'_>> = parts.next().and_then(verb_and_flags).into_iter().collect();
    // The workload of `c1m trace` may be any program; only two are ours.
    let workload = parts
        .next()
        .filter(|part| matches!(part.first(), Some(&("server" | "client"))));
    used.extend(workload.and_then(verb_and_flags));
    used
}

fn verb_and_flags<'a>(words: &[&'a str]) -> Option<Used<'a>> {
    let (verb, rest) = words.split_first()?;
    let flags = rest
        .iter()
        .filter(|word| word.starts_with("--"))
        .map(|word| name_of(word))
        .collect();
    is_verb(verb).then_some(Used::C1m { verb, flags })
}

fn name_of(flag: &str) -> &str {
    flag.split(|c: char| !(c.is_alphanumeric() || c == '-'))
        .next()
        .unwrap_or(flag)
}

/// A placeholder (VERB, …) or a number of a report is no verb.
fn is_verb(word: &str) -> bool {
    !word.is_empty()
        && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        && !word.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_outside_code_are_found() {
        let content = "[a](b.md) and `[c](d)`\n```\n[e](f)\n```\n[g](h.md#i-j \"title\")";
        assert_eq!(links_of(content), [(1, "b.md"), (5, "h.md#i-j")]);
        assert_eq!(
            anchor("What `c1m` says: all, twice"),
            "what-c1m-says-all-twice"
        );
    }

    #[test]
    fn a_dead_link_is_a_finding() {
        let text = Text {
            path: "xtask/x.md".to_owned(),
            content: "[a](../Cargo.toml) [b](gone.md)".to_owned(),
        };
        let found: Vec<String> = links(&text, &command::root())
            .iter()
            .map(Finding::to_string)
            .collect();
        assert_eq!(found, ["xtask/x.md:1: the link gone.md leads nowhere"]);
    }

    #[test]
    fn commands_are_read_from_code() {
        let c1m = |verb, flags: &[&'static str]| Used::C1m {
            verb,
            flags: flags.to_vec(),
        };
        let content = "c1m is no command here, `cargo xtask VERB` neither; `cargo xtask lint` is\n\
             ```\n\
             $ sudo target/release/c1m trace --json=run.json -- client --ips 40 # --not-this\n\
             c1m  500,000 attempted\n\
             cargo xtask demo && c1m lab --all | less --raw\n\
             c1m trace --port 9001 -- python3 server.py --bind 1\n\
             ```\n";
        assert_eq!(
            used_commands(content),
            [
                (1, Used::Xtask("lint")),
                (3, c1m("trace", &["--json"])),
                (3, c1m("client", &["--ips"])),
                (5, Used::Xtask("demo")),
                (5, c1m("lab", &["--all"])),
                (6, c1m("trace", &["--port"])),
            ]
        );
        assert!(help_has("      --backlog <N>", "--backlog"));
        assert!(!help_has("      --backlog-max <N>", "--backlog"));
    }
}
