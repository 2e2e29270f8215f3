//! Connections that are translated on their way (NAT): one end knows another address or port than the other, so that
//! the server's end is not found by the client's tuple.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufRead, BufReader},
    net::{IpAddr, SocketAddr},
};

use crate::netns::Netns;

/// What connection tracking has, a line for each connection.
const TABLE: &str = "/proc/thread-self/net/nf_conntrack";

/// The sources of the TCP connections from `ns` to `target` that connection tracking translates. None where there is no such
/// table, it is not ours to read, or the run has taken every file of the host.
pub fn translated(ns: &Netns, target: SocketAddr) -> io::Result<HashSet<SocketAddr>> {
    // It stays that of the namespace where it was opened.
    let table = match ns.run(|| File::open(TABLE))? {
        Ok(table) => table,
        Err(error) if absent(&error) => return Ok(HashSet::new()),
        Err(error) => return Err(error),
    };
    let mut sources = HashSet::new();
    for line in BufReader::with_capacity(64 << 10, table).lines() {
        sources.extend(source(&line?, target));
    }
    Ok(sources)
}

/// Whether the table of a namespace that tracks connections cannot be read, so that nobody can tell who is translated.
pub fn is_hidden(ns: &Netns) -> io::Result<bool> {
    ns.run(|| File::open(TABLE).is_err())
}

fn absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::EACCES | libc::EPERM | libc::ENFILE | libc::EMFILE)
    )
}

/// The source of a line's connection, if it goes to `target` and its answers come from, or go to, another tuple
/// (`ct_seq_show`).
fn source(line: &str, target: SocketAddr) -> Option<SocketAddr> {
    let mut words = line.split_ascii_whitespace();
    words.find(|word| *word == "tcp")?;
    let [from, to] = tuple(&mut words)?;
    if to != target {
        return None;
    }
    (tuple(&mut words)? != [to, from]).then_some(from)
}

/// The next tuple of a line.
fn tuple<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<[SocketAddr; 2]> {
    let mut next = |key: &str| words.find_map(|word| word.strip_prefix(key));
    let addresses: [IpAddr; 2] = [next("src=")?.parse().ok()?, next("dst=")?.parse().ok()?];
    let ports: [u16; 2] = [next("sport=")?.parse().ok()?, next("dport=")?.parse().ok()?];
    Some([
        SocketAddr::new(addresses[0], ports[0]),
        SocketAddr::new(addresses[1], ports[1]),
    ])
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_translated_if_its_answers_have_another_tuple() {
        let target = "127.0.0.1:8000".parse().unwrap();
        let line = |answer: &str| {
            format!(
                "ipv4     2 tcp      6 431999 ESTABLISHED src=127.0.1.1 dst=127.0.0.1 sport=10003 dport=8000 {answer} \
                 [ASSURED] mark=0 zone=0 use=2"
            )
        };
        let from = |answer: &str| source(&line(answer), target);
        let own = "127.0.1.1:10003".parse().unwrap();
        assert_eq!(
            from("src=127.0.0.1 dst=127.0.1.1 sport=8000 dport=10003"),
            None
        );
        let elsewhere = "src=172.17.0.2 dst=127.0.1.1 sport=80 dport=10003";
        assert_eq!(from(elsewhere), Some(own));
        let masqueraded = "src=127.0.0.1 dst=10.0.0.1 sport=8000 dport=1024";
        assert_eq!(from(masqueraded), Some(own));
        let other = "127.0.0.1:8001".parse().unwrap();
        assert_eq!(source(&line(elsewhere), other), None);
        assert_eq!(
            from("[UNREPLIED] src=127.0.0.1 dst=127.0.1.1 sport=9000 dport=10003"),
            Some(own)
        );
        let v6 = "ipv6 10 tcp 6 9 CLOSE src=fd00::1 dst=fd00::2 sport=1 dport=2 src=fd00::3 dst=fd00::1 sport=2 dport=1";
        let to = "[fd00::2]:2".parse().unwrap();
        assert_eq!(source(v6, to), Some("[fd00::1]:1".parse().unwrap()));
        assert_eq!(source("ipv4 2 tcp 6 9 CLOSE src=127.0.1.1", target), None);
    }
}
