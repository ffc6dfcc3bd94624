//! The audit webhook, over real sockets: who gets which answer, and that what was acknowledged
//! is in the receiver's hands.

#![expect(clippy::unwrap_used, reason = "a test says best where it failed")]

use std::collections::BTreeSet;
use std::fs;
use std::future;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use falco_psp::sources::k8s_audit::Batch;
use falco_psp::sources::k8s_audit::batch::Origin;
use falco_psp::sources::k8s_audit::webhook::{Config, Limits, Stats, TlsFiles, Webhook};
use flate2::Compression;
use flate2::write::GzEncoder;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// After this long, something hangs.
const HANGS: Duration = Duration::from_secs(60);
/// A bound that a slow client runs into.
const SHORT: Duration = Duration::from_secs(1);

/// A webhook that serves, and the `auditID`s of what it handed over.
struct Server {
    address: SocketAddr,
    stats: Arc<Stats>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    received: JoinHandle<Vec<String>>,
}

impl Server {
    async fn start(config: &Config) -> Self {
        let (sender, mut receiver) = mpsc::channel(4);
        let received = tokio::spawn(async move {
            let mut ids = Vec::new();
            while let Some(batch) = receiver.recv().await {
                ids.extend(ids_of(&batch));
            }
            ids
        });
        Self::start_with(config, sender, received).await
    }

    async fn start_with(
        config: &Config,
        sender: mpsc::Sender<Batch>,
        received: JoinHandle<Vec<String>>,
    ) -> Self {
        let webhook = Webhook::bind(config).await.unwrap();
        let (address, stats) = (webhook.local_addr(), webhook.stats());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { drop(stopped.await) };
        let serving = tokio::spawn(webhook.serve(sender, shutdown));
        Self {
            address,
            stats,
            stop,
            serving,
            received,
        }
    }

    /// Ends the server; gives all `auditID`s that came in.
    async fn end(self) -> Vec<String> {
        self.stop.send(()).unwrap();
        timeout(HANGS, self.serving).await.unwrap().unwrap();
        timeout(HANGS, self.received).await.unwrap().unwrap()
    }
}

fn ids_of(batch: &Batch) -> Vec<String> {
    assert!(matches!(batch.origin(), Origin::Webhook(client) if client.ip().is_loopback()));
    batch
        .events()
        .map(|event| {
            let json: serde_json::Value = serde_json::from_slice(&event.json).unwrap();
            json["auditID"].as_str().unwrap().to_owned()
        })
        .collect()
}

