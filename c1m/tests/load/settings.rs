//! `c1m doctor --fix`, `--restore` and `--persist`, in a network namespace of the test's own: what it changes there, and
//! that it is as it was afterwards, whenever it was killed.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    net::UdpSocket,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::rig::{LIMIT, Net, signal, until};

/// What needs three settings of the namespace, and none of the host: ports, the accept queue, TIME_WAIT.
const ASKED: &str =
    "doctor --connections 200000 --ips 4 --ports kernel --in-flight 8192 --close fin";
/// What they then have to be.
const FIXED: [(&str, &str); 3] = [
    ("net/core/somaxconn", "8192"),
    ("net/ipv4/ip_local_port_range", "1024 65535"),
    ("net/ipv4/tcp_max_tw_buckets", "262144"),
];

/// Every setting below /proc/sys/net, as the namespace has it.
fn settings(net: &Net) -> BTreeMap<String, String> {
    fn walk(dir: &Path, into: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, into);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let words: Vec<&str> = text.split_whitespace().collect();
                into.insert(path.display().to_string(), words.join(" "));
            }
        }
    }
    net.run(|| {
        let mut all = BTreeMap::new();
        walk(Path::new("/proc/sys/net"), &mut all);
        // How many are tracked is no setting.
        all.retain(|name, _| !name.ends_with("conntrack_count"));
        all
    })
}

fn value(net: &Net, name: &str) -> String {
    let path = format!("/proc/sys/{name}");
    let text = net.run(|| fs::read_to_string(&path)).expect(name);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Runs `c1m` with these words, and the directory where it remembers: its status, and all that it said.
fn run(net: &Net, words: &str, state: &Path) -> (Option<i32>, String) {
    let state = state.display().to_string();
    let args: Vec<&str> = words
        .split_whitespace()
        .chain(["--state", &state])
        .collect();
    let done = net.spawn(None, &args).wait_with_output().expect("its end");
    let said = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8(said).expect("text"))
}

#[test]
fn what_is_fixed_is_restored() {
    let (net, dir) = (Net::new(), tempfile::tempdir().expect("a directory"));
    let before = settings(&net);
    // Without being asked it changes nothing, and remembers nothing.
    run(&net, ASKED, dir.path());
    assert_eq!(settings(&net), before);
    assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 0);

    let (status, said) = run(&net, &format!("{ASKED} --fix"), dir.path());
    assert!(said.contains("net.core.somaxconn = 8192 (was "), "{said}");
    assert_eq!(status, Some(0), "{said}");
    for (name, wanted) in FIXED {
        assert_eq!(value(&net, name), wanted, "{said}");
    }
    // Once more, for more: what it was at first is what it gets back.
    run(
        &net,
        &format!("{ASKED} --in-flight 16384 --fix").replace("--in-flight 8192", ""),
        dir.path(),
    );
    assert_eq!(value(&net, FIXED[0].0), "16384");
    // What somebody else sets in between is left alone.
    let (tcp_fin, other) = ("/proc/sys/net/ipv4/tcp_max_tw_buckets", "77777");
    net.run(|| fs::write(tcp_fin, other))
        .expect("it can be set");
    // One that was noted and not changed any more, as after a kill in between, is as it was.
    let range = "/proc/sys/net/ipv4/ip_local_port_range";
    net.run(|| fs::write(range, &before[range]))
        .expect("it can be set");
    let (status, said) = run(&net, "doctor --restore", dir.path());
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("as it was   net.ipv4.ip_local_port_range"),
        "{said}"
    );
    assert!(
        said.contains("left as it is   net.ipv4.tcp_max_tw_buckets = 77777"),
        "{said}"
    );
    net.run(|| fs::write(tcp_fin, &before[tcp_fin]))
        .expect("it can be set");
    assert_eq!(settings(&net), before, "{said}");
    let (_, said) = run(&net, "doctor --restore", dir.path());
    assert_eq!(said, "  nothing to put back\n");
}

#[test]
fn a_killed_fix_is_restored() {
    let net = Net::new();
    let before = settings(&net);
    let mut seen = [0, 0, 0, 0];
    for round in 0..20_u32 {
        let dir = tempfile::tempdir().expect("a directory");
        let state = dir.path().display().to_string();
        let words = format!("{ASKED} --fix --state {state}");
        let mut child = net.spawn(None, &words.split_whitespace().collect::<Vec<_>>());
        let file = dir.path().join("doctor.json");
        let end = Instant::now() + LIMIT;
        while !file.exists() {
            assert!(Instant::now() < end, "it notes nothing");
            std::hint::spin_loop();
        }
        let until = Instant::now() + Duration::from_micros(10) * round;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        signal(child.id(), Signal::KILL);
        child.wait().expect("it is reaped");
        let changed = FIXED
            .iter()
            .filter(|(name, wanted)| value(&net, name) == *wanted);
        seen[changed.count()] += 1;
        let (status, said) = run(&net, "doctor --restore", dir.path());
        assert_eq!(status, Some(0), "{said}");
        assert_eq!(settings(&net), before, "{said}");
        assert!(!file.exists());
    }
    println!("killed when 0, 1, 2, 3 of 3 settings were changed: {seen:?} times");
}

