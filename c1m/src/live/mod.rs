//! The live view: what a run does while it lasts, on a terminal; elsewhere a line now and then.
//!
//! It costs what a look at a dozen small files costs, once a second, however many connections there are: no socket is
//! listed, and of what the tracer folded a limited number is looked at. What it says of causes is provisional: verdicts
//! need the census.

pub mod host;
pub mod scene;

mod draw;
mod lines;
mod screen;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::sync::mpsc;

use self::{
    host::Reader,
    lines::Lines,
    scene::{KernelView, RunView, Scene},
    screen::Screen,
};
use crate::{cli::Live, watch::Watch};

/// How often there is something new to see.
const PERIOD: Duration = Duration::from_secs(1);

/// What shows how far a run is.
pub struct Show {
    started: Instant,
    due: Instant,
    how: How,
}

enum How {
    Screen(Box<View>),
    Lines(Lines),
}

struct View {
    screen: Screen,
    reader: Reader,
    /// When it was looked at last, and what stood then.
    before: (Instant, u64),
}

/// The keys that end a run.
pub struct Keys(mpsc::UnboundedReceiver<()>);

impl Keys {
    /// Returns when somebody asks for the end of the run. Cancel-safe.
    pub async fn end(&mut self) {
        if self.0.recv().await.is_none() {
            // No view, no keys.
            std::future::pending().await
        }
    }
}

/// Whether there is a terminal for a view that is asked for. Errors: there is none.
pub fn check(live: Live) -> anyhow::Result<()> {
    ensure!(
        live != Live::On || screen::is_there(),
        "--live needs a terminal on stderr: leave it out, or let stderr be one"
    );
    Ok(())
}

impl Show {
    /// Begins: with the view where there is a terminal for it (`auto`) or it is asked for, else with lines, if `lines`.
    /// Errors: the terminal cannot be drawn on.
    pub fn begin(live: Live, watch: &Watch, lines: bool) -> anyhow::Result<(Self, Keys)> {
        let (asked, keys) = mpsc::unbounded_channel();
        let wanted = match live {
            Live::On => true,
            Live::Auto => screen::is_there(),
            Live::Off => false,
        };
        let how = if wanted {
            let screen =
                Screen::open(asked).context("the terminal cannot be drawn on: --live=off")?;
            How::Screen(Box::new(View {
                screen,
                reader: Reader::new(watch),
                before: (Instant::now(), 0),
            }))
        } else {
            How::Lines(Lines::new(lines))
        };
        let show = Self {
            started: Instant::now(),
            due: Instant::now(),
            how,
        };
        Ok((show, Keys(keys)))
    }

    /// Shows how far it is, if it is time to; `run` is asked only then.
    pub fn look(&mut self, watch: &Watch, run: impl FnOnce() -> RunView) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        self.due = now + PERIOD;
        match &mut self.how {
            How::Lines(lines) => lines.show(&run()),
            How::Screen(view) => view.look(self.started, watch, run()),
        }
    }

    /// The end of the run: the terminal is as it was.
    pub fn end(self) {
        drop(self);
    }
}

impl View {
    fn look(&mut self, started: Instant, watch: &Watch, run: RunView) {
        let now = Instant::now();
        let (at, stood) = self.before;
        let elapsed_s = now.duration_since(at).as_secs_f64().max(0.001);
        self.before = (now, run.standing);
        let scene = Scene {
            elapsed: started.elapsed(),
            rate_per_s: (run.standing.saturating_sub(stood) as f64 / elapsed_s) as u64,
            run,
            host: self.reader.read(watch),
            kernel: kernel(watch),
        };
        // Nothing to do about a terminal that is gone.
        let _ = self.screen.show(&scene);
    }
}

/// What the kernel side counted so far; `None` without a tracer.
fn kernel(watch: &Watch) -> Option<KernelView> {
    let stats = watch.live_stats()?;
    Some(KernelView {
        established: stats
            .ends
            .each_ref()
            .map(|end| end.established.saturating_sub(end.gone())),
        syns_dropped: stats.syn_drops.iter().sum(),
        acks_refused: stats.ack_overflows.iter().sum::<u64>() + stats.ack_failures,
        seen: watch.seen().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests;
