//! Labs of programs and policies that refuse a call or a segment: BPF, socket filters, IPsec.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::AsFd,
};

use socket2::{SockFilter, Socket};

use super::{
    Outcome, Skip,
    bench::{ATTEMPTS, Bench, FIRST_PORT, HIT, HIT_PORT_END, PORT},
    bpf::{
        BIND4, CGROUP_EGRESS, CONNECT4, TCX_INGRESS, XDP, attach_to_cgroup, attach_to_device,
        drop_frames_from, drop_from, refuse_bind, refuse_connect,
    },
    cgroup::Cgroup,
    foreign::{Foreign, set_option},
    process::Place,
    truth::Truth,
};

const CLIENT: &str = "--sources 127.0.1.1 --ips 1 --timeout 800ms --hold 1s";
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);

/// The client, in a control group of its own if `place` says so, of whose attempts [`HIT`] are lost.
fn client(bench: &mut Bench, place: Place, cause: &'static str) -> anyhow::Result<Outcome> {
    let args = format!("{CLIENT} --per-ip {ATTEMPTS}");
    let run = bench.traced_client(place, None, &args)?.finish(bench)?;
    let truth = Truth::of(ATTEMPTS, &[(cause, HIT)]);
    Ok(Outcome { truth, run })
}

/// connect() and then, in a second run, bind() fail with EPERM.
pub(super) fn denied(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let _server = bench.server(Place::default(), "--backlog 1024")?;
    let mut outcomes = Vec::new();
    for (kind, program) in [
        (CONNECT4, refuse_connect(FIRST_PORT..HIT_PORT_END)),
        (BIND4, refuse_bind(FIRST_PORT..HIT_PORT_END)),
    ] {
        let cgroup = Cgroup::create()?;
        attach_to_cgroup(kind, &program, cgroup.as_fd())?;
        let place = Place {
            cgroup: Some(&cgroup),
            ..Place::default()
        };
        outcomes.push(client(bench, place, "denied")?);
    }
    Ok(outcomes)
}

/// A program at a control group's egress drops.
pub(super) fn cgroup_drop(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let _server = bench.server(Place::default(), "--backlog 1024")?;
    let cgroup = Cgroup::create()?;
    let program = drop_from(FIRST_PORT..HIT_PORT_END, 0, 1, 0);
    attach_to_cgroup(CGROUP_EGRESS, &program, cgroup.as_fd())?;
    let place = Place {
        cgroup: Some(&cgroup),
        ..Place::default()
    };
    Ok(vec![client(bench, place, "bpf-or-tc-drop")?])
}

/// The loopback device of any namespace.
const LOOPBACK_INDEX: u32 = 1;

/// A program at the device's ingress drops; where the kernel has no TCX, a filter with an action does.
pub(super) fn tc_drop(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    const ETHERNET: i32 = 14;
    /// `TCX_NEXT`, and `TCX_DROP`.
    const VERDICTS: [i32; 2] = [-1, 2];
    let _server = bench.server(Place::default(), "--backlog 1024")?;
    let [allow, refuse] = VERDICTS;
    let program = drop_from(FIRST_PORT..HIT_PORT_END, ETHERNET, allow, refuse);
    let link = attach_to_device(TCX_INGRESS, &program, LOOPBACK_INDEX, 0);
    if link.is_err() {
        // 16 ports from 10000 on: the mask is theirs.
        let filter =
            "filter add dev lo ingress protocol ip u32 match ip sport 10000 0xfff0 action drop";
        bench
            .tc("qdisc add dev lo clsact")
            .and_then(|_| bench.tc(filter))
            .map_err(|error| Skip(format!("this kernel has neither TCX nor u32: {error:#}")))?;
    }
    let outcome = client(bench, Place::default(), "bpf-or-tc-drop")?;
    drop(link);
    Ok(vec![outcome])
}

/// An XDP program drops, in the kernel's general way, which loopback has, too.
pub(super) fn xdp_drop(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    /// `XDP_FLAGS_SKB_MODE`
    const GENERAL: u32 = 2;
    let _server = bench.server(Place::default(), "--backlog 1024")?;
    let program = drop_frames_from(FIRST_PORT..HIT_PORT_END);
    let link = attach_to_device(XDP, &program, LOOPBACK_INDEX, GENERAL)?;
    let outcome = client(bench, Place::default(), "bpf-or-tc-drop")?;
    drop(link);
    Ok(vec![outcome])
}

/// A listener of the lab's own, which `set` makes choosy, and whose connections are accepted.
fn choosy(
    bench: &mut Bench,
    standing: u64,
    sources: &str,
    set: impl FnOnce(&Socket) -> io::Result<()>,
) -> anyhow::Result<Vec<Outcome>> {
    let mut server = Foreign::listen(None, LOOPBACK, 1024)?;
    server.set(set)?;
    let args = format!("{CLIENT} {sources}");
    let traced = bench.traced_client(Place::default(), None, &args)?;
    let count = standing as usize;
    bench.until("the others are accepted", || {
        Ok(server.accept(count)? == count)
    })?;
    let run = traced.finish(bench)?;
    let truth = Truth::of(ATTEMPTS, &[("bad-segment", ATTEMPTS - standing)]);
    Ok(vec![Outcome { truth, run }])
}

/// A classic BPF filter at the listener, which looks at the TCP header.
pub(super) fn socket_filter(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let step = SockFilter::new;
    // The source port; below the first of ours or from the end on, all of the segment is taken, else nothing.
    let filter = [
        step(0x28, 0, 0, 0),
        step(0x35, 0, 2, FIRST_PORT.into()),
        step(0x35, 1, 0, HIT_PORT_END.into()),
        step(0x06, 0, 0, 0),
        step(0x06, 0, 0, u32::MAX),
    ];
    let sources = format!("--per-ip {ATTEMPTS}");
    choosy(bench, ATTEMPTS - HIT, &sources, |listener| {
        listener.attach_filter(&filter)
    })
}

/// The listener takes segments of its neighbours alone, as BGP does, and ours come with the usual TTL of 64.
pub(super) fn minttl(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    let sources = format!("--per-ip {ATTEMPTS}");
    choosy(bench, 0, &sources, |listener| {
        set_option(listener.as_fd(), libc::IPPROTO_IP, libc::IP_MINTTL, 255)
    })
}

/// IPsec's policy database blocks one of two sources on the way in.
pub(super) fn xfrm(bench: &mut Bench) -> anyhow::Result<Vec<Outcome>> {
    // Loopback is exempt otherwise.
    bench.sysctl(None, "net.ipv4.conf.lo.disable_policy", "0")?;
    let policy = "xfrm policy add src 127.0.1.2/32 dst 127.0.0.1/32 proto 6 dir in action block";
    bench
        .ip(None, policy)
        .map_err(|error| Skip(format!("this kernel has no IPsec policies: {error:#}")))?;
    let half = ATTEMPTS / 2;
    let sources = format!("--sources 127.0.1.1-2 --ips 2 --per-ip {half}");
    let mut server = Foreign::listen(None, LOOPBACK, 1024)?;
    let args = format!("{sources} --timeout 800ms --hold 1s");
    let traced = bench.traced_client(Place::default(), None, &args)?;
    bench.until("the others are accepted", || {
        Ok(server.accept(half as usize)? as u64 == half)
    })?;
    let run = traced.finish(bench)?;
    let mut truth = Truth::of(ATTEMPTS, &[("bad-segment", half)]);
    truth.places = vec![("bad-segment", "127.0.1.2".to_owned(), half)];
    Ok(vec![Outcome { truth, run }])
}
