//! Draws a scene. 80 × 24 is enough; what there is more room for is workers, causes and CPUs.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Gauge as Bar, Paragraph},
};

use super::scene::{Cpu, Gauge, HostView, KernelView, QueueView, RunView, Scene};
use crate::{
    load::stats::WorkerRow,
    report::text::{bytes, thousands},
};

/// From here on, in percent of a limit, a number is worth a look.
const NEAR: u64 = 90;

/// Draws it.
pub(super) fn draw(frame: &mut Frame<'_>, scene: &Scene) {
    let causes = scene
        .kernel
        .as_ref()
        .map_or(0, |kernel| kernel.seen.causes.len());
    let [head, bar, middle, seen, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(11),
        Constraint::Length((causes as u16).clamp(1, 8) + 2),
        Constraint::Min(3),
    ])
    .areas(frame.area());
    frame.render_widget(title(scene, head.width), head);
    frame.render_widget(progress(&scene.run), bar);
    let [left, right] =
        Layout::horizontal([Constraint::Percentage(46), Constraint::Percentage(54)]).areas(middle);
    boxed(frame, left, " connections ", connections(scene));
    boxed(frame, right, " host ", host(&scene.host));
    let note = match &scene.kernel {
        Some(kernel) if kernel.seen.is_partial => {
            " trouble seen so far, in a sample (verdicts come at the end) "
        }
        Some(_) => " trouble seen so far (verdicts come at the end) ",
        None => " not traced: no causes ",
    };
    boxed(frame, seen, note, trouble(scene));
    let [workers, cpus] =
        Layout::horizontal([Constraint::Percentage(46), Constraint::Percentage(54)]).areas(bottom);
    let rows = workers_lines(
        &scene.run.workers,
        usize::from(workers.height.saturating_sub(2)),
    );
    boxed(
        frame,
        workers,
        &format!(
            " {} workers: held, in flight, lost ",
            scene.run.workers.len()
        ),
        rows,
    );
    let rows = cpu_lines(&scene.host, usize::from(cpus.height.saturating_sub(2)));
    boxed(frame, cpus, " CPU ", rows);
}

fn boxed(frame: &mut Frame<'_>, area: Rect, title: &str, lines: Vec<Line<'_>>) {
    let block = Block::bordered()
        .title(title.to_owned())
        .border_style(Style::new().fg(Color::DarkGray));
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn title(scene: &Scene, width: u16) -> Line<'_> {
    let left = format!("c1m  {}", scene.run.title);
    let right = format!("{:.0} s   q ends the run", scene.elapsed.as_secs_f64());
    let gap = usize::from(width).saturating_sub(left.chars().count() + right.chars().count());
    Line::from(vec![
        Span::styled(left, Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(" ".repeat(gap.max(1))),
        Span::raw(right),
    ])
}

fn progress(run: &RunView) -> Bar<'_> {
    let planned = run.planned.unwrap_or(run.begun).max(1);
    let label = match run.planned {
        Some(planned) => format!(
            "{} of {} stand",
            thousands(run.standing),
            thousands(planned)
        ),
        None => format!(
            "{} stand of {} that came",
            thousands(run.standing),
            thousands(run.begun)
        ),
    };
    let ratio = (run.standing as f64 / planned as f64).clamp(0.0, 1.0);
    Bar::default()
        .ratio(ratio)
        .label(label)
        .gauge_style(Style::new().fg(Color::Green).bg(Color::Black))
}

/// A name, and a number that ends in the same column as the others.
fn line(name: &str, value: impl Into<String>) -> Line<'static> {
    Line::from(format!("{name:<17}{:>15}", value.into()))
}

fn red_if(bad: bool, line: Line<'static>) -> Line<'static> {
    match bad {
        true => line.style(Style::new().fg(Color::Red)),
        false => line,
    }
}

fn connections(scene: &Scene) -> Vec<Line<'static>> {
    let run = &scene.run;
    let mut lines = vec![
        line("per second", thousands(scene.rate_per_s)),
        line("begun", thousands(run.begun)),
    ];
    if let Some(in_flight) = run.in_flight {
        lines.push(line("in flight", thousands(in_flight)));
    }
    let lost = run.failed + run.lost;
    lines.push(red_if(
        lost > 0,
        line(
            "failed + lost",
            format!("{} + {}", thousands(run.failed), thousands(run.lost)),
        ),
    ));
    if run.no_file != [0, 0] {
        let [descriptors, files] = run.no_file;
        lines.push(red_if(
            true,
            line(
                "EMFILE, ENFILE",
                format!("{}, {}", thousands(descriptors), thousands(files)),
            ),
        ));
    }
    match &scene.kernel {
        Some(kernel) => lines.extend(ends(kernel)),
        None => lines.push(line("closed", thousands(run.closed))),
    }
    lines
}

/// Both ends, as the kernel side counts them.
fn ends(kernel: &KernelView) -> Vec<Line<'static>> {
    let [client, server] = kernel.established;
    let mut lines = vec![
        line("client's ends", thousands(client)),
        line("server's ends", thousands(server)),
    ];
    let recovered: u64 = kernel.seen.causes.iter().map(|one| one.recovered).sum();
    lines.push(line("recovered", thousands(recovered)));
    lines.push(line(
        "SYN/ACK drops",
        format!(
            "{} / {}",
            thousands(kernel.syns_dropped),
            thousands(kernel.acks_refused)
        ),
    ));
    lines
}

