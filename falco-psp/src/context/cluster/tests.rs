//! An API server over real sockets and TLS that does as each test says.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::config::Token;
use super::tls::{Source, Tls};
use super::*;
use crate::outputs::Url;

/// No test waits longer for what has to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the server does with a request.
enum Reply {
    /// Answers, and closes.
    Json(u16, String),
    /// Answers with lines, and then goes on without a word.
    Lines(Vec<String>),
    /// Answers with lines, and closes.
    LinesThenEnd(Vec<String>),
    /// Says nothing at all.
    Silence,
}

/// A server, and what it was asked: path and token.
struct Server {
    port: u16,
    ca: Vec<u8>,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Server {
    /// `answer` gets the number of the request, its path and its token.
    fn start(answer: impl FnMut(usize, &str, &str) -> Reply + Send + 'static) -> Self {
        Self::start_for(None, answer)
    }

    /// One that talks only to those whose certificate `clients` has signed.
    fn start_for(
        clients: Option<CertificateDer<'static>>,
        mut answer: impl FnMut(usize, &str, &str) -> Reply + Send + 'static,
    ) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(ring::default_provider());
        let tls = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let tls = tls.with_safe_default_protocol_versions().unwrap();
        let tls = match clients {
            None => tls.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                roots.add(ca).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                tls.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let tls = tls
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let asked: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let noted = Arc::clone(&asked);
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        thread::spawn(move || {
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        continue;
                    };
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => break,
                        }
                    }
                    let head = String::from_utf8(head).unwrap();
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    let token = head.lines().find_map(|line| {
                        let (name, value) = line.split_once(": ")?;
                        name.eq_ignore_ascii_case("authorization")
                            .then(|| value.to_owned())
                    });
                    let token = token.unwrap_or_default();
                    let number = noted.lock().unwrap().len();
                    let reply = answer(number, &path, &token);
                    noted.lock().unwrap().push((path, token));
                    tokio::spawn(async move {
                        let text = |lines: Vec<String>| lines.join("\n") + "\n";
                        let (status, body, goes_on) = match reply {
                            Reply::Json(status, body) => (status, body, false),
                            Reply::Lines(lines) => (200, text(lines), true),
                            Reply::LinesThenEnd(lines) => (200, text(lines), false),
                            Reply::Silence => return std::future::pending().await,
                        };
                        let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n");
                        // The client may have gone.
                        let _ = stream.write_all(head.as_bytes()).await;
                        let _ = stream.write_all(body.as_bytes()).await;
                        let _ = stream.flush().await;
                        if goes_on {
                            std::future::pending::<()>().await;
                        }
                        let _ = stream.shutdown().await;
                    });
                }
            });
        });
        Self {
            port,
            ca: issuer.pem().into_bytes(),
            asked,
        }
    }

    fn config(&self, token: Option<Token>) -> Config {
        let access = Access {
            server: Url::parse(&format!("https://localhost:{}", self.port)).unwrap(),
            tls: Some(Tls {
                ca: Some(Source::Data(self.ca.clone())),
                identity: None,
            }),
            token,
        };
        Config {
            node: "node 1".to_owned(),
            access,
        }
    }

    fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }
}

fn pod(uid: &str, version: u32, app: &str) -> String {
    format!(
        r#"{{"kind":"Pod","metadata":{{"name":"p-{uid}","namespace":"shop","uid":"{uid}",
        "resourceVersion":"{version}","labels":{{"app":"{app}"}},
        "ownerReferences":[{{"kind":"StatefulSet","name":"db","controller":true}}]}}}}"#
    )
    .replace('\n', "")
}

fn list(pods: &[String], version: u32, more: &str) -> Reply {
    let items = pods.join(",");
    Reply::Json(
        200,
        format!(
            r#"{{"kind":"PodList","metadata":{{"resourceVersion":"{version}","continue":"{more}"}},
            "items":[{items}]}}"#
        ),
    )
}

