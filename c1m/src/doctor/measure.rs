//! What data that waits takes: of one connection, looked at before a prediction; and `c1m doctor --measure`, which runs
//! into tcp_mem on purpose and says at how many connections, for tests of the prediction on a machine that nobody else
//! uses.

use std::{
    io::{self, Write as _},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::{ask::Ask, count::PAGE_BYTES};
use crate::{host::sockstat_of_tcp, options::raise_nofile, report::text};

/// What has not arrived on one host after this long has been dropped.
const ARRIVES_WITHIN: Duration = Duration::from_millis(500);
/// So many in a row say that the limit is reached.
const REFUSED_IN_A_ROW: u32 = 5;
/// What has not changed for this long is what it will be: before 6.0 the sender's pages go with its timer (`TCP_RTO_MIN`).
const SETTLES_WITHIN: Duration = Duration::from_millis(300);

/// Pages that `bytes` take which wait at one end of a connection on this host; none if they do not fit.
pub(super) fn pages_of_one(bytes: u64) -> anyhow::Result<Option<u64>> {
    if bytes == 0 {
        return Ok(Some(0));
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    client.set_nonblocking(true)?;
    if !send(&client, &vec![0; usize::try_from(bytes)?])? {
        return Ok(None);
    }
    let charged = || Ok::<_, io::Error>(charged_bytes(&client)? + charged_bytes(&server)?);
    let (mut before, mut since) = (charged()?, Instant::now());
    while since.elapsed() < SETTLES_WITHIN {
        std::thread::sleep(Duration::from_millis(10));
        let now = charged()?;
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    Ok(Some(before.div_ceil(PAGE_BYTES)))
}

/// What tcp_mem counts of a socket (`sk_get_meminfo`): what waits in its queues, and what is its own and free.
fn charged_bytes(socket: &TcpStream) -> io::Result<u64> {
    const RECEIVED: usize = 0;
    const FREE: usize = 4;
    const TO_SEND: usize = 5;
    const ALL: usize = 9;
    let mut info = [0_u32; ALL];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: `info` and `length` outlive the call, and the length is that of `info`.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    match done {
        0 => Ok([RECEIVED, FREE, TO_SEND]
            .map(|index| u64::from(info[index]))
            .iter()
            .sum()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Opens connections of which each has `--queued` bytes waiting, and prints how many had them before the kernel took no
/// more, and how many pages they took each.
pub(super) fn tcp_mem(ask: &Ask) -> anyhow::Result<u8> {
    raise_nofile()?;
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
    sockstat_of_tcp(&text, "mem").unwrap_or(0)
}
