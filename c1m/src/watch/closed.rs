//! What became of connections after their end: it decides no attempt, and yet troubles a host.

use super::Sighting;
use crate::{ledger::counters::At, report::text::thousands};

impl Sighting {
    /// Remarks for the reader, from the host's counters, which are named.
    pub fn after_the_end(&self) -> Vec<String> {
        let refused = self.rises.get("TcpExtTCPTimeWaitOverflow", At::Both);
        let limit = self.host.tcp_max_tw_buckets;
        let limit = limit.map_or(String::new(), |limit| {
            format!(": net.ipv4.tcp_max_tw_buckets is {}", thousands(limit))
        });
        let no_room = format!(
            "{} closed sockets found no room for TIME_WAIT (TCPTimeWaitOverflow){limit}",
            thousands(refused)
        );
        (refused > 0).then_some(no_room).into_iter().collect()
    }
}