fn event(kind: &str, object: &str) -> String {
    format!(r#"{{"type":"{kind}","object":{object}}}"#)
}

fn app(cluster: &Cluster, uid: &str) -> Option<String> {
    match cluster.pod(uid) {
        Known::Pod(pod) => Some(pod.labels["app"].clone()),
        Known::NotThere | Known::NotTold => None,
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited too long: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn is_watch(path: &str) -> bool {
    path.contains("watch=true")
}

#[test]
fn pods_come_in_pages_and_change() {
    let server = Server::start(|_, path, _| {
        if is_watch(path) {
            return Reply::Lines(vec![
                event("ADDED", &pod("c", 11, "new")),
                event("MODIFIED", &pod("a", 12, "other")),
                event("DELETED", &pod("b", 13, "two")),
                event(
                    "BOOKMARK",
                    r#"{"kind":"Pod","metadata":{"resourceVersion":"20"}}"#,
                ),
            ]);
        }
        match path.contains("continue=x%2F1") {
            false => list(&[pod("a", 1, "one")], 10, "x/1"),
            true => list(&[pod("b", 2, "two")], 10, ""),
        }
    });
    let cluster = Cluster::start(server.config(None)).unwrap();
    until("the last change", || {
        app(&cluster, "c").is_some() && cluster.pod("b") == Known::NotThere
    });
    assert_eq!(app(&cluster, "a").as_deref(), Some("other"));
    let Known::Pod(pod) = cluster.pod("c") else {
        panic!("no pod")
    };
    let owner = pod.owner.clone().unwrap();
    assert_eq!((&*owner.kind, &*owner.name), ("StatefulSet", "db"));
    let asked = server.asked();
    let first = "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode%201&limit=250";
    assert_eq!(asked[0].0, first);
    assert_eq!(asked[1].0, format!("{first}&continue=x%2F1"));
    assert!(asked[2].0.contains("&resourceVersion=10"), "{asked:?}");
}

#[test]
fn a_watch_that_ends_goes_on_where_it_was() {
    let server = Server::start(|number, path, _| match (is_watch(path), number) {
        (false, _) => list(&[pod("a", 1, "one")], 10, ""),
        (true, 1) => Reply::LinesThenEnd(vec![event("ADDED", &pod("b", 15, "two"))]),
        // Broken in the middle of a line: that is as good as not there.
        (true, 2) => Reply::LinesThenEnd(vec![
            event("ADDED", &pod("c", 16, "three")),
            "{\"type\":\"ADD".to_owned(),
        ]),
        _ => Reply::Lines(vec![event("ADDED", &pod("d", 17, "four"))]),
    });
    let cluster = Cluster::start(server.config(None)).unwrap();
    until("the last pod", || app(&cluster, "d").is_some());
    for uid in ["a", "b", "c"] {
        assert!(app(&cluster, uid).is_some(), "{uid}");
    }
    let asked = server.asked();
    let lists = asked.iter().filter(|(path, _)| !is_watch(path)).count();
    assert_eq!(lists, 1, "{asked:?}");
    assert!(asked[2].0.ends_with("&resourceVersion=15"), "{asked:?}");
}

#[test]
fn what_the_server_no_longer_knows_is_listed_anew() {
    for gone_as_event in [true, false] {
        let server = Server::start(move |number, path, _| match (is_watch(path), number) {
            (false, 0) => list(&[pod("a", 1, "one"), pod("b", 1, "two")], 10, ""),
            (false, _) => list(&[pod("a", 30, "later")], 40, ""),
            (true, 1) if gone_as_event => Reply::Lines(vec![event(
                "ERROR",
                r#"{"kind":"Status","code":410,"reason":"Expired","message":"too old"}"#,
            )]),
            (true, 1) => Reply::Json(410, r#"{"kind":"Status","code":410}"#.to_owned()),
            _ => Reply::Lines(Vec::new()),
        });
        let mut cluster = Cluster::start(server.config(None)).unwrap();
        until("the second list", || {
            app(&cluster, "a").as_deref() == Some("later")
        });
        assert_eq!(cluster.pod("b"), Known::NotThere);
        let changed: Vec<String> = std::iter::from_fn(|| cluster.ready()).collect();
        assert_eq!(changed, ["a", "b", "a"]);
    }
}

#[test]
fn a_token_that_is_renewed_is_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, "old\n").unwrap();
    let server = Server::start(|_, path, token| match token {
        "Bearer new" if is_watch(path) => Reply::Lines(Vec::new()),
        "Bearer new" => list(&[pod("a", 1, "one")], 10, ""),
        _ => Reply::Json(
            401,
            r#"{"kind":"Status","message":"Unauthorized"}"#.to_owned(),
        ),
    });
    let cluster = Cluster::start(server.config(Some(Token::File(path.clone())))).unwrap();
    until("a refusal", || !server.asked().is_empty());
    assert_eq!(cluster.pod("a"), Known::NotTold);
    fs::write(&path, "new\n").unwrap();
    until("the list", || app(&cluster, "a").is_some());
    assert_eq!(server.asked()[0].1, "Bearer old");
}

#[test]
fn silence_nonsense_and_refusals_end() {
    let server = Server::start(|number, path, _| match (is_watch(path), number) {
        (false, 0) => Reply::Silence,
        (false, 1) => Reply::Json(200, "<html>".to_owned()),
        (false, 2) => Reply::Json(403, r#"{"message":"pods is forbidden"}"#.to_owned()),
        (false, 3) => Reply::Json(500, "not JSON".to_owned()),
        (false, 4) => Reply::Json(200, r#"{"items":[{"metadata":7}]}"#.to_owned()),
        (false, _) => list(&[pod("a", 1, "one"), "{}".to_owned()], 10, ""),
        (true, 6) => Reply::Silence,
        (true, 7) => Reply::Lines(vec!["garbage".to_owned()]),
        (true, 8) => Reply::Lines(vec![event("ERROR", r#"{"code":500}"#)]),
        (true, _) => Reply::Lines(vec![event("ADDED", &pod("b", 11, "two"))]),
    });
    let cluster = Cluster::start(server.config(None)).unwrap();
    until("the watch that works", || app(&cluster, "b").is_some());
    assert_eq!(app(&cluster, "a").as_deref(), Some("one"));
}

#[test]
fn a_server_that_nobody_vouches_for_gets_no_token() {
    let server = Server::start(|_, _, _| list(&[], 1, ""));
    let other = Server::start(|_, _, _| list(&[], 1, ""));
    let mut config = server.config(Some(Token::Text("secret".to_owned())));
    config.access.tls = other.config(None).access.tls;
    let cluster = Cluster::start(config).unwrap();
    thread::sleep(Duration::from_millis(700));
    assert_eq!(cluster.pod("a"), Known::NotTold);
    assert!(server.asked().is_empty());
}

#[test]
fn a_server_that_knows_no_version_is_not_asked_all_the_time() {
    let server = Server::start(|_, path, _| match is_watch(path) {
        true => Reply::Json(410, r#"{"kind":"Status","code":410}"#.to_owned()),
        false => list(&[pod("a", 1, "one")], 10, ""),
    });
    let cluster = Cluster::start(server.config(None)).unwrap();
    thread::sleep(Duration::from_secs(2));
    assert!(app(&cluster, "a").is_some());
    let asked = server.asked().len();
    assert!((2..=24).contains(&asked), "asked {asked} times");
}

#[test]
fn what_is_no_list_is_not_taken_for_an_empty_one() {
    for answer in [
        "{}",
        r#"{"kind":"Status","status":"Failure"}"#,
        r#"{"kind":"PodList","metadata":{},"items":[]}"#,
    ] {
        let server = Server::start(move |number, path, _| match (is_watch(path), number) {
            (false, 0) => list(&[pod("a", 1, "one")], 10, ""),
            (true, 1) => Reply::Json(410, String::new()),
            (false, 2) => Reply::Json(200, answer.to_owned()),
            (false, _) => Reply::Silence,
            (true, _) => Reply::Lines(Vec::new()),
        });
        let cluster = Cluster::start(server.config(None)).unwrap();
        until("the list after", || server.asked().len() >= 4);
        assert_eq!(app(&cluster, "a").as_deref(), Some("one"), "{answer}");
        assert!(!is_watch(&server.asked()[3].0), "{answer}");
    }
}

#[test]
fn a_list_without_end_ends() {
    let server = Server::start(|number, path, _| match (is_watch(path), number) {
        (true, _) => Reply::Lines(Vec::new()),
        // A page that is its own next, then always another one.
        (false, 0 | 1) => list(&[], 10, "same"),
        (false, 2..=600) if number == 2 || path.contains("continue") => {
            list(&[], 10, &number.to_string())
        }
        _ => list(&[pod("a", 1, "one")], 10, ""),
    });
    let cluster = Cluster::start(server.config(None)).unwrap();
    until("the list that ends", || app(&cluster, "a").is_some());
    assert!(server.asked().len() < 400, "{}", server.asked().len());
}

#[test]
fn a_version_that_is_always_refused_is_left() {
    let mut lists = 0;
    let server = Server::start(move |_, path, _| match is_watch(path) {
        true if path.ends_with("resourceVersion=10") => Reply::Json(500, "{}".to_owned()),
        true => Reply::Lines(vec![event("ADDED", &pod("b", 12, "two"))]),
        false => {
            lists += 1;
            list(&[pod("a", 1, "one")], if lists == 1 { 10 } else { 11 }, "")
        }
    });
    let cluster = Cluster::start(server.config(None)).unwrap();
    until("a watch from another version", || {
        app(&cluster, "b").is_some()
    });
}

#[test]
fn a_client_certificate_is_read_for_each_connection() {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let server = Server::start_for(Some(issuer.der().clone()), |_, path, _| {
        match is_watch(path) {
            true => Reply::Lines(Vec::new()),
            false => list(&[pod("a", 1, "one")], 10, ""),
        }
    });
    let key = KeyPair::generate().unwrap();
    let params = || CertificateParams::new(vec!["agent".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // One that nobody there trusts, at first.
    fs::write(
        path("crt"),
        params().self_signed(&key).unwrap().pem().as_bytes(),
    )
    .unwrap();
    fs::write(path("key"), key.serialize_pem()).unwrap();
    fs::write(path("ca"), &server.ca).unwrap();
    let text = format!(
        "current-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
         clusters: [{{name: k, cluster: {{server: 'https://localhost:{}', \
         certificate-authority: ca}}}}]\n\
         users: [{{name: u, user: {{client-certificate: crt, client-key: key}}}}]\n",
        server.port
    );
    fs::write(path("config"), text).unwrap();
    let config = Config::find(Some(&path("config")), Some("n")).unwrap();
    let cluster = Cluster::start(config.unwrap()).unwrap();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(cluster.pod("a"), Known::NotTold);
    assert!(server.asked().is_empty());
    let renewed = params().signed_by(&key, &issuer).unwrap();
    fs::write(path("crt"), renewed.pem()).unwrap();
    until("the list", || app(&cluster, "a").is_some());
}

#[test]
fn a_service_account_is_enough() {
    let server = Server::start(|_, path, token| match token {
        "Bearer of-the-pod" if is_watch(path) => Reply::Lines(Vec::new()),
        "Bearer of-the-pod" => list(&[pod("a", 1, "one")], 10, ""),
        _ => Reply::Json(401, String::new()),
    });
    let folder = tempfile::tempdir().unwrap();
    let find = || {
        let port = server.port.to_string();
        Access::in_cluster(folder.path(), "localhost", &port)
    };
    // A pod may have none.
    assert!(find().unwrap().is_none());
    fs::write(folder.path().join("token"), "of-the-pod").unwrap();
    assert!(find().unwrap_err().to_string().contains("ca.crt"));
    fs::write(folder.path().join("ca.crt"), &server.ca).unwrap();
    let config = Config {
        node: "n".to_owned(),
        access: find().unwrap().unwrap(),
    };
    let cluster = Cluster::start(config).unwrap();
    until("the list", || app(&cluster, "a").is_some());
}

#[test]
fn outside_of_a_cluster_nobody_is_asked() {
    let none = Config::find(None, Some("n")).unwrap();
    assert!(none.is_none());
    let error = Config::find(Some(Path::new("/none")), Some("n")).unwrap_err();
    assert!(error.to_string().contains("cannot read /none"), "{error}");
}
