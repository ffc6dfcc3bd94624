//! Audit events as the program's user meets them: logs that a real API server wrote, and its
//! webhook request over a real socket.

#![expect(clippy::unwrap_used, reason = "a test says best where it failed")]

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

const PROGRAM: &str = env!("CARGO_BIN_EXE_falco-psp");
/// No test waits longer for what has to come.
const PATIENCE: Duration = Duration::from_secs(30);

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/audit")
        .join(name)
}

fn restricted() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/restricted.yaml")
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("--psp").arg(restricted()).args(args);
    command
}

fn read_log(path: &Path, args: &[&str]) -> Output {
    let mut command = command(args);
    command.arg("--audit-log").arg(path).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Verdict and workload of each line of the table.
fn table(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines().map(str::split_whitespace);
    lines
        .filter_map(|mut words| Some((words.next()?, words.next()?)))
        .filter(|(word, _)| ["denied", "changed", "fine", "unscoped"].contains(word))
        .collect()
}

#[test]
fn the_log_of_a_real_server_is_judged_and_every_event_accounted_for() {
    let output = read_log(&data("audit_nopsp.log"), &[]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    let table = table(&text);
    for denied in [
        "test/Pod/priv",
        "test/Pod/priv-init",
        "test/Pod/ssa-priv",
        "test/Pod/hostns",
        "test/Pod/hostpath",
        "test/Pod/multi",
    ] {
        assert!(table.contains(&("denied", denied)), "{denied}\n{text}");
    }
    for changed in ["test/Pod/ok", "test/Pod/ssa", "test/StatefulSet/sts-ok"] {
        assert!(table.contains(&("changed", changed)), "{changed}\n{text}");
    }
    assert!(text.contains("184 audit events: 34 pods judged (1 of dry runs)\n"));
    assert!(
        text.contains(
            "need no verdict: 150 (129 not of pods; 12 exec, log, status and the like; 4 reading \
             or deleting; 1 already refused with 400; 2 already refused with 403; 2 already \
             refused with 422)\n"
        ),
        "{text}"
    );
    assert!(
        text.lines()
            .filter(|line| !line.starts_with("need"))
            .all(|line| line.len() <= 80)
    );
}

#[test]
fn stages_before_the_answer_and_retries_are_told_apart() {
    let output = read_log(&data("audit_allstages.log"), &[]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains(
        "12 before the answer; 11 already refused with 403 (10 by controllers' retries)"
    ));
}

#[test]
fn alerts_name_rule_and_control_and_are_told_once_for_a_workload() {
    let output = read_log(&data("audit_nopsp.log"), &["--json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let alerts: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |rule: &str, pod: &str| {
        let found = alerts
            .iter()
            .filter(|alert| alert["rule"] == rule && alert["output_fields"]["ka.pod.name"] == pod);
        found.count()
    };
    assert_eq!(
        of("PSP restricted Violation (privileged) K8s Audit", "priv"),
        1
    );
    assert_eq!(
        of("PSP restricted Violation (hostPID) K8s Audit", "hostns"),
        1
    );
    assert_eq!(
        of("PSP restricted Violation (privileged) K8s Audit", "ok"),
        0
    );
    // The pod is logged six times, and asks for the same each time.
    assert_eq!(
        of("PSP restricted Mutation (capabilities) K8s Audit", "ok"),
        1
    );
    let priv_init = alerts.iter().find(|alert| {
        alert["output_fields"]["ka.pod.name"] == "priv-init" && alert["tags"][1] == "privileged"
    });
    assert_eq!(priv_init.unwrap()["tags"][0], "k8s-psp");
    assert_eq!(priv_init.unwrap()["source"], "k8s_audit");
}

#[test]
fn a_log_may_be_compressed_a_list_an_array_or_standard_input() {
    let directory = tempfile::tempdir().unwrap();
    let lines = fs::read_to_string(data("audit_nopsp.log")).unwrap();
    let events: Vec<&str> = lines.lines().collect();
    let array = format!("[{}]", events.join(","));
    let list =
        format!("{{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"items\":{array}}}");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(lines.as_bytes()).unwrap();
    let forms = [
        array.into_bytes(),
        list.into_bytes(),
        gzip.finish().unwrap(),
    ];
    for form in forms {
        let path = directory.path().join("log");
        fs::write(&path, form).unwrap();
        let text = stderr(&read_log(&path, &[]));
        assert!(text.contains("184 audit events: 34 pods judged"), "{text}");
    }
    let mut command = command(&["--audit-log", "-"]);
    command.stdin(File::open(data("audit_nopsp.log")).unwrap());
    let text = stderr(&command.output().unwrap());
    assert!(text.contains("184 audit events: 34 pods judged"), "{text}");
}

#[test]
fn what_cannot_be_judged_is_counted_by_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let event = |level: &str, verb: &str, more: &str| {
        format!(
            "{{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"{level}\",\
             \"stage\":\"ResponseComplete\",\"requestURI\":\"/\",\"verb\":\"{verb}\",\
             \"user\":{{\"username\":\"u\"}},\"objectRef\":{{\"resource\":\"pods\"}},\
             \"responseStatus\":{{\"code\":200}}{more}}}\n"
        )
    };
    let log = event("Metadata", "create", "")
        + &event("Request", "patch", ",\"requestObject\":{\"spec\":{}}")
        + "not json\n"
        + &event(
            "Request",
            "create",
            ",\"requestObject\":{\"spec\":{\"hostPID\":7}}",
        );
    fs::write(&path, log).unwrap();
    let text = stderr(&read_log(&path, &[]));
    for part in [
        "log:3: ",
        "log:4: its pod is none: invalid type: integer `7`, expected a boolean",
        "NOT JUDGED, though they may declare pods: 4",
        "1 level Metadata",
        "1 patches at level Request",
        "2 malformed",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    fs::write(&path, "").unwrap();
    assert!(stderr(&read_log(&path, &[])).contains("no audit event received yet"));
    let missing = read_log(&directory.path().join("none"), &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("cannot open the audit log"));
}

#[test]
fn namespaces_can_be_chosen_and_exempted() {
    let log = data("audit_nopsp.log");
    let exempt = stderr(&read_log(&log, &["--exempt-namespace", "test"]));
    assert!(
        !table(&exempt).contains(&("denied", "test/Pod/priv")),
        "{exempt}"
    );
    assert!(exempt.contains("are in no policy's scope: not judged"));
    let chosen = stderr(&read_log(&log, &["--namespace", "test"]));
    assert!(
        table(&chosen).contains(&("denied", "test/Pod/priv")),
        "{chosen}"
    );
}

#[test]
fn of_several_policies_one_that_admits_is_enough() {
    let permissive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/permissive.yaml");
    let args = ["--psp", permissive.to_str().unwrap()];
    let output = read_log(&data("audit_nopsp.log"), &args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(output.stdout.is_empty());
    assert!(table(&text).contains(&("fine", "test/Pod/priv")), "{text}");
}

#[test]
fn the_summary_comes_even_if_alerts_cannot_be_written() {
    let log = data("audit_nopsp.log");
    let args = ["--audit-log", log.to_str().unwrap()];
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = command(&args).stdout(full).output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("34 pods judged"), "{text}");
    assert!(text.contains("No space left on device"), "{text}");
    // A reader that has enough is no error.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command(&args).stdout(writer).output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("34 pods judged"), "{text}");
}

/// A running program that is killed when dropped.
struct Running {
    child: Child,
    said: BufReader<std::process::ChildStderr>,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut child = command(args)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        Self { child, said }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line
    }

    /// Ends it as an operator does; what it said last.
    fn end(mut self) -> String {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        self.child.wait().unwrap();
        rest
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_followed_log_may_grow_be_rotated_and_truncated() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let lines = fs::read_to_string(data("audit_nopsp.log")).unwrap();
    fs::write(&path, &lines).unwrap();
    let running = Running::start(&["--follow", "--audit-log", path.to_str().unwrap()]);
    thread::sleep(Duration::from_millis(800));
    let mut old = OpenOptions::new().append(true).open(&path).unwrap();
    old.write_all(lines.as_bytes()).unwrap();
    fs::rename(&path, directory.path().join("audit.log.1")).unwrap();
    // The server writes on to the old file until it notices.
    old.write_all(lines.as_bytes()).unwrap();
    fs::write(&path, &lines).unwrap();
    thread::sleep(Duration::from_millis(1500));
    fs::write(&path, lines.lines().next().unwrap().to_owned() + "\n").unwrap();
    thread::sleep(Duration::from_millis(1200));
    let text = running.end();
    assert!(
        text.contains(&format!("{} audit events", 4 * 184 + 1)),
        "{text}"
    );
}

struct Webhook {
    running: Running,
    address: String,
}

impl Webhook {
    fn start() -> Self {
        let mut running = Running::start(&["--audit-listen", "127.0.0.1:0"]);
        let line = running.line();
        let address = line.split("http://").nth(1).unwrap();
        let address = address.split("/k8s-audit").next().unwrap().to_owned();
        Self { running, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends a request as it is; the answer's status and text.
    fn send(&self, request: &[u8]) -> (u16, String) {
        let mut stream = self.connect();
        // A server that refuses need not read to the end.
        let _ = stream.write_all(request);
        let mut answer = String::new();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap_or(0) > 0 && line != "\r\n" {
            answer += &line;
            line.clear();
        }
        let length = answer
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        let _ = reader.read_exact(&mut body);
        let status = answer.split_whitespace().nth(1).unwrap_or("0");
        let status = status.parse().unwrap();
        (status, answer + &String::from_utf8_lossy(&body))
    }

    fn post(&self, body: &[u8], headers: &str) -> (u16, String) {
        let mut request = format!(
            "POST /k8s-audit HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
             {headers}Content-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.send(&request)
    }
}

fn one_event(number: usize) -> Vec<u8> {
    format!(
        "{{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"items\":[{{\"level\":\
         \"Request\",\"auditID\":\"{number}\",\"stage\":\"ResponseComplete\",\"requestURI\":\"/\",\
         \"verb\":\"create\",\"user\":{{\"username\":\"u\"}},\"objectRef\":{{\"resource\":\"pods\",\
         \"namespace\":\"n\",\"name\":\"p{number}\"}},\"responseStatus\":{{\"code\":201}},\
         \"requestObject\":{{\"spec\":{{\"hostPID\":true,\"containers\":[]}}}}}}]}}"
    )
    .into_bytes()
}

#[test]
fn the_webhook_takes_what_the_api_server_sends_and_tells_what_is_wrong() {
    let webhook = Webhook::start();
    let raw = fs::read(data("audit_webhook_post.raw")).unwrap();
    assert_eq!(webhook.send(&raw).0, 200);
    assert_eq!(webhook.post(&one_event(1), "").0, 200);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&one_event(2)).unwrap();
    let packed = gzip.finish().unwrap();
    assert_eq!(webhook.post(&packed, "Content-Encoding: gzip\r\n").0, 200);

    let (status, text) = webhook.post(b"{\"items\": [", "");
    assert_eq!(status, 400);
    assert!(text.contains("not a body of audit events: EOF"), "{text}");
    let (status, text) = webhook.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(status, 404);
    assert!(text.contains("/k8s-audit"), "{text}");
    let (status, text) = webhook.send(b"GET /k8s-audit HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(status, 405);
    assert!(text.contains("allow: POST"), "{text}");
    assert_eq!(
        webhook.send(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").0,
        200
    );
    let (status, _) = webhook.send(
        b"POST /k8s-audit HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
    );
    assert_eq!(status, 415);

    let text = webhook.running.end();
    assert!(table(&text).contains(&("denied", "n/Pod/p1")), "{text}");
    assert!(table(&text).contains(&("denied", "n/Pod/p2")), "{text}");
    assert!(text.contains("8 audit events: 2 pods judged"), "{text}");
    assert!(
        text.contains("webhook: accepted 3, malformed 2, "),
        "{text}"
    );
}

#[test]
fn the_webhook_outlives_garbage_slow_clients_and_bodies_that_are_cut_off() {
    let webhook = Webhook::start();
    // Never sends the rest of its header.
    let mut slow = webhook.connect();
    slow.write_all(b"POST /k8s-audit HTTP/1.1\r\nHo").unwrap();
    let mut cut = webhook.connect();
    let body = one_event(1);
    let header = format!(
        "POST /k8s-audit HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    cut.write_all(header.as_bytes()).unwrap();
    cut.write_all(&body[..body.len() / 2]).unwrap();
    cut.shutdown(Shutdown::Write).unwrap();
    let garbage = vec![b'x'; 64 << 20];
    let (status, text) = webhook.post(&garbage, "");
    assert_eq!(status, 400, "{text}");
    let (status, _) = webhook.post(&vec![b'['; (64 << 20) + 1], "");
    assert!(matches!(status, 0 | 413), "{status}");
    // What inflates to more than a body may have.
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&vec![b' '; 80 << 20]).unwrap();
    let bomb = gzip.finish().unwrap();
    assert_eq!(webhook.post(&bomb, "Content-Encoding: gzip\r\n").0, 413);
    assert_eq!(webhook.post(&one_event(2), "").0, 200);
    let text = webhook.running.end();
    assert!(text.contains("1 audit events: 1 pods judged"), "{text}");
}

#[test]
fn a_thousand_clients_at_once_are_served_and_nothing_acknowledged_is_lost() {
    let webhook = Webhook::start();
    let begun = Instant::now();
    let served: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..1000)
            .map(|number| {
                let webhook = &webhook;
                scope.spawn(move || webhook.post(&one_event(number), "").0 == 200)
            })
            .collect();
        let served = clients.into_iter().map(|client| client.join().unwrap());
        served.filter(|served| *served).count()
    });
    println!("{served} of 1000 clients in {:?}", begun.elapsed());
    assert_eq!(served, 1000);
    let text = webhook.running.end();
    assert!(
        text.contains("1000 audit events: 1000 pods judged"),
        "{text}"
    );
    assert_eq!(table(&text).len(), 1000);
}

#[test]
fn plain_http_on_the_network_has_to_be_asked_for() {
    let output = command(&["--audit-listen", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--audit-tls-cert"));
}
