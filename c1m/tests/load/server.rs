//! The server: holds, grows, retires, survives.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use rustix::process::Signal;

use super::rig::{Net, cpu_ticks, held_by, signal, until};

#[test]
fn two_thousand_stand_and_go_and_stand_again() {
    let net = Net::new();
    let server = net.local_server("");
    for close in ["rst", "fin", "none", "rst"] {
        let args = format!("--connections 2000 --hold 0s --close {close}");
        net.client(server.address, &args)
            .end()
            .assert(0, 2000, 2000);
        server.wait_held(0);
    }
    assert_eq!(server.process.workers().len(), 1);
}

#[test]
fn workers_come_before_the_running_ones_are_full_and_retire_when_empty() {
    let net = Net::new();
    let args = "--per-worker 100 --retire-after 200ms";
    let server = net.local_server(args);
    assert_eq!(server.process.workers().len(), 1);
    let client = net.client(server.address, "--connections 450 --hold 10m");
    server.wait_held(450);
    let each: Vec<_> = server
        .process
        .workers()
        .into_iter()
        .filter_map(held_by)
        .collect();
    assert!((5..=6).contains(&each.len()), "{each:?}");
    assert!(each.iter().all(|&held| held <= 100), "{each:?}");
    client.interrupt().assert(0, 450, 450);
    until("all but one retire", || {
        (server.process.workers().len() == 1).then_some(())
    });
    net.client(server.address, "--connections 250 --hold 0s")
        .end()
        .assert(0, 250, 250);
}

#[test]
fn a_killed_worker_is_reported_and_replaced_and_the_others_hold() {
    let net = Net::new();
    let server = net.local_server("--per-worker 100");
    let client = net.client(server.address, "--connections 250 --hold 10m");
    server.wait_held(250);
    let workers = server.process.workers();
    let victim = workers[0];
    let held = held_by(victim).expect("it runs");
    assert!(held > 0);
    signal(victim, Signal::KILL);
    let line = server.line_with("worker");
    let said = format!("worker {victim} was killed by signal 9; {held} connections went with it");
    assert!(line.ends_with(&said), "{line}");
    server.wait_held(250 - held);
    until("a replacement", || {
        let now = server.process.workers();
        (now.len() == workers.len() && !now.contains(&victim)).then_some(())
    });
    client.interrupt().assert(1, 250, 250 - held);
    server.wait_held(0);
    net.client(server.address, "--connections 250 --hold 0s")
        .end()
        .assert(0, 250, 250);
}

#[test]
fn at_the_fd_limit_it_holds_in_silence_and_takes_up_again() {
    let net = Net::new();
    let args = "--workers-max 1 --backlog 64";
    let server = net.server(net.free("127.0.0.1"), Some(56), args);
    let mut streams: Vec<TcpStream> = (0..60).map(|_| net.connect(server.address)).collect();
    server.wait_held(50);
    let worker = server.process.workers()[0];
    // An interval to measure over: ten connections wait in the queue all the time.
    let before = cpu_ticks(worker);
    std::thread::sleep(Duration::from_millis(500));
    assert!(cpu_ticks(worker) - before <= 2, "it spins");
    assert_eq!(server.held(), 50);
    // They were accepted in order: three of the held go, three of the waiting come.
    for stream in streams.drain(..3) {
        drop(stream);
    }
    let mut byte = [0];
    server.wait_held(50);
    for stream in &mut streams {
        stream
            .set_read_timeout(Some(Duration::from_millis(1)))
            .expect("a timeout");
        let error = stream
            .read(&mut byte)
            .expect_err("nobody sends and nobody closes");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
    drop(streams.split_off(40));
    streams.clear();
    server.wait_held(0);
    assert_eq!(server.process.workers(), [worker], "the same worker");
    net.client(server.address, "--connections 50 --hold 0s")
        .end()
        .assert(0, 50, 50);
}

#[test]
fn echo_gives_back_what_a_slow_reader_sent() {
    let net = Net::new();
    let server = net.local_server("--echo");
    let mut stream = net.connect(server.address);
    let sent: Vec<u8> = (0..32_000_000u32).map(|byte| (byte % 251) as u8).collect();
    // More than both socket buffers hold: the writer blocks until the reader below begins.
    let received = std::thread::scope(|scope| {
        let mut writer = stream.try_clone().expect("another handle");
        let (sent, writing) = (&sent, ());
        scope.spawn(move || {
            let () = writing;
            writer.write_all(sent).expect("all is taken");
            writer.shutdown(Shutdown::Write).expect("the end is told");
        });
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("all comes back");
        received
    });
    assert!(
        received == sent,
        "{} of {} bytes",
        received.len(),
        sent.len()
    );
    drop(stream);
    server.wait_held(0);
}

#[test]
fn a_silent_server_sends_nothing_back() {
    let net = Net::new();
    let server = net.local_server("");
    let mut stream = net.connect(server.address);
    stream.write_all(b"hello").expect("it is taken");
    server.wait_held(1);
    stream.shutdown(Shutdown::Write).expect("the end is told");
    server.wait_held(0);
}

#[test]
fn every_worker_has_a_listener_of_its_own() {
    let net = Net::new();
    let server = net.local_server("--listeners reuseport");
    net.client(server.address, "--connections 1000 --hold 0s")
        .end()
        .assert(0, 1000, 1000);
    server.wait_held(0);
}

#[test]
fn workers_never_outlive_a_killed_supervisor() {
    let net = Net::new();
    let mut server = net.local_server("--per-worker 100");
    let client = net.client(server.address, "--connections 150 --hold 10m");
    server.wait_held(150);
    let workers = server.process.workers();
    assert!(workers.len() >= 2);
    server.process.0.kill().expect("it runs");
    server.process.0.wait().expect("it is reaped");
    for worker in workers {
        until("the worker is gone", || {
            held_by(worker).is_none().then_some(())
        });
    }
    client.interrupt().assert(1, 150, 0);
}
