//! `c1m doctor --measure`: runs into tcp_mem on purpose, and says at how many connections. For tests of the prediction, on
//! a machine that nobody else uses.

use std::{
    io::{self, Write as _},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::ask::Ask;
use crate::report::text;

/// What has not arrived on one host after this long has been dropped.
const ARRIVES_WITHIN: Duration = Duration::from_millis(500);
/// So many in a row say that the limit is reached.
const REFUSED_IN_A_ROW: u32 = 5;

/// Opens connections of which each has `--queued` bytes waiting, and prints how many had them before the kernel took no
/// more, and how many pages they took each.
pub(super) fn tcp_mem(ask: &Ask) -> anyhow::Result<u8> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("raising RLIMIT_NOFILE")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let data = vec![0; usize::try_from(ask.queued_bytes)?];
    let before = pages();
    let (mut held, mut refused, mut kept) = (0_u64, 0, Vec::new());
    while held < ask.connections && refused < REFUSED_IN_A_ROW {
        let client = TcpStream::connect(listener.local_addr()?).context("connect()")?;
        let (server, _) = listener.accept().context("accept()")?;
        client.set_nonblocking(true)?;
        let sent = send(&client, &data)? && arrives(&server, data.len())?;
        match sent {
            true => (held, refused) = (held + 1, 0),
            false => refused += 1,
        }
        kept.push((client, server));
    }
    let pages = pages().saturating_sub(before);
    text::print(&format!(
        "{held} connections hold {} bytes each, in {pages} pages\n",
        data.len()
    ))?;
    Ok(0)
}

/// Whether the kernel took all of it.
fn send(mut client: &TcpStream, data: &[u8]) -> io::Result<bool> {
    match client.write(data) {
        Ok(sent) => Ok(sent == data.len()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether so many bytes come to wait at this end.
fn arrives(server: &TcpStream, wanted: usize) -> io::Result<bool> {
    let end = Instant::now() + ARRIVES_WITHIN;
    loop {
        if rustix::io::ioctl_fionread(server)? >= wanted as u64 {
            return Ok(true);
        }
        if Instant::now() > end {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Pages of TCP's buffers now.
fn pages() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/sockstat").unwrap_or_default();
    super::facts::sockstat_field(&text, "TCP", "mem").unwrap_or(0)
}
