//! The client: every attempt ends with one outcome.

use std::{
    net::{SocketAddr, TcpListener},
    time::Instant,
};

use rustix::process::Signal;

use super::rig::{Net, held_by, signal, until};

#[test]
fn ipv6() {
    let net = Net::new();
    let server = net.server(net.free("::1"), None, "");
    net.client(server.address, "--connections 500 --hold 0s")
        .end()
        .assert(0, 500, 500);
    server.wait_held(0);
}

#[test]
fn the_kernel_may_choose_the_ports() {
    let net = Net::new();
    let server = net.local_server("");
    let args = "--connections 500 --per-ip 250 --ports kernel --hold 0s";
    net.client(server.address, args).end().assert(0, 500, 500);
}

#[test]
fn a_rate_is_kept_by_all_workers_together() {
    let net = Net::new();
    let server = net.local_server("");
    let args = "--connections 200 --per-worker 20 --rate 400/s --hold 0s";
    let begun = Instant::now();
    let done = net.client(server.address, args).end();
    done.assert(0, 200, 200);
    // 199 intervals of 2.5 ms, less the 5 ms that a late one may catch up on, and two roundings to 1 ms.
    let took = done.record["establish_s"].as_f64().expect("a number");
    assert!(took >= 0.490, "{took}");
    assert!(took <= begun.elapsed().as_secs_f64(), "{took}");
}

#[test]
fn a_timeout_ends_what_is_not_answered() {
    let net = Net::new();
    let address = net.free("127.0.0.1");
    // listen(0) has room for one connection; the SYNs of the others are dropped.
    let full = net.full_listener(address);
    let args = "--connections 5 --timeout 300ms --hold 0s";
    let begun = Instant::now();
    let done = net.client(address, args).end();
    assert!(begun.elapsed().as_millis() >= 300);
    assert_eq!(done.lost_at("gave-up"), 4, "{:#}", done.record);
    assert_eq!(done.status, Some(1));
    drop(full);
}

#[test]
fn the_window_bounds_what_is_under_way() {
    let net = Net::new();
    let address = net.free("127.0.0.1");
    let full = net.full_listener(address);
    // One at a time: the five that are not answered take their 100 ms one after the other.
    let args = "--connections 6 --in-flight 1 --timeout 100ms --hold 0s";
    let done = net.client(address, args).end();
    assert_eq!(done.lost_at("gave-up"), 5, "{:#}", done.record);
    let took = done.record["establish_s"].as_f64().expect("a number");
    assert!(took >= 0.498, "{took}");
    drop(full);
}

#[test]
fn a_failed_attempt_is_made_again() {
    let net = Net::new();
    let address = net.free("127.0.0.1");
    let args = "--connections 50 --retry 250 --hold 0s";
    let client = net.client(address, args);
    until("a first round is refused", || {
        (!client.process.workers().is_empty()).then_some(())
    });
    let server = net.server(address, None, "");
    client.end().assert(0, 50, 50);
    server.wait_held(0);
}

#[test]
fn nobody_there() {
    let net = Net::new();
    let done = net
        .client(net.free("127.0.0.1"), "--connections 50 --hold 0s")
        .end();
    done.assert(1, 50, 0);
    assert_eq!(done.lost_at("failed"), 50, "{:#}", done.record);
}

#[test]
fn a_killed_worker_takes_its_own_and_no_others() {
    let net = Net::new();
    let server = net.local_server("");
    let args = "--connections 300 --per-worker 100 --hold 10m";
    let client = net.client(server.address, args);
    server.wait_held(300);
    let workers = client.process.workers();
    assert_eq!(workers.len(), 3);
    assert_eq!(held_by(workers[1]), Some(100));
    signal(workers[1], Signal::KILL);
    server.wait_held(200);
    until("it is reaped", || {
        (client.process.workers().len() == 2).then_some(())
    });
    let done = client.interrupt();
    done.assert(1, 300, 200);
    assert_eq!(done.lost_at("worker-died"), 100, "{:#}", done.record);
}

#[test]
fn what_a_killed_worker_had_not_begun_another_does() {
    let net = Net::new();
    let server = net.local_server("");
    // Slow enough to be killed in between.
    let args = "--connections 600 --rate 300/s --hold 0s";
    let client = net.client(server.address, args);
    until("some stand", || (server.held() >= 20).then_some(()));
    signal(client.process.workers()[0], Signal::KILL);
    let done = client.end();
    assert_eq!(done.record["attempted"], 600);
    assert_eq!(done.status, Some(1));
    let died = done.lost_at("worker-died") as u64;
    assert!((20..600).contains(&died), "{died}");
    assert_eq!(done.record["standing"], 600 - died, "{:#}", done.record);
}

#[test]
fn workers_never_outlive_a_killed_supervisor() {
    let net = Net::new();
    let server = net.local_server("");
    let args = "--connections 300 --per-worker 100 --hold 10m";
    let mut client = net.client(server.address, args);
    server.wait_held(300);
    client.process.0.kill().expect("it runs");
    server.wait_held(0);
}

#[test]
fn another_server_at_the_same_port_is_not_taken_for_its_own() {
    let net = Net::new();
    let server = net.local_server("");
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], server.address.port()));
    let _accepts_nothing = net.run(|| TcpListener::bind(elsewhere)).expect("a port");
    let starved = net.client(elsewhere, "--connections 8 --hold 10m");
    until("all stand for the client", || {
        (starved.process.held() == 8).then_some(())
    });
    // From the same sources.
    let good = net.client(server.address, "--connections 8 --hold 10m");
    server.wait_held(8);
    good.interrupt().assert(0, 8, 8);
    starved.interrupt().assert(1, 8, 0);
}

#[test]
fn an_interrupt_ends_the_opening() {
    let net = Net::new();
    let server = net.local_server("");
    let args = "--connections 1000 --rate 20/s --hold 10m";
    let client = net.client(server.address, args);
    until("some stand", || (server.held() >= 5).then_some(()));
    let done = client.interrupt();
    assert_eq!(done.status, Some(0), "{:#}", done.record);
    let attempted = done.record["attempted"].as_u64().expect("a number");
    assert!((5..1000).contains(&attempted), "{attempted}");
    assert_eq!(done.record["standing"], attempted);
    server.wait_held(0);
}

#[test]
fn past_the_fd_limit_every_attempt_has_its_errno() {
    let net = Net::new();
    let server = net.local_server("");
    let target = server.address.to_string();
    let args = [
        "client",
        "--target",
        &target,
        "--connections",
        "100",
        "--per-worker",
        "100",
    ];
    let hold = ["--unchecked", "--hold", "0s", "--json", "/dev/stdout"];
    let child = net.spawn(Some(66), &[&args[..], &hold].concat());
    let done = child.wait_with_output().expect("it ends");
    assert_eq!(done.status.code(), Some(1));
    let said = String::from_utf8_lossy(&done.stdout);
    let each = "\"stage\":\"socket\",\"errno\":24";
    assert_eq!(said.matches(each).count(), 40, "{said}");
}
