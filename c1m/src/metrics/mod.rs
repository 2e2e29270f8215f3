//! `--metrics`: what a run counts, as OpenMetrics, for tools that scrape while it goes on.
//!
//! Whatever is served was put there by the run's own looks at its counters; a scrape asks nobody, and costs a run
//! nothing but its text. When the verdicts are there the last scrape is waited for, so that what a scraper keeps ends
//! with the final table.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use c1m_common::stats::Stats;
use tokio::{net::TcpListener, sync::Notify};

use crate::{
    cli::MetricsArgs,
    report::record::{Latency, Record},
    stderr::say,
    watch::moment::Moment,
};

mod families;
mod http;

pub use families::{FAMILIES, Family};

/// The last scrape is waited for this long at least, if there was any before.
const LINGER_MIN: Duration = Duration::from_secs(5);
/// And this long at most.
const LINGER_MAX: Duration = Duration::from_secs(65);

/// What is served now.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// Whose view it is.
    pub(crate) role: String,
    /// The server's address and port, or the ports.
    pub(crate) target: String,
    /// The last look at the run.
    pub(crate) moment: Moment,
    /// The kernel side's counters, with a tracer.
    pub(crate) stats: Option<Box<Stats>>,
    /// How long connecting took so far; a client's alone.
    pub(crate) latency: Option<Latency>,
    /// The verdicts, once they are there.
    pub(crate) verdict: Option<families::Verdict>,
}

/// When it was scraped.
#[derive(Debug, Default)]
struct Scrapes {
    last: Option<Instant>,
    /// Between the last two.
    apart: Option<Duration>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    scrapes: Mutex<Scrapes>,
    /// A scrape got the final table.
    finished: Notify,
}

/// A running exporter; clones are the same one.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Shared>);

impl Metrics {
    /// Listens where the options say; nothing if they say nothing. Errors name the address and what to do.
    pub async fn start(args: &MetricsArgs) -> anyhow::Result<Option<Self>> {
        let Some(address) = args.metrics else {
            return Ok(None);
        };
        ensure!(
            address.ip().is_loopback() || args.metrics_public,
            "--metrics {address} can be reached from other hosts: take 127.0.0.1:{}, or add --metrics-public",
            address.port()
        );
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("--metrics cannot listen on {address}; choose another"))?;
        let metrics = Self(Arc::default());
        say(format_args!(
            "metrics at http://{}/metrics",
            listener.local_addr()?
        ));
        tokio::spawn(http::serve(listener, metrics.clone()));
        Ok(Some(metrics))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    /// Whose view it is, and of which server.
    pub fn name(&self, role: &str, target: &str) {
        let mut state = self.state();
        role.clone_into(&mut state.role);
        target.clone_into(&mut state.target);
    }

    /// The last look at the run.
    pub fn look(&self, moment: &Moment, stats: Option<Stats>) {
        let mut state = self.state();
        state.moment = *moment;
        state.stats = stats.map(Box::new);
    }

    /// How long connecting took so far.
    pub fn latency(&self, latency: Option<Latency>) {
        self.state().latency = latency;
    }

    /// The final table. Returns once it was scraped, or at once if nobody scraped before; and not later than a scraper
    /// that keeps its time would have come.
    pub async fn finish(&self, record: &Record) {
        let scraped = self.0.finished.notified();
        {
            let mut state = self.state();
            state.verdict = Some(families::Verdict::of(record));
            if record.detail.latency.is_some() {
                state.latency.clone_from(&record.detail.latency);
            }
        }
        let patience = {
            let scrapes = lock(&self.0.scrapes);
            if scrapes.last.is_none() {
                return;
            }
            let apart = scrapes.apart.map_or(LINGER_MAX, |apart| apart * 2);
            apart.clamp(LINGER_MIN, LINGER_MAX)
        };
        say(format_args!(
            "the final table waits up to {} s for its scrape; Ctrl-C ends that",
            patience.as_secs()
        ));
        let _ = tokio::time::timeout(patience, scraped).await;
    }

    /// The text of a scrape, and whether it has the final table.
    fn text(&self) -> (String, bool) {
        let state = self.state().clone();
        let is_final = state.verdict.is_some();
        (families::encode(state), is_final)
    }

    /// A scrape was answered.
    fn answered(&self, with_final: bool) {
        let now = Instant::now();
        let mut scrapes = lock(&self.0.scrapes);
        scrapes.apart = scrapes.last.map(|last| now - last);
        scrapes.last = Some(now);
        if with_final {
            self.0.finished.notify_waiters();
        }
    }
}

/// A lock that nothing can poison for good: what is behind it is replaced as a whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
