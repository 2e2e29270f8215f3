//! As much of HTTP/1.1 as a scraper needs: one request per connection, small, and soon.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

use super::Metrics;

/// At most this many connections at a time; more are closed at once.
const CONNECTIONS_MAX: usize = 8;
/// A request's head has at most this many bytes.
const HEAD_MAX: usize = 8 * 1024;
/// A request has to be there, and its answer taken, within this time each.
const PATIENCE: Duration = Duration::from_secs(5);
/// accept() may fail for want of file descriptors: then it is tried again after this long.
const PAUSE: Duration = Duration::from_millis(100);
/// What the answer is.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers until it is dropped.
pub(super) async fn serve(listener: TcpListener, metrics: Metrics) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            continue;
        };
        let metrics = metrics.clone();
        tokio::spawn(async move {
            let _place = place;
            // A scraper that goes away is its own matter.
            let _ = timeout(PATIENCE * 2, answer(stream, &metrics)).await;
        });
    }
}

async fn answer(mut stream: TcpStream, metrics: &Metrics) -> std::io::Result<()> {
    let Ok(head) = timeout(PATIENCE, head(&mut stream)).await else {
        return Ok(());
    };
    let answer = match head? {
        Some(head) => respond(&head, metrics),
        None => Answer::plain(
            "431 Request Header Fields Too Large",
            "a request of 8 KiB at most\n",
        ),
    };
    stream.write_all(answer.bytes().as_bytes()).await?;
    stream.shutdown().await?;
    if let Some(with_final) = answer.scrape {
        metrics.answered(with_final);
    }
    // What is left unread would make the close a reset, which can overtake the answer.
    let mut rest = [0; 256];
    while timeout(PAUSE, stream.read(&mut rest))
        .await
        .is_ok_and(|read| read.is_ok_and(|n| n > 0))
    {}
    Ok(())
}

/// The bytes up to the empty line; `None` if they are too many, or end before it.
async fn head(stream: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(512);
    while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
        if bytes.len() > HEAD_MAX || stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
    Ok((bytes.len() <= HEAD_MAX).then_some(bytes))
}

/// A status line, a type and a body.
struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
    with_body: bool,
    /// Of a scrape: whether it has the final table.
    scrape: Option<bool>,
}

impl Answer {
    fn plain(status: &'static str, body: &str) -> Self {
        Self {
            status,
            kind: "text/plain; charset=utf-8",
            body: body.to_owned(),
            with_body: true,
            scrape: None,
        }
    }

    fn bytes(&self) -> String {
        let Self {
            status, kind, body, ..
        } = self;
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
        );
        match self.with_body {
            true => head + body,
            false => head,
        }
    }
}

fn respond(head: &[u8], metrics: &Metrics) -> Answer {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = words[..] else {
        return Answer::plain("400 Bad Request", "no HTTP request\n");
    };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Answer::plain("505 HTTP Version Not Supported", "HTTP/1.1, please\n");
    }
    let mut answer = match target.split('?').next() {
        _ if !matches!(method, "GET" | "HEAD") => {
            Answer::plain("405 Method Not Allowed", "GET or HEAD\n")
        }
        Some("/metrics") => {
            let (text, is_final) = metrics.text();
            Answer {
                kind: OPENMETRICS,
                scrape: (method == "GET").then_some(is_final),
                ..Answer::plain("200 OK", &text)
            }
        }
        Some("/") => Answer::plain("200 OK", "c1m: /metrics\n"),
        _ => Answer::plain("404 Not Found", "only /metrics is here\n"),
    };
    answer.with_body = method != "HEAD";
    answer
}
