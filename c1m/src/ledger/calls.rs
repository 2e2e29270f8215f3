//! Attempts of a traced command that failed in a system call, before the network or a socket's state could tell.

use std::net::Ipv6Addr;

use c1m_common::{
    call::{Call, kind},
    stats::event,
    tuple::Tuple,
};

use super::{
    Case, Ledger,
    client::{source, target},
    words::errno,
};
use crate::{
    causes::Cause,
    load::outcome::{Outcome, Stage},
    trace::read::Snapshot,
    verdict::{Attempt, Context, ServerEnd, Verdict, judge_client},
};

/// Books every failed socket(), bind() and connect() as one attempt each. An accept() that fails loses nothing: the
/// connection waits on, and is counted as it stands in the end; that it failed is said.
pub fn book(ledger: &mut Ledger, snapshot: &Snapshot, context: &Context<'_>) {
    for (call, &count) in &snapshot.calls {
        let Some(stage) = stage(call) else {
            ledger.notes.push(format!(
                "accept() failed {count}× with {}: the connection stayed in the accept queue",
                errno(call.errno)
            ));
            continue;
        };
        if is_probe(call) {
            ledger.notes.push(format!(
                "{} failed {count}× with {}: no attempt of a connection, but a look at what there is",
                if stage == Stage::Bind { "bind()" } else { "socket()" },
                errno(call.errno)
            ));
            continue;
        }
        let outcome = Outcome {
            stage,
            errno: call.errno,
            port: call.port,
            tries: 1,
            ..Outcome::default()
        };
        let attempt = Attempt {
            outcome,
            facts: None,
            server: ServerEnd::Absent,
            to_itself: false,
        };
        let cause = match judge_client(&attempt, context) {
            Verdict::Lost(Cause::Enfile) => out_of_files(snapshot, context),
            Verdict::Lost(cause) => cause,
            _ => continue,
        };
        let tuple = tuple(call);
        let case = Case {
            source: source(&tuple),
            target: target(&tuple),
            outcome: Some(outcome),
            facts: None,
        };
        ledger.attempted += count;
        ledger.lose_often(cause, count, &case, context.names);
    }
}

/// Whether a program only asked whether this host has a protocol, or the loopback: as runtimes do at their start, and do
/// without it then.
fn is_probe(call: &Call) -> bool {
    let errno = i32::from(call.errno);
    match call.call {
        kind::SOCKET => matches!(
            errno,
            libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ENOPROTOOPT
        ),
        kind::BIND => {
            let address = Ipv6Addr::from(call.address).to_canonical();
            errno == libc::EADDRNOTAVAIL && call.port == 0 && address.is_loopback()
        }
        _ => false,
    }
}

/// What ENFILE of socket() means: it says so at fs.file-max, and for want of memory (`sock_alloc`).
fn out_of_files(snapshot: &Snapshot, context: &Context<'_>) -> Cause {
    let is_refused = |call: &Call| i32::from(call.errno) == libc::ENFILE;
    let calls = snapshot.calls.iter().filter(|(call, _)| is_refused(call));
    let told: u64 = calls.map(|(_, count)| count).sum();
    match snapshot.stats.events[event::FILE_REFUSED] {
        _ if !context.sight.files => Cause::NotObservable,
        0 => Cause::NoMemory,
        refused if refused >= told => Cause::Enfile,
        // Some for the one reason, and some for the other.
        _ => Cause::NotObservable,
    }
}

fn stage(call: &Call) -> Option<Stage> {
    match call.call {
        kind::SOCKET => Some(Stage::Socket),
        kind::BIND => Some(Stage::Bind),
        kind::CONNECT => Some(Stage::Connect),
        _ => None,
    }
}

/// As much of the attempt's tuple as the call was given.
fn tuple(call: &Call) -> Tuple {
    let mut tuple = Tuple::default();
    if call.call == kind::BIND {
        (tuple.client, tuple.client_port) = (call.address, call.port);
    } else {
        (tuple.server, tuple.server_port) = (call.address, call.port);
    }
    tuple
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{trace::read::Names, verdict::Sight};

    #[test]
    fn a_failed_call_is_an_attempt_but_for_accept() {
        let call = |call, errno: i32| Call {
            call,
            errno: errno as u16,
            ..Call::default()
        };
        let loopback = Call {
            address: Ipv6Addr::LOCALHOST.octets(),
            ..call(kind::BIND, libc::EADDRNOTAVAIL)
        };
        let calls = [
            (call(kind::SOCKET, libc::EMFILE), 6),
            (call(kind::SOCKET, libc::ENFILE), 1),
            (call(kind::BIND, libc::EADDRINUSE), 2),
            (call(kind::CONNECT, libc::ENETUNREACH), 3),
            (call(kind::CONNECT, libc::EPERM), 4),
            (call(kind::ACCEPT, libc::EMFILE), 5),
            (call(kind::SOCKET, libc::EPROTONOSUPPORT), 7),
            (loopback, 1),
        ];
        let mut snapshot = Snapshot {
            calls: calls.into_iter().collect(),
            ..Snapshot::default()
        };
        snapshot.stats.events[event::FILE_REFUSED] = 1;
        let mut ledger = Ledger::default();
        let context = Context {
            sight: Sight {
                files: true,
                ..Sight::default()
            },
            names: &Names::default(),
        };
        book(&mut ledger, &snapshot, &context);
        let lost = |cause| ledger.lost.get(&cause).map_or(0, |loss| loss.count);
        assert_eq!(
            [Cause::Emfile, Cause::Enfile, Cause::BindConflict].map(lost),
            [6, 1, 2]
        );
        assert_eq!([Cause::NoRoute, Cause::Denied].map(lost), [3, 4]);
        assert_eq!(ledger.attempted, 16);
        assert!(ledger.is_balanced());
        for note in [
            "accept() failed 5×",
            "socket() failed 7×",
            "bind() failed 1×",
        ] {
            assert!(
                ledger.notes.iter().any(|said| said.contains(note)),
                "{note}"
            );
        }
    }

    #[test]
    fn enfile_without_a_file_refused_is_want_of_memory() {
        let call = Call {
            call: kind::SOCKET,
            errno: libc::ENFILE as u16,
            ..Call::default()
        };
        let told = |refused, files| {
            let mut snapshot = Snapshot {
                calls: [(call, 5)].into_iter().collect(),
                ..Snapshot::default()
            };
            snapshot.stats.events[event::FILE_REFUSED] = refused;
            let sight = Sight {
                files,
                ..Sight::default()
            };
            let names = &Names::default();
            out_of_files(&snapshot, &Context { sight, names })
        };
        assert_eq!(told(0, true), Cause::NoMemory);
        assert_eq!(told(5, true), Cause::Enfile);
        assert_eq!(told(2, true), Cause::NotObservable);
        assert_eq!(told(0, false), Cause::NotObservable);
    }
}
