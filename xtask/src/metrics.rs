//! `cargo xtask metrics-check`: a real Prometheus scrapes a traced run that loses connections, and its sums are compared
//! with the run's record.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{command, ebpf, setup, test::Count};

/// How long the run lasts.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Options {
    /// Seconds of the traced run
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
}

/// Attempts per second, of which the server takes a third in all.
const RATE: u64 = 100;
/// What Prometheus and c1m get to start, or to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Builds c1m, and checks.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::must_be_root("metrics-check")?;
    ebpf::run(false)?;
    check(options).map(|_| ())
}

/// The check alone, with the release binary as it is: how many numbers were compared.
pub(crate) fn check(options: &Options) -> Result<Count> {
    let dir = command::target_dir().join("metrics-check");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let prometheus = prometheus()?;
    let [server, metrics, web] = [free_port()?, free_port()?, free_port()?];
    let _prometheus = start_prometheus(&prometheus, &dir, metrics, web)?;
    let record = traced_run(&dir, options.seconds, server, metrics)?;
    compare(&record, web)
}

/// A port of 127.0.0.1 that nobody has at this moment.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Debian's, unpacked below target/ and not installed: the package would start a server of its own.
fn prometheus() -> Result<PathBuf> {
    if let Some(there) = command::which("prometheus") {
        return Ok(there);
    }
    let dir = command::target_dir().join("prometheus");
    let program = dir.join("usr/bin/prometheus");
    if program.is_file() {
        return Ok(program);
    }
    fs::create_dir_all(&dir)?;
    setup::apt_update()?;
    command::run(
        command::clean("apt-get")
            .args(["download", "--quiet", "prometheus"])
            .current_dir(&dir),
    )?;
    let debs = fs::read_dir(&dir)?.filter_map(|file| Some(file.ok()?.path()));
    let deb = debs
        .filter(|path| path.extension().is_some_and(|kind| kind == "deb"))
        .max()
        .context("apt-get download prometheus left no package")?;
    command::run(command::clean("dpkg").arg("-x").arg(deb).arg(&dir))?;
    Ok(program)
}

/// A process that ends with its scope.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_prometheus(program: &Path, dir: &Path, metrics: u16, web: u16) -> Result<Running> {
    let config = dir.join("prometheus.yml");
    fs::write(
        &config,
        format!(
            "scrape_configs:\n  - job_name: c1m\n    scrape_interval: 1s\n    static_configs: \
             [{{ targets: [\"127.0.0.1:{metrics}\"] }}]\n"
        ),
    )?;
    let log = fs::File::create(dir.join("prometheus.log"))?;
    let child = command::clean(program)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            dir.join("data").display()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{web}"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("cannot start Prometheus")?;
    let running = Running(child);
    let begin = Instant::now();
    while !get(web, "/-/ready").is_ok_and(|answer| answer.contains(" 200 ")) {
        ensure!(
            begin.elapsed() < PATIENCE,
            "Prometheus is not ready: see {}",
            dir.join("prometheus.log").display()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(running)
}

/// A client under the tracer, towards a server that holds a third of what comes; the others wait to be accepted.
fn traced_run(dir: &Path, seconds: u64, port: u16, metrics: u16) -> Result<Value> {
    let attempts = (seconds * RATE / 2).max(RATE);
    let target = format!("127.0.0.1:{port}");
    let mut server = Command::new(ebpf::c1m());
    server.args([
        "server",
        "--listen",
        &target,
        "--backlog",
        "4096",
        "--workers-max",
        "1",
    ]);
    server.args(["--per-worker", &(attempts / 3).to_string()]);
    let _server = Running(server.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let begin = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(begin.elapsed() < PATIENCE, "c1m server does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    let json = dir.join("run.json");
    let mut client = Command::new(ebpf::c1m());
    client.args([
        "trace",
        "--metrics",
        &format!("127.0.0.1:{metrics}"),
        "--json",
    ]);
    client.arg(&json).args([
        "--",
        "client",
        "--target",
        &target,
        "--ips",
        "1",
        "--sources",
        "127.0.9.1",
    ]);
    client.args([
        "--per-ip",
        &attempts.to_string(),
        "--rate",
        &format!("{RATE}/s"),
    ]);
    client.args(["--hold", &format!("{}s", seconds - seconds / 2)]);
    let status = client.status()?;
    ensure!(
        status.code() == Some(1),
        "the run should lose some, and ended with {status}"
    );
    Ok(serde_json::from_slice(&fs::read(json)?)?)
}

/// What Prometheus kept, against the record.
fn compare(record: &Value, web: u16) -> Result<Count> {
    let number = |pointer: &str| record.pointer(pointer).and_then(Value::as_f64);
    let mut wanted = vec![
        (
            "sum(last_over_time(c1m_verdict[1h]))".to_owned(),
            number("/attempted"),
        ),
        (
            "last_over_time(c1m_attempts_total[1h])".to_owned(),
            number("/attempted"),
        ),
        (
            "sum(last_over_time(c1m_lost[1h]))".to_owned(),
            number("/lost"),
        ),
        (
            "last_over_time(c1m_recovered[1h])".to_owned(),
            number("/recovered"),
        ),
        (
            "last_over_time(c1m_connect_duration_seconds_count[1h])".to_owned(),
            number("/detail/latency/count"),
        ),
        ("last_over_time(c1m_balanced[1h])".to_owned(), Some(1.0)),
    ];
    for end in ["standing", "closed", "lost"] {
        let query = format!("last_over_time(c1m_verdict{{c1m_end_state=\"{end}\"}}[1h])");
        wanted.push((query, number(&format!("/{end}"))));
    }
    for row in record["causes"].as_array().into_iter().flatten() {
        let slug = row["slug"].as_str().unwrap_or_default();
        let query = format!("last_over_time(c1m_lost{{error_type=\"{slug}\"}}[1h])");
        wanted.push((query, row["count"].as_f64()));
    }
    let mut count = Count::default();
    for (query, wanted) in wanted {
        let found = query_value(web, &query)?;
        let equal = found.is_some() && found == wanted;
        println!("metrics: {query} = {found:?}, the record says {wanted:?}");
        match equal {
            true => count.passed += 1,
            false => count.failed += 1,
        }
    }
    println!("metrics: {}", count.line());
    ensure!(count.failed == 0, "Prometheus and the record differ");
    Ok(count)
}

/// The single value of an instant query.
fn query_value(web: u16, query: &str) -> Result<Option<f64>> {
    let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let answer = get(web, &format!("/api/v1/query?query={escaped}"))?;
    let Some((_, body)) = answer.split_once("\r\n\r\n") else {
        bail!("Prometheus answers {answer}");
    };
    let body: Value = serde_json::from_str(body).context("Prometheus's answer")?;
    let value = body
        .pointer("/data/result/0/value/1")
        .and_then(Value::as_str);
    Ok(value.and_then(|value| value.parse().ok()))
}

/// As much of HTTP/1.0 as this takes: then a body has neither chunks nor a sequel.
fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
