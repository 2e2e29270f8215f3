//! Ways to end a run from outside: a terminal that goes, a second Ctrl-C, children of a command.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::Signal;

use super::rig::{Net, Process, refusal, signal, until};

/// Whether a process ignores SIGHUP.
fn ignores_hangup(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = u64::from_str_radix(mask.expect("a mask").trim(), 16).expect("hexadecimal");
    mask & 1 != 0
}

#[test]
fn a_terminal_that_goes_ends_the_run_unless_that_is_to_outlive_it() {
    let net = Net::new();
    let server = net.local_server("");
    let dir = tempfile::tempdir().expect("a directory");
    for (how, outlives) in [("default", false), ("ignore", true)] {
        let json = dir.path().join(how);
        let mut command = Command::new("env");
        command
            .arg(format!("--{how}-signal=HUP"))
            .args([env!("CARGO_BIN_EXE_c1m"), "client", "--target"])
            .arg(server.address.to_string())
            .args(["--connections", "5", "--hold", "10m", "--json"])
            .arg(&json)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = net.run(|| command.spawn()).expect("env");
        // Nobody hears what it says.
        drop(child.stderr.take());
        let mut client = Process(child);
        server.wait_held(5);
        assert_eq!(ignores_hangup(client.pid()), outlives);
        if outlives {
            signal(client.pid(), Signal::INT);
        }
        signal(client.pid(), Signal::HUP);
        let status = client.ended();
        assert_eq!(status.code(), Some(0));
        let record = fs::read_to_string(json).expect("a record");
        let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
        assert_eq!(record["standing"], 5, "{record:#}");
        server.wait_held(0);
    }
}

/// `c1m trace` of a shell script.
fn traced(net: &Net, script: &str) -> Process {
    let args = ["trace", "--port", "8000", "--", "sh", "-c", script];
    Process(net.spawn(None, &args))
}

/// Waits until a script has written a file.
fn written(file: &Path) -> String {
    until("the script is there", || {
        let text = fs::read_to_string(file).ok()?;
        text.ends_with('\n').then_some(text)
    })
}

/// Waits until a process has ended, whether or not anybody has reaped it.
fn gone(pid: &str) {
    let stat = PathBuf::from(format!("/proc/{}/stat", pid.trim()));
    until("what the command started ends", || {
        let is_over = match fs::read_to_string(&stat) {
            Ok(text) => text.rsplit(')').next()?.trim_start().starts_with('Z'),
            Err(_) => true,
        };
        is_over.then_some(())
    });
}

#[test]
fn a_command_s_children_end_with_it_also_those_that_ignore_an_interrupt() {
    let (net, dir) = (Net::new(), tempfile::tempdir().expect("a directory"));
    let file = dir.path().join("pid");
    // What a shell without job control puts into the background ignores SIGINT.
    let script = format!("sleep 600 & echo $! > {}; wait", file.display());
    let mut trace = traced(&net, &script);
    let child = written(&file);
    signal(trace.pid(), Signal::INT);
    let status = trace.ended();
    assert_eq!(status.code(), Some(0));
    gone(&child);
}

#[test]
fn a_second_interrupt_leaves_no_command_behind() {
    let (net, dir) = (Net::new(), tempfile::tempdir().expect("a directory"));
    let (file, told) = (dir.path().join("pid"), dir.path().join("told"));
    let script = format!(
        "trap 'echo > {}' INT; echo $$ > {}; while :; do sleep 0.1; done",
        told.display(),
        file.display()
    );
    let mut trace = traced(&net, &script);
    let command = written(&file);
    signal(trace.pid(), Signal::INT);
    // Now it waits for the command, which does not end.
    written(&told);
    signal(trace.pid(), Signal::INT);
    let status = trace.ended();
    assert_eq!(status.code(), Some(130));
    gone(&command);
}

#[test]
fn a_stopped_worker_keeps_no_report_from_coming() {
    let net = Net::new();
    let mut server = net.local_server("");
    let client = net.client(server.address, "--connections 20 --hold 10m");
    server.wait_held(20);
    let stop = |process: &Process| {
        let workers = process.workers();
        workers.iter().for_each(|pid| signal(*pid, Signal::STOP));
    };
    stop(&client.process);
    client.interrupt().assert(0, 20, 20);
    server.wait_held(0);
    stop(&server.process);
    signal(server.process.pid(), Signal::INT);
    let status = server.process.ended();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn what_cannot_be_written_is_refused_before_the_run() {
    let net = Net::new();
    let cases: [(&[&str], &str); 3] = [
        (&["--cost", "/no/such/dir/cost"], "--cost"),
        (&["--json", "/no/such/dir/run.json"], "--json"),
        (&["--port", "0"], "--port 0"),
    ];
    for (options, word) in cases {
        let args = [&["trace", "--port", "9"], options, &["--", "true"]].concat();
        let said = refusal(&net.spawn(None, &args).wait_with_output().expect("its end"));
        assert!(said.contains(word), "{said}");
    }
}
