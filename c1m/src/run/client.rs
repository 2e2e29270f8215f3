//! `c1m client`, traced or not.

use std::{
    cell::Cell,
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use c1m_common::tuple::Tuple;

use super::{
    cost, ended, filter, interrupt::Interrupt, live_of, metrics, outputs, publish,
    timeline::Sampler,
};
use crate::{
    causes::{Cause, remedy::RemedyContext},
    cli::{ClientArgs, Close, TraceArgs},
    doctor,
    ledger::{
        Ledger,
        balance::Frame,
        census::{self, Holders, Side},
        client::{Index, Run, ServerEnds, book},
        detail::Latencies,
    },
    live::{self, Show, scene::RunView},
    load::{
        client::{ClientRun, Progress},
        outcome::Outcome,
    },
    options::{ClientPlan, Identity, raise_nofile},
    report::{record::Record, text::thousands},
    slow::Slow,
    stderr::say,
    watch::{Sighting, Watch, moment::Moment},
};

mod nat;

use nat::{are_translated, asks, is_hidden, translated};

/// Opens the connections, holds them, says what stands and why the others do not, and closes them. A signal
/// or a key ends the opening or the holding early; the report comes all the same.
pub async fn client(args: ClientArgs, trace: Option<&TraceArgs>) -> anyhow::Result<u8> {
    let mut interrupt = Interrupt::new()?;
    let outputs = outputs(trace, &args.outputs)?;
    live::check(live_of(trace, args.live))?;
    let run_as = trace.and_then(|_| Identity::of_sudo());
    let (args, fewer) = doctor::fitted(&args, run_as.as_ref());
    if let Some(fewer) = fewer {
        say(fewer);
    }
    let plan = ClientPlan::new(&args)?;
    let metrics = metrics(trace, &args.metrics, "client", &plan.target.to_string()).await?;
    let loading = trace.map(|_| Slow::new("loading the tracer, and counting what stands"));
    let mut watch = Watch::begin(
        filter(trace, vec![plan.target.port()], true)?,
        Some(plan.target.ip()),
        trace.is_some(),
    )?;
    drop(loading);
    // For the pipes of many workers.
    raise_nofile()?;
    let as_root = run_as.is_none() && rustix::process::geteuid().is_root();
    let hold = plan.hold;
    let mut client = ClientRun::start(plan, run_as).await?;
    let (mut show, mut keys) = Show::begin(live_of(trace, args.live), &watch, true)?;
    let mut sampler = Sampler::new(client.started().2, metrics.clone());
    let mut settled = None;
    let done = tokio::select! {
        done = settle_and_hold(&mut client, &watch, hold, &mut show, &mut sampler, &mut settled) => done,
        () = interrupt.first() => Ok(()),
        () = keys.end() => Ok(()),
    };
    let held = settled.map_or(Duration::ZERO, |at: Instant| at.elapsed());
    let impatience = interrupt.second_kills(client.undo());
    show.end();
    let report = match done {
        Ok(()) => report(&mut client, &mut watch, sampler, as_root).await,
        Err(error) => Err(error),
    };
    let publish = |report: Report, watch: &Watch| {
        let Report { mut record, table } = report;
        record.states = watch.states();
        let written = publish(&record, &outputs);
        cost::save(trace, watch, Some(table.saturating_sub(held)))?;
        anyhow::Ok((record, written))
    };
    // To close a million takes seconds. A reset leaves no state behind, so that nothing can be added to the table.
    if client.plan().close == Close::Rst {
        let published = report.and_then(|report| publish(report, &watch));
        // Nobody needs to see how they end.
        drop(watch);
        client.close().await?;
        let (record, written) = published?;
        // They may have had every file of the host.
        written.or_else(|_| outputs.write(&record))?;
        return ended(&record, metrics, impatience).await;
    }
    let closed = client.close().await;
    let report = report?;
    closed?;
    let (record, written) = publish(report, &watch)?;
    written?;
    ended(&record, metrics, impatience).await
}

/// Up to so many facts are read into memory; of more, each attempt's are read when it is judged.
const FACTS_AT_ONCE: u64 = 250_000;
/// So few always are.
const FACTS_FEW: u64 = 50_000;

/// How many facts to read at once: for all of them there are two calls for each, for one there is one. Which attempt had which
/// port of the kernel's choice takes all of them.
fn facts_at_once(progress: &Progress, kernel_ports: bool) -> usize {
    if kernel_ports {
        return usize::MAX;
    }
    let lost = progress.failed + progress.lost;
    if lost > FACTS_AT_ONCE || lost > FACTS_FEW && 2 * lost > progress.begun {
        return 0;
    }
    FACTS_AT_ONCE as usize
}

/// What a run ends with.
struct Report {
    record: Record,
    /// From the last attempt that settled until the record was made.
    table: Duration,
}

/// Until every attempt has settled, at which moment it says, and what was established has been held; tells how far it is.
async fn settle_and_hold(
    client: &mut ClientRun,
    watch: &Watch,
    hold: Duration,
    show: &mut Show,
    sampler: &mut Sampler,
    settled_at: &mut Option<Instant>,
) -> anyhow::Result<()> {
    let mut look = |client: &ClientRun, sampler: &mut Sampler| {
        show.look(watch, || view(client));
        sampler.note(&moment(client, watch), watch);
        sampler.note_latency(|| latencies(client));
    };
    loop {
        tokio::select! {
            settled = client.settled() => {
                settled?;
                break;
            }
            () = sampler.due() => {}
        }
        look(client, sampler);
    }
    let now = Instant::now();
    *settled_at = Some(now);
    if client.progress().established == 0 {
        // Nothing is there to be held.
        return Ok(());
    }
    let end = now + hold;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        tokio::select! {
            waited = client.wait(left) => waited?,
            () = sampler.due() => {}
        }
        look(client, sampler);
    }
}

