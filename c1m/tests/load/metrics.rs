//! `--metrics`, as a scraper and as somebody hostile meets it.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use c1m::metrics::FAMILIES;
use rustix::process::Signal;
use serde_json::Value;

use crate::rig::{LIMIT, Net, lines_of, signal, until};

/// What comes back for these bytes; nothing if the other end closes at once.
fn ask(net: &Net, address: SocketAddr, request: &[u8]) -> String {
    let mut stream = net.connect(address);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // The other end may have closed before it was asked: then there is nothing to read either.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// The samples of a scrape: name and labels, and value.
fn scrape(net: &Net, address: SocketAddr) -> BTreeMap<String, f64> {
    let answer = ask(net, address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return BTreeMap::new();
    };
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{head}"
    );
    assert!(body.ends_with("# EOF\n"), "{body}");
    body.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[test]
fn the_last_scrape_is_the_final_table() {
    let net = Net::new();
    let server = net.local_server("");
    let mut client = net.client(
        server.address,
        "--connections 50 --hold 60s --metrics 127.0.0.1:0",
    );
    let lines = lines_of(client.process.0.stderr.take().unwrap());
    let line = lines.recv_timeout(LIMIT).unwrap();
    let address = line
        .strip_prefix("c1m: metrics at http://")
        .and_then(|rest| rest.strip_suffix("/metrics"))
        .unwrap_or_else(|| panic!("{line}"));
    let address: SocketAddr = address.parse().unwrap();
    let established =
        "c1m_connections{network_connection_state=\"established\",network_transport=\"tcp\"}";
    let live = until("50 connections are told", || {
        let live = scrape(&net, address);
        (live[established] == 50.0).then_some(live)
    });
    assert_eq!(live["c1m_attempts_total"], 50.0);
    assert_eq!(live["c1m_finished"], 0.0);
    assert!(!live.contains_key("c1m_balanced"));
    hostile(&net, address);

    signal(client.process.pid(), Signal::INT);
    // It waits for this scraper, which came before.
    let last = until("the final table", || {
        let last = scrape(&net, address);
        (last["c1m_finished"] == 1.0).then_some(last)
    });
    let status = client.process.0.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    let record = std::fs::read(client.dir.path().join("run.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    for end in ["standing", "closed", "lost"] {
        let told = last[&format!("c1m_verdict{{c1m_end_state=\"{end}\"}}")];
        assert_eq!(Some(told), record[end].as_f64(), "{end}");
    }
    assert_eq!(Some(last["c1m_recovered"]), record["recovered"].as_f64());
    assert_eq!(last["c1m_balanced"], 1.0);
    let count = &record["detail"]["latency"]["count"];
    assert_eq!(
        Some(last["c1m_connect_duration_seconds_count"]),
        count.as_f64()
    );
    let all = last["c1m_connect_duration_seconds_bucket{le=\"+Inf\"}"];
    assert_eq!(Some(all), count.as_f64());
}

/// What is no scrape gets an answer or an end, and costs the next scrape nothing.
fn hostile(net: &Net, address: SocketAddr) {
    let long = [
        b"GET /metrics HTTP/1.1\r\nX: ".as_slice(),
        &[b'a'; 20_000],
        b"\r\n\r\n",
    ]
    .concat();
    for (request, status) in [
        (b"GET /secret HTTP/1.1\r\n\r\n".as_slice(), "404"),
        (
            b"POST /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
            "405",
        ),
        (b"GET /metrics SPDY/3\r\n\r\n", "505"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", "400"),
        (&long, "431"),
    ] {
        let answer = ask(net, address, request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    let answer = ask(net, address, b"HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    // Who says nothing takes a place, and no more places than there are.
    let silent: Vec<TcpStream> = (0..32).map(|_| net.connect(address)).collect();
    let shut = |stream: &TcpStream| {
        stream
            .set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        matches!((&*stream).read(&mut [0]), Ok(0))
    };
    until("the places are taken, and the others shut", || {
        let shut = silent.iter().filter(|stream| shut(stream)).count();
        (shut >= 24).then_some(())
    });
    drop(silent);
    until("there is room again", || {
        (!scrape(net, address).is_empty()).then_some(())
    });
}

#[test]
fn metrics_stay_on_this_host_unless_asked() {
    let net = Net::new();
    let output = net
        .spawn(
            None,
            &["client", "--connections", "1", "--metrics", "0.0.0.0:0"],
        )
        .wait_with_output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("can be reached from other hosts"), "{error}");
    assert!(error.contains("--metrics-public"), "{error}");
}

/// The document has a row for each metric, and the dashboard shows each, and none that there is not.
#[test]
fn document_and_dashboard_know_every_metric() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let read = |name: &str| std::fs::read_to_string(docs.join(name)).unwrap();
    let (page, dashboard) = (read("metrics.md"), read("grafana.json"));
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<&str> = targets
        .map(|target| target["expr"].as_str().unwrap())
        .collect();
    for family in FAMILIES {
        let told = page
            .lines()
            .any(|line| line.starts_with(&format!("| `{}", family.name)));
        assert!(told, "docs/metrics.md has no row for {}", family.name);
        let shown = queries.iter().any(|query| query.contains(family.name));
        assert!(shown, "no panel shows {}", family.name);
    }
    for query in queries {
        let known = FAMILIES.iter().any(|family| query.contains(family.name));
        assert!(known, "{query}");
    }
    for panel in panels {
        assert!(panel["title"].as_str().unwrap().ends_with('?'), "{panel}");
    }
}
