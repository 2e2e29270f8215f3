//! A client and a server as anybody writes them (`c1m plain`): one thread, one epoll, their own time-outs. They know
//! nothing of c1m's workers and keep no record: what becomes of their connections, the kernel alone can tell.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::{
    event::{Timespec, epoll},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, sockopt},
    process::{Signal, set_parent_process_death_signal},
};

use super::foreign;
use crate::{
    cli::{ClientArgs, Close, Plain, ServerArgs},
    load::tuples::Tuples,
    options::{ClientPlan, raise_nofile},
};

/// The files that either has open besides its connections: stdin, stdout, stderr and its epoll.
pub(super) const BASE_FDS: u64 = 4;
/// What a client says when every attempt has an answer, or was given up.
pub(super) const SETTLED: &str = "every attempt has an end";
/// How much memory a hog asks for.
pub(super) const HOG_BYTES: u64 = 64 << 20;
/// How many events are taken at a time.
const EVENTS: usize = 256;
/// How long a server that may open no more files waits before it looks again.
const STARVED: Duration = Duration::from_millis(20);
/// How many processes share a listener, where one alone may not have all connections.
const PROCESSES: u32 = 4;

/// Runs one of them.
pub fn run(what: Plain) -> anyhow::Result<u8> {
    // Whatever its parents left open: its files are counted.
    // SAFETY: nothing but stdin, stdout and stderr has been opened yet.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_int::MAX, 0) };
    raise_nofile()?;
    match what {
        Plain::Client(args) => client(&args)?,
        Plain::Server(args) => server(&args)?,
        Plain::Ring => super::ring::program()?,
        Plain::Hog => hog()?,
    }
    Ok(0)
}

fn client(args: &ClientArgs) -> anyhow::Result<()> {
    // Whatever may be wrong with them, these tuples are to be tried.
    let plan = ClientPlan::new(&ClientArgs {
        unchecked: true,
        ..args.clone()
    })?;
    let tuples = plan.tuples;
    let mut client = Client {
        plan,
        epoll: Epoll::new()?,
        sockets: (0..tuples.len()).map(|_| None).collect(),
        under_way: VecDeque::new(),
        next: 0,
    };
    client.work(&tuples)
}

struct Client {
    plan: ClientPlan,
    epoll: Epoll,
    /// By attempt.
    sockets: Vec<Option<OwnedFd>>,
    /// Attempts that have no answer yet, and when they began.
    under_way: VecDeque<(usize, Instant)>,
    next: usize,
}

impl Client {
    fn work(&mut self, tuples: &Tuples) -> anyhow::Result<()> {
        let mut due_ns = 0;
        let begin = Instant::now();
        let mut settled = None;
        loop {
            self.give_up();
            let mut wait = Duration::from_millis(50);
            while self.next < tuples.len() && self.under_way.len() < self.plan.in_flight as usize {
                // Not before its turn, if they come at a rate.
                if let Some(rate) = self.plan.rate {
                    match rate.take(due_ns, begin.elapsed().as_nanos() as u64) {
                        Ok(next) => due_ns = next,
                        Err(early_ns) => {
                            wait = wait.min(Duration::from_nanos(early_ns));
                            break;
                        }
                    }
                }
                self.connect(tuples);
            }
            if self.next == tuples.len() && self.under_way.is_empty() {
                let since = *settled.get_or_insert_with(|| {
                    eprintln!("{SETTLED}");
                    Instant::now()
                });
                if since.elapsed() >= self.plan.hold {
                    return Ok(());
                }
            }
            if let Some((_, began)) = self.under_way.front() {
                wait = wait.min(self.plan.timeout.saturating_sub(began.elapsed()));
            }
            // All that has happened by now: an answer in time is none that is given up.
            while self.epoll.wait(wait)? > 0 {
                for (index, flags) in self.epoll.events() {
                    self.attend(index as usize, flags);
                }
                wait = Duration::ZERO;
            }
        }
    }

    /// Begins the next attempt; one that fails at once is over.
    fn connect(&mut self, tuples: &Tuples) {
        let index = self.next;
        self.next += 1;
        let began = Instant::now();
        let connect = || -> io::Result<(OwnedFd, bool)> {
            let source = tuples.source(index);
            let family = match source.is_ipv4() {
                true => AddressFamily::INET,
                false => AddressFamily::INET6,
            };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
            if source.port() == 0 {
                let option = libc::IP_BIND_ADDRESS_NO_PORT;
                foreign::set_option(socket.as_fd(), libc::IPPROTO_IP, option, 1)?;
            } else {
                sockopt::set_socket_reuseaddr(&socket, true)?;
            }
            if self.plan.close == Close::Rst {
                sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
            }
            rustix::net::bind(&socket, &source)?;
            let waits = match rustix::net::connect(&socket, &self.plan.target) {
                Ok(()) => false,
                Err(Errno::INPROGRESS) => true,
                Err(errno) => return Err(errno.into()),
            };
            let wanted = epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
            self.epoll.add(socket.as_fd(), index as u64, wanted)?;
            Ok((socket, waits))
        };
        let Ok((socket, waits)) = connect() else {
            return;
        };
        self.sockets[index] = Some(socket);
        if waits {
            self.under_way.push_back((index, began));
        }
    }

