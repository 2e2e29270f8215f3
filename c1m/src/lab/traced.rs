//! A run under the tracer, and what it leaves.

use std::{
    cell::Cell,
    fs,
    os::fd::{AsFd, AsRawFd},
    path::PathBuf,
};

use anyhow::{Context, bail};
use rustix::process::Signal;

use super::{
    bench::{Bench, PORT},
    foreign::Foreign,
    plain,
    process::{Place, Process},
};
use crate::{causes::remedy::Who, netns::Netns, report::record::Record};

/// A client, or a port, under the tracer.
#[derive(Debug)]
pub(super) struct Traced {
    pub(super) process: Process,
    /// Where the record will be.
    pub(super) record: PathBuf,
    interrupted: Cell<bool>,
}

/// What a traced run left.
#[derive(Debug)]
pub(super) struct Run {
    /// The JSON record.
    pub(super) record: Record,
    /// The table, as the user reads it.
    pub(super) printed: String,
    /// What it complained of.
    pub(super) complaints: String,
    /// The exit status.
    pub(super) status: i32,
    /// Whether it ended because its client did.
    pub(super) ended: bool,
}

impl Bench {
    /// Waits until `server` has accepted `all` connections of a client that runs meanwhile.
    pub(super) fn accepted_by(
        &self,
        server: &mut Foreign,
        client: &mut Traced,
        all: u64,
    ) -> anyhow::Result<()> {
        self.until("every connection is accepted", || {
            client.must_run()?;
            Ok(server.accept(all as usize)? as u64 == all)
        })
    }

    /// Waits until `server` has accepted all `clients` of the lab's, and puts these in the order in which it did: on several
    /// CPUs, the final ACK of one may overtake another's.
    pub(super) fn accepted_in_order(
        &self,
        server: &mut Foreign,
        clients: &mut [impl AsFd],
    ) -> anyhow::Result<()> {
        self.until("every connection is accepted", || {
            Ok(server.accept(clients.len())? == clients.len())
        })?;
        server.sort(clients).context("whose connection is whose")
    }

    /// A whole run of a traced client with these arguments, in the lab's own namespace. `also` is traced too.
    pub(super) fn client_run(&mut self, also: Option<&Netns>, args: &str) -> anyhow::Result<Run> {
        self.traced_client(Place::default(), also, args)?
            .finish(self)
    }

    /// Starts a client with these arguments under the tracer: `c1m trace -- client`, or a plain one. `also` is traced
    /// too, beside the lab's own namespace. Without `--hold` it holds until it is interrupted.
    pub(super) fn traced_client(
        &mut self,
        place: Place,
        also: Option<&Netns>,
        args: &str,
    ) -> anyhow::Result<Traced> {
        let mut words = self.client_command()?;
        let args = match args.contains("--hold ") {
            true => args.to_owned(),
            false => format!("{args} {HOLD}"),
        };
        words.extend(self.setup.fixes.args(Who::Client, &args));
        let place = self.place(Who::Client, place);
        self.traced(place, also, words)
    }

    /// The same in the lab's own namespace, by a tracer that has room for so many attempts.
    pub(super) fn narrowly_traced_client(
        &mut self,
        entries: u64,
        args: &str,
    ) -> anyhow::Result<Traced> {
        let mut words = vec![format!("--entries={entries}")];
        words.extend(self.client_command()?);
        words.extend(args.split(' ').map(str::to_owned));
        self.traced(Place::default(), None, words)
    }

    /// Starts one of the plain programs under the tracer, whoever runs in the other labs.
    pub(super) fn traced_plain(&mut self, which: &str) -> anyhow::Result<Traced> {
        self.traced(Place::default(), None, plain_command(which)?)
    }

    /// What `c1m trace` is to run, up to the client's arguments.
    fn client_command(&self) -> anyhow::Result<Vec<String>> {
        match self.is_foreign() {
            false => Ok(["--", "client"].map(str::to_owned).to_vec()),
            true => plain_command("client"),
        }
    }

    /// Starts `c1m trace --port 8000` and waits until it traces: what the lab's own programs do from here on is
    /// its run. `also` as above.
    pub(super) fn traced_port(&mut self, also: Option<&Netns>) -> anyhow::Result<Traced> {
        let mut traced = self.traced(
            Place::default(),
            also,
            vec!["--port".to_owned(), PORT.to_string()],
        )?;
        self.until("the trace of the port begins", || {
            traced.must_run()?;
            Ok(traced.process.complaints().contains("tracing port"))
        })?;
        Ok(traced)
    }

    fn traced(
        &mut self,
        place: Place,
        also: Option<&Netns>,
        args: Vec<String>,
    ) -> anyhow::Result<Traced> {
        let record = self.dir.join(format!("{}.json", self.started));
        let mut words = vec![
            "trace".to_owned(),
            // The verifier is all that a slow machine does, and other labs wait for timers meanwhile.
            "--in-turn".to_owned(),
            format!("--hooks={}", self.setup.hooks),
            "--json".into(),
            record.display().to_string(),
        ];
        if let Some(also) = also {
            let path = format!(
                "/proc/{}/fd/{}",
                std::process::id(),
                also.as_fd().as_raw_fd()
            );
            words.extend(["--netns".to_owned(), path]);
        }
        words.extend(args);
        let process = self.start("trace", &words, place)?;
        Ok(Traced {
            process,
            record,
            interrupted: Cell::new(false),
        })
    }
}

/// Longer than any lab may take.
const HOLD: &str = "--hold 600s";

/// What `c1m trace` is to be given for a plain program, up to that one's arguments.
fn plain_command(which: &str) -> anyhow::Result<Vec<String>> {
    let program = super::own_program()?.display().to_string();
    let port = format!("--port={PORT}");
    Ok([port.as_str(), "--", &program, "plain", which]
        .map(str::to_owned)
        .to_vec())
}

impl Traced {
    /// The tracer's process; the client's workers descend from it.
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends the hold: what Ctrl-C does.
    pub(super) fn interrupt(&self) -> anyhow::Result<()> {
        self.interrupted.set(true);
        self.process.signal(Signal::INT)
    }

    /// The same for a plain client, once each of its attempts has an end; one of ours ends by itself.
    pub(super) fn interrupt_plain(&mut self, bench: &Bench) -> anyhow::Result<()> {
        if !bench.is_foreign() {
            return Ok(());
        }
        bench.until("every attempt of the plain client has an end", || {
            self.must_run()?;
            Ok(self.process.complaints().contains(plain::SETTLED))
        })?;
        self.interrupt()
    }

    /// Errors if it ended: the lab is not through with it.
    pub(super) fn must_run(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.process.ended()? {
            bail!(
                "the trace ended too early, with {status}: {}",
                self.process.complaints().trim()
            );
        }
        Ok(())
    }

    /// Waits for its end, and reads the record.
    pub(super) fn finish(mut self, bench: &Bench) -> anyhow::Result<Run> {
        let mut ended = None;
        bench.until("the end of the trace", || {
            ended = self.process.ended()?;
            Ok(ended.is_some())
        })?;
        let status = ended.and_then(|status| status.code()).unwrap_or(-1);
        let text = fs::read_to_string(&self.record).with_context(|| {
            let complaints = self.process.complaints();
            format!(
                "c1m trace left no record, exit status {status}: {}",
                complaints.trim()
            )
        })?;
        let record = serde_json::from_str(&text).context("the record of c1m trace")?;
        Ok(Run {
            record,
            printed: self.process.output(),
            complaints: self.process.complaints(),
            status,
            ended: !self.interrupted.get(),
        })
    }
}