/// How far it is, for people.
fn view(client: &ClientRun) -> RunView {
    let progress = client.progress();
    RunView {
        title: format!("client to {}", client.plan().target),
        planned: Some(progress.planned),
        begun: progress.begun,
        in_flight: Some(progress.in_flight),
        standing: progress.established,
        failed: progress.failed,
        lost: progress.lost,
        no_file: client.no_file(),
        closed: 0,
        workers: client.worker_rows(),
    }
}

/// How long the attempts took that are established by now.
fn latencies(client: &ClientRun) -> Latencies {
    let slab = client.slab();
    let mut latencies = Latencies::default();
    (0..slab.len())
        .map(|index| slab.get(index))
        .filter(Outcome::is_established)
        .for_each(|outcome| latencies.note(outcome.connect_us(), outcome.settle_us));
    latencies
}

/// How far it is.
fn moment(client: &ClientRun, watch: &Watch) -> Moment {
    let progress = client.progress();
    Moment {
        attempted: progress.begun,
        established: progress.established,
        failed: progress.failed + progress.lost,
        accept_queue: watch.waiting_now(),
    }
}

/// Why a census may miss somebody.
const CHANGED: &str = "the socket tables changed while the census was taken";

/// Freezes the run, takes the census and judges every attempt. The connections still stand.
async fn report(
    client: &mut ClientRun,
    watch: &mut Watch,
    mut sampler: Sampler,
    as_root: bool,
) -> anyhow::Result<Report> {
    let _judging = Slow::new("counting who stands, and judging every attempt");
    // What is under way when it ends early gets the time to arrive.
    client.halt();
    watch.drain().await?;
    client.freeze().await?;
    sampler.end(&moment(client, watch), watch);
    let (plan, slab) = (client.plan(), client.slab());
    let facts_max = facts_at_once(&client.progress(), plan.tuples.kernel_ports());
    let mut sighting = watch.end(facts_max, client.progress().established)?;
    let target = plan.target;
    let index = Index::new(&plan.tuples, slab);
    let (ends, interrupted) = server_ends(watch, &index, slab.len(), target)?;
    sighting.sight.server_end &= !is_hidden(watch, &client.progress(), &ends, &sighting)?;
    let (started, wall, epoch_ns) = client.started();
    let asks = asks(&client.progress(), &ends, &sighting);
    let translated = translated(watch, &index, target, asks)?;
    let run = Run {
        tuples: &plan.tuples,
        target,
        slab,
        epoch_ns,
        translated: &translated,
    };
    let named = Cell::new(0);
    let look_up = |tuple: &Tuple| watch.facts_of(tuple, &named);
    let context = watch.context(&sighting);
    let (mut ledger, speed) = book(&run, &ends, &sighting.snapshot, &look_up, &context)?;
    sighting.snapshot.stats.name_drops(named.get());
    ledger.notes.extend(are_translated(&translated));
    ledger.notes.extend(interrupted.then(|| CHANGED.to_owned()));
    let as_root = as_root && watch.is_traced();
    ledger.notes.extend(remarks(client, &sighting, as_root));
    let holders = holders(&ledger, watch, target)?;
    let server_nofile = sighting.server_nofile(&ledger);
    let crosscheck = sighting.crosscheck(&ledger);
    let record = ledger.close(Frame {
        role: "client".to_owned(),
        started: Some(wall),
        elapsed_s: started.elapsed().as_secs_f64(),
        establish_s: speed.establish_s(),
        established: speed.established,
        target: target.to_string(),
        crosscheck,
        observability: sighting.observability,
        holders,
        samples: sampler.samples(),
        remedy: RemedyContext {
            accept_limit: sighting.accept_limit,
            listener: Some(target.to_string()),
            client_is_c1m: true,
            server_is_c1m: sighting.server_is_c1m,
            timeout_ms: u64::try_from(plan.timeout.as_millis()).ok(),
            nofile: sighting.host.nofile_hard,
            server_nofile,
            victims: sighting.snapshot.victims,
            host: sighting.host,
            client_host: sighting.client_host,
            ..RemedyContext::default()
        },
    });
    let table = started.elapsed().saturating_sub(speed.settled());
    Ok(Report { record, table })
}

