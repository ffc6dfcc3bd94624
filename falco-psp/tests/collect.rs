//! `kubectl falco-psp` and `report collect`, by an API server over real sockets and TLS.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says best where it failed"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const RESTRICTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/restricted.yaml");
const PERMISSIVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/permissive.yaml");
const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recording/v1.recording");
const PODS: &str = "/api/v1/namespaces/falco-psp/pods?labelSelector=\
                    app.kubernetes.io%2Fname%3Dfalco-psp%2C\
                    app.kubernetes.io%2Fcomponent%3Dagent&limit=250";

/// What the server does with a request.
enum Reply {
    /// Answers.
    Text(u16, &'static str, String),
    /// The same, later.
    Late(Duration, String),
    /// Zeros until the client has enough.
    Endless,
    /// Nothing, ever.
    Silence,
}

fn json(body: impl ToString) -> Reply {
    Reply::Text(200, "application/json", body.to_string())
}

fn status(code: u16, message: &str) -> Reply {
    let body = json!({"kind": "Status", "code": code, "message": message});
    Reply::Text(code, "application/json", body.to_string())
}

/// A server with a kubeconfig for it, and what it was asked.
struct Server {
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<String>>>,
    most_at_once: Arc<AtomicUsize>,
}

impl Server {
    fn start(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let tls = tls.with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let chain = vec![certificate.der().clone()];
        let tls = tls.with_no_client_auth().with_single_cert(chain, key);
        let acceptor = TlsAcceptor::from(Arc::new(tls.unwrap()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.crt"), issuer.pem()).unwrap();
        let text = format!(
            "current-context: nowhere\n\
             contexts: [{{name: nowhere, context: {{cluster: none, user: none}}}}, \
             {{name: here, context: {{cluster: k, user: u, namespace: other}}}}]\n\
             clusters: [{{name: k, cluster: {{server: 'https://localhost:{port}', \
             certificate-authority: ca.crt}}}}]\n\
             users: [{{name: u, user: {{token: let-me-in}}}}]\n"
        );
        fs::write(folder.path().join("config"), text).unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let most_at_once: Arc<AtomicUsize> = Arc::default();
        let (noted, most) = (Arc::clone(&asked), Arc::clone(&most_at_once));
        let now = Arc::new(AtomicUsize::new(0));
        let answer = Arc::new(answer);
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    let (acceptor, noted, answer) =
                        (acceptor.clone(), Arc::clone(&noted), Arc::clone(&answer));
                    let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                    tokio::spawn(async move {
                        let Ok(mut stream) = acceptor.accept(stream).await else {
                            return;
                        };
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        let mut head = Vec::new();
                        while !head.ends_with(b"\r\n\r\n") {
                            match stream.read_u8().await {
                                Ok(byte) => head.push(byte),
                                Err(_) => break,
                            }
                        }
                        let head = String::from_utf8(head).unwrap();
                        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                        noted.lock().unwrap().push(path.clone());
                        let reply = match head.contains("Bearer let-me-in") {
                            true => answer(&path),
                            false => status(401, "Unauthorized"),
                        };
                        let (code, kind, body, is_endless) = match reply {
                            Reply::Text(code, kind, body) => (code, kind, body, false),
                            Reply::Late(after, body) => {
                                tokio::time::sleep(after).await;
                                (200, "application/json", body, false)
                            }
                            Reply::Endless => (200, "application/json", String::new(), true),
                            Reply::Silence => return std::future::pending().await,
                        };
                        let head = format!(
                            "HTTP/1.1 {code} X\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"
                        );
                        // The client may have gone.
                        let _ = stream.write_all(head.as_bytes()).await;
                        let _ = stream.write_all(body.as_bytes()).await;
                        let zeros = vec![b' '; 1 << 20];
                        while is_endless && stream.write_all(&zeros).await.is_ok() {}
                        let _ = stream.flush().await;
                        let _ = stream.shutdown().await;
                        now.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            });
        });
        Self {
            folder,
            asked,
            most_at_once,
        }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// `report collect`, and its report if there is one.
    fn collect(&self, more: &[&str]) -> (Ended, Value) {
        let path = self.folder.path().join("report.json");
        let mut command = Command::new(env!("CARGO_BIN_EXE_falco-psp"));
        command.args(["report", "collect", "--context", "here", "--kubeconfig"]);
        command.arg(self.config()).arg("--report");
        command.arg(format!("json:{}", path.display()));
        let ended = Ended::of(command.args(["--report", "text"]).args(more));
        let text = fs::read_to_string(path).unwrap_or_default();
        (ended, serde_json::from_str(&text).unwrap_or_default())
    }
}

/// What a run left.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(command: &mut Command) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = command.stdin(Stdio::null()).output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert!(!stderr.contains("panicked"), "{stderr}");
        Self {
            code: status.code(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr,
        }
    }

