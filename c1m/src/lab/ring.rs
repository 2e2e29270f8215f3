//! A program that makes its calls by io_uring (`c1m plain ring`), and the lab of those that fail at once: no system call of
//! theirs does.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use anyhow::{bail, ensure};
use io_uring::{IoUring, Probe, opcode, squeue, types};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::SockAddr;

use super::{
    Outcome, Skip,
    bench::{Bench, PORT},
    foreign,
    truth::Truth,
};

/// Connections that stand, and are accepted.
const GOOD: usize = 10;
/// connect() to where no route leads.
const NO_ROUTE: usize = 7;
/// bind() to what another has.
const BOUND: usize = 5;
/// connect() to where nobody listens.
const REFUSED: usize = 4;
/// socket() without a descriptor.
const NO_FILES: usize = 6;
/// accept() likewise.
const NOT_ACCEPTED: usize = 3;

/// TEST-NET-2: a lab has no route beyond its own links.
const ELSEWHERE: [u8; 4] = [198, 51, 100, 1];

/// A ring with one request at a time.
struct Ring(IoUring);

impl Ring {
    /// Errors: a [`Skip`] if this host lets nobody have one.
    fn new() -> anyhow::Result<Self> {
        let why = |error: io::Error| Skip(format!("io_uring cannot be used here: {error}"));
        Ok(Self(IoUring::new(8).map_err(why)?))
    }

    /// Whether this kernel knows a request.
    fn knows(&self, request: u8) -> anyhow::Result<bool> {
        let mut probe = Probe::new();
        self.0.submitter().register_probe(&mut probe)?;
        Ok(probe.is_supported(request))
    }

    /// Makes a request, and waits for its result.
    ///
    /// # Safety
    /// What the request points to lives until this returns.
    unsafe fn make(&mut self, request: squeue::Entry) -> io::Result<RawFd> {
        // SAFETY: as promised, for the kernel is done with it when the result is there.
        unsafe { self.0.submission().push(&request) }.map_err(io::Error::other)?;
        self.0.submit_and_wait(1)?;
        let result = self.0.completion().next().map(|it| it.result());
        match result.unwrap_or(-libc::EAGAIN) {
            error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
            value => Ok(value),
        }
    }

    fn socket(&mut self) -> io::Result<OwnedFd> {
        let request = opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0).build();
        // SAFETY: it points to nothing, and its result is a descriptor that nobody else has.
        unsafe { Ok(OwnedFd::from_raw_fd(self.make(request)?)) }
    }

    fn bind(&mut self, socket: &OwnedFd, address: SocketAddr) -> io::Result<()> {
        let address = SockAddr::from(address);
        let socket = types::Fd(socket.as_raw_fd());
        let request = opcode::Bind::new(socket, address.as_ptr().cast(), address.len()).build();
        // SAFETY: the address lives until the end of this.
        unsafe { self.make(request) }.map(drop)
    }

    fn connect(&mut self, socket: &OwnedFd, address: SocketAddr) -> io::Result<()> {
        let address = SockAddr::from(address);
        let socket = types::Fd(socket.as_raw_fd());
        let request = opcode::Connect::new(socket, address.as_ptr().cast(), address.len()).build();
        // SAFETY: likewise.
        unsafe { self.make(request) }.map(drop)
    }

    fn accept(&mut self, listener: &socket2::Socket) -> io::Result<OwnedFd> {
        let listener = types::Fd(listener.as_raw_fd());
        let nowhere = std::ptr::null_mut();
        let request = opcode::Accept::new(listener, nowhere, nowhere.cast()).build();
        // SAFETY: it points to nothing, and its result is a descriptor that nobody else has.
        unsafe { Ok(OwnedFd::from_raw_fd(self.make(request)?)) }
    }
}

/// The body of `c1m plain ring`: a client and its server in one. Errors: a call ended otherwise than it must.
pub(super) fn program() -> anyhow::Result<()> {
    let mut ring = Ring::new()?;
    let here: SocketAddr = ([127, 0, 0, 1], PORT).into();
    let listener = foreign::socket(here)?;
    listener.set_reuse_address(true)?;
    listener.bind(&here.into())?;
    listener.listen(64)?;
    let mut held = Vec::new();
    for _ in 0..GOOD {
        let socket = ring.socket()?;
        ring.connect(&socket, here)?;
        held.extend([socket, ring.accept(&listener)?]);
    }
    for _ in 0..NO_ROUTE {
        let socket = ring.socket()?;
        let nowhere = (ELSEWHERE, PORT).into();
        must_fail(ring.connect(&socket, nowhere), libc::ENETUNREACH)?;
    }
    if ring.knows(opcode::Bind::CODE)? {
        let taken = ([127, 0, 0, 1], PORT + 1).into();
        let _taken = foreign::bind(taken)?;
        for _ in 0..BOUND {
            let socket = ring.socket()?;
            must_fail(ring.bind(&socket, taken), libc::EADDRINUSE)?;
        }
    }
    for _ in 0..REFUSED {
        let socket = ring.socket()?;
        let nobody = ([127, 0, 0, 2], PORT).into();
        must_fail(ring.connect(&socket, nobody), libc::ECONNREFUSED)?;
    }
    let waits = ring.socket()?;
    ring.connect(&waits, here)?;
    let usual = getrlimit(Resource::Nofile);
    let none_left = Rlimit {
        current: Some(0),
        ..usual
    };
    setrlimit(Resource::Nofile, none_left)?;
    for _ in 0..NO_FILES {
        must_fail(ring.socket(), libc::EMFILE)?;
    }
    for _ in 0..NOT_ACCEPTED {
        must_fail(ring.accept(&listener), libc::EMFILE)?;
    }
    setrlimit(Resource::Nofile, usual)?;
    held.extend([waits, ring.accept(&listener)?]);
    Ok(())
}

fn must_fail<T>(done: io::Result<T>, errno: i32) -> anyhow::Result<()> {
    match done {
        Err(error) if error.raw_os_error() == Some(errno) => Ok(()),
        Err(error) => bail!("{error}, and not error {errno}"),
        Ok(_) => bail!("no error, and not error {errno}"),
    }
}

/// Its calls fail as often as it says.
pub(super) fn io_uring(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let ring = Ring::new()?;
    if !ring.knows(opcode::Socket::CODE)? {
        let why = "this kernel's io_uring makes no sockets, and its tracepoint names no request";
        return Err(Skip(why.to_owned()).into());
    }
    let bound = match ring.knows(opcode::Bind::CODE)? {
        true => BOUND,
        false => 0,
    };
    drop(ring);
    let run = bench.traced_plain("ring")?.finish(bench)?;
    ensure!(run.ended, "the program did not end by itself");
    let lost = [
        ("emfile", NO_FILES as u64),
        ("bind-conflict", bound as u64),
        ("no-route", NO_ROUTE as u64),
        ("refused", REFUSED as u64),
    ];
    let stood = GOOD as u64 + 1;
    let attempted = stood + lost.iter().map(|(_, count)| count).sum::<u64>();
    let mut truth = Truth::of(attempted, &lost);
    truth.closed = stood;
    truth.notes = vec![format!("accept() failed {NOT_ACCEPTED}× with EMFILE")];
    Ok(vec![Outcome { truth, run }])
}
