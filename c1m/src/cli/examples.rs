//! What `--help` shows below the options: how a command is used, by examples that work as they stand.

pub(super) const EXAMPLES: &str = "\
Examples:
  c1m doctor --connections 1000000              will they stand here, and what would stop them
  sudo c1m trace -- server                      in one terminal
  sudo c1m trace -- client --ips 40             in another: 40 × 25,000, and why any is missing
  sudo c1m trace --port 9001 -- ./my-server     somebody else's server, with whatever clients come
  sudo c1m trace --port 9001                    what runs already, until Ctrl-C
  sudo c1m lab field-notes                      see a loss explained, and healed
  c1m causes accept-queue-full-cookie           what a cause is, and what to do

Exit status: 0 all stand or were closed as asked, 1 some were lost, 2 bad usage or a host that
can't, 3 the ledger does not balance. Each command has examples of its own: c1m client --help";

pub(super) const SERVER_EXAMPLES: &str = "\
Examples:
  c1m server                                    on 127.0.0.1:8000, the backlog as long as may be
  c1m server --listen 0.0.0.0:8000 --backlog 4096
  c1m server --listeners reuseport --workers-max 4
  sudo c1m trace -- server --echo               the same under the tracer: why connections were lost

Workers start when they are needed: each has a table of descriptors of its own. Ctrl-C ends it; then
it says what came and what did not stay.";

pub(super) const REPORT_EXAMPLES: &str = "\
Examples:
  c1m report run.json                           the table again
  c1m report client.json server.json            both ends of one run, and where they differ
  c1m report run.json --html run.html           a page with the time line

A record is written by --json of client, server, trace and lab.";

pub(super) const LAB_EXAMPLES: &str = "\
Examples:
  c1m lab --list                                what there is, and what each provokes
  sudo c1m lab emfile refused                   these two
  sudo c1m lab field-notes --fix                apply what the table says, and lose nothing
  sudo c1m lab --all --hooks tracepoint         all, as where there are no kprobes

A lab makes a fault whose number is known, in network namespaces of its own, and demands that number
from the table: it proves on your kernel that the tracer tells the truth.";

pub(super) const CAUSES_EXAMPLES: &str = "\
Examples:
  c1m causes                                    all of them, in the order of a connection's life
  c1m causes ports-exhausted                    one: how it shows, what proves it, what to do";

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  c1m completions bash                          for this shell: source <(c1m completions bash)
  c1m completions zsh                           for good: into a file _c1m on the fpath";

pub(super) const TRACE_EXAMPLES: &str = "\
Examples:
  sudo c1m trace -- server
  sudo c1m trace --json run.json -- client --target 127.0.0.1:8000 --ips 40 --hold 5s
  sudo c1m trace --netns web -- client --target 10.0.0.2:8000 --sources 10.0.0.1
  sudo c1m trace --port 9001 -- python3 server.py
  sudo c1m trace --port 9001                    what runs already, until Ctrl-C

What is traced runs as the user who called sudo. On a terminal a view shows the run while it lasts,
unless another command does (--live); q, Ctrl-C, SIGTERM and SIGHUP end it, and the report comes all
the same. A record can be printed again: c1m report run.json";

pub(super) const DOCTOR_EXAMPLES: &str = "\
Examples:
  c1m doctor --connections 1000000              every limit on the way, and the one that binds
  c1m doctor --connections 500000 --target 10.0.0.1:8000 --ips 20
  c1m doctor --connections 100000 --end server --processes 1
                                                a server of one process, with clients elsewhere
  sudo c1m doctor --connections 1000000 --fix   settings that are in the way, until the next boot
  sudo c1m doctor --restore                     as it was before
  sudo c1m doctor --connections 1000000 --persist
                                                for every boot: sysctl.d and limits.d below /etc

Exit status: 0 all will stand, 1 fewer will, 2 bad usage.";

pub(super) const CLIENT_EXAMPLES: &str = "\
Examples:
  c1m client --ips 40                           127.0.1.1 to 127.0.1.40, 25,000 connections each,
                                                or what this host can hold: see c1m doctor
  c1m client --connections 5000 --rate 500/s --hold 10s
  c1m client --target [::1]:8000 --connections 1000
  sudo c1m client --target 10.0.0.1:8000 --dev eth0 --addresses 10.0.0.100-139";

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use clap::{CommandFactory as _, Parser as _};

    use super::super::Cli;

    /// The commands among the lines of a help text, without sudo and without what is said beside them.
    fn commands(help: &str) -> Vec<String> {
        let lines = help.lines().filter_map(|line| line.strip_prefix("  "));
        let lines = lines.map(|line| line.strip_prefix("sudo ").unwrap_or(line));
        let commands = lines.filter(|line| line.starts_with("c1m "));
        commands
            .map(|line| line.split("  ").next().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn examples_work_as_they_stand() {
        let mut seen = 0;
        let mut all = vec![Cli::command()];
        all.extend(Cli::command().get_subcommands().cloned());
        for command in all.iter().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            if name == "help" {
                continue;
            }
            let help = command.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_else(|| panic!("{name} has no examples"));
            assert!(
                help.lines().all(|line| line.chars().count() <= 100),
                "{help}"
            );
            let examples = commands(&help);
            assert!(!examples.is_empty(), "{name} has no examples");
            for example in examples {
                let parsed = Cli::try_parse_from(example.split_whitespace());
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
                seen += 1;
            }
        }
        assert!(seen > 20, "{seen}");
    }
}
