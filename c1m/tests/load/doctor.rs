//! Predictions of `c1m doctor`, run into: with limits of the test's own, in a network namespace of its own. Of TCP's
//! buffers, which are the whole host's, it is tested what each connection takes.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    process::Output,
};

use super::rig::{LIMIT, Net, Process, Server, lines_of, until};

/// Runs `c1m doctor` with at most `nofile` open files.
fn doctor(net: &Net, nofile: Option<u64>, args: &str) -> Output {
    let args: Vec<&str> = ["doctor"]
        .into_iter()
        .chain(args.split_whitespace())
        .collect();
    net.spawn(nofile, &args)
        .wait_with_output()
        .expect("its end")
}

/// How many it says will stand, and by its exit status that these are not all.
fn predicted(net: &Net, nofile: Option<u64>, args: &str) -> u64 {
    let done = doctor(net, nofile, args);
    let text = String::from_utf8(done.stdout).expect("text");
    let line = text
        .lines()
        .find(|line| line.contains("will stand"))
        .expect("a prediction");
    let number = line
        .split_whitespace()
        .next()
        .expect("a number")
        .replace(',', "");
    assert_eq!(done.status.code(), Some(1), "{text}");
    number.parse().unwrap_or_else(|_| panic!("{text}"))
}

fn assert_close(what: &str, predicted: u64, stand: u64) {
    assert!(
        stand.abs_diff(predicted) * 50 <= predicted,
        "{what}: predicted {predicted}, {stand} stand: more than 2 % apart"
    );
}

/// How many a server holds once it can take no more.
fn held_at_most(server: &Server) -> u64 {
    server.line_with("Too many open files");
    let (mut held, mut since) = (0, 0);
    until("as many as it can hold", || {
        since = if held == server.held() { since + 1 } else { 0 };
        held = server.held();
        (since > 100).then_some(held)
    })
}

#[test]
fn as_many_stand_as_descriptors_allow() {
    let net = Net::new();
    let address = net.free("127.0.0.1");
    let server = net.server(address, Some(64), "");
    let target = format!("--target {address} --connections 5000");
    let most = predicted(&net, Some(64), &format!("{target} --end server"));
    // More than that: the rest waits to be accepted.
    let client = net.client(
        address,
        &format!("--connections {} --hold 10m", most * 5 / 4),
    );
    assert_close("descriptors of a server", most, held_at_most(&server));
    let done = client.interrupt();
    assert_eq!(done.status, Some(1));
    assert_close(
        "standing",
        most,
        done.record["standing"].as_u64().expect("a number"),
    );
    drop(server);
    // Its workers end after it.
    until("the port is free", || {
        net.run(|| TcpListener::bind(address).ok())
    });

    // Both ends with these limits: so many stand, and for one more the client has no worker.
    let server = net.server(address, Some(64), "");
    let most = predicted(&net, Some(64), &target);
    let run = |connections: u64| {
        let (target, connections) = (address.to_string(), connections.to_string());
        let args = [
            "client",
            "--target",
            &target,
            "--connections",
            &connections,
            "--hold",
            "1s",
        ];
        net.spawn(Some(64), &args)
            .wait_with_output()
            .expect("its end")
            .status
            .code()
    };
    assert_eq!(run(most), Some(0));
    server.wait_held(0);
    assert_eq!(run(most + most / 50), Some(2));
}

#[test]
fn as_many_stand_as_there_are_ports() {
    let net = Net::new();
    let address = net.free("127.0.0.1");
    let set = |name: &str, value: &str| {
        let path = format!("/proc/sys/net/ipv4/{name}");
        net.run(|| fs::write(path, value)).expect("it can be set");
    };
    set("ip_local_port_range", "40000 40499");
    set("ip_local_reserved_ports", "40100-40149,50000");
    let server = net.server(address, None, "");
    let asked = format!("--target {address} --ports kernel --ips 2 --connections 2000");
    let most = predicted(&net, None, &asked);
    assert_eq!(most, 900);
    let run = |connections: u64| {
        let args = format!(
            "--ports kernel --ips 2 --per-ip {} --connections {connections} --unchecked --hold 10m",
            connections.div_ceil(2)
        );
        let client = net.client(address, &args);
        server.wait_held(connections.min(most));
        client
    };
    run(most).interrupt().assert(0, 900, 900);
    server.wait_held(0);
    // Twice as many: the ports that are held count, too.
    let first = run(most / 3);
    assert_eq!(predicted(&net, None, &asked), most - most / 3);
    first.interrupt().assert(0, 300, 300);
    server.wait_held(0);
    let beyond = run(1_000).interrupt();
    assert_eq!(beyond.record["attempted"], 1_000);
    assert_close(
        "ports",
        most,
        beyond.record["standing"].as_u64().expect("a number"),
    );
}

#[test]
fn without_a_number_the_client_takes_what_the_host_can_hold() {
    let net = Net::new();
    let address: SocketAddr = net.free("127.0.0.1");
    let server = net.server(address, None, "");
    let target = address.to_string();
    let mut child = net.spawn(
        Some(64),
        &[
            "client", "--target", &target, "--ips", "40", "--hold", "10m",
        ],
    );
    let lines = lines_of(child.stderr.take().expect("stderr"));
    let client = Process(child);
    let said = lines.recv_timeout(LIMIT).expect("a line");
    assert!(
        said.contains("754 connections instead of 1,000,000: descriptors"),
        "{said}"
    );
    server.wait_held(754);
    drop(client);
}

#[test]
fn data_that_waits_takes_the_pages_that_were_foretold() {
    // 2 % of so many pages are more than what the kernel keeps apart for each CPU (SK_MEMORY_PCPU_RESERVE).
    let net = Net::new();
    for (queued, pages_each, connections) in
        [(1_000, 1, 8_000), (16_000, 5, 2_000), (60_000, 16, 2_000)]
    {
        let args = format!("--queued {queued} --connections {connections}");
        let done = doctor(&net, None, &format!("{args} --measure"));
        let said = String::from_utf8(done.stdout).expect("text");
        let numbers: Vec<u64> = said
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let &[held, bytes, pages] = numbers.as_slice() else {
            panic!("{said}{}", String::from_utf8_lossy(&done.stderr));
        };
        assert_eq!((held, bytes), (connections, queued));
        println!(
            "{queued} bytes each: {pages} pages, {} foretold",
            connections * pages_each
        );
        // Others on this host have pages, too: no fewer than these.
        assert!(pages * 100 >= connections * pages_each * 85, "{said}");
    }
}
