//! `c1m trace` of somebody else's programs: a command that it starts, or whatever runs on a port.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Instant, SystemTime},
};

use anyhow::bail;

use super::{
    cost, filter, interrupt::Interrupt, metrics, outputs, publish, timeline::Sampler,
    workload::Workload,
};
use crate::{
    causes::{Cause, remedy::RemedyContext},
    cli::{Live, Outputs, TraceArgs},
    ledger::{
        Ledger,
        balance::Frame,
        census::{self, Holders},
    },
    live::{self, Show, scene::RunView},
    options::Identity,
    report::{record::Record, text::thousands},
    slow::Slow,
    stderr::say,
    watch::Watch,
};

/// Traces until the command ends, or until a signal or a key ends it; then reports, and ends the command.
pub(super) async fn command(args: TraceArgs) -> anyhow::Result<u8> {
    if args.port.is_empty() {
        bail!(
            "which port is the server's? `c1m trace --port N -- {}`",
            args.workload.join(" ")
        );
    }
    let outputs = outputs(Some(&args), &Outputs::default())?;
    live::check(args.live.live)?;
    let mut interrupt = Interrupt::new()?;
    let started = (Instant::now(), SystemTime::now());
    let role = role(&args);
    let metrics = metrics(Some(&args), &args.metrics, role, &ports(&args)).await?;
    let mut sampler = Sampler::from_now(metrics.clone());
    let mut filter = filter(Some(&args), Vec::new(), false)?;
    filter.foreign = true;
    let loading = Slow::new("loading the tracer, and counting what stands");
    let mut watch = Watch::begin(filter, None, true)?;
    drop(loading);
    let mut workload = match args.workload.is_empty() {
        true => None,
        false => Some(Workload::start(&args.workload, Identity::of_sudo())?),
    };
    let named = ports(&args).replace(':', "");
    say(format_args!(
        "tracing port {named}; Ctrl-C ends it and prints the table"
    ));
    // What the command says would be drawn over.
    let live = match (args.live.live, &workload) {
        (Live::Auto, Some(_)) => Live::Off,
        (live, _) => live,
    };
    let (mut show, mut keys) = Show::begin(live, &watch, false)?;
    let title = format!("port {named}");
    let mut ended = None;
    tokio::select! {
        how = wait(&mut workload, &watch, &title, &mut show, &mut sampler) => ended = Some(how?),
        () = interrupt.first() => {}
        () = keys.end() => {}
    }
    let impatience = match &workload {
        Some(workload) => interrupt.second_kills(workload.ask_to_end()),
        None => interrupt.second_kills(|| ()),
    };
    show.end();
    let record = report(&args, &mut watch, sampler, started, ended).await;
    if let Some(workload) = workload {
        workload.end().await?;
    }
    let mut record = record?;
    record.states = watch.states();
    publish(&record, &outputs)?;
    cost::save(Some(&args), &watch, None)?;
    super::ended(&record, metrics, impatience).await
}

/// Whose view it is.
fn role(args: &TraceArgs) -> &'static str {
    match args.workload.is_empty() {
        true => "port",
        false => "command",
    }
}

/// `:8000, :8001`
fn ports(args: &TraceArgs) -> String {
    let named = args.port.iter().map(|port| format!(":{port}"));
    named.collect::<Vec<_>>().join(", ")
}

/// Until the command ends; for ever if there is none.
async fn wait(
    workload: &mut Option<Workload>,
    watch: &Watch,
    title: &str,
    show: &mut Show,
    sampler: &mut Sampler,
) -> anyhow::Result<String> {
    loop {
        let ended = async {
            match workload {
                Some(workload) => workload.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            how = ended => return Ok(how?),
            () = sampler.due() => {}
        }
        let moment = watch.moment().unwrap_or_default();
        sampler.note(&moment, watch);
        show.look(watch, || RunView {
            title: title.to_owned(),
            begun: moment.attempted,
            standing: moment.established,
            lost: moment.failed,
            ..RunView::default()
        });
    }
}

/// Who holds source ports towards the targets for which there was none, per source address.
fn holders(watch: &Watch, ledger: &Ledger) -> anyhow::Result<BTreeMap<IpAddr, Holders>> {
    let mut all = BTreeMap::<_, Holders>::new();
    let Some(loss) = ledger.lost.get(&Cause::PortsExhausted) else {
        return Ok(all);
    };
    for namespace in watch.namespaces() {
        for &target in &loss.targets {
            for (source, held) in census::holders(namespace, target)? {
                all.entry(source).or_default().add(&held);
            }
        }
    }
    Ok(all)
}

async fn report(
    args: &TraceArgs,
    watch: &mut Watch,
    mut sampler: Sampler,
    started: (Instant, SystemTime),
    ended: Option<String>,
) -> anyhow::Result<Record> {
    let _judging = Slow::new("counting who stands, and judging what did not stay");
    let sighting = watch.end(usize::MAX, 0)?;
    sampler.end(&watch.moment().unwrap_or_default(), watch);
    let mut ledger = watch.book(&sighting).await?;
    let counted = sighting.snapshot.stats.ends[watch.counted(&sighting) as usize];
    ledger.notes.extend(ended.clone());
    ledger.notes.extend(sighting.beside_the_table());
    let ports = ports(args);
    let exited = sighting.snapshot.stats.ends[0].exited;
    if exited > 0 {
        ledger.notes.push(format!(
            "{} connections were closed by the end of their client's process",
            thousands(exited)
        ));
    }
    let elsewhere = sighting.snapshot.elsewhere;
    if elsewhere > 0 {
        ledger.notes.push(format!(
            "{elsewhere} processes of the command were in network namespaces that are not traced: their connections are not in the \
             table unless the other end is; --netns PID or NAME traces one more"
        ));
    }
    // A command that has ended holds nothing any more.
    let holders = match ended {
        None => holders(watch, &ledger)?,
        Some(_) => BTreeMap::new(),
    };
    let crosscheck = sighting.crosscheck(&ledger);
    let server_nofile = sighting.server_nofile(&ledger);
    Ok(ledger.close(Frame {
        role: role(args).to_owned(),
        started: Some(started.1),
        elapsed_s: started.0.elapsed().as_secs_f64(),
        establish_s: counted.establish_s(),
        established: counted.established,
        target: ports.clone(),
        crosscheck,
        observability: sighting.observability,
        holders,
        samples: sampler.samples(),
        remedy: RemedyContext {
            accept_limit: sighting.accept_limit,
            listener: Some(ports),
            nofile: None,
            server_nofile,
            victims: sighting.snapshot.victims,
            host: sighting.host,
            ..RemedyContext::default()
        },
    }))
}
