use std::time::Duration;

use ratatui::{Terminal, backend::TestBackend};

use super::{
    draw::draw,
    scene::{Cpu, Gauge, HostView, KernelView, QueueView, RunView, Scene},
};
use crate::{
    causes::Cause,
    load::stats::WorkerRow,
    watch::seen::{CauseSeen, Seen},
};

fn scene() -> Scene {
    let worker = |index: u32| WorkerRow {
        pid: 4_000 + index,
        doing: if index == 10 { "dials" } else { "holds" },
        held: 19_994,
        in_flight: if index == 10 { 1_024 } else { 0 },
        lost: u64::from(index == 3),
    };
    let gauge = |used, limit| Gauge { used, limit };
    let cpu = Cpu {
        user: 12.0,
        system: 40.0,
        softirq: 38.0,
        idle: 10.0,
    };
    let cause = |cause, met, recovered| CauseSeen {
        cause,
        met,
        recovered,
    };
    Scene {
        elapsed: Duration::from_secs(5),
        rate_per_s: 38_411,
        run: RunView {
            title: "client to 127.0.0.1:8000".to_owned(),
            planned: Some(200_000),
            begun: 189_000,
            in_flight: Some(1_024),
            standing: 187_841,
            failed: 120,
            lost: 15,
            workers: (1..=10).map(worker).collect(),
            ..RunView::default()
        },
        host: HostView {
            files: gauge(401_022, 2_466_170),
            tcp_pages: gauge(262, 575_796),
            memory: gauge(4 << 30, 24 << 30),
            slab_bytes: 2 << 30,
            sockets: [400_011, 400_030],
            time_wait: gauge(0, 131_072),
            orphans: gauge(130_000, 131_072),
            queues: vec![QueueView {
                accept: gauge(4_097, 4_096),
                requests: Some(812),
                requests_limit: 4_096,
            }],
            cpus: vec![cpu, cpu],
            packets_per_s: 230_100,
            softnet_dropped: 0,
        },
        kernel: Some(KernelView {
            established: [187_841, 187_000],
            syns_dropped: 812,
            acks_refused: 9,
            seen: Seen {
                causes: vec![
                    cause(Cause::AcceptQueueFullSyn, 700, 651),
                    cause(Cause::AcceptQueueFullAck, 9, 9),
                ],
                is_partial: false,
            },
        }),
    }
}

fn drawn(scene: &Scene, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, scene)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn eighty_columns_are_enough() {
    insta::assert_snapshot!(drawn(&scene(), 80, 24));
}

#[test]
fn more_room_has_more_workers() {
    let text = drawn(&scene(), 200, 50);
    for pid in 4_001..=4_010 {
        assert!(text.contains(&pid.to_string()), "{text}");
    }
}

#[test]
fn any_size_can_be_drawn() {
    for (width, height) in [(1, 1), (20, 5), (80, 3), (300, 100)] {
        drawn(&scene(), width, height);
        drawn(&Scene::default(), width, height);
    }
}
