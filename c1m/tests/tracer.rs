//! The tracer on this kernel: the facts of a few connections whose fate is known by construction.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use c1m::{
    netns::Netns,
    trace::{Filter, Tracer, hooks::Fact},
};
use c1m_common::fact::syn_drop;
use socket2::{Domain, Socket, Type};

const PORT: u16 = 8000;

/// What every kernel must tell on which this runs.
const ESSENTIAL: [Fact; 6] = [
    Fact::States,
    Fact::SynDrops,
    Fact::AckRefusals,
    Fact::Drops,
    Fact::ResetsSent,
    Fact::ResetsReceived,
];

fn address() -> SocketAddr {
    ([127, 0, 0, 1], PORT).into()
}

fn start(namespace: &Netns) -> Tracer {
    let filter = Filter {
        namespaces: vec![Netns::open(&format!("/proc/self/fd/{}", fd(namespace))).unwrap()],
        ports: vec![PORT],
        entries: 1000,
        server_close_is_loss: true,
        foreign: false,
        backend: None,
        verbose: false,
        in_turn: false,
    };
    let mut tracer = Tracer::start(filter).unwrap();
    let missing = |fact| !tracer.choice.has(fact);
    assert!(!ESSENTIAL.into_iter().any(missing), "{:#?}", tracer.choice);
    tracer.run().unwrap();
    tracer
}

fn fd(namespace: &Netns) -> i32 {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    namespace.as_fd().as_raw_fd()
}

fn listener(backlog: i32) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&address().into()).unwrap();
    socket.listen(backlog).unwrap();
    socket
}

fn connect() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    let _ = socket.connect(&address().into());
    socket
}

#[test]
fn good_connections_leave_no_entry() {
    let namespace = Netns::create().unwrap();
    let mut tracer = start(&namespace);
    namespace
        .run(|| {
            let listener = listener(128);
            for _ in 0..100 {
                let client = TcpStream::connect(address()).unwrap();
                let (server, _) = listener.accept().unwrap();
                drop((client, server));
            }
        })
        .unwrap();
    let snapshot = tracer.snapshot(usize::MAX).unwrap();
    let [client, server] = snapshot.stats.ends;
    assert_eq!((client.established, server.established), (100, 100));
    assert_eq!(snapshot.stats.syns_received, 100);
    assert!(snapshot.facts.is_empty(), "{:#?}", snapshot.facts);
    assert!(snapshot.lost.is_empty());
}

#[test]
fn syns_at_a_full_accept_queue_are_told_one_by_one() {
    let namespace = Netns::create().unwrap();
    let mut tracer = start(&namespace);
    let held = namespace
        .run(|| {
            let listener = listener(4);
            let clients: Vec<_> = (0..20).map(|_| connect()).collect();
            (clients, listener)
        })
        .unwrap();
    // Each of 15 sends its SYN again after 1 s, and a third time 2 s later.
    let end = Instant::now() + Duration::from_secs(60);
    while tracer.stats().unwrap().syn_drops.iter().sum::<u64>() < 30 {
        assert!(Instant::now() < end, "they do not send their SYNs again");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(held);
    let snapshot = tracer.snapshot(usize::MAX).unwrap();
    let dropped: Vec<_> = snapshot
        .facts
        .values()
        .filter(|facts| facts.syn_drops[syn_drop::ACCEPT_QUEUE_FULL] == 2)
        .collect();
    assert_eq!(dropped.len(), 15, "5 fit into a queue of 4");
    for facts in dropped {
        assert_eq!((facts.queue.accept_queue, facts.queue.accept_limit), (5, 4));
        assert_eq!(facts.syn_retransmits, 1);
        assert_eq!(facts.syn_drops[syn_drop::UNKNOWN], 0);
    }
    assert_eq!(snapshot.stats.syn_drops, [30, 0, 0, 0, 0]);
}
