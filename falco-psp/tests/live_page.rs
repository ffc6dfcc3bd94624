//! The report's page of `--listen`: what it is told while the run goes on, by real sockets and in a real
//! browser.

#![expect(clippy::unwrap_used, reason = "a test says best where it failed")]

mod browser;
mod running;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use browser::Browser;
use running::{HANGS, Running, ask, wait};
use rustix::process::Signal;
use serde_json::Value;

const RESTRICTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/restricted.yaml");
/// Who may listen at once.
const CLIENTS: usize = 16;
/// What the end of a run may take while somebody listens.
const PROMPT: Duration = Duration::from_secs(3);

/// Who listens at `/v1/events`.
struct Listening {
    stream: BufReader<TcpStream>,
    status: u16,
    headers: String,
    /// The last line that was not empty.
    last: String,
}

impl Listening {
    fn start(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(HANGS)).unwrap();
        stream
            .write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        let mut stream = BufReader::new(stream);
        let mut headers = String::new();
        while !headers.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut headers).unwrap() > 0, "{headers}");
        }
        Self {
            stream,
            status: headers.split(' ').nth(1).unwrap().parse().unwrap(),
            headers: headers.to_ascii_lowercase(),
            last: String::new(),
        }
    }

    /// The report that is told next; `None` at the end.
    fn next(&mut self) -> Option<Value> {
        let mut event = None;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if !line.trim_end().is_empty() {
                self.last = line.trim_end().to_owned();
            }
            // Between are the sizes of the chunks.
            match line.trim_end().split_once(": ") {
                Some(("event", name)) => event = Some(name.to_owned()),
                Some(("data", json)) => {
                    assert_eq!(event.as_deref(), Some("report"));
                    return Some(serde_json::from_str(json).unwrap());
                }
                _ => {}
            }
        }
    }
}

#[test]
fn the_page_is_served_with_strict_headers() {
    let running = Running::start(&["--psp", RESTRICTED]);
    let get = |path: &str, host: &str| {
        let mut stream = TcpStream::connect(running.pages).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let page = get("/", "localhost");
    let (head, page) = page.split_once("\r\n\r\n").unwrap();
    assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
    assert!(page.contains("data-events=\"v1&#x2f;events\""), "{page}");
    let head = head.to_ascii_lowercase();
    for header in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; style-src 'sha256-",
        "; connect-src 'self'; frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
    ] {
        assert!(head.contains(header), "{header}: {head}");
    }
    assert!(!head.contains("unsafe"), "{head}");
    // A site whose name leads to this machine reads nothing of the workloads.
    let port = running.pages.port();
    for path in ["/", "/v1/events", "/v1/report", "/v1/policy"] {
        let answer = get(path, &format!("rebound.example:{port}"));
        assert!(answer.starts_with("HTTP/1.1 421 "), "{path}: {answer}");
    }
    // A proxy before the metrics passes on the name by which it was asked.
    assert!(get("/metrics", "node1.example").starts_with("HTTP/1.1 200 "));
    let own = format!("127.0.0.1:{port}");
    assert!(get("/v1/report", &own).starts_with("HTTP/1.1 200 "));
    for path in ["/", "/v1/events"] {
        assert_eq!(ask(running.pages, "POST", path, "").0, 405, "{path}");
    }
}

#[test]
fn who_listens_is_told_what_is_new() {
    let running = Running::start(&["--psp", RESTRICTED]);
    let mut listening = Listening::start(running.pages);
    assert_eq!(listening.status, 200);
    assert!(
        listening
            .headers
            .contains("content-type: text/event-stream\r\n")
    );
    assert!(listening.headers.contains("cache-control: no-store\r\n"));
    let first = listening.next().unwrap();
    assert_eq!(
        (&first["version"], &first["breaking"]),
        (&1.into(), &0.into())
    );
    let headline = "policy restricted: nothing breaks, but not enough was seen";
    assert_eq!(first["headline"], headline);
    running.post();
    let after = loop {
        let report = listening.next().unwrap();
        if report["seen"]["declared_pods"] == 34 {
            break report;
        }
    };
    assert_eq!(after["verdict"], "breaks");
    let names = after["workloads"].as_array().unwrap().iter();
    assert!(
        names.clone().any(|workload| workload["name"] == "priv"),
        "{after}"
    );
    // Who comes later is told at once.
    let came = Instant::now();
    let late = Listening::start(running.pages).next().unwrap();
    assert_eq!(late["headline"], after["headline"]);
    assert!(
        came.elapsed() < Duration::from_millis(900),
        "{:?}",
        came.elapsed()
    );
}