    /// An answer, or the end of a connection.
    fn attend(&mut self, index: usize, flags: epoll::EventFlags) {
        let Some(Some(socket)) = self.sockets.get(index) else {
            return;
        };
        if let Some(at) = self.under_way.iter().position(|&(other, _)| other == index) {
            self.under_way.remove(at);
        }
        let failed = sockopt::socket_error(socket).is_ok_and(|error| error.is_err());
        let over = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        if failed || flags.intersects(over) {
            self.sockets[index] = None;
        }
    }

    /// Closes what has waited for too long.
    fn give_up(&mut self) {
        while let Some(&(index, began)) = self.under_way.front()
            && began.elapsed() >= self.plan.timeout
        {
            self.under_way.pop_front();
            self.sockets[index] = None;
        }
    }
}

/// Asks for memory until there is no more, or the OOM killer has nobody else to take.
fn hog() -> anyhow::Result<()> {
    let memory = rustix::fs::memfd_create(c"hog", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut memory = std::fs::File::from(memory);
    let step = vec![1; 1 << 20];
    for _ in 0..HOG_BYTES / step.len() as u64 {
        if io::Write::write_all(&mut memory, &step).is_err() {
            break;
        }
    }
    Ok(())
}

fn server(args: &ServerArgs) -> anyhow::Result<()> {
    let backlog = args.backlog.unwrap_or(4_096);
    let listener = foreign::Foreign::listen(None, args.listen, backlog)?;
    let most = args.per_worker.unwrap_or(u32::MAX) as usize;
    if args.per_worker.is_none() || args.workers_max == 1 {
        return serve(listener, most);
    }
    for _ in 0..PROCESSES.min(args.workers_max) {
        // SAFETY: this process has one thread, so the child has all that it needs.
        match unsafe { libc::fork() } {
            0 => {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                return serve(listener, most);
            }
            -1 => return Err(io::Error::last_os_error()).context("fork"),
            _ => {}
        }
    }
    while rustix::process::wait(rustix::process::WaitOptions::empty())
        .is_ok_and(|ended| ended.is_some())
    {}
    Ok(())
}

/// Accepts and holds up to `most` connections, until it is killed.
fn serve(mut server: foreign::Foreign, most: usize) -> anyhow::Result<()> {
    let mut epoll = Epoll::new()?;
    let mut next = 0;
    server.set(|listener| Ok(epoll.add(listener.as_fd(), LISTENER, epoll::EventFlags::IN)?))?;
    let mut held: std::collections::HashMap<u64, socket2::Socket> = Default::default();
    loop {
        let mut starved = false;
        while held.len() + server.held.len() < most {
            let before = server.held.len();
            match server.accept(before + 1) {
                Ok(count) if count == before => break,
                Ok(_) => {}
                Err(_) => {
                    starved = true;
                    break;
                }
            }
        }
        for connection in server.held.drain(..) {
            let wanted = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
            epoll.add(connection.as_fd(), next, wanted)?;
            held.insert(next, connection);
            next += 1;
        }
        // A full house, or no files: the listener has more, and there is nothing to do about it now.
        if starved || held.len() >= most {
            std::thread::sleep(STARVED);
        }
        epoll.wait(Duration::from_secs(1))?;
        for (which, flags) in epoll.events() {
            let over = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
            if flags.intersects(over) {
                held.remove(&which);
            }
        }
    }
}

const LISTENER: u64 = u64::MAX;

/// An epoll, and the events of the last wait.
struct Epoll {
    fd: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Epoll {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            fd: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS),
        })
    }

    fn add(
        &self,
        fd: std::os::fd::BorrowedFd<'_>,
        data: u64,
        flags: epoll::EventFlags,
    ) -> Result<(), Errno> {
        epoll::add(&self.fd, fd, epoll::EventData::new_u64(data), flags)
    }

    /// Waits for events, at most this long; how many came.
    fn wait(&mut self, most: Duration) -> anyhow::Result<usize> {
        let most = Timespec {
            tv_sec: most.as_secs() as i64,
            tv_nsec: most.subsec_nanos().into(),
        };
        self.events.clear();
        match epoll::wait(
            &self.fd,
            rustix::buffer::spare_capacity(&mut self.events),
            Some(&most),
        ) {
            Ok(_) => Ok(self.events.len()),
            Err(Errno::INTR) => Ok(0),
            Err(errno) => Err(errno).context("epoll_wait"),
        }
    }

    /// What happened to what.
    fn events(&self) -> Vec<(u64, epoll::EventFlags)> {
        let event = |event: &epoll::Event| (event.data.u64(), event.flags);
        self.events.iter().map(event).collect()
    }
}