    fn assert_error(&self, words: &[&str]) {
        assert_eq!(self.code, Some(1), "{}{}", self.stdout, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}`: {}", self.stderr);
        }
    }
}

/// A real report, by this policy.
fn report(policy: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_falco-psp"))
        .args(["--replay", RECORDING, "--psp", policy, "--report", "json"])
        .args(["--output", "file:/dev/null"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn pod(name: &str, node: &str, phase: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "falco-psp", "managedFields": [{}]},
        "spec": {"nodeName": node},
        "status": {"phase": phase},
    })
}

fn list(pods: &[Value], more: &str) -> Reply {
    json(json!({"kind": "PodList", "metadata": {"continue": more}, "items": pods}))
}

/// The name of the pod whose report is asked for.
fn asked_pod(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/api/v1/namespaces/falco-psp/pods/http:")?;
    rest.strip_suffix(":9376/proxy/v1/report")
}

fn weaknesses(report: &Value) -> Vec<String> {
    let texts = report["weaknesses"].as_array().expect("weaknesses").iter();
    texts
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn pods_that_give_no_report_are_named() {
    let good = report(RESTRICTED);
    let server = Server::start(move |path| match asked_pod(path) {
        None => list(
            &[
                pod("a", "n3", "Running"),
                pod("slow", "n1", "Running"),
                pod("busy", "n2", "Running"),
                pod("late", "n4", "Running"),
                pod("new", "", "Pending"),
            ],
            "",
        ),
        Some("slow") => Reply::Silence,
        Some("busy") => Reply::Text(503, "text/plain; charset=utf-8", "busy\nstarting\n".into()),
        Some("late") => Reply::Late(Duration::from_millis(300), good.clone()),
        Some(_) => json(&good),
    });
    let (ended, report) = server.collect(&["--request-timeout", "3s"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let weaknesses = weaknesses(&report);
    let expected = [
        "pod new (on no node yet): is Pending, not Running",
        "node n1 (pod slow): no answer in 3 s (--request-timeout)",
        "node n2 (pod busy): 503 Service Unavailable: busy starting",
    ];
    assert_eq!(weaknesses[..3], expected);
    for text in expected {
        assert!(ended.stdout.contains(text), "{}", ended.stdout);
    }
    let node = |name: &str| weaknesses.iter().any(|text| text.starts_with(name));
    assert!(node("node n3 (pod a): ") && node("node n4 (pod late): "));
    // Two nodes have seen the same.
    let one: Value = serde_json::from_str(&self::report(RESTRICTED)).unwrap();
    let containers = |report: &Value| report["seen"]["containers"].as_u64().unwrap();
    assert_eq!(containers(&report), 2 * containers(&one));
    assert_eq!(report["breaking"], one["breaking"]);
    let note = report["notes"][0].as_str().unwrap();
    assert!(
        note.starts_with("reports of 2 of 5 pods, on 2 nodes"),
        "{note}"
    );
    let asked = server.asked();
    assert_eq!(asked[0], PODS);
    assert!(!asked.iter().any(|path| asked_pod(path) == Some("new")));
}

#[test]
fn many_pods_come_in_pages_and_are_asked_a_few_at_a_time() {
    let good = report(PERMISSIVE);
    let server = Server::start(move |path| match asked_pod(path) {
        None if path.ends_with("&continue=x%2F1") => {
            let pods: Vec<Value> = (20..30)
                .map(|n| pod(&format!("p{n}"), &format!("n{n}"), "Running"))
                .collect();
            list(&pods, "")
        }
        None => {
            let pods: Vec<Value> = (10..20)
                .map(|n| pod(&format!("p{n}"), &format!("n{n}"), "Running"))
                .collect();
            list(&pods, "x/1")
        }
        Some(_) => Reply::Late(Duration::from_millis(50), good.clone()),
    });
    let (ended, report) = server.collect(&[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let note = report["notes"][0].as_str().unwrap();
    assert!(note.starts_with("reports of 20 of 20 pods, on 20 nodes"));
    let most = server.most_at_once.load(Ordering::SeqCst);
    assert!((2..=8).contains(&most), "{most} at once");
}

#[test]
fn refusals_say_what_is_needed() {
    let role = "falco-psp-report-reader";
    let server = Server::start(|_| status(403, "pods is forbidden: User \"u\" cannot list"));
    let (ended, _) = server.collect(&[]);
    ended.assert_error(&["403", "cannot list", "get of pods/proxy", role]);
    let server = Server::start(|path| match asked_pod(path) {
        None => list(&[pod("a", "n1", "Running")], ""),
        Some(_) => status(403, "cannot get resource \"pods/proxy\""),
    });
    let (ended, _) = server.collect(&[]);
    ended.assert_error(&["node n1 (pod a): 403", "cannot get resource", role]);
    let config = fs::read_to_string(server.config()).unwrap();
    fs::write(server.config(), config.replace("let-me-in", "old")).unwrap();
    server
        .collect(&[])
        .0
        .assert_error(&["401", "kubectl auth whoami"]);
    let server = Server::start(|_| list(&[], ""));
    let (ended, _) = server.collect(&["-n", "elsewhere", "-l", "app=x"]);
    ended.assert_error(&["no pod in the namespace elsewhere", "app=x", "--selector"]);
    assert!(server.asked()[0].contains("/namespaces/elsewhere/pods?labelSelector=app%3Dx&"));
    for nonsense in ["{}", "<html>", "{\"kind\":\"Status\"}"] {
        let server = Server::start(move |_| json(nonsense));
        server.collect(&[]).0.assert_error(&["makes no sense"]);
    }
    let server = Server::start(|_| list(&[], "same"));
    server.collect(&[]).0.assert_error(&["names itself"]);
}

#[test]
fn hostile_reports_cost_only_themselves() {
    let good = report(RESTRICTED);
    let server = Server::start(move |path| match asked_pod(path) {
        None => list(
            &["deep", "endless", "evil", "good", "html", "version"]
                .map(|name| pod(name, &format!("{name}\u{1b}[31m"), "Running")),
            "",
        ),
        Some("deep") => json("[".repeat(1 << 20)),
        Some("endless") => Reply::Endless,
        Some("evil") => Reply::Text(500, "text/plain", "\u{1b}]0;x\u{7} ".repeat(9_000)),
        Some("html") => json("<html>"),
        Some("version") => json("{\"version\": 2, \"new\": []}"),
        Some(_) => json(&good),
    });
    let (ended, report) = server.collect(&["--request-timeout", "60s"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(!ended.stdout.contains('\u{1b}'), "{}", ended.stdout);
    let weaknesses = weaknesses(&report);
    for (place, expected) in [
        (0, "no report: "),
        (1, "more than 67108864 bytes"),
        (2, "500 Internal Server Error: "),
        (3, "no report: "),
        (4, "a report of version 2"),
    ] {
        let text = &weaknesses[place];
        assert!(text.contains(expected) && text.len() < 1_500, "{text}");
    }
}

#[test]
fn the_policy_of_most_pods_counts() {
    let (old, new) = (report(PERMISSIVE), report(RESTRICTED));
    let server = Server::start(move |path| match asked_pod(path) {
        None => list(
            &["a", "b", "c"].map(|name| pod(name, &format!("n-{name}"), "Running")),
            "",
        ),
        Some("a") => json(&old),
        Some(_) => json(&new),
    });
    let (ended, report) = server.collect(&[]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert_eq!(report["policies"], json!(["restricted"]));
    let first = &weaknesses(&report)[0];
    assert!(
        first.starts_with("node n-a (pod a): its report is about policy "),
        "{first}"
    );
}

/// The program under the plugin's name.
fn plugin(folder: &Path) -> Command {
    let path = folder.join("kubectl-falco_psp");
    if !path.exists() {
        symlink(env!("CARGO_BIN_EXE_falco-psp"), &path).unwrap();
    }
    let mut command = Command::new(path);
    let ours = ["KUBECONFIG", "KUBERNETES_SERVICE_HOST"];
    command.env_remove(ours[0]).env_remove(ours[1]);
    command.env("HOME", folder);
    command
}

#[test]
fn kubectl_finds_it_by_its_name() {
    let good = report(RESTRICTED);
    let server = Server::start(move |path| match asked_pod(path) {
        None => list(&[pod("a", "n1", "Running")], ""),
        Some(_) => json(&good),
    });
    let folder = server.folder.path();
    let list = format!("/none:{}", server.config().display());
    let ended = Ended::of(
        plugin(folder)
            .args(["--context", "here"])
            .env("KUBECONFIG", &list),
    );
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let head = "policy restricted: 2 workloads break\n";
    assert!(ended.stdout.starts_with(head), "{}", ended.stdout);
    Ended::of(plugin(folder).env("KUBECONFIG", &list)).assert_error(&["no cluster \"none\""]);
    let missing = Ended::of(&mut plugin(folder));
    missing.assert_error(&["no kubeconfig", "/.kube/config", "KUBECONFIG"]);
    let help = Ended::of(plugin(folder).arg("--help"));
    assert_eq!(help.code, Some(0));
    for word in [
        "Usage: kubectl falco-psp",
        "--context",
        "-n, --namespace",
        "-l, --selector",
    ] {
        assert!(help.stdout.contains(word), "no {word}: {}", help.stdout);
    }
    assert!(!help.stdout.contains("--psp "), "{}", help.stdout);
    let page = Ended::of(plugin(folder).arg("man"))
        .stdout
        .replace('\\', "");
    assert!(
        page.contains("kubectl falco-psp") && page.contains("pods/proxy"),
        "{page}"
    );
    let shell = Ended::of(plugin(folder).args(["completions", "bash"])).stdout;
    assert!(shell.contains("kubectl-falco_psp") && shell.contains("--selector"));
    Ended::of(plugin(folder).arg("--nope")).assert_error(&["--nope", "kubectl falco-psp"]);
}

/// As kubeconfigs of clouds have it.
#[test]
fn a_program_may_say_who_asks() {
    let good = report(PERMISSIVE);
    let server = Server::start(move |path| match asked_pod(path) {
        None => list(&[pod("a", "n1", "Running")], ""),
        Some(_) => json(&good),
    });
    let said = r#"{"apiVersion":"client.authentication.k8s.io/v1beta1","kind":"ExecCredential","status":{"token":"let-me-in"}}"#;
    fs::write(server.folder.path().join("said"), said).unwrap();
    let config = fs::read_to_string(server.config()).unwrap();
    let exec = format!(
        "exec: {{apiVersion: client.authentication.k8s.io/v1beta1, command: cat, args: ['{}']}}",
        server.folder.path().join("said").display()
    );
    fs::write(server.config(), config.replace("token: let-me-in", &exec)).unwrap();
    let (ended, _) = server.collect(&[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
