//! The record and what is made of it: tables, files, the schema, and the pages of the causes.
#![expect(clippy::unwrap_used, reason = "tests")]

mod causes;
mod files;
mod fixtures;
mod formats;
mod html;
mod tables;

use std::process::{Command, Output};

fn c1m(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_c1m"))
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}