fn gauge(name: &str, gauge: Gauge, show: fn(u64) -> String) -> Line<'static> {
    let near =
        gauge.limit > 0 && gauge.used.saturating_mul(100) >= gauge.limit.saturating_mul(NEAR);
    let limit = match gauge.limit {
        // Only the host's own network namespace tells it.
        0 => String::new(),
        // What some kernels write for none.
        limit if limit >= 1 << 60 => " of no limit".to_owned(),
        limit => format!(" of {}", show(limit)),
    };
    red_if(
        near,
        Line::from(format!("{name:<12}{:>11}{limit}", show(gauge.used))),
    )
}

fn requests(queue: &QueueView) -> Line<'static> {
    let limit = queue.requests_limit;
    match queue.requests {
        Some(used) => gauge("SYN queue", Gauge { used, limit }, thousands),
        None => Line::from(format!(
            "{:<12}{:>11} of {}",
            "SYN queue",
            "?",
            thousands(limit)
        )),
    }
}

fn host(host: &HostView) -> Vec<Line<'static>> {
    let [in_use, allocated] = host.sockets;
    // Of several listeners the one that is the nearest to its limit.
    let fullest = host.queues.iter().max_by_key(|queue| {
        let Gauge { used, limit } = queue.accept;
        used.saturating_mul(1_000) / limit.max(1)
    });
    let mut lines = match fullest {
        Some(queue) => vec![
            gauge("accept queue", queue.accept, thousands),
            requests(queue),
        ],
        None => vec![Line::from("accept queue  nobody listens here")],
    };
    lines.extend([
        gauge("files", host.files, thousands),
        gauge("memory", host.memory, bytes),
        Line::from(format!("{:<12}{:>11}", "slab", bytes(host.slab_bytes))),
        gauge("TCP pages", host.tcp_pages, thousands),
        Line::from(format!(
            "{:<12}{:>11} / {}",
            "TCP sockets",
            thousands(in_use),
            thousands(allocated)
        )),
        gauge("TIME_WAIT", host.time_wait, thousands),
        gauge("orphans", host.orphans, thousands),
    ]);
    lines
}

fn trouble(scene: &Scene) -> Vec<Line<'static>> {
    let Some(kernel) = &scene.kernel else {
        return vec![Line::from(
            "sudo c1m trace -- … shows causes as they happen",
        )];
    };
    let mut lines: Vec<_> = kernel
        .seen
        .causes
        .iter()
        .map(|one| {
            let open = one.met - one.recovered;
            let text = format!(
                "{:>7} open {:>7} recovered  {}",
                thousands(open),
                thousands(one.recovered),
                one.cause.row().title
            );
            red_if(open > 0, Line::from(text))
        })
        .collect();
    if lines.is_empty() {
        lines.push(Line::from("none"));
    }
    lines
}

fn workers_lines(workers: &[WorkerRow], room: usize) -> Vec<Line<'static>> {
    // The newest are those at work.
    let hidden = workers.len().saturating_sub(room);
    let hidden = if hidden > 0 { hidden + 1 } else { 0 };
    let mut lines: Vec<_> = (workers.iter().rev())
        .take(workers.len() - hidden.min(workers.len()))
        .map(|worker| {
            let WorkerRow {
                pid,
                doing,
                held,
                in_flight,
                lost,
            } = worker;
            let text = format!(
                "{pid:>7} {doing:<9}{:>8}{:>6}{:>5}",
                thousands(*held),
                in_flight,
                lost
            );
            red_if(*lost > 0, Line::from(text))
        })
        .collect();
    if hidden > 0 {
        let held: u64 = workers.iter().take(hidden).map(|worker| worker.held).sum();
        lines.push(Line::from(format!(
            "{hidden:>7} others  {:>9}",
            thousands(held)
        )));
    }
    lines
}

fn cpu_lines(host: &HostView, room: usize) -> Vec<Line<'static>> {
    let dropped = host.softnet_dropped;
    let network = format!(
        "{} packets/s, {} dropped",
        thousands(host.packets_per_s),
        thousands(dropped)
    );
    let each = room.saturating_sub(1);
    let mut lines = vec![red_if(dropped > 0, Line::from(network))];
    let show = |name: String, cpu: &Cpu| {
        let Cpu {
            user,
            system,
            softirq,
            idle,
        } = cpu;
        Line::from(format!(
            "{name:<5}{user:>3.0}% user{system:>3.0}% sys{softirq:>3.0}% soft{idle:>3.0}% idle"
        ))
    };
    if host.cpus.len() <= each {
        lines.extend(
            host.cpus
                .iter()
                .enumerate()
                .map(|(index, cpu)| show(format!("cpu{index}"), cpu)),
        );
    } else {
        let count = host.cpus.len() as f64;
        let mean = |of: fn(&Cpu) -> f64| host.cpus.iter().map(of).sum::<f64>() / count;
        let all = Cpu {
            user: mean(|cpu| cpu.user),
            system: mean(|cpu| cpu.system),
            softirq: mean(|cpu| cpu.softirq),
            idle: mean(|cpu| cpu.idle),
        };
        lines.push(show("all".to_owned(), &all));
    }
    lines
}
