//! What is said on stderr, beside the report.

use std::{
    fmt,
    io::{self, Write as _},
};

/// Says a line, after the program's name. A terminal or a reader that is gone is no reason to end a run: the report may go
/// elsewhere, and a server's connections end with it.
pub fn say(what: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "c1m: {what}");
}