#[test]
fn what_a_namespace_had_goes_with_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let net = Net::new();
    run(&net, &format!("{ASKED} --fix"), dir.path());
    // From another namespace, the one that was changed is put back …
    let other = Net::new();
    let here = settings(&other);
    assert_eq!(value(&net, FIXED[0].0), "8192");
    let keeper = super::rig::Process(net.spawn(None, &["server", "--listen", "127.0.0.1:8000"]));
    until("somebody is in it", || {
        let ns = fs::read_link(format!("/proc/{}/ns/net", keeper.pid())).ok()?;
        (Some(ns) != fs::read_link("/proc/self/ns/net").ok()).then_some(())
    });
    let (status, said) = run(&other, "doctor --restore", dir.path());
    assert_eq!(status, Some(0), "{said}");
    assert_ne!(value(&net, FIXED[0].0), "8192", "{said}");
    // … and one that is no more needs nothing.
    run(&net, &format!("{ASKED} --fix"), dir.path());
    drop((keeper, net));
    let (status, said) = run(&other, "doctor --restore", dir.path());
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(settings(&other), here);
    assert!(said.contains("its network namespace is no more"), "{said}");
}

#[test]
fn addresses_of_a_killed_client_are_taken_away() {
    let (net, dir) = (Net::new(), tempfile::tempdir().expect("a directory"));
    let server = net.local_server("");
    let mut client = net.client(
        server.address,
        "--dev lo --addresses 10.0.0.100-102 --per-ip 10 --hold 10m",
    );
    server.wait_held(30);
    let name = format!("aliases-{}.json", client.process.pid());
    let file = Path::new(c1m::load::aliases::STATE_DIR).join(&name);
    let there = || net.run(|| UdpSocket::bind("10.0.0.102:0").is_ok());
    // While it runs, they are its own.
    let copy = dir.path().join(&name);
    fs::copy(&file, &copy).expect("what to take back");
    let (_, said) = run(&net, "doctor --restore", dir.path());
    assert!(said.contains("in use"), "{said}");
    assert!(there() && copy.exists());

    signal(client.process.pid(), Signal::KILL);
    client.process.0.wait().expect("it is reaped");
    assert!(there());
    let (status, said) = run(&net, "doctor --restore", dir.path());
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("taken away   3 addresses of lo"), "{said}");
    assert!(!there() && !copy.exists());
    fs::remove_file(&file).expect("it is ours");
}

#[test]
fn what_persists_is_in_two_files_and_shown() {
    let (net, dir) = (Net::new(), tempfile::tempdir().expect("a directory"));
    let etc = dir.path().join("etc");
    let state = dir.path().join("state");
    let words = format!("{ASKED} --processes 2 --persist --etc {}", etc.display());
    let (_, said) = run(&net, &words, &state);
    let sysctl = fs::read_to_string(etc.join("sysctl.d/90-c1m.conf")).expect("it is there");
    let limits =
        fs::read_to_string(etc.join("security/limits.d/90-c1m.conf")).expect("it is there");
    assert!(
        sysctl.contains("net.ipv4.ip_local_port_range = 1024 65535\n"),
        "{sysctl}"
    );
    assert!(limits.contains("* hard nofile 131072\n"), "{limits}");
    assert!(said.contains("+net.core.somaxconn = 8192\n"), "{said}");
    assert!(said.contains("+root soft nofile 131072\n"), "{said}");
    // Once more, for more: only that line changes.
    let (_, said) = run(&net, &words.replace("8192", "16384"), &state);
    assert!(
        said.contains("-net.core.somaxconn = 8192\n+net.core.somaxconn = 16384\n"),
        "{said}"
    );
    assert!(
        said.contains("limits.d/90-c1m.conf says so already"),
        "{said}"
    );
    assert_eq!(
        said.lines().filter(|line| line.starts_with('+')).count(),
        2,
        "{said}"
    );
}

#[test]
fn a_limit_beyond_what_is_in_force_is_not_written_for_every_login() {
    let (net, dir) = (Net::new(), tempfile::tempdir().expect("a directory"));
    let etc = dir.path().join("etc");
    let most: u64 = value(&net, "fs/nr_open").parse().expect("a number");
    let words = format!(
        "doctor --connections {} --processes 1 --end server --persist --etc {}",
        2 * most,
        etc.display()
    );
    let (status, said) = run(&net, &words, &dir.path().join("state"));
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("--fix --persist"), "{said}");
    assert!(!etc.exists());
}

#[test]
fn who_is_not_root_is_told() {
    // Where he may read it.
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let c1m = dir.path().join("c1m");
    // By a process of its own: who forks meanwhile in this one would keep it open for writing.
    let copy = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_c1m"))
        .arg(&c1m)
        .status();
    assert!(copy.expect("cp").success());
    fs::set_permissions(&c1m, Permissions::from_mode(0o755)).expect("it is ours");
    for option in ["--fix", "--restore"] {
        let mut command = Command::new(&c1m);
        command.args(["doctor", option]).uid(65_534).gid(65_534);
        let done = command.output().expect("its end");
        assert_eq!(done.status.code(), Some(2));
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(said.contains("needs root"), "{said}");
    }
}
