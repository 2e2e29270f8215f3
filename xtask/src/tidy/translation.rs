//! A translated README shows what the English one shows: the same blocks of code, and the same commands in the text.

use super::{Finding, Text};

/// Where two documents show different code, at the line of the translation.
pub(super) fn differences(english: &Text, translated: &Text) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (blocks, theirs) = (blocks(&english.content), blocks(&translated.content));
    let pairs = blocks.iter().zip(&theirs);
    for ((_, line), (number, translation)) in pairs {
        if line != translation {
            let what = format!("`{translation}` is `{line}` in {}", english.path);
            findings.push(Finding::new(&translated.path, *number, what));
        }
    }
    if blocks.len() != theirs.len() {
        let what = format!(
            "{} lines in blocks of code, {} has {}",
            theirs.len(),
            english.path,
            blocks.len()
        );
        findings.push(Finding::new(&translated.path, 0, what));
    }
    let (ours, mut theirs) = (spans(&english.content), spans(&translated.content));
    for (_, span) in ours {
        match theirs.iter().position(|(_, other)| *other == span) {
            Some(at) => drop(theirs.remove(at)),
            None => {
                let what = format!("`{span}` of {} is missing", english.path);
                findings.push(Finding::new(&translated.path, 0, what));
            }
        }
    }
    findings.extend(theirs.into_iter().map(|(line, span)| {
        let what = format!("`{span}` is not in {}", english.path);
        Finding::new(&translated.path, line, what)
    }));
    findings
}

/// The lines between fences, with their numbers.
fn blocks(content: &str) -> Vec<(usize, &str)> {
    let mut in_code = false;
    let lines = content.lines().enumerate();
    let code = lines.filter(|(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        in_code && !is_fence
    });
    code.map(|(index, line)| (index + 1, line)).collect()
}

/// What stands in code within the text.
fn spans(content: &str) -> Vec<(usize, &str)> {
    let mut in_code = false;
    let mut spans = Vec::new();
    for (index, line) in content.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            let within = line.split('`').skip(1).step_by(2);
            spans.extend(within.map(|span| (index + 1, span)));
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_in_blocks_and_text_are_compared() {
        let text = |path: &str, content: &str| Text {
            path: path.to_owned(),
            content: content.to_owned(),
        };
        let english = text("R.md", "`a --b` and `c`\n```\nx 1\ny\n```\n");
        let same = text("R.zh.md", "`c` 和 `a --b`\n\n```\nx 1\ny\n```\n");
        assert_eq!(differences(&english, &same), []);
        let other = text("R.zh.md", "`a --d` 和 `c`\n```\nx 2\n```\n");
        let found: Vec<String> = differences(&english, &other)
            .iter()
            .map(Finding::to_string)
            .collect();
        assert_eq!(
            found,
            [
                "R.zh.md:3: `x 2` is `x 1` in R.md",
                "R.zh.md: 1 lines in blocks of code, R.md has 2",
                "R.zh.md: `a --b` of R.md is missing",
                "R.zh.md:1: `a --d` is not in R.md",
            ]
        );
    }
}
