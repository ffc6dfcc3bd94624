//! The real program at work, with the audit webhook as its source and its pages.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// 184 events, of which 34 declare pods.
pub(crate) const LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/audit/audit_nopsp.log");
/// How long something may take to come about.
pub(crate) const HANGS: Duration = Duration::from_secs(30);

/// The program at work; killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    said: Arc<Mutex<String>>,
    audit: SocketAddr,
    pub(crate) pages: SocketAddr,
}

impl Running {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_falco-psp"))
            .args(["--audit-listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let said = Arc::new(Mutex::new(String::new()));
        let to = Arc::clone(&said);
        thread::spawn(move || {
            for line in stderr.lines() {
                *to.lock().unwrap() += &(line.unwrap() + "\n");
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut running = Self {
            child,
            said,
            audit: nowhere,
            pages: nowhere,
        };
        running.pages = running.address("served at http://");
        running.audit = running.address("are taken at http://");
        running
    }

    /// The address that it says after these words.
    fn address(&self, words: &str) -> SocketAddr {
        wait(words, || {
            let said = self.said();
            let rest = said.split_once(words)?.1;
            let end = rest.find(['/', '\n'])?;
            rest[..end].parse().ok()
        })
    }

    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        ask(self.pages, "GET", path, "")
    }

    /// Posts the events of the log.
    pub(crate) fn post(&self) {
        let log = fs::read_to_string(LOG).unwrap();
        let events: Vec<&str> = log.lines().collect();
        let body = format!(
            "{{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"items\":[{}]}}",
            events.join(",")
        );
        assert_eq!(ask(self.audit, "POST", "/k8s-audit", &body).0, 200);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}", self.said());
        }
    }
}

pub(crate) fn wait<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + HANGS;
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < deadline, "never came: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(HANGS)).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}