/// The server's ends of the attempts, and whether the tables changed while they were read.
fn server_ends(
    watch: &Watch,
    index: &Index<'_>,
    attempts: usize,
    target: SocketAddr,
) -> anyhow::Result<(ServerEnds, bool)> {
    let mut ends = ServerEnds::new(attempts, target);
    let interrupted = watch.server_sockets(|socket| ends.note(index, &socket))?;
    ends.settle(index, &watch.changed(Side::Server)?);
    Ok((ends, interrupted))
}

/// Who has the ports. Another census: only for the one cause that asks.
fn holders(
    ledger: &Ledger,
    watch: &Watch,
    target: SocketAddr,
) -> anyhow::Result<BTreeMap<IpAddr, Holders>> {
    let asks = ledger.lost.contains_key(&Cause::PortsExhausted);
    match watch.namespaces().first().filter(|_| asks) {
        Some(namespace) => Ok(census::holders(namespace, target)?),
        None => Ok(BTreeMap::new()),
    }
}

/// What the reader has to know of this run besides its sums.
fn remarks(client: &ClientRun, sighting: &Sighting, traced_as_root: bool) -> Vec<String> {
    let mut remarks = sighting.beside_the_table();
    if !sighting.sight.server_end {
        remarks.push(format!(
            "the server's end of {} is not on this host, is in a namespace that was not named, or has a translated address (NAT): \
             standing is what the client says",
            client.plan().target
        ));
    }
    if let no_process @ 1.. = client.no_process() {
        remarks.push(format!(
            "{} attempts found no process for their worker (fork(): EAGAIN): RLIMIT_NPROC, kernel.pid_max, or pids.max of the \
             cgroup; `c1m doctor` shows the nearest",
            thousands(no_process)
        ));
    }
    if let unwatched @ 1.. = client.unwatched() {
        remarks.push(format!(
            "epoll had no room for a connection {}× (fs.epoll.max_user_watches): of what was up at once nobody hears its end, and \
             the rest was given up",
            thousands(unwatched)
        ));
    }
    if traced_as_root {
        remarks.push("the workload ran as root, which is exempt from fs.file-max".to_owned());
    }
    remarks.extend(
        client
            .deaths()
            .iter()
            .map(|death| format!("client {death}")),
    );
    remarks
}
