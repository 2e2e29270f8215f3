#![expect(clippy::unwrap_used, reason = "tests")]
use std::{
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::{wire::*, *};

const PORT: u16 = 8000;
const ESTABLISHED: u32 = 1 << state::ESTABLISHED;

fn sockets(ns: &Netns, side: Side, states: u32) -> Vec<Socket> {
    let mut sockets = Vec::new();
    let dumped = dump(ns, PORT, side, states, |socket| sockets.push(socket)).unwrap();
    assert_eq!(
        dumped,
        Dumped {
            sockets: sockets.len() as u64,
            interrupted: false
        }
    );
    sockets.sort_by_key(|socket| socket.tuple);
    sockets
}

/// Waits until `count` sockets of `side` are in `states`, and no more come.
fn wait_for(ns: &Netns, side: Side, states: u32, count: usize) -> Vec<Socket> {
    let begin = Instant::now();
    loop {
        let found = sockets(ns, side, states);
        if found.len() == count {
            return found;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{} of {count}: {found:?}",
            found.len()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn connect(ns: &Netns, target: &str, count: usize) -> Vec<TcpStream> {
    let one = |_| TcpStream::connect(target).unwrap();
    ns.run(|| (0..count).map(one).collect()).unwrap()
}

#[test]
fn accepted_and_unaccepted_connections_are_told_apart() {
    let ns = Netns::create().unwrap();
    let listener = ns
        .run(|| TcpListener::bind(("0.0.0.0", PORT)).unwrap())
        .unwrap();
    let _clients = connect(&ns, "127.0.0.1:8000", 40);
    let _accepted: Vec<_> = (0..15).map(|_| listener.accept().unwrap()).collect();

    let server = sockets(&ns, Side::Server, ESTABLISHED);
    assert_eq!(server.len(), 40);
    assert_eq!(server.iter().filter(|socket| socket.inode == 0).count(), 25);
    let client = sockets(&ns, Side::Client, ESTABLISHED);
    assert!(client.iter().all(|socket| socket.inode != 0));
    let tuples = |sockets: &[Socket]| {
        sockets
            .iter()
            .map(|socket| socket.tuple)
            .collect::<Vec<_>>()
    };
    assert_eq!(tuples(&client), tuples(&server));
    assert!(
        client
            .iter()
            .all(|socket| socket.tuple.client == mapped("127.0.0.1".parse().unwrap()))
    );
    assert_eq!(sockets(&ns, Side::Client, CONNECTED & !ESTABLISHED), []);

    let [listener] = &listeners(&ns, PORT).unwrap()[..] else {
        panic!()
    };
    assert_eq!((listener.accept_queue, listener.accept_limit), (25, 128));
    assert_eq!(
        (listener.address, listener.port),
        ("0.0.0.0".parse().unwrap(), PORT)
    );
    assert_ne!(listener.inode, 0);
    assert_eq!(listeners(&ns, PORT + 1).unwrap(), []);
    assert_eq!(listeners(&Netns::create().unwrap(), 0).unwrap(), []);
}

#[test]
fn both_families_come_in_one_form() {
    let ns = Netns::create().unwrap();
    let listener = ns.run(|| TcpListener::bind(("::", PORT)).unwrap()).unwrap();
    let _v4 = connect(&ns, "127.0.0.1:8000", 3);
    let _v6 = connect(&ns, "[::1]:8000", 4);
    let client = sockets(&ns, Side::Client, ESTABLISHED);
    let server = sockets(&ns, Side::Server, ESTABLISHED);
    assert_eq!(client.len(), 7);
    for (client, server) in client.iter().zip(&server) {
        assert_eq!(client.tuple, server.tuple);
    }
    let v4 = mapped("127.0.0.1".parse().unwrap());
    assert_eq!(
        server
            .iter()
            .filter(|socket| socket.tuple.server == v4)
            .count(),
        3
    );
    assert_eq!(
        listeners(&ns, PORT).unwrap()[0].address,
        "::".parse::<IpAddr>().unwrap()
    );
    drop(listener);
}

#[test]
fn ports_are_held_by_the_living_and_by_the_dead() {
    let ns = Netns::create().unwrap();
    let listener = ns
        .run(|| TcpListener::bind(("0.0.0.0", PORT)).unwrap())
        .unwrap();
    let clients = connect(&ns, "127.0.0.1:8000", 12);
    let mut accepted: Vec<_> = (0..12).map(|_| listener.accept().unwrap().0).collect();
    // 5 live, 4 whose server keeps its end open, 3 orderly closed.
    let mut clients = clients.into_iter();
    let _live: Vec<_> = clients.by_ref().take(5).collect();
    drop(clients);
    drop(accepted.drain(9..).collect::<Vec<_>>());
    wait_for(&ns, Side::Client, 1 << state::TIME_WAIT, 3);
    let orphans = wait_for(&ns, Side::Client, 1 << state::FIN_WAIT2, 4);
    assert!(orphans.iter().all(|socket| socket.inode == 0));
    assert_eq!(sockets(&ns, Side::Server, 1 << state::CLOSE_WAIT).len(), 4);

    let held = holders(&ns, "127.0.0.1:8000".parse().unwrap()).unwrap();
    let expected = Holders {
        live: 5,
        time_wait: 3,
        fin_wait_2: 4,
        other: 0,
    };
    assert_eq!(
        held.into_iter().collect::<Vec<_>>(),
        [("127.0.0.1".parse().unwrap(), expected)]
    );
    assert_eq!(expected.total(), 12);
    assert!(
        holders(&ns, "127.0.0.2:8000".parse().unwrap())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_request_without_its_final_ack_is_syn_recv() {
    let ns = Netns::create().unwrap();
    let listener = ns
        .run(|| TcpListener::bind(("127.0.0.1", PORT)).unwrap())
        .unwrap();
    let seconds: libc::c_int = 30;
    // SAFETY: the option's value is one int that lives through the call.
    let set = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of::<libc::c_int>() as u32,
        )
    };
    assert_eq!(set, 0);
    let clients = connect(&ns, "127.0.0.1:8000", 6);
    let requests = wait_for(&ns, Side::Server, 1 << state::SYN_RECV, 6);
    assert!(
        requests
            .iter()
            .all(|socket| socket.inode == 0 && socket.state == state::SYN_RECV)
    );
    assert_eq!(sockets(&ns, Side::Server, ESTABLISHED), []);
    assert_eq!(sockets(&ns, Side::Client, ESTABLISHED).len(), clients.len());
}

fn parse(bytes: &[u8]) -> io::Result<(bool, usize, bool)> {
    let (mut interrupted, mut count) = (false, 0);
    let mut each = |message: Message| {
        message.socket(Side::Client);
        message.listener();
        count += 1;
    };
    let done = datagram(bytes, &mut interrupted, &mut each)?;
    Ok((done, count, interrupted))
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = (NLMSG_HEADER + body.len()) as u32;
    let head = [
        &length.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &[0; 8],
    ];
    [&head.concat()[..], body].concat()
}

#[test]
fn a_dump_ends_as_the_kernel_says() {
    let socket = message(SOCK_DIAG_BY_FAMILY, 2, &[0; MESSAGE + 40]);
    let done = message(NLMSG_DONE, 2, &[0; 4]);
    assert_eq!(parse(&[]).unwrap(), (false, 0, false));
    assert_eq!(
        parse(&[&socket[..], &socket].concat()).unwrap(),
        (false, 2, false)
    );
    assert_eq!(
        parse(&[&socket[..], &done].concat()).unwrap(),
        (true, 1, false)
    );
    assert_eq!(
        parse(&message(NLMSG_DONE, NLM_F_DUMP_INTR, &[])).unwrap(),
        (true, 0, true)
    );
    let error = parse(&message(NLMSG_ERROR, 0, &(-libc::ENOENT).to_ne_bytes())).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    assert!(parse(&message(NLMSG_ERROR, 0, &i32::MIN.to_ne_bytes())).is_err());
}

#[test]
fn cut_off_messages_are_errors() {
    let whole = message(SOCK_DIAG_BY_FAMILY, 2, &[0xff; MESSAGE]);
    for length in 1..whole.len() {
        let error = parse(&whole[..length]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{length}");
    }
    let short = message(SOCK_DIAG_BY_FAMILY, 2, &[0; MESSAGE - 1]);
    assert!(parse(&short).unwrap_err().to_string().contains("cut off"));
    for length in [0u32, 1, 15, 1000, u32::MAX] {
        let mut bytes = whole.clone();
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        assert!(parse(&bytes).is_err(), "{length}");
    }
}

proptest! {
    #[test]
    fn no_bytes_are_too_hostile(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_message_is_too_hostile(
        length in 0u32..200, kind in 0u16..24, flags: u16, body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = message(kind, flags, &body);
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        let _ = parse(&bytes);
    }
}

#[test]
fn a_missing_sock_diag_is_named() {
    let error = unavailable(io::Error::from_raw_os_error(libc::ENOENT));
    assert!(error.to_string().contains("modprobe tcp_diag"));
}
