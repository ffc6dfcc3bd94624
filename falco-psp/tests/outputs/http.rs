//! Receivers that are down, slow, broken or gone.

use std::fs::{self, OpenOptions};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::receiver::{Receiver, Reply};
use crate::run::{Running, Workplace, bytes_in, stderr, until};

const ALERTS: usize = 10_000;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("n{number}")).collect()
}

/// The names in the order of their first arrival; asserts that none came twice without a mark.
fn once(receiver: &Receiver) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for received in receiver.received() {
        let name = received.name();
        if names.last() == Some(&name) {
            assert!(received.is_marked(), "{name} came twice without a mark");
        } else {
            names.push(name);
        }
    }
    names
}

#[test]
fn what_comes_while_the_receiver_is_down_arrives_afterwards_in_order() {
    let workplace = Workplace::new(ALERTS);
    // It fails now and then when it is back, too.
    let receiver = Receiver::down(|number| match number {
        3 | 5_000 => Reply::Close,
        700 => Reply::Status(500),
        _ => Reply::Status(200),
    });
    let url = receiver.url();
    let running = workplace.follow(&format!(
        "--output {url} --output file:all.log --spool-dir spool"
    ));
    until("all alerts are told", || {
        workplace.lines("all.log").len() == ALERTS
    });
    thread::sleep(Duration::from_secs(2));
    receiver.up();
    until("all have arrived", || receiver.count() >= ALERTS + 3);
    let told = running.end();
    assert_eq!(once(&receiver), names(ALERTS));
    let received = receiver.received();
    assert_eq!(received.len(), ALERTS + 3);
    let marked = received.iter().filter(|received| received.is_marked());
    assert_eq!(marked.count(), 3);
    // Kept alive, but where it was closed.
    assert!(receiver.connections() <= 4, "{}", receiver.connections());
    assert!(!told.contains("lost"), "{told}");
    assert!(told.contains("it is tried again"), "{told}");
    assert!(bytes_in(&workplace.path("spool")) < 4096);
}

#[test]
fn a_receiver_that_is_down_for_ever_costs_bounded_disk_and_the_loss_is_counted() {
    let alerts = 40_000;
    let workplace = Workplace::new(alerts);
    let receiver = Receiver::down(|_| Reply::Status(200));
    let options = format!(
        "--output {} --output file:all.log --spool-dir spool --spool-size 256KiB",
        receiver.url()
    );
    let output = workplace.run(&options);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    // The other output has everything.
    assert_eq!(workplace.lines("all.log").len(), alerts);
    assert!(bytes_in(&workplace.path("spool")) <= 256 << 10);
    let line = format!("output {}: ", receiver.url());
    let line = told
        .lines()
        .find(|l| l.starts_with(&line) && l.contains("lost"));
    let line = line.unwrap_or_else(|| panic!("{told}"));
    let number = |word: &str| {
        let after = line.split(word).nth(1).unwrap().trim_start();
        let digits = after.split(|c: char| !c.is_ascii_digit()).next().unwrap();
        digits.parse::<usize>().unwrap()
    };
    let (lost, kept) = (number("lost"), number("next run"));
    assert_eq!((number("delivered"), lost + kept), (0, alerts), "{told}");
    assert!(kept > 300, "{told}");

    // The next run delivers what was kept, before its own. Of what was written last a part is
    // missing.
    let folder = fs::read_dir(workplace.path("spool"))
        .unwrap()
        .next()
        .unwrap();
    let files = fs::read_dir(folder.unwrap().path()).unwrap();
    let last = files
        .map(|file| file.unwrap().path())
        .filter(|p| p.extension().is_some());
    let last = OpenOptions::new()
        .write(true)
        .open(last.max().unwrap())
        .unwrap();
    last.set_len(last.metadata().unwrap().len() - 1).unwrap();
    workplace.keep_first();
    receiver.up();
    let told = stderr(&workplace.run(&options));
    assert!(told.contains("1 alerts in the spool are damaged"), "{told}");
    assert!(
        told.contains(&format!("delivered {kept}, retried 0, lost 1\n")),
        "{told}"
    );
    let mut expected = names(kept - 1);
    expected.push("n0".to_owned());
    assert_eq!(once(&receiver), expected);
}

#[test]
fn what_a_killed_process_leaves_is_delivered_by_the_next_and_what_was_under_way_is_marked() {
    let workplace = Workplace::new(500);
    let receiver = Receiver::start(|number| match number {
        100 => Reply::Silence,
        _ => Reply::Status(200),
    });
    let options = format!(
        "--output {} --output file:all.log --spool-dir spool",
        receiver.url()
    );
    let running = workplace.follow(&options);
    until("all alerts are told", || {
        workplace.lines("all.log").len() == 500
    });
    until("it waits for an answer", || receiver.count() == 101);
    // The queue is moved to the spool at once, and that is what outlives it.
    thread::sleep(Duration::from_secs(1));
    running.kill();
    workplace.keep_first();
    let told = stderr(&workplace.run(&options));
    assert!(!told.contains("lost"), "{told}");
    let mut expected = names(500);
    expected.push("n0".to_owned());
    assert_eq!(once(&receiver), expected);
    let marked = receiver
        .received()
        .into_iter()
        .filter(|received| received.is_marked());
    assert_eq!(
        marked.map(|received| received.name()).collect::<Vec<_>>(),
        ["n100"]
    );
}

