//! Just enough of Rust's grammar to count lines of functions and find words in code.

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// Where `fn` stands, from 1.
    pub(super) line: usize,
    /// From there to the closing brace, both included.
    pub(super) lines: usize,
}

/// The text with the insides of comments, strings and character literals made blank; lines stay where they are.
pub(super) fn blanked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let length = literal_or_comment(rest, before).unwrap_or(0);
        if length > 0 {
            out.extend(
                rest[..length]
                    .chars()
                    .map(|c| if c == '\n' { '\n' } else { ' ' }),
            );
            before = ' ';
            rest = &rest[length..];
        } else {
            out.push(first);
            before = first;
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// The length in bytes of the comment or literal at the start of `rest`, if there is one.
fn literal_or_comment(rest: &str, before: char) -> Option<usize> {
    let is_word = before.is_alphanumeric() || before == '_';
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    if rest.starts_with('"') {
        return Some(quoted(rest, '"'));
    }
    if rest.starts_with('\'') {
        return character(rest);
    }
    // r"…", r#"…"#, br"…", cr"…"; not the end of a name, nor a raw identifier.
    let raw = rest
        .strip_prefix(['b', 'c'])
        .unwrap_or(rest)
        .strip_prefix('r')?;
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    if is_word || !raw[hashes..].starts_with('"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let start = rest.len() - raw.len() + hashes + 1;
    Some(
        rest[start..]
            .find(&end)
            .map_or(rest.len(), |at| start + at + end.len()),
    )
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of what stands between two quotes, both included.
fn quoted(rest: &str, quote: char) -> usize {
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return at + 1;
        }
    }
    rest.len()
}

/// A character literal; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.chars().skip(1);
    let first = chars.next()?;
    (first == '\\' || chars.next() == Some('\'')).then(|| quoted(rest, '\''))
}

/// The functions with a body, in blanked code, inner ones too.
pub(super) fn functions(code: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        if code[..at].ends_with(is_name) {
            continue;
        }
        let name: String = code[at + 3..].chars().take_while(|&c| is_name(c)).collect();
        if name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(&code[at..]) {
            let line = code[..at].matches('\n').count() + 1;
            let lines = code[at..at + end].matches('\n').count() + 1;
            functions.push(Function { name, line, lines });
        }
    }
    functions
}

/// Where the body of the function at the start of `code` ends; None for a declaration without one.
fn body_end(code: &str) -> Option<usize> {
    // A `;` inside brackets is an array's length, not the end of a declaration.
    let (mut braces, mut brackets) = (0, 0);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if braces == 0 && brackets == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces == 0 && brackets == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether a line has this word, not as the end of a longer name.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let mut places = line.match_indices(word);
    places.any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// Whether a path that starts with `dir` stands in the line; a longer path or address with `dir` inside is none.
pub(super) fn starts_path(line: &str, dir: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || "_-.~*}$/".contains(c);
    line.match_indices(dir)
        .any(|(at, _)| !line[..at].ends_with(goes_on))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blank() {
        let cases = [
            ("a // {\nb", "a     \nb"),
            ("a /* { /* { */ } */ b", "a                   b"),
            (r#"f("{\"{", x)"#, "f(      , x)"),
            (r##"r#"{"#;"##, "      ;"),
            ("'{' '\\'' 'a x 'static", "         'a x 'static"),
            ("r#fn var\"{\"", "r#fn var   "),
        ];
        for (code, blank) in cases {
            assert_eq!(blanked(code), blank, "{code}");
        }
    }

    #[test]
    fn functions_are_measured() {
        let code = "trait T { fn none(x: [u8; 2]); }\nfn one() {}\npub fn two(\n    x: [u8; 4],\n) -> u8 {\n    if x { 1 } else { 2 }\n}\nlet f: fn (u8) = g;\n";
        let found = functions(code);
        let found: Vec<(&str, usize, usize)> = found
            .iter()
            .map(|f| (f.name.as_str(), f.line, f.lines))
            .collect();
        assert_eq!(found, [("one", 2, 1), ("two", 3, 5)]);
    }
}
