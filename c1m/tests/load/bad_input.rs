//! What can't work is refused in one line that names the limit, its value here, and the fix.

use super::rig::{Net, refusal};

#[test]
fn the_server_refuses_in_one_line_with_status_2() {
    let net = Net::new();
    let port_taken = net.free("127.0.0.1");
    let taken = net
        .run(|| std::net::TcpListener::bind(port_taken))
        .expect("a listener");
    let (port, target) = (port_taken.port().to_string(), port_taken.to_string());
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["server", "--listen", &target],
            &[&port, "in use", "--listen"],
        ),
        (
            &["server", "--listen", "192.0.2.1:8000"],
            &["192.0.2.1", "--listen"],
        ),
        (
            &["server", "--backlog", "999999999"],
            &["somaxconn", "sysctl -w net.core.somaxconn=999999999"],
        ),
        (&["server", "--backlog", "0"], &["--backlog"]),
        (
            &["server", "--listen", "127.0.0.1:0"],
            &["127.0.0.1:0", "name it"],
        ),
        (&["server", "--workers-max", "0"], &["--workers-max"]),
        (
            &["server", "--per-worker", "4294967295"],
            &["RLIMIT_NOFILE", "ulimit -n"],
        ),
        (&["worker", "--config", "{}"], &["worker"]),
    ];
    assert_refused(&net, cases);
    drop(taken);
}

#[test]
fn the_client_refuses_likewise() {
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["client", "--ips", "2", "--connections", "111073"],
            &["111073", "111072", "3 addresses (--ips"],
        ),
        (
            &[
                "client",
                "--ips",
                "2",
                "--per-ip",
                "25000",
                "--connections",
                "50001",
            ],
            &["50001", "50000", "--ips"],
        ),
        (&["client", "--connections", "0"], &["--connections"]),
        (
            &["client", "--sources", "192.0.2.7", "--connections", "1"],
            &["192.0.2.7", "ip addr add", "--dev"],
        ),
        (
            &["client", "--sources", "10.0.0.9-3"],
            &["10.0.0.9-3", "10.0.0.100-139"],
        ),
        (&["client", "--sources", "::1"], &["families"]),
        (
            &["client", "--sources", "127.0.1.0/30", "--ips", "3"],
            &["2 source addresses"],
        ),
        (
            &["client", "--per-ip", "60000"],
            &["60000", "55536", "--port-range"],
        ),
        (&["client", "--port-range", "9-1"], &["9-1", "10000-65535"]),
        (&["client", "--rate", "fast"], &["fast", "5000/s"]),
        (&["client", "--in-flight", "0"], &["--in-flight"]),
        (&["client", "--timeout", "0s"], &["--timeout"]),
        (&["client", "--target", "127.0.0.1:0"], &["port 0"]),
        (
            &["client", "--per-worker", "4294967295"],
            &["RLIMIT_NOFILE", "ulimit -n"],
        ),
        (
            &["client", "--per-worker", "1", "--connections", "900000"],
            &["RLIMIT_NOFILE", "ulimit -n"],
        ),
        (
            &[
                "client",
                "--target",
                "127.0.1.1:10007",
                "--connections",
                "100",
            ],
            &["itself", "--port-range"],
        ),
    ];
    assert_refused(&Net::new(), cases);
}

/// Each refused in one line that has all of the words.
fn assert_refused(net: &Net, cases: &[(&[&str], &[&str])]) {
    for (args, words) in cases {
        let child = net.spawn(Some(10_000), args);
        let said = refusal(&child.wait_with_output().expect("it ends"));
        for word in *words {
            assert!(said.contains(word), "{args:?}: `{word}` is not in: {said}");
        }
    }
}

#[test]
fn adding_addresses_needs_a_device_and_root() {
    let net = Net::new();
    let args = [
        "client",
        "--dev",
        "nosuchdev",
        "--addresses",
        "127.0.1.1",
        "--connections",
        "1",
    ];
    let said = refusal(&net.spawn(None, &args).wait_with_output().expect("it ends"));
    let word = if rustix::process::geteuid().is_root() {
        "nosuchdev"
    } else {
        "root"
    };
    assert!(said.contains(word), "{said}");
}
