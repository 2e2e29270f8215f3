//! `c1m server`, traced or not.

use std::time::{Instant, SystemTime};

use super::{
    cost, ended, filter, interrupt::Interrupt, live_of, metrics, outputs, publish,
    timeline::Sampler,
};
use crate::{
    causes::{Cause, remedy::RemedyContext},
    cli::{ServerArgs, TraceArgs},
    ledger::{Ledger, balance::Frame, server::Standing},
    live::{self, Show, scene::RunView},
    load::server::ServerRun,
    options::{Identity, ServerPlan, raise_nofile},
    report::record::Record,
    slow::Slow,
    stderr::say,
    watch::{Watch, moment::Moment},
};

/// Runs a server until a signal or a key ends it, then says what came and why some of it did not stay.
pub async fn server(args: ServerArgs, trace: Option<&TraceArgs>) -> anyhow::Result<u8> {
    let mut interrupt = Interrupt::new()?;
    let started = (Instant::now(), SystemTime::now());
    let outputs = outputs(trace, &args.outputs)?;
    live::check(live_of(trace, args.live))?;
    let plan = ServerPlan::new(&args)?;
    let metrics = metrics(trace, &args.metrics, "server", &plan.listen.to_string()).await?;
    let mut sampler = Sampler::from_now(metrics.clone());
    let backlog = plan.backlog;
    let loading = trace.map(|_| Slow::new("loading the tracer, and counting what stands"));
    let mut watch = Watch::begin(
        filter(trace, vec![plan.listen.port()], false)?,
        None,
        trace.is_some(),
    )?;
    drop(loading);
    // For the pipes of many workers.
    raise_nofile()?;
    let run_as = trace.and_then(|_| Identity::of_sudo());
    let mut server = ServerRun::start(plan, run_as).await?;
    say(format_args!(
        "listening on {}, backlog {backlog}",
        server.address()
    ));
    let (mut show, mut keys) = Show::begin(live_of(trace, args.live), &watch, false)?;
    let done = tokio::select! {
        ended = supervise(&mut server, &watch, &mut show, &mut sampler) => ended,
        () = interrupt.first() => Ok(()),
        () = keys.end() => Ok(()),
    };
    let impatience = interrupt.second_kills(|| ());
    show.end();
    let record = match done {
        Ok(()) => report(&server, &mut watch, sampler, started).await,
        Err(error) => Err(error),
    };
    let closed = server.close().await;
    let mut record = record?;
    closed?;
    record.states = watch.states();
    publish(&record, &outputs)?;
    cost::save(trace, &watch, None)?;
    ended(&record, metrics, impatience).await
}

/// Until it is cancelled; an error ends it if nothing can be supervised any more.
async fn supervise(
    server: &mut ServerRun,
    watch: &Watch,
    show: &mut Show,
    sampler: &mut Sampler,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            ended = server.supervise() => return ended,
            () = sampler.due() => {}
        }
        sampler.note(&moment(server, watch), watch);
        show.look(watch, || view(server));
    }
}

/// How far it is, for people.
fn view(server: &ServerRun) -> RunView {
    let totals = server.totals();
    RunView {
        title: format!("server at {}", server.address()),
        begun: totals.accepted,
        standing: totals.held,
        lost: totals.died,
        no_file: [totals.emfile, totals.enfile],
        closed: totals.closed_fin + totals.closed_rst,
        workers: server.worker_rows(),
        ..RunView::default()
    }
}

/// How far it is: as the tracer sees its end, or as its workers count.
fn moment(server: &ServerRun, watch: &Watch) -> Moment {
    watch.moment().unwrap_or_else(|| {
        let totals = server.totals();
        Moment {
            attempted: totals.accepted,
            established: totals.held,
            failed: totals.died,
            accept_queue: watch.waiting_now(),
        }
    })
}

/// Takes the census and books what the listener's side of each attempt tells. The connections still stand.
async fn report(
    server: &ServerRun,
    watch: &mut Watch,
    mut sampler: Sampler,
    started: (Instant, SystemTime),
) -> anyhow::Result<Record> {
    let _judging = Slow::new("counting who stands, and judging what did not stay");
    let totals = server.totals();
    let sighting = watch.end(usize::MAX, 0)?;
    sampler.end(&moment(server, watch), watch);
    let mut ledger = match watch.is_traced() {
        true => watch.book(&sighting).await?,
        false => untraced(server, &watch.standing(&sighting.snapshot).await?),
    };
    ledger.notes.extend(sighting.beside_the_table());
    for death in server.deaths() {
        ledger.notes.push(format!("server {death}"));
    }
    // Every full worker meets EMFILE once; it is news only if connections wait because of it.
    if totals.emfile > 0 && ledger.lost.contains_key(&Cause::AcceptStarved) {
        ledger.notes.push(format!(
            "accept4() failed {} times with EMFILE: RLIMIT_NOFILE is {}",
            totals.emfile,
            server.plan().nofile
        ));
    }
    if totals.enfile > 0 {
        ledger.notes.push(format!(
            "accept4() failed {} times with ENFILE: fs.file-max",
            totals.enfile
        ));
    }
    if totals.unwatched > 0 {
        ledger.notes.push(format!(
            "{} connections are not watched: fs.epoll.max_user_watches",
            totals.unwatched
        ));
    }
    let processes = server
        .deaths()
        .iter()
        .map(|death| format!("{} ({})", death.pid, death.ended));
    let crosscheck = sighting.crosscheck(&ledger);
    let server_nofile = sighting.server_nofile(&ledger);
    Ok(ledger.close(Frame {
        role: "server".to_owned(),
        started: Some(started.1),
        elapsed_s: started.0.elapsed().as_secs_f64(),
        establish_s: sighting.snapshot.stats.ends[1].establish_s(),
        established: sighting.snapshot.stats.ends[1].established,
        target: server.address().to_string(),
        crosscheck,
        observability: sighting.observability,
        holders: Default::default(),
        samples: sampler.samples(),
        remedy: RemedyContext {
            accept_limit: sighting.accept_limit,
            listener: Some(server.address().to_string()),
            server_is_c1m: true,
            processes: processes.collect(),
            nofile: Some(server.plan().nofile),
            server_nofile,
            victims: sighting.snapshot.victims,
            host: sighting.host,
            ..RemedyContext::default()
        },
    }))
}

/// Without a tracer: what the workers counted, and who waits in the accept queue.
fn untraced(server: &ServerRun, standing: &Standing) -> Ledger {
    let totals = server.totals();
    let queued = standing.queued.len() as u64;
    let mut ledger = Ledger {
        attempted: totals.accepted + queued,
        standing: totals.held,
        closed: totals.closed_fin + totals.closed_rst,
        ..Ledger::default()
    };
    ledger.lose_unnamed(Cause::ServerExited, totals.died, "dead workers");
    let place = format!("listener {}", server.address());
    ledger.lose_unnamed(Cause::AcceptStarved, queued, &place);
    ledger
        .notes
        .push("not traced: connections that never reached a worker are not seen".to_owned());
    ledger
}