#[test]
fn without_a_spool_the_queue_bridges_an_outage_and_its_loss_is_counted() {
    let workplace = Workplace::new(20);
    let receiver = Receiver::down(|_| Reply::Status(200));
    let url = receiver.url();
    let output = workplace.run(&format!("--output {url}"));
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("delivered 0"), "{told}");
    assert!(told.contains("lost 20\n"), "{told}");

    let running = workplace.follow(&format!("--output {url} --output file:all.log"));
    until("all alerts are told", || {
        workplace.lines("all.log").len() == 20
    });
    receiver.up();
    until("all have arrived", || receiver.count() == 20);
    assert!(!running.end().contains("lost"));
    assert_eq!(once(&receiver), names(20));
    assert!(
        !receiver
            .received()
            .iter()
            .any(|received| received.is_marked())
    );
}

#[test]
fn a_receiver_that_accepts_and_says_nothing_is_given_up_in_time() {
    let workplace = Workplace::new(5);
    let receiver = Receiver::start(|number| match number {
        1 | 2 => Reply::Silence,
        _ => Reply::Status(200),
    });
    let url = receiver.url();
    let output = workplace.run(&format!("--output {url} --output-timeout 300ms"));
    let told = stderr(&output);
    assert!(told.contains("no answer in time"), "{told}");
    assert!(told.contains("works again"), "{told}");
    assert_eq!(once(&receiver), names(5));
    assert_eq!(receiver.count(), 7);
}

#[test]
fn the_second_signal_ends_what_the_first_lets_be_delivered() {
    let workplace = Workplace::new(3);
    let receiver = Receiver::start(|_| Reply::Silence);
    let run = workplace.follow(&format!(
        "--output {} --output file:all.log",
        receiver.url()
    ));
    until("all alerts are told", || {
        workplace.lines("all.log").len() == 3 && receiver.count() == 1
    });
    run.signal(Signal::TERM);
    // Both signals are one while the first has not been seen.
    thread::sleep(Duration::from_millis(300));
    let told = run.end();
    assert!(told.contains("told again to end"), "{told}");
    assert!(told.contains("delivered 0, retried 0, lost 3"), "{told}");
    assert!(told.contains("3 audit events"), "{told}");
}

#[test]
fn a_reader_that_does_not_read_holds_up_no_end() {
    let workplace = Workplace::new(40_000);
    let mut command = workplace.command("--follow");
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut run = Running::of(child.unwrap());
    // Longer than the pipe takes to be full.
    thread::sleep(Duration::from_millis(1500));
    run.signal(Signal::INT);
    thread::sleep(Duration::from_millis(300));
    let stdout = run.take_stdout();
    let told = run.end();
    drop(stdout);
    assert!(told.contains("told again to end"), "{told}");
    assert!(told.contains(", lost "), "{told}");
}

#[test]
fn answers_tell_what_is_sent_again_what_is_marked_and_what_is_refused() {
    let workplace = Workplace::new(4);
    let receiver = Receiver::start(|number| match number {
        // n0: not taken for certain, then maybe taken, then taken.
        0 => Reply::Status(503),
        1 => Reply::Status(500),
        // n1: refused.
        3 => Reply::Status(400),
        // n2: a path or a token is wrong.
        4 => Reply::Status(404),
        _ => Reply::Status(202),
    });
    let output = workplace.run(&format!("--output {}", receiver.url()));
    let told = stderr(&output);
    let received = receiver.received();
    let received: Vec<_> = received.iter().map(|r| (r.name(), r.is_marked())).collect();
    let expected = [
        ("n0", false),
        ("n0", false),
        ("n0", true),
        ("n1", false),
        ("n2", false),
        ("n2", false),
        ("n3", false),
    ];
    assert_eq!(
        received,
        expected.map(|(name, marked)| (name.to_owned(), marked))
    );
    assert!(told.contains("refuses an alert: 400"), "{told}");
    assert!(told.contains("delivered 3, retried 3, lost 1\n"), "{told}");
}

#[test]
fn a_request_is_as_falcosidekick_takes_it() {
    let workplace = Workplace::new(1);
    let receiver = Receiver::start(|_| Reply::Status(200));
    let url = receiver.url();
    let output = workplace.run(&format!("--output http:{url}path?token=t"));
    assert_eq!(output.status.code(), Some(2));
    // Standard output was not asked for.
    assert!(output.stdout.is_empty());
    let received = &receiver.received()[0];
    assert!(received.head.starts_with("POST /path?token=t HTTP/1.1\r\n"));
    let head = received.head.to_lowercase();
    assert!(
        head.contains("\r\ncontent-type: application/json\r\n"),
        "{head}"
    );
    assert!(
        head.contains(&format!("\r\nhost: {}\r\n", receiver.address)),
        "{head}"
    );
    let json = received.json();
    assert_eq!(
        (&json["rule"], &json["priority"]),
        (&"Made".into(), &"Error".into())
    );
    assert!(json["time"].is_string() && json["output"].is_string());
}
