//! What the tests share: a network, processes in it, and what /proc tells of them.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use c1m::{load::worker::BASE_FDS, netns::Netns};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

/// Nothing here takes this long, even on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Waits until `condition` gives something.
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(
            Instant::now() < end,
            "it did not happen in {LIMIT:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Where a test's connections are.
pub(crate) struct Net {
    /// Of its own; `None` without root: then it is the loopback that everybody has.
    ns: Option<Netns>,
}

impl Net {
    pub(crate) fn new() -> Self {
        let root = rustix::process::geteuid().is_root();
        Self {
            ns: root.then(|| Netns::create().expect("a network namespace")),
        }
    }

    /// Runs `f` in it.
    pub(crate) fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        match &self.ns {
            Some(ns) => ns.run(f).expect("the network namespace"),
            None => f(),
        }
    }

    /// An address of `host` with a port that nobody uses.
    pub(crate) fn free(&self, host: &str) -> SocketAddr {
        let ip = host.parse().expect("an address");
        match self.ns {
            Some(_) => SocketAddr::new(ip, 8000),
            None => TcpListener::bind((host, 0))
                .and_then(|listener| listener.local_addr())
                .expect("a port"),
        }
    }

    pub(crate) fn connect(&self, address: SocketAddr) -> TcpStream {
        self.run(|| TcpStream::connect(address))
            .expect("a connection")
    }

    /// Starts `c1m` with at most `nofile` open files.
    pub(crate) fn spawn(&self, nofile: Option<u64>, args: &[&str]) -> Child {
        let limit = nofile.map_or(String::new(), |nofile| format!("ulimit -n {nofile} && "));
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{limit}exec \"$0\" \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_c1m"))
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.run(|| command.spawn()).expect("c1m starts")
    }

    /// A server on a free port of 127.0.0.1, with these arguments; see [`Self::server`].
    pub(crate) fn local_server(&self, args: &str) -> Server {
        self.server(self.free("127.0.0.1"), None, args)
    }

    /// A listener with room for one connection, of which nobody accepts any: the SYNs of all others are dropped.
    pub(crate) fn full_listener(&self, address: SocketAddr) -> Socket {
        self.run(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.bind(&address.into()).expect("the port is free");
            socket.listen(0).expect("it listens");
            socket
        })
    }

    /// Starts a server, its arguments between spaces, and waits until it listens.
    pub(crate) fn server(&self, address: SocketAddr, nofile: Option<u64>, args: &str) -> Server {
        let listen = address.to_string();
        let mut child = self.spawn(
            nofile,
            &[&["server", "--listen", &listen], words(args).as_slice()].concat(),
        );
        let lines = lines_of(child.stderr.take().expect("stderr"));
        let first = lines.recv_timeout(LIMIT).expect("a first line");
        assert!(
            first.contains(&format!("listening on {listen}, backlog ")),
            "{first}"
        );
        Server {
            address,
            process: Process(child),
            lines,
        }
    }

    /// Starts a client of `address`, its arguments between spaces.
    pub(crate) fn client(&self, address: SocketAddr, args: &str) -> Client {
        let dir = tempfile::tempdir().expect("a directory");
        let json = dir.path().join("run.json").display().to_string();
        let target = address.to_string();
        let own = ["client", "--target", &target, "--json", &json];
        Client {
            process: Process(self.spawn(None, &[&own, words(args).as_slice()].concat())),
            dir,
        }
    }
}

fn words(args: &str) -> Vec<&str> {
    args.split_whitespace().collect()
}

/// What a pipe brings, line by line.
pub(crate) fn lines_of(pipe: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// A process that ends with its test.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        until("the process ends", || self.0.try_wait().expect("status"))
    }

    /// Its worker processes.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }

    /// How many connections its workers have open.
    pub(crate) fn held(&self) -> u64 {
        self.workers().into_iter().filter_map(held_by).sum()
    }
}

pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid as i32).expect("a pid");
    rustix::process::kill_process(pid, signal).expect("the process is there");
}

/// How many connections a worker has open; `None` while it starts or when it has gone.
pub(crate) fn held_by(worker: u32) -> Option<u64> {
    let open = fs::read_dir(format!("/proc/{worker}/fd")).ok()?.count() as u64;
    open.checked_sub(BASE_FDS)
}

/// The CPU time of a process so far, in clock ticks.
pub(crate) fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let after_name = stat.rsplit_once(')').expect("a name").1;
    let fields: Vec<_> = after_name.split_whitespace().collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
    lines: mpsc::Receiver<String>,
}

impl Server {
    /// How many connections its workers have open.
    pub(crate) fn held(&self) -> u64 {
        self.process.held()
    }

    pub(crate) fn wait_held(&self, held: u64) {
        until(&format!("{held} held"), || {
            (self.held() == held).then_some(())
        });
    }

    /// The next line on stderr that contains `word`.
    pub(crate) fn line_with(&self, word: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(LIMIT).expect(word);
            if line.contains(word) {
                return line;
            }
        }
    }
}

pub(crate) struct Client {
    pub(crate) process: Process,
    pub(crate) dir: tempfile::TempDir,
}

impl Client {
    /// Waits for its end.
    pub(crate) fn end(mut self) -> Done {
        let status = self.process.ended();
        let file = self.dir.path().join("run.json");
        let record = fs::read_to_string(file).expect("a record");
        Done {
            status: status.code(),
            record: serde_json::from_str(&record).expect("JSON"),
        }
    }

    /// Ends its hold.
    pub(crate) fn interrupt(self) -> Done {
        signal(self.process.pid(), rustix::process::Signal::INT);
        self.end()
    }
}

/// How a client ended.
pub(crate) struct Done {
    pub(crate) status: Option<i32>,
    pub(crate) record: Value,
}

impl Done {
    #[track_caller]
    pub(crate) fn assert(&self, status: i32, attempted: u64, standing: u64) {
        let numbers = (&self.record["attempted"], &self.record["standing"]);
        assert_eq!(
            numbers,
            (&attempted.into(), &standing.into()),
            "{:#}",
            self.record
        );
        assert_eq!(self.status, Some(status));
    }

    /// How many of the lost attempts ended at `stage`.
    pub(crate) fn lost_at(&self, stage: &str) -> usize {
        let attempts = self.record["attempts"].as_array().expect("attempts");
        attempts
            .iter()
            .filter(|attempt| attempt["stage"] == stage)
            .count()
    }
}

/// What `c1m` says when it refuses.
pub(crate) fn refusal(done: &Output) -> String {
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(done.stdout.is_empty());
    said
}
