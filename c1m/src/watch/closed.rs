//! What decides no attempt, and yet troubles a host: what became of connections after their end, and of the data in
//! SYNs.

use super::Sighting;
use crate::{ledger::counters::At, report::text::thousands};

impl Sighting {
    /// Remarks for the reader, from the host's counters, which are named.
    pub fn beside_the_table(&self) -> Vec<String> {
        self.fast_open()
            .into_iter()
            .chain(self.time_wait())
            .collect()
    }

    fn fast_open(&self) -> Option<String> {
        let name = "TCPFastOpenListenOverflow";
        let refused = self.rises.get(&format!("TcpExt{name}"), At::Server);
        let note = format!(
            "{} SYNs with data met a full queue of TCP Fast Open and went the usual way ({name}): a larger value of \
             setsockopt(TCP_FASTOPEN) at the listener",
            thousands(refused)
        );
        (refused > 0).then_some(note)
    }

    fn time_wait(&self) -> Option<String> {
        let refused = self.rises.get("TcpExtTCPTimeWaitOverflow", At::Both);
        let limit = self.host.tcp_max_tw_buckets;
        let limit = limit.map_or(String::new(), |limit| {
            format!(": net.ipv4.tcp_max_tw_buckets is {}", thousands(limit))
        });
        let no_room = format!(
            "{} closed sockets found no room for TIME_WAIT (TCPTimeWaitOverflow){limit}",
            thousands(refused)
        );
        (refused > 0).then_some(no_room)
    }
}
