//! The `c1m` command.

fn main() -> std::process::ExitCode {
    c1m::cli::main()
}