fn local() -> Config {
    Config::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

fn limited(limits: Limits) -> Config {
    Config { limits, ..local() }
}

fn list(id: &str) -> String {
    format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":[{{"level":"Metadata","auditID":"{id}","stage":"ResponseComplete","verb":"create"}}]}}"#
    )
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn post_with(headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST /k8s-audit HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{headers}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn post(body: impl AsRef<[u8]>) -> Vec<u8> {
    post_with("Content-Type: application/json", body.as_ref())
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// Reads one answer; `None` if the connection ends without one.
async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Option<Answer> {
    let mut read = Vec::new();
    let end = loop {
        match stream.read_buf(&mut read).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8(read[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.unwrap().parse().unwrap();
    while read.len() < end + length {
        match stream.read_buf(&mut read).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    let body = String::from_utf8(read[end..].to_vec()).unwrap();
    Some(Answer { status, head, body })
}

/// Sends a request, also one that the server does not read to its end, and reads the answer.
async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Option<Answer> {
    let (mut input, mut output) = tokio::io::split(stream);
    let exchange = async {
        let write = async {
            output.write_all(request).await?;
            output.flush().await
        };
        // The server may have heard enough; then its answer says why.
        let (_, answer) = tokio::join!(write, read_answer(&mut input));
        answer
    };
    timeout(HANGS, exchange).await.unwrap()
}

async fn send(address: SocketAddr, request: &[u8]) -> Option<Answer> {
    ask(TcpStream::connect(address).await.unwrap(), request).await
}

async fn answer(address: SocketAddr, request: &[u8]) -> Answer {
    send(address, request).await.unwrap()
}

async fn status(address: SocketAddr, request: &[u8]) -> u16 {
    answer(address, request).await.status
}

fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_a_real_api_server_is_acknowledged_and_its_events_arrive() {
    let request = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audit/audit_webhook_post.raw");
    let request = fs::read(request).unwrap();
    let events = String::from_utf8_lossy(&request)
        .matches(r#""auditID":""#)
        .count();
    let server = Server::start(&local()).await;
    let answer = answer(server.address, &request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let stats = Arc::clone(&server.stats);
    let ids = server.end().await;
    assert_eq!((ids.len(), events), (6, 6));
    assert_eq!(ids[0], "0329fc73-cfe8-4897-af01-ad550b0cdf5b");
    assert_eq!((value(&stats.accepted), value(&stats.events)), (1, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_serves_many_requests_of_every_form() {
    let server = Server::start(&local()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let event = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"?","stage":"X"}"#;
    let array = format!(
        "[{},\n{}]",
        event.replace('?', "b"),
        event.replace('?', "c")
    );
    let packed = gzip(list("d").as_bytes());
    let halves = list("e");
    let (first, second) = halves.split_at(100);
    let members = [gzip(first.as_bytes()), gzip(second.as_bytes())].concat();
    let gzip_headers = "Content-Type: application/json; charset=utf-8\r\nContent-Encoding: gzip";
    let body = list("f");
    let (first, second) = body.split_at(50);
    let chunked = format!(
        "POST /k8s-audit?timeout=30s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    for request in [
        post(event.replace('?', "a")),
        post(array),
        post_with(gzip_headers, &packed),
        post_with(gzip_headers, &members),
        chunked.into_bytes(),
        post(r#"{"kind":"EventList","items":[]}"#),
    ] {
        let answer = ask(&mut stream, &request).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    drop(stream);
    assert_eq!(server.end().await, ["a", "b", "c", "d", "e", "f"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_post_of_audit_events_gets_an_answer_that_helps() {
    let server = Server::start(&local()).await;
    let address = server.address;

    let wrong_path = answer(address, &get("/")).await;
    assert_eq!(wrong_path.status, 404);
    assert!(wrong_path.body.contains("/k8s-audit"), "{wrong_path:?}");

    let wrong_method = answer(address, &get("/k8s-audit")).await;
    assert_eq!(wrong_method.status, 405);
    assert!(
        wrong_method.head.contains("allow: POST\r\n"),
        "{wrong_method:?}"
    );

    assert_eq!(status(address, &get("/healthz")).await, 200);

    let form = "Content-Type: application/x-www-form-urlencoded";
    let form = answer(address, &post_with(form, b"{}")).await;
    assert_eq!(form.status, 415);
    assert!(form.body.contains("application/json"), "{form:?}");
    let brotli = "Content-Type: application/json\r\nContent-Encoding: br";
    let brotli = answer(address, &post_with(brotli, b"{}")).await;
    assert_eq!(brotli.status, 415);
    assert!(brotli.body.contains("gzip"), "{brotli:?}");

    let not_gzip = "Content-Type: application/json\r\nContent-Encoding: gzip";
    let not_gzip = answer(address, &post_with(not_gzip, b"{}")).await;
    assert_eq!(not_gzip.status, 400);
    assert!(not_gzip.body.contains("no gzip"), "{not_gzip:?}");

    assert_eq!(value(&server.stats.malformed), 3);
    assert_eq!(server.end().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_json_is_refused_with_a_reason_and_counted() {
    let server = Server::start(&local()).await;
    for (body, reason) in [
        ("", "empty"),
        ("not json", "line 1"),
        (r#"{"kind":"EventList","items":[{"a":"#, "EOF"),
        (r#"{"kind":"EventList","items":[{}]}}"#, "trailing"),
        (r#"{"kind":"EventList"}"#, "items"),
        (r#"{"kind":"AdmissionReview"}"#, "AdmissionReview"),
        ("[1, 2]", "event 1"),
    ] {
        let answer = answer(server.address, &post(body)).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.body.contains(reason), "{body}: {answer:?}");
    }
    assert_eq!(value(&server.stats.malformed), 7);
    assert_eq!(value(&server.stats.accepted), 0);
    assert_eq!(status(server.address, &post(list("good"))).await, 200);
    assert_eq!(server.end().await, ["good"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_64_mib_of_garbage_does_no_harm() {
    let server = Server::start(&local()).await;
    let garbage = vec![b'x'; (64 << 20) + (64 << 10)];

    // Announced.
    let announced = send(server.address, &post(&garbage)).await;
    assert!(announced.is_none_or(|answer| answer.status == 413));
    // By and by.
    let mut chunked = b"POST /k8s-audit HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
                       Transfer-Encoding: chunked\r\n\r\n"
        .to_vec();
    for chunk in garbage.chunks(8 << 20) {
        chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let chunked = send(server.address, &chunked).await;
    assert!(chunked.is_none_or(|answer| answer.status == 413));
    assert_eq!(value(&server.stats.too_long), 2);
    // Without HTTP, and in a header.
    let raw = send(server.address, &garbage).await;
    assert!(raw.is_none_or(|answer| (400..500).contains(&answer.status)));
    let header = [b"GET /healthz HTTP/1.1\r\nX: ", &*garbage].concat();
    let header = send(server.address, &header).await;
    assert!(header.is_none_or(|answer| (400..500).contains(&answer.status)));
    // Within the limit.
    assert_eq!(
        status(server.address, &post(&garbage[..1 << 20])).await,
        400
    );

    assert_eq!(status(server.address, &post(list("good"))).await, 200);
    assert_eq!(server.end().await, ["good"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gzip_bomb_is_too_long() {
    let server = Server::start(&limited(Limits {
        body: 1 << 20,
        ..Limits::default()
    }))
    .await;
    let headers = "Content-Type: application/json\r\nContent-Encoding: gzip";
    let bomb = gzip(&vec![b' '; 16 << 20]);
    assert!(bomb.len() < 128 << 10);
    let answer = answer(server.address, &post_with(headers, &bomb)).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    // Also if no member is.
    let member = gzip(&vec![b' '; 512 << 10]);
    let members = post_with(headers, &member.repeat(8));
    assert_eq!(status(server.address, &members).await, 413);
    assert_eq!(value(&server.stats.too_long), 2);
    let good = post_with(headers, &gzip(list("good").as_bytes()));
    assert_eq!(status(server.address, &good).await, 200);
    assert_eq!(server.end().await, ["good"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_cut_off_delivers_nothing() {
    let server = Server::start(&local()).await;
    let whole = post(list("cut"));
    // In the middle of the JSON, and with all of it but not all that was announced.
    let mut longer = post(list("longer") + "    ");
    longer.truncate(longer.len() - 2);
    for part in [&whole[..whole.len() - 40], &longer] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(part).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = timeout(HANGS, read_answer(&mut stream)).await.unwrap();
        assert!(answer.is_none_or(|answer| answer.status == 400));
        // The same, but gone at once.
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(part).await.unwrap();
    }
    // One that sends all, and closes its side then, does get its answer.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&post(list("half"))).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = timeout(HANGS, read_answer(&mut stream)).await.unwrap();
    assert_eq!(answer.unwrap().status, 200);
    assert_eq!(status(server.address, &post(list("good"))).await, 200);
    assert_eq!(server.end().await, ["half", "good"]);
}

/// Sends a begin, then a byte now and then; gives the answer, or `None` when dropped without.
async fn drip(address: SocketAddr, begin: &[u8], byte: Option<&[u8]>) -> Option<Answer> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut input, mut output) = stream.into_split();
    let write = async {
        output.write_all(begin).await?;
        while let Some(byte) = byte {
            tokio::time::sleep(SHORT / 40).await;
            output.write_all(byte).await?;
        }
        io::Result::Ok(())
    };
    let both = async {
        let read = read_answer(&mut input);
        tokio::pin!(read);
        tokio::select! {
            answer = &mut read => answer,
            _ = write => read.await,
        }
    };
    timeout(HANGS, both).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_dropped_while_others_are_served() {
    let server = Server::start(&limited(Limits {
        header_time: SHORT,
        body_time: SHORT,
        ..Limits::default()
    }))
    .await;
    let address = server.address;
    let header: &[u8] = b"POST /k8s-audit HTTP/1.1\r\nHost:";
    let body: &[u8] = b"POST /k8s-audit HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
                        Content-Length: 100000\r\n\r\n[";
    let mut slow = JoinSet::new();
    for (begin, byte) in [
        (&b""[..], None),
        (header, None),
        (header, Some(&b"a"[..])),
        (body, None),
        (body, Some(b" ")),
    ] {
        for _ in 0..10 {
            slow.spawn(drip(address, begin, byte));
        }
    }
    let mut good = BTreeSet::new();
    while good.len() < 20 || !slow.is_empty() {
        let id = format!("good {}", good.len());
        assert_eq!(status(address, &post(list(&id))).await, 200);
        good.insert(id);
        while let Some(answer) = slow.try_join_next() {
            let answer = answer.unwrap();
            assert!(answer.is_none_or(|answer| answer.status == 408));
        }
    }
    assert_eq!(value(&server.stats.timed_out), 20);
    // One that was served and then asks nothing more is dropped, too.
    let mut idle = TcpStream::connect(address).await.unwrap();
    assert_eq!(ask(&mut idle, &get("/healthz")).await.unwrap().status, 200);
    let end = timeout(HANGS, read_answer(&mut idle)).await.unwrap();
    assert!(end.is_none());
    let received = server.end().await;
    assert_eq!(received.into_iter().collect::<BTreeSet<_>>(), good);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_limit_wait_for_their_turn() {
    let server = Server::start(&limited(Limits {
        connections: 2,
        header_time: SHORT,
        ..Limits::default()
    }))
    .await;
    let silent: Vec<_> = [
        TcpStream::connect(server.address).await.unwrap(),
        TcpStream::connect(server.address).await.unwrap(),
    ]
    .into();
    for id in ["a", "b", "c"] {
        assert_eq!(status(server.address, &post(list(id))).await, 200);
    }
    drop(silent);
    assert_eq!(server.end().await, ["a", "b", "c"]);
}

/// Two files a client, as both ends are of this process.
fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_at_once_lose_nothing() {
    const CLIENTS: usize = 1_000;
    allow_many_files();
    let server = Server::start(&local()).await;
    let address = server.address;
    let together = Arc::new(tokio::sync::Barrier::new(CLIENTS));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let together = Arc::clone(&together);
        clients.spawn(async move {
            let id = format!("client {number}");
            let stream = TcpStream::connect(address).await.unwrap();
            together.wait().await;
            let answer = ask(stream, &post(list(&id))).await;
            (id, answer.unwrap().status)
        });
    }
    let answers = timeout(HANGS, clients.join_all()).await.unwrap();
    let refused: Vec<_> = answers
        .iter()
        .filter(|(_, status)| *status != 200)
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(value(&server.stats.accepted), CLIENTS as u64);
    assert_eq!(value(&server.stats.events), CLIENTS as u64);
    let received = server.end().await;
    assert_eq!(received.len(), CLIENTS);
    let received: BTreeSet<_> = received.into_iter().collect();
    let acknowledged: BTreeSet<_> = answers.into_iter().map(|(id, _)| id).collect();
    assert_eq!(received, acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_the_shutdown() {
    const CLIENTS: usize = 50;
    let server = Server::start(&local()).await;
    let (address, stats) = (server.address, Arc::clone(&server.stats));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(async move {
            let mut acknowledged = Vec::new();
            let Ok(mut stream) = TcpStream::connect(address).await else {
                return acknowledged;
            };
            for number in 0.. {
                let id = format!("client {client} event {number}");
                match ask(&mut stream, &post(list(&id))).await {
                    Some(answer) if answer.status == 200 => acknowledged.push(id),
                    _ => break,
                }
            }
            acknowledged
        });
    }
    while value(&stats.accepted) < 1_000 {
        tokio::task::yield_now().await;
    }
    let received: BTreeSet<_> = server.end().await.into_iter().collect();
    let acknowledged = timeout(HANGS, clients.join_all()).await.unwrap().concat();
    assert!(acknowledged.len() >= 1_000 - CLIENTS);
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|id| !received.contains(*id))
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_at_the_shutdown_is_ended_and_acknowledged() {
    let server = Server::start(&local()).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(ask(&mut idle, &get("/healthz")).await.unwrap().status, 200);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = post(list("late"));
    let (begin, rest) = request.split_at(request.len() - 30);
    let begin = [b"Expect: 100-continue\r\n", begin];
    // The server says when it has come to the body.
    let line = begin[1].iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let begin = [&begin[1][..line], begin[0], &begin[1][line..]].concat();
    stream.write_all(&begin).await.unwrap();
    let mut told = [0; 25];
    timeout(HANGS, stream.read_exact(&mut told))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");

    let Server {
        stop,
        serving,
        received,
        ..
    } = server;
    stop.send(()).unwrap();
    // By now the others know.
    assert!(
        timeout(HANGS, read_answer(&mut idle))
            .await
            .unwrap()
            .is_none()
    );
    assert!(!serving.is_finished());
    let answer = ask(&mut stream, rest).await.unwrap();
    assert_eq!(answer.status, 200);
    timeout(HANGS, serving).await.unwrap().unwrap();
    assert_eq!(received.await.unwrap(), ["late"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_a_stuck_receiver_is_waited_for_no_longer_than_the_grace() {
    let (sender, mut receiver) = mpsc::channel(1);
    let received = tokio::spawn(future::ready(Vec::new()));
    let config = limited(Limits {
        grace: SHORT,
        ..Limits::default()
    });
    let server = Server::start_with(&config, sender, received).await;
    let address = server.address;
    assert_eq!(status(address, &post(list("a"))).await, 200);
    // The channel is full, so this is not acknowledged.
    let stream = TcpStream::connect(address).await.unwrap();
    let waiting = tokio::spawn(async move { ask(stream, &post(list("b"))).await });
    let full = TcpStream::connect(address).await.unwrap();
    assert_eq!(ask(full, &get("/healthz")).await.unwrap().status, 200);
    server.end().await;
    assert!(
        waiting
            .await
            .unwrap()
            .is_none_or(|answer| answer.status != 200)
    );
    assert_eq!(ids_of(&receiver.recv().await.unwrap()), ["a"]);
    assert!(receiver.recv().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_receiver_nothing_is_acknowledged() {
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let received = tokio::spawn(future::ready(Vec::new()));
    let server = Server::start_with(&local(), sender, received).await;
    assert_eq!(status(server.address, &post(list("a"))).await, 503);
    assert_eq!(value(&server.stats.put_off), 1);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_for_room_in_the_channel_before_they_are_acknowledged() {
    let (sender, mut receiver) = mpsc::channel(1);
    let received = tokio::spawn(future::ready(Vec::new()));
    let server = Server::start_with(&local(), sender, received).await;
    let address = server.address;
    assert_eq!(status(address, &post(list("a"))).await, 200);
    let waiting = tokio::spawn(async move { status(address, &post(list("b"))).await });
    tokio::time::sleep(SHORT).await;
    assert!(!waiting.is_finished());
    assert_eq!(value(&server.stats.accepted), 1);
    assert_eq!(ids_of(&receiver.recv().await.unwrap()), ["a"]);
    assert_eq!(timeout(HANGS, waiting).await.unwrap().unwrap(), 200);
    assert_eq!(ids_of(&receiver.recv().await.unwrap()), ["b"]);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_memory_requests_are_put_off_until_the_receiver_has_caught_up() {
    let (sender, mut receiver) = mpsc::channel(16);
    let received = tokio::spawn(future::ready(Vec::new()));
    let config = limited(Limits {
        memory: 8 << 10,
        ..Limits::default()
    });
    let server = Server::start_with(&config, sender, received).await;
    // Two of these fit.
    let large = |id: &str| post(list(id) + &" ".repeat(3 << 10));
    assert_eq!(status(server.address, &large("a")).await, 200);
    assert_eq!(status(server.address, &large("b")).await, 200);
    for _ in 0..5 {
        let refused = answer(server.address, &large("c")).await;
        assert_eq!(refused.status, 503);
        assert!(refused.head.contains("retry-after: 1\r\n"), "{refused:?}");
    }
    assert_eq!(value(&server.stats.put_off), 5);
    // It is the memory that counts, not how far the channel was read.
    let first = receiver.recv().await.unwrap();
    assert_eq!(status(server.address, &large("c")).await, 503);
    assert_eq!(ids_of(&first), ["a"]);
    drop(first);
    assert_eq!(status(server.address, &large("c")).await, 200);
    assert_eq!(ids_of(&receiver.recv().await.unwrap()), ["b"]);
    assert_eq!(ids_of(&receiver.recv().await.unwrap()), ["c"]);
    // What is refused, malformed or cut off gives its memory back.
    let malformed = post(vec![b' '; 5 << 10]);
    for _ in 0..5 {
        assert_eq!(status(server.address, &malformed).await, 400);
    }
    assert_eq!(status(server.address, &large("d")).await, 200);
    assert_eq!(ids_of(&receiver.recv().await.unwrap()), ["d"]);
    server.end().await;
}

/// A CA, and files of certificates by it.
struct Pki {
    folder: TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        Self { folder, ca }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`.
    fn issue(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        fs::write(self.file(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn server_files(&self, client_ca: bool) -> TlsFiles {
        TlsFiles {
            cert: self.file("server.pem"),
            key: self.file("server.key"),
            client_ca: client_ca.then(|| self.file("ca.pem")),
        }
    }

    /// A client that trusts the CA, and shows the certificate of that name.
    fn client(&self, certificate: Option<&str>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match certificate {
            None => config.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::from_pem_file(self.file(&format!("{name}.pem")));
                let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key")));
                config
                    .with_client_auth_cert(vec![chain.unwrap()], key.unwrap())
                    .unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

/// Asks over TLS; `None` if the server hangs up.
async fn ask_tls(client: &TlsConnector, address: SocketAddr, request: &[u8]) -> Option<Answer> {
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = timeout(HANGS, client.connect(name, stream)).await.unwrap();
    ask(stream.ok()?, request).await
}

fn with_tls(tls: TlsFiles) -> Config {
    Config {
        tls: Some(tls),
        ..local()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_events_arrive_and_plain_http_does_not() {
    let pki = Pki::new();
    pki.issue("server");
    let config = Config {
        limits: Limits {
            handshake_time: SHORT,
            ..Limits::default()
        },
        address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        ..with_tls(pki.server_files(false))
    };
    let server = Server::start(&config).await;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.address.port()));
    // One that never begins its handshake keeps no one from theirs.
    let mut silent = TcpStream::connect(address).await.unwrap();
    let answer = ask_tls(&pki.client(None), address, &post(list("a"))).await;
    assert_eq!(answer.unwrap().status, 200);
    assert!(send(address, &post(list("plain"))).await.is_none());
    let end = timeout(HANGS, read_answer(&mut silent)).await.unwrap();
    assert!(end.is_none());
    let stats = Arc::clone(&server.stats);
    assert_eq!(server.end().await, ["a"]);
    assert_eq!(value(&stats.handshakes_failed), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_client_ca_only_clients_of_that_ca_are_served() {
    let pki = Pki::new();
    pki.issue("server");
    pki.issue("client");
    let other = Pki::new();
    other.issue("stranger");
    for suffix in ["pem", "key"] {
        let name = format!("stranger.{suffix}");
        fs::copy(other.file(&name), pki.file(&name)).unwrap();
    }
    let server = Server::start(&with_tls(pki.server_files(true))).await;
    let address = server.address;
    for certificate in [None, Some("stranger")] {
        let client = pki.client(certificate);
        let answer = ask_tls(&client, address, &post(list("refused"))).await;
        assert!(answer.is_none(), "{answer:?}");
    }
    let answer = ask_tls(&pki.client(Some("client")), address, &post(list("known"))).await;
    assert_eq!(answer.unwrap().status, 200);
    let stats = Arc::clone(&server.stats);
    assert_eq!(server.end().await, ["known"]);
    assert_eq!(value(&stats.handshakes_failed), 2);
}

async fn refusal(config: &Config) -> String {
    let refused = Webhook::bind(config).await.err();
    refused.unwrap().to_string()
}

#[tokio::test]
async fn tls_files_of_no_use_are_told_by_name() {
    let pki = Pki::new();
    pki.issue("server");
    pki.issue("other");
    let good = pki.server_files(true);
    let empty = pki.file("empty");
    fs::write(&empty, "no PEM\n").unwrap();

    let key = pki.file("other.key");
    let pair = refusal(&with_tls(TlsFiles {
        key,
        ..good.clone()
    }))
    .await;
    assert!(
        pair.contains("server.pem") && pair.contains("other.key"),
        "{pair}"
    );
    assert!(pair.contains("Mismatch"), "{pair}");

    let cert = pki.file("missing.pem");
    let missing = refusal(&with_tls(TlsFiles {
        cert,
        ..good.clone()
    }))
    .await;
    assert!(missing.contains("missing.pem"), "{missing}");
    assert!(missing.contains("No such file"), "{missing}");

    let cert = empty.clone();
    let no_cert = refusal(&with_tls(TlsFiles {
        cert,
        ..good.clone()
    }))
    .await;
    assert!(no_cert.contains("no certificate in"), "{no_cert}");
    let key = empty.clone();
    let no_key = refusal(&with_tls(TlsFiles {
        key,
        ..good.clone()
    }))
    .await;
    assert!(no_key.contains("a private key from"), "{no_key}");
    let client_ca = Some(empty);
    let no_ca = refusal(&with_tls(TlsFiles { client_ca, ..good })).await;
    assert!(no_ca.contains("no certificate in"), "{no_ca}");
}

#[tokio::test]
async fn plain_http_for_other_machines_has_to_be_asked_for() {
    let mut config = Config::new(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
    let refused = refusal(&config).await;
    assert!(refused.contains("--audit-tls-cert"), "{refused}");
    assert!(refused.contains("--audit-insecure-http"), "{refused}");
    config.insecure_http = true;
    let webhook = Webhook::bind(&config).await.unwrap();
    // And nobody listens twice.
    config.address = webhook.local_addr();
    let taken = refusal(&config).await;
    assert!(taken.contains(&config.address.to_string()), "{taken}");
}
