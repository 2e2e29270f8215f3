//! Traced runs from end to end: two views of one run, somebody else's programs, and every way to end.
//!
//! They need root and an eBPF object, as the tracer does, and fail without.

use std::{
    net::TcpListener,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    sync::mpsc,
};

use rustix::process::Signal;
use serde_json::Value;

use super::rig::{LIMIT, Net, Process, held_by, lines_of, refusal, signal, until};

/// A traced command, and where it will write its record.
struct Traced {
    process: Process,
    json: PathBuf,
    lines: mpsc::Receiver<String>,
}

impl Traced {
    /// Starts `c1m trace --json … ARGS`.
    fn start(net: &Net, dir: &Path, name: &str, args: &[&str]) -> Self {
        let json = dir.join(name);
        let file = json.display().to_string();
        let mut child = net.spawn(None, &[&["trace", "--json", &file], args].concat());
        let lines = lines_of(child.stderr.take().expect("stderr"));
        Self {
            process: Process(child),
            json,
            lines,
        }
    }

    /// Waits until it says `word`.
    fn says(self, word: &str) -> Self {
        while !self.lines.recv_timeout(LIMIT).expect(word).contains(word) {}
        self
    }

    /// Waits for its end: the exit status and the record.
    fn end(mut self) -> (i32, Value) {
        let status = self.process.ended();
        let record = std::fs::read_to_string(&self.json).expect("a record");
        let record = serde_json::from_str(&record).expect("JSON");
        (
            status.code().or(status.signal()).expect("an exit status"),
            record,
        )
    }

    /// Ends it with a signal.
    fn stop(self, how: Signal) -> (i32, Value) {
        signal(self.process.pid(), how);
        self.end()
    }
}

/// The sums of a record: attempted, standing, closed, lost; and that nothing is left open.
#[track_caller]
fn sums(record: &Value) -> [u64; 4] {
    assert_eq!(record["balanced"], true, "{record:#}");
    for open in ["unexplained", "evidence_lost", "not_observable"] {
        assert_eq!(record[open], 0, "{open}: {record:#}");
    }
    ["attempted", "standing", "closed", "lost"].map(|sum| record[sum].as_u64().expect(sum))
}

/// How many attempts a cause took, and where.
fn lost_to<'a>(record: &'a Value, slug: &str) -> (u64, &'a str) {
    let causes = record["causes"].as_array().expect("causes");
    let cause = causes
        .iter()
        .find(|cause| cause["slug"] == slug)
        .expect(slug);
    (
        cause["count"].as_u64().expect("count"),
        cause["places"][0]["name"].as_str().expect("a place"),
    )
}

#[test]
fn a_killed_worker_takes_exactly_its_connections_in_both_views() {
    let net = Net::new();
    let dir = tempfile::tempdir().expect("a directory");
    let args = ["--", "server", "--per-worker", "200"];
    let server = Traced::start(&net, dir.path(), "server", &args).says("listening on");
    let client = Traced::start(
        &net,
        dir.path(),
        "client",
        &["--", "client", "--connections", "600", "--hold", "10m"],
    );
    until("600 are held", || {
        (server.process.held() == 600).then_some(())
    });
    let victim = server.process.workers()[0];
    let lost = held_by(victim).expect("it runs");
    assert!(lost > 0);
    signal(victim, Signal::KILL);
    // A worker that ends has no files to be counted before they are closed: only the client knows.
    until("the client has read every end", || {
        (client.process.held() == 600 - lost).then_some(())
    });
    let (status, seen) = client.stop(Signal::INT);
    assert_eq!(
        (status, sums(&seen)),
        (1, [600, 600 - lost, 0, lost]),
        "{seen:#}"
    );
    let place = format!("pid {victim}");
    assert_eq!(lost_to(&seen, "server-exited"), (lost, place.as_str()));
    let (status, seen) = server.stop(Signal::INT);
    assert_eq!(
        (status, sums(&seen)),
        (1, [600, 0, 600 - lost, lost]),
        "{seen:#}"
    );
    assert_eq!(lost_to(&seen, "server-exited"), (lost, place.as_str()));
}

