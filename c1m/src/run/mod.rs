//! The commands that run something: plan, watch, load, ledger, report. Each reads from top to bottom as the
//! data's way; without a tracer the same way is gone with less to see.

mod client;
mod command;
mod cost;
mod interrupt;
pub(crate) mod list;
mod server;
mod timeline;
mod workload;

use anyhow::{Context as _, bail};
use clap::Parser as _;

use crate::{
    cli::{Cli, Command, Live, LiveArgs, MetricsArgs, Outputs, TraceArgs},
    metrics::Metrics,
    netns::Netns,
    report::{outputs::check_writable, publish, record::Record},
    run::interrupt::{Impatience, Interrupt},
    trace::Filter,
};

pub use client::client;
pub use server::server;

/// Runs `c1m trace`: a server or client of ours, any other command, or nothing but the tracer.
pub async fn trace(args: TraceArgs) -> anyhow::Result<u8> {
    if args.list_hooks {
        return list::hooks(args.hooks);
    }
    if args.list_programs {
        return list::programs(args.hooks);
    }
    let _counted = cost::count(&args)?;
    let Some(first) = args.workload.first() else {
        if args.port.is_empty() {
            bail!(
                "nothing to trace: `c1m trace -- server …`, `c1m trace -- client …`, or `c1m trace --port N`"
            );
        }
        return command::command(args).await;
    };
    if first != "server" && first != "client" {
        return command::command(args).await;
    }
    let words = std::iter::once("c1m".to_owned()).chain(args.workload.iter().cloned());
    match Cli::try_parse_from(words)
        .unwrap_or_else(|error| error.exit())
        .command
    {
        Command::Client(client_args) => client(client_args, Some(&args)).await,
        Command::Server(server_args) => server(server_args, Some(&args)).await,
        _ => bail!("`c1m trace -- {first}` is neither a server nor a client"),
    }
}

/// Whether to show a run: as either command of a line says.
fn live_of(trace: Option<&TraceArgs>, own: LiveArgs) -> Live {
    match trace.map(|trace| trace.live.live) {
        None | Some(Live::Auto) => own.live,
        Some(live) => live,
    }
}

/// What to watch: our own namespace and those named, and the given ports.
fn filter(
    trace: Option<&TraceArgs>,
    mut ports: Vec<u16>,
    server_close_is_loss: bool,
) -> anyhow::Result<Filter> {
    let mut namespaces = vec![Netns::current().context("our network namespace")?];
    if let Some(trace) = trace {
        for name in &trace.netns {
            let namespace = Netns::open(name)?;
            if namespaces.iter().all(|known| known.inum != namespace.inum) {
                namespaces.push(namespace);
            }
        }
        ports.extend(&trace.port);
    }
    ports.sort_unstable();
    ports.dedup();
    if ports.first() == Some(&0) {
        bail!("--port 0 is no port that anybody listens at: name the server's");
    }
    let entries = trace.map_or(1, |trace| trace.entries);
    if entries == 0 {
        bail!("--entries 0 leaves no room for a single failure: 1 or more");
    }
    Ok(Filter {
        namespaces,
        ports,
        entries,
        server_close_is_loss,
        foreign: false,
        backend: trace.and_then(|trace| trace.hooks.forced()),
        verbose: trace.is_some_and(|trace| trace.verbose),
        in_turn: trace.is_some_and(|trace| trace.in_turn),
    })
}

/// Where the report of a run goes: what the tracer's options say, and else the load's own. Errors: a file cannot be written.
fn outputs(trace: Option<&TraceArgs>, own: &Outputs) -> anyhow::Result<Outputs> {
    let outputs = trace.map_or_else(|| own.clone(), |trace| trace.outputs.or(own));
    outputs.check()?;
    if let Some(cost) = trace.and_then(|trace| trace.cost.as_deref()) {
        check_writable("--cost", cost)?;
    }
    Ok(outputs)
}

/// Lets the metrics end with the table, and says how the run ended. The table is out: a signal ends but the waiting now.
async fn ended(
    record: &Record,
    metrics: Option<Metrics>,
    impatience: Impatience,
) -> anyhow::Result<u8> {
    let Some(metrics) = metrics else {
        return Ok(record.status());
    };
    let mut enough = Interrupt::new()?;
    drop(impatience);
    tokio::select! {
        () = metrics.finish(record) => {}
        () = enough.first() => {}
    }
    Ok(record.status())
}

/// The metrics of a run: what the tracer's options say, and else the load's own.
async fn metrics(
    trace: Option<&TraceArgs>,
    own: &MetricsArgs,
    role: &str,
    target: &str,
) -> anyhow::Result<Option<Metrics>> {
    let asked = trace.map(|trace| &trace.metrics);
    let args = asked.filter(|args| args.metrics.is_some()).unwrap_or(own);
    let metrics = Metrics::start(args).await?;
    if let Some(metrics) = &metrics {
        metrics.name(role, target);
    }
    Ok(metrics)
}
