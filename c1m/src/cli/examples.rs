//! What `--help` shows below the options: how a command is used, by examples that work as they stand.

pub(super) const EXAMPLES: &str = "\
Examples:
  sudo c1m trace -- server                      in one terminal
  sudo c1m trace -- client --ips 40             in another: 40 × 25,000 connections, and why any is missing
  sudo c1m trace --port 9001 -- ./my-server     somebody else's server, with whatever clients come
  sudo c1m trace --port 9001                    what runs already, until Ctrl-C
  sudo c1m lab field-notes                      see a loss explained, and healed
  c1m causes accept-queue-full-cookie           what a cause is, and what to do

Exit status: 0 all stand or were closed as asked, 1 some were lost, 2 bad usage or a host that can't,
3 the ledger does not balance.";

pub(super) const TRACE_EXAMPLES: &str = "\
Examples:
  sudo c1m trace --json run.json -- client --target 127.0.0.1:8000 --ips 40 --hold 5s
  sudo c1m trace --netns web -- client --target 10.0.0.2:8000 --sources 10.0.0.1 --connections 1000
  sudo c1m trace --port 9001 -- python3 server.py

What is traced runs as the user who called sudo. Ctrl-C and SIGTERM end the run; the report comes all the
same. A record can be printed again: c1m report run.json";

pub(super) const DOCTOR_EXAMPLES: &str = "\
Examples:
  c1m doctor --connections 1000000              every limit on the way, and the one that binds
  c1m doctor --connections 500000 --target 10.0.0.1:8000 --ips 20
  c1m doctor --connections 100000 --end server --processes 1
                                                a server of one process, with clients elsewhere
  sudo c1m doctor --connections 1000000 --fix   settings that are in the way, until the next boot
  sudo c1m doctor --restore                     as it was before
  sudo c1m doctor --connections 1000000 --persist
                                                for every boot to come: /etc/sysctl.d, /etc/security/limits.d

Exit status: 0 all will stand, 1 fewer will, 2 bad usage.";

pub(super) const CLIENT_EXAMPLES: &str = "\
Examples:
  c1m client --ips 40                           127.0.1.1 to 127.0.1.40, 25,000 connections each
  c1m client --connections 5000 --rate 500/s --hold 10s
  c1m client --target [::1]:8000 --connections 1000
  sudo c1m client --target 10.0.0.1:8000 --dev eth0 --addresses 10.0.0.100-139";
