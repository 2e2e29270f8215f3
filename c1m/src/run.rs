//! `c1m server` and `c1m client` without a tracer: plan, start, wait, say what stands, close.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::{ClientArgs, ServerArgs},
    load::{
        client::{ClientRun, Progress},
        outcome::{Slab, Stage},
        server::ServerRun,
    },
    options::{ClientPlan, ServerPlan},
};

/// Exit status when every connection stands.
const ALL_STAND: u8 = 0;
/// Exit status when some were lost.
const SOME_LOST: u8 = 1;
/// A run that takes longer than this tells how far it is.
const QUIET: Duration = Duration::from_secs(2);

/// Runs a server until SIGINT or SIGTERM.
pub async fn server(args: ServerArgs) -> anyhow::Result<u8> {
    let mut interrupt = Interrupt::new()?;
    let plan = ServerPlan::new(&args)?;
    let backlog = plan.backlog;
    let mut server = ServerRun::start(plan, None).await?;
    eprintln!("c1m: listening on {}, backlog {backlog}", server.address());
    tokio::select! {
        ended = server.supervise() => ended?,
        () = interrupt.first() => {}
    }
    let totals = server.totals();
    interrupt.second_kills();
    server.close().await?;
    eprintln!(
        "c1m: accepted {}, held {}, closed by the peer {} (FIN {}, RST {}), gone with dead workers {}",
        grouped(totals.accepted),
        grouped(totals.held),
        grouped(totals.closed_fin + totals.closed_rst),
        grouped(totals.closed_fin),
        grouped(totals.closed_rst),
        grouped(totals.died)
    );
    Ok(ALL_STAND)
}

/// Opens the connections, holds them, says what stands, and closes them. SIGINT or SIGTERM ends the
/// opening or the holding early.
pub async fn client(args: ClientArgs) -> anyhow::Result<u8> {
    let mut interrupt = Interrupt::new()?;
    let plan = ClientPlan::new(&args)?;
    let hold = plan.hold;
    let mut client = ClientRun::start(plan, None).await?;
    let mut progress = ProgressLine::new();
    let done = tokio::select! {
        done = settle_and_hold(&mut client, hold, &mut progress) => done,
        () = interrupt.first() => Ok(()),
    };
    interrupt.second_kills();
    progress.end();
    let status = match done {
        Ok(()) => {
            client.freeze().await?;
            // The report goes here: nothing changes any more, and every socket is still open.
            let stages = Stages::count(client.slab());
            println!("{}", stages.line(client.plan().target));
            if stages.all_stand() {
                ALL_STAND
            } else {
                SOME_LOST
            }
        }
        Err(error) => {
            client.close().await?;
            return Err(error);
        }
    };
    client.close().await?;
    Ok(status)
}

/// Until every attempt has settled and was held, telling how far it is.
async fn settle_and_hold(
    client: &mut ClientRun,
    hold: Duration,
    line: &mut ProgressLine,
) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            settled = client.settled() => {
                settled?;
                break;
            }
            _ = tick.tick() => {}
        }
        line.show(&client.progress());
    }
    let end = Instant::now() + hold;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        client.wait(left.min(Duration::from_secs(1))).await?;
        line.show(&client.progress());
    }
}

/// SIGINT and SIGTERM.
struct Interrupt {
    int: tokio::signal::unix::Signal,
    term: tokio::signal::unix::Signal,
}

impl Interrupt {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            int: signal(SignalKind::interrupt()).context("SIGINT")?,
            term: signal(SignalKind::terminate()).context("SIGTERM")?,
        })
    }

    async fn first(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }

    /// From now on a signal ends this process at once; its workers end with it.
    fn second_kills(mut self) {
        tokio::spawn(async move {
            self.first().await;
            std::process::exit(130);
        });
    }
}

/// How far a client is, on stderr: a line that changes on a terminal, one line each second elsewhere.
struct ProgressLine {
    started: Instant,
    terminal: bool,
    shown: bool,
}

impl ProgressLine {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
            shown: false,
        }
    }

    fn show(&mut self, progress: &Progress) {
        if self.started.elapsed() < QUIET {
            return;
        }
        self.shown = true;
        let Progress {
            planned,
            in_flight,
            established,
            failed,
            lost,
            workers,
            ..
        } = *progress;
        let line = format!(
            "c1m: {} of {} established, {} under way, {} failed, {} lost, {workers} workers",
            grouped(established),
            grouped(planned),
            grouped(in_flight),
            grouped(failed),
            grouped(lost)
        );
        if self.terminal {
            eprint!("\r\x1b[K{line}");
            // Nothing to do about a terminal that is gone.
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }

    fn end(&self) {
        if self.shown && self.terminal {
            eprintln!();
        }
    }
}

/// How many attempts ended in which way.
struct Stages {
    by_stage: [u64; 11],
    /// From the first attempt to the last that settled, in µs.
    establish_us: u64,
}

impl Stages {
    fn count(slab: &Slab) -> Self {
        let mut by_stage = [0; 11];
        let (mut first_us, mut last_us) = (u64::MAX, 0);
        for outcome in (0..slab.len()).map(|index| slab.get(index)) {
            by_stage[outcome.stage as usize] += 1;
            if outcome.stage != Stage::Planned {
                let started_us = u64::from(outcome.started_ms) * 1000;
                first_us = first_us.min(started_us);
                last_us = last_us.max(started_us + u64::from(outcome.settle_us));
            }
        }
        Self {
            by_stage,
            establish_us: last_us.saturating_sub(first_us),
        }
    }

    fn of(&self, stage: Stage) -> u64 {
        self.by_stage[stage as usize]
    }

    fn attempted(&self) -> u64 {
        self.by_stage.iter().sum::<u64>() - self.of(Stage::Planned)
    }

    fn all_stand(&self) -> bool {
        self.of(Stage::Established) == self.attempted()
    }

    fn line(&self, target: std::net::SocketAddr) -> String {
        let standing = self.of(Stage::Established);
        let establish_s = self.establish_us as f64 / 1e6;
        let mut line = format!(
            "c1m  {} attempted   {} standing   {} lost      client, {target}, {establish_s:.1} s, {}/s",
            grouped(self.attempted()),
            grouped(standing),
            grouped(self.attempted() - standing),
            grouped((standing as f64 / establish_s.max(1e-6)) as u64)
        );
        for (stage, name) in [
            (Stage::Socket, "failed at socket()"),
            (Stage::Bind, "failed at bind()"),
            (Stage::Connect, "failed at connect()"),
            (Stage::InFlight, "still under way"),
            (Stage::Failed, "failed later"),
            (Stage::GaveUp, "given up after --timeout"),
            (Stage::Lost, "lost after they stood"),
            (Stage::WorkerDied, "gone with a dead worker"),
            (Stage::Planned, "not attempted"),
        ] {
            if self.of(stage) > 0 {
                line += &format!("\n  {} {name}", grouped(self.of(stage)));
            }
        }
        line
    }
}

/// A number with its thousands apart: `1,000,000`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }
}