#[test]
fn programs_that_are_not_ours_are_counted_exactly_by_two_tracers_at_once() {
    const BACKLOG: i32 = 4;
    let net = Net::new();
    let dir = tempfile::tempdir().expect("a directory");
    let address = net.free("127.0.0.1");
    let listener = net.run(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok::<TcpListener, std::io::Error>(socket.into())
    });
    let listener = listener.expect("a listener");
    let port = address.port().to_string();
    // One stands before any trace begins.
    let before = (net.connect(address), listener.accept().expect("the first"));
    let traced = |name, args: &[&str]| {
        let args = [&["--port", &port], args].concat();
        Traced::start(&net, dir.path(), name, &args).says("tracing port")
    };
    let by_port = traced("port", &[]);
    let by_command = traced("command", &["--", "sleep", "600"]);
    let connect = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        // EINPROGRESS: the answer comes later, or never.
        let _ = socket.connect(&address.into());
        Ok::<_, std::io::Error>(socket)
    };
    // The queue takes one more than its limit; the other SYNs are dropped, and given up.
    let mut clients: Vec<_> = (0..20)
        .map(|_| net.run(connect).expect("a socket"))
        .collect();
    let queued = BACKLOG as usize + 1;
    drop(clients.split_off(queued));
    let mut accepted: Vec<_> = (0..queued)
        .map(|_| listener.accept().expect("queued").0)
        .collect();
    // Of these, one is closed by its client and one by the server.
    drop(clients.pop());
    drop(accepted.remove(0));
    let dropped = 20 - queued as u64;
    let expected = [21, 1 + queued as u64 - 2, 2, dropped];
    for (traced, role) in [(by_port, "port"), (by_command, "command")] {
        let (status, seen) = traced.stop(Signal::TERM);
        assert_eq!((status, sums(&seen)), (1, expected), "{seen:#}");
        assert_eq!(
            (seen["role"].as_str(), seen["before"].as_u64()),
            (Some(role), Some(1))
        );
        assert_eq!(lost_to(&seen, "accept-queue-full-syn").0, dropped);
    }
    drop(before);
}

#[test]
fn the_report_comes_when_the_command_crashes() {
    let net = Net::new();
    let dir = tempfile::tempdir().expect("a directory");
    let args = ["--port", "8000", "--", "sh", "-c", "kill -SEGV $$"];
    let (status, seen) = Traced::start(&net, dir.path(), "crash", &args).end();
    assert_eq!((status, sums(&seen)), (0, [0; 4]));
    let notes = seen["notes"].to_string();
    assert!(notes.contains("signal: 11"), "{notes}");
}

#[test]
fn nobody_stays_when_the_tracer_is_killed() {
    let net = Net::new();
    let dir = tempfile::tempdir().expect("a directory");
    let address = net.free("127.0.0.1");
    let server = Traced::start(&net, dir.path(), "server", &["--", "server"]).says("listening on");
    let workers = server.process.workers();
    assert_eq!(workers.len(), 1);
    signal(server.process.pid(), Signal::KILL);
    until("its workers end", || {
        let gone = |pid: &u32| !Path::new(&format!("/proc/{pid}/fd/0")).exists();
        workers.iter().all(gone).then_some(())
    });
    until("the port is free", || {
        net.run(|| TcpListener::bind(address)).ok()
    });
}

#[test]
fn a_tracer_without_descriptors_names_the_limit() {
    let net = Net::new();
    // Too few for its maps, and for its programs.
    for limit in [20, 60] {
        let trace = net.spawn(Some(limit), &["trace", "--port", "9", "--", "true"]);
        let said = refusal(&trace.wait_with_output().expect("an end"));
        let limit = format!("RLIMIT_NOFILE is {limit}");
        assert!(
            said.contains(&limit) && said.contains("ulimit -n 1024"),
            "{said}"
        );
    }
}
