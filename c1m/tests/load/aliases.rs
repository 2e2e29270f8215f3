//! Addresses that are put on a device for a run. They need root.

use std::{net::UdpSocket, path::PathBuf};

use rustix::process::Signal;

use super::rig::{Net, signal};

fn file_of(pid: u32) -> PathBuf {
    PathBuf::from(format!(
        "{}/aliases-{pid}.json",
        c1m::load::aliases::STATE_DIR
    ))
}

/// Which of these addresses the network has.
fn there(net: &Net, addresses: &[&str]) -> Vec<bool> {
    let has = |address: &&str| UdpSocket::bind((*address, 0)).is_ok();
    net.run(|| addresses.iter().map(has).collect())
}

#[test]
fn missing_addresses_come_for_the_run_and_only_they_go() {
    let net = Net::new();
    for (host, range, addresses, own) in [
        (
            "127.0.0.1",
            "10.0.0.100-102",
            ["10.0.0.100", "10.0.0.101", "10.0.0.102"],
            "10.0.0.101/32",
        ),
        (
            "::1",
            "fd00::1-3",
            ["fd00::1", "fd00::2", "fd00::3"],
            "fd00::2/128",
        ),
    ] {
        let server = net.server(net.free(host), None, "");
        net.run(|| {
            let done = std::process::Command::new("ip")
                .args(["addr", "add", own, "dev", "lo"])
                .status();
            assert!(done.expect("ip runs").success());
        });
        let args = format!("--dev lo --addresses {range} --per-ip 10 --hold 10m");
        let client = net.client(server.address, &args);
        server.wait_held(30);
        let file = file_of(client.process.pid());
        assert_eq!(there(&net, &addresses), [true; 3]);
        let state = std::fs::read_to_string(&file).expect("what to take back");
        assert!(
            state.contains(addresses[0]) && !state.contains(addresses[1]),
            "{state}"
        );
        client.interrupt().assert(0, 30, 30);
        assert_eq!(there(&net, &addresses), [false, true, false]);
        assert!(!file.exists());
        // Or the next 30 could be taken for the last ones.
        server.wait_held(0);

        // Killed, it can't take them back, but what it leaves behind tells how.
        let mut client = net.client(server.address, &args);
        server.wait_held(30);
        let file = file_of(client.process.pid());
        signal(client.process.pid(), Signal::KILL);
        client.process.0.wait().expect("it is reaped");
        assert_eq!(there(&net, &addresses), [true; 3]);
        assert_eq!(
            std::fs::read_to_string(&file)
                .ok()
                .map(|text| text.contains(addresses[2])),
            Some(true)
        );
        std::fs::remove_file(&file).expect("it is ours");
        server.wait_held(0);
    }
}
