//! Text for people: numbers with separators, wrapping, and nothing that drives a terminal.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
};

/// Width of the output where it goes to no terminal, in columns.
pub const WIDTH_DEFAULT: usize = 100;
/// Below this many columns a table is not worth the name.
pub const WIDTH_MIN: usize = 64;
/// Beyond this many columns lines are hard to follow.
pub const WIDTH_MAX: usize = 160;

/// `1234567` as `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// An amount of memory as a reader takes it in: `8.2 KB`, `9.7 GB`, by thousands of 1,024.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["KB", "MB", "GB", "TB", "PB"];
    let mut tenths = u128::from(number) * 10;
    let mut unit = "B";
    for larger in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths = tenths.div_ceil(1_024);
        unit = larger;
    }
    match unit {
        "B" => format!("{number} B"),
        _ if tenths >= 1_000 => format!("{} {unit}", thousands((tenths / 10) as u64)),
        _ => format!("{}.{} {unit}", tenths / 10, tenths % 10),
    }
}

/// A delay in ms as a reader takes it in: `40 ms`, `1.0 s`, `127 s`.
pub fn delay(delay_ms: u64) -> String {
    match delay_ms {
        0..1_000 => format!("{delay_ms} ms"),
        // Tenths, rounded half up in integers: exact for every u64.
        1_000..100_000 => {
            let tenths = (delay_ms + 50) / 100;
            format!("{}.{} s", tenths / 10, tenths % 10)
        }
        _ => format!("{} s", thousands(delay_ms.saturating_add(500) / 1_000)),
    }
}

/// The same text with every character made visible that could drive a terminal or reorder a line: control
/// characters (C0, C1, DEL), line ends, and Unicode's invisible and bidirectional ones. Texts of a record
/// come from files that anybody may have written.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(drives_terminal) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if drives_terminal(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn drives_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Columns that a text takes, one per character.
pub fn columns(text: &str) -> usize {
    text.chars().count()
}

/// `text` in lines of at most `width` columns, broken at spaces and, where a word is longer, within it. What
/// is to be pasted stays in one piece as long as it fits: see [`pieces`].
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for piece in pieces(text) {
        let fits = columns(piece) <= width;
        let words: Box<dyn Iterator<Item = &str>> = if fits {
            Box::new(std::iter::once(piece))
        } else {
            Box::new(piece.split_whitespace())
        };
        for word in words {
            push_word(&mut lines, &mut line, word, width);
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

fn push_word(lines: &mut Vec<String>, line: &mut String, word: &str, width: usize) {
    if !line.is_empty() && columns(line) + 1 + columns(word) > width {
        lines.push(std::mem::take(line));
    }
    if !line.is_empty() {
        line.push(' ');
    }
    for c in word.chars() {
        if columns(line) == width {
            lines.push(std::mem::take(line));
        }
        line.push(c);
    }
}

/// The words of a text, where `sysctl -w name='1 2'`, `ulimit -n 4096` and `--option value` are one each.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let words = match rest.split_whitespace().next().unwrap_or_default() {
            "sysctl" | "ulimit" => 3,
            word if word.starts_with("--") => 2,
            _ => 1,
        };
        let piece = rest[..end_of_words(rest, words)].trim_end();
        pieces.push(piece);
        rest = rest[piece.len()..].trim_start();
    }
    pieces
}

/// Where the first `count` words of `text` end; a space between single quotes ends no word, and a quote
/// that is never closed is an apostrophe.
fn end_of_words(text: &str, count: usize) -> usize {
    let mut left = count;
    let mut quoted = false;
    let mut before = ' ';
    for (index, c) in text.char_indices() {
        if c == '\'' {
            let opens = !quoted && (before == '=' || before.is_whitespace());
            quoted = opens && text[index + 1..].contains('\'');
        } else if c.is_whitespace() && !quoted && !before.is_whitespace() {
            left -= 1;
            if left == 0 {
                return index;
            }
        }
        before = c;
    }
    text.len()
}

/// How wide to print, in columns: the terminal's width within limits, or [`WIDTH_DEFAULT`].
pub fn width_of_stdout() -> usize {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col).clamp(WIDTH_MIN, WIDTH_MAX),
        _ => WIDTH_DEFAULT,
    }
}

/// Whether to print in colour: to a terminal that can, unless NO_COLOR is set.
pub fn colour_of_stdout() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    io::stdout().is_terminal() && !unwanted && !dumb
}

/// Writes to stdout. A reader that went away (`| head`) is no error.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_get_separators() {
        let shown: Vec<_> = [0, 999, 1_000, 28_232, 1_000_000]
            .map(thousands)
            .into_iter()
            .collect();
        assert_eq!(shown, ["0", "999", "1,000", "28,232", "1,000,000"]);
    }

    #[test]
    fn delays_are_short() {
        let shown: Vec<_> = [40, 999, 1_000, 1_049, 3_051, 127_400, u64::MAX]
            .map(delay)
            .into_iter()
            .collect();
        let last = format!("{} s", thousands(u64::MAX / 1_000));
        assert_eq!(
            shown,
            ["40 ms", "999 ms", "1.0 s", "1.0 s", "3.1 s", "127 s", &last]
        );
    }

    #[test]
    fn what_is_to_be_pasted_stays_in_one_piece() {
        let text =
            "28,232 ports: sysctl -w net.ipv4.ip_local_port_range='1024 65535', or one more source";
        assert_eq!(
            wrap(text, 53),
            [
                "28,232 ports:",
                "sysctl -w net.ipv4.ip_local_port_range='1024 65535',",
                "or one more source"
            ]
        );
        assert_eq!(
            wrap("the program's restart with --backlog 1024", 29),
            ["the program's restart with", "--backlog 1024"]
        );
        assert_eq!(wrap("abcdef gh", 4), ["abcd", "ef", "gh"]);
    }

    #[test]
    fn what_drives_a_terminal_is_made_visible() {
        assert_eq!(clean("\x1b[2J\u{9b}x\r\n"), r"\u{1b}[2J\u{9b}x\u{d}\u{a}");
        assert_eq!(clean("a\u{202e}b"), r"a\u{202e}b");
        assert!(matches!(clean("plain – text"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn wrapping_keeps_every_letter_and_the_width(text in "\\PC{0,80}", width in 1_usize..40) {
            let lines = wrap(&text, width);
            prop_assert!(lines.iter().all(|line| columns(line) <= width));
            let letters = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }

        #[test]
        fn cleaned_text_has_nothing_that_drives_a_terminal(text in any::<String>()) {
            prop_assert!(!clean(&text).contains(drives_terminal));
        }
    }
}