#[test]
fn places_are_few_and_are_given_back() {
    let running = Running::start(&["--psp", RESTRICTED]);
    let mut all: Vec<Listening> = (0..CLIENTS)
        .map(|_| Listening::start(running.pages))
        .collect();
    assert!(all.iter().all(|listening| listening.status == 200));
    assert_eq!(Listening::start(running.pages).status, 503);
    // The other pages are still there.
    assert_eq!(running.get("/v1/report").0, 200);
    all.pop();
    wait("a place", || {
        (Listening::start(running.pages).status == 200).then_some(())
    });
}

#[test]
fn the_end_of_the_run_ends_what_is_told_at_once() {
    let mut running = Running::start(&["--psp", RESTRICTED]);
    let mut listening = Listening::start(running.pages);
    listening.next().unwrap();
    // One more that takes nothing at all.
    let _stuck = Listening::start(running.pages);
    let told = Instant::now();
    running.signal(Signal::TERM);
    assert!(listening.next().is_none());
    // It was ended, not cut off when the time for requests in flight was over.
    assert_eq!(listening.last, "0");
    wait("the end", || running.child.try_wait().unwrap());
    assert!(told.elapsed() < PROMPT, "{:?}", told.elapsed());
    let said = running.said();
    assert!(!said.contains("in flight"), "{said}");
}

#[test]
fn a_browser_shows_what_is_new_and_keeps_what_its_user_does() {
    if !browser::is_there() {
        return;
    }
    let mut running = Running::start(&["--psp", RESTRICTED]);
    let mut browser = Browser::open(&format!("http://{}/", running.pages));
    browser.wait_for("document.querySelector('#link span').textContent == 'live'");
    browser.eval("window.isSame = true; document.getElementById('part').focus()");
    browser.type_text("Pod/PRIV");
    let count = "document.getElementById('count').textContent";
    assert_eq!(browser.eval(count), "0 of 0 workloads");
    running.post();
    browser.wait_for("document.querySelectorAll('tbody tr').length > 0");
    let headline = browser.eval("document.getElementById('headline').textContent");
    assert!(
        headline.as_str().unwrap().ends_with("workloads break"),
        "{headline}"
    );
    let basis = "document.getElementById('basis').textContent";
    browser.wait_for(&format!("{basis}.includes('34 declared pods')"));
    // It is the page that was opened, with what its user had typed, and where it was typed.
    assert_eq!(browser.eval("window.isSame"), true);
    assert_eq!(
        browser.eval("document.getElementById('part').value"),
        "Pod/PRIV"
    );
    assert_eq!(browser.eval("document.activeElement.id"), "part");
    let names = browser.eval(
        "[...document.querySelectorAll('tbody th')].map(name => name.textContent.toLowerCase())",
    );
    for name in names.as_array().unwrap() {
        assert!(name.as_str().unwrap().contains("pod/priv"), "{names}");
    }

    // What is behind a cell stays open, a row stays the same, and so does where one is.
    browser.eval("document.querySelector('td.denied[data-control]').click()");
    browser.press("Escape", 27);
    browser.eval(
        "document.querySelector('tbody tr').isSame = true;
         document.body.style.paddingBottom = '2000px'; scrollTo(0, 150)",
    );
    let title = "document.querySelector('#detail h2').textContent";
    let opened = browser.eval(title);
    running.post();
    browser.wait_for(&format!("{basis}.includes('68 declared pods')"));
    assert_eq!(browser.eval(title), opened);
    assert_eq!(
        browser.eval("document.querySelector('tbody tr').isSame"),
        true
    );
    assert_eq!(browser.eval("document.activeElement.ariaCurrent"), "true");
    assert_eq!(browser.eval("scrollY"), 150);
    let other = |url: &&String| !url.starts_with(&format!("http://{}/", running.pages));
    assert_eq!(browser.requests.iter().find(other), None);

    // The browser is no reason to go on.
    let told = Instant::now();
    running.signal(Signal::TERM);
    wait("the end", || running.child.try_wait().unwrap());
    assert!(told.elapsed() < PROMPT, "{:?}", told.elapsed());
    browser.wait_for("document.getElementById('link').classList.contains('lost')");
    assert_eq!(browser.eval(title), opened);
}
