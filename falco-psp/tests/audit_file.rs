//! The audit log as a file: every form that it comes in, what is broken in it, and how it is
//! followed while it is written, rotated and truncated.

#![expect(clippy::unwrap_used, reason = "a test says best where it failed")]

use std::fs::{self, File, OpenOptions};
use std::future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use falco_psp::sources::k8s_audit::Batch;
use falco_psp::sources::k8s_audit::batch::{Fault, Origin};
use falco_psp::sources::k8s_audit::file::{AuditLog, LogError, LogOptions, MAX_EVENT};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// After this long, something hangs.
const HANGS: Duration = Duration::from_secs(60);
/// The events of `audit_nopsp.log`.
const EVENTS: usize = 184;

fn real_log() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audit/audit_nopsp.log");
    fs::read(path).unwrap()
}

fn real_events() -> Vec<Value> {
    let log = real_log();
    let lines = log.split(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// An event, of which nothing but its name matters.
fn event(id: &str) -> String {
    format!(
        r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"{id}","stage":"ResponseComplete"}}"#
    )
}

fn line(id: &str) -> String {
    event(id) + "\n"
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// A folder with a log in it.
struct Log {
    _folder: TempDir,
    path: PathBuf,
}

impl Log {
    fn new(content: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        fs::write(&path, content).unwrap();
        Self {
            _folder: folder,
            path,
        }
    }

    fn append(&self, text: &str) {
        append(
            &mut OpenOptions::new().append(true).open(&self.path).unwrap(),
            text,
        );
    }

    /// Moves the log away, as `audit.log.1`.
    fn rename(&self) {
        fs::rename(&self.path, self.path.with_extension("log.1")).unwrap();
    }

    fn options(&self) -> LogOptions {
        LogOptions::new(&self.path)
    }

    fn follow(&self) -> LogOptions {
        LogOptions {
            follow: true,
            ..self.options()
        }
    }

    fn read(&self) -> Read {
        Read::all(&self.options()).unwrap()
    }
}

fn append(file: &mut File, text: &str) {
    file.write_all(text.as_bytes()).unwrap();
}

/// What was read.
#[derive(Debug, Default)]
struct Read {
    /// Each with its line.
    events: Vec<(u64, Value)>,
    faults: Vec<Fault>,
    fault_count: u64,
}

impl Read {
    /// Reads a log to its end.
    fn all(options: &LogOptions) -> Result<Self, LogError> {
        let mut read = Self::default();
        let mut log = AuditLog::open(options)?;
        while let Some(batch) = log.next_batch()? {
            read.add(&batch);
        }
        // And there it stays.
        assert!(log.next_batch()?.is_none());
        Ok(read)
    }

    fn add(&mut self, batch: &Batch) {
        for event in batch.events() {
            let place = event.place.to_string();
            let line = place.rsplit_once(':').unwrap().1.parse().unwrap();
            match serde_json::from_slice(&event.json) {
                Ok(json) => self.events.push((line, json)),
                // A line with brackets around it, of which more shows only when it is parsed.
                Err(error) => {
                    let message = error.to_string();
                    self.faults.push(Fault { line, message });
                    self.fault_count += 1;
                }
            }
        }
        self.faults.extend_from_slice(batch.faults().told());
        self.fault_count += batch.faults().count();
    }

    fn ids(&self) -> Vec<&str> {
        let ids = self.events.iter();
        ids.map(|(_, event)| event["auditID"].as_str().unwrap())
            .collect()
    }

    fn lines(&self) -> Vec<u64> {
        self.events.iter().map(|(line, _)| *line).collect()
    }

    fn values(&self) -> Vec<&Value> {
        self.events.iter().map(|(_, event)| event).collect()
    }

    fn fault_lines(&self) -> Vec<u64> {
        self.faults.iter().map(|fault| fault.line).collect()
    }
}

#[track_caller]
fn assert_is_the_real_log(read: &Read) {
    let expected = real_events();
    assert_eq!(expected.len(), EVENTS);
    assert_eq!((read.events.len(), read.fault_count), (EVENTS, 0));
    assert!(read.values().into_iter().eq(&expected));
}

/// What is new in a followed log.
fn ids_now(log: &mut AuditLog) -> Vec<String> {
    let mut read = Read::default();
    while let Some(batch) = log.next_batch().unwrap() {
        read.add(&batch);
    }
    assert_eq!(read.faults, []);
    read.ids().into_iter().map(str::to_owned).collect()
}

/// The same after a few looks, as one look is not enough to see a rotation through.
fn ids_soon(log: &mut AuditLog) -> Vec<String> {
    (0..4).flat_map(|_| ids_now(log)).collect()
}

#[test]
fn a_log_of_the_api_server_is_read_line_by_line() {
    let read = Log::new(real_log()).read();
    assert_is_the_real_log(&read);
    assert_eq!(read.lines(), (1..=EVENTS as u64).collect::<Vec<_>>());
}

#[test]
fn an_event_knows_its_bytes_and_its_place() {
    let log = Log::new(format!("\n  {}\t\r\n", event("a")));
    let batch = AuditLog::open(&log.options()).unwrap().next_batch();
    let batch = batch.unwrap().unwrap();
    assert_eq!(*batch.origin(), Origin::File(Arc::from(&*log.path)));
    let events: Vec<_> = batch.events().collect();
    assert_eq!((events.len(), batch.len()), (1, 1));
    assert_eq!(events[0].json, event("a").as_bytes());
    assert_eq!(
        events[0].place.to_string(),
        format!("{}:2", log.path.display())
    );
}

#[test]
fn one_pretty_printed_event_is_one_event() {
    let one = &real_events()[7];
    let pretty = serde_json::to_string_pretty(one).unwrap();
    for end in ["", "\n", "\r\n\r\n"] {
        let read = Log::new(pretty.clone() + end).read();
        assert_eq!(read.values(), [one]);
        assert_eq!((read.lines(), read.fault_count), (vec![1], 0));
    }
    // More of them in one file.
    let lines = pretty.lines().count() as u64;
    let read = Log::new(format!("{pretty}\n{pretty}\n\n{}", event("a"))).read();
    assert_eq!(read.lines(), [1, lines + 1, 2 * lines + 2]);
    assert_eq!(read.fault_count, 0);
}

/// The real log as arrays and lists, on one line and on many.
fn lists() -> Vec<String> {
    let events = real_events();
    let list = json!({
        "kind": "EventList",
        "apiVersion": "audit.k8s.io/v1",
        "metadata": {},
        "items": &events,
    });
    [Value::from(events), list]
        .iter()
        .flat_map(|value| {
            [
                serde_json::to_string(value).unwrap(),
                serde_json::to_string_pretty(value).unwrap(),
            ]
        })
        .collect()
}

#[test]
fn an_array_and_an_event_list_are_the_events_in_them() {
    for list in lists() {
        assert_is_the_real_log(&Log::new(&list).read());
        assert_is_the_real_log(&Log::new(list + "\n").read());
    }
    for empty in ["[]", r#"{"kind":"EventList","items":[]}"#, "[\n]\n"] {
        let read = Log::new(empty).read();
        assert_eq!((read.events.len(), read.fault_count), (0, 0), "{empty}");
    }
    let mixed = format!(
        "[{}]\n{}[{},{}]\n",
        event("a"),
        line("b"),
        event("c"),
        event("d")
    );
    let read = Log::new(mixed).read();
    assert_eq!(read.ids(), ["a", "b", "c", "d"]);
    assert_eq!(read.lines(), [1, 2, 3, 3]);
}

#[test]
fn a_list_may_be_larger_than_any_buffer() {
    let events = vec![event(&"long".repeat(100)); 10_000].join(",");
    for list in [
        format!("[{events}]"),
        format!(r#"{{"kind":"EventList","items":[{events}]}}"#),
    ] {
        let log = Log::new(list);
        let max_event = 1 << 10;
        let options = LogOptions {
            max_event,
            ..log.options()
        };
        let read = Read::all(&options).unwrap();
        assert_eq!((read.events.len(), read.fault_count), (10_000, 0));
    }
}

#[test]
fn every_form_may_be_compressed() {
    assert_is_the_real_log(&Log::new(gzip(&real_log())).read());
    for list in lists() {
        assert_is_the_real_log(&Log::new(gzip(list.as_bytes())).read());
    }
    let pretty = serde_json::to_string_pretty(&real_events()[7]).unwrap();
    let read = Log::new(gzip(pretty.as_bytes())).read();
    assert_eq!(read.values(), [&real_events()[7]]);
}

#[test]
fn all_members_of_a_gzip_are_read() {
    let log = real_log();
    // Cut within lines.
    let members: Vec<u8> = log.chunks(50_000).flat_map(gzip).collect();
    assert_is_the_real_log(&Log::new(members).read());
    let with_empty = [gzip(b""), gzip(&log), gzip(b"")].concat();
    assert_is_the_real_log(&Log::new(with_empty).read());
}

#[test]
fn a_gzip_that_is_cut_gives_what_is_in_it_and_an_error() {
    let log = Log::new(gzip(&real_log()));
    let whole = fs::read(&log.path).unwrap();
    fs::write(&log.path, &whole[..whole.len() / 2]).unwrap();
    let mut read = Read::default();
    let mut reader = AuditLog::open(&log.options()).unwrap();
    let error = loop {
        match reader.next_batch() {
            Ok(batch) => read.add(&batch.unwrap()),
            Err(error) => break error.to_string(),
        }
    };
    let count = read.events.len();
    assert!((10..EVENTS).contains(&count), "{count}");
    assert!(error.contains("audit.log after line"), "{error}");
    assert!(error.contains(&format!("line {count}:")), "{error}");
    assert!(reader.next_batch().unwrap().is_none());
}

#[test]
fn line_ends_of_windows_and_a_missing_last_one_do_no_harm() {
    let log = String::from_utf8(real_log()).unwrap();
    assert_is_the_real_log(&Log::new(log.replace('\n', "\r\n")).read());
    assert_is_the_real_log(&Log::new(log.trim_end()).read());
    assert_is_the_real_log(&Log::new(log.trim_end().replace('\n', "\r\n")).read());
    let spaced = log.replace('\n', "\n\n \t\r\n");
    let read = Log::new(spaced).read();
    assert_is_the_real_log(&read);
    assert_eq!(read.lines()[1], 4);
}

#[test]
fn an_empty_log_has_no_events_and_no_faults() {
    for empty in ["", "\n", " \r\n\n"] {
        let read = Log::new(empty).read();
        assert_eq!((read.events.len(), read.fault_count), (0, 0));
    }
    let read = Log::new(gzip(b"")).read();
    assert_eq!((read.events.len(), read.fault_count), (0, 0));
}

#[test]
fn garbage_between_good_lines_costs_no_more_than_itself() {
    let garbage: &[&[u8]] = &[
        b"garbage",
        b"\xff\xfe\x00binary\x00",
        b"2026-11-24 klog: something",
        b"}",
        b"]",
        b"\"a string\"",
        b"17",
        b"{\"kind\":\"Event\",\"auditID\":\"unfinish",
        b"{\"kind\":\"Event\",\"auditID\":\"unfinished\",",
        b"{\"kind\":\"EventList\",\"items\":[{\"a\":[[\"b\"",
        b"{\"a\":{\"b\":1}",
        b"[1, 2]",
        b"[{]}",
        b"and {\"a\":\"b\"}",
    ];
    for broken in garbage {
        let name = String::from_utf8_lossy(broken);
        let before = line("a");
        let after = line("b") + &line("c");
        let log = [before.as_bytes(), broken, b"\n", after.as_bytes()].concat();
        let read = Log::new(&log).read();
        assert_eq!(read.ids(), ["a", "b", "c"], "{name}");
        assert_eq!(read.lines(), [1, 3, 4], "{name}");
        assert_eq!(read.fault_count, 1, "{name}: {:?}", read.faults);
        // Some are noticed only when the next line does not go on with them.
        assert!(matches!(*read.fault_lines(), [2 | 3]), "{name}");

        let read = Log::new([&log, *broken].concat()).read();
        assert_eq!(read.ids(), ["a", "b", "c"], "{name}");
        assert_eq!(read.fault_count, 2, "{name}: {:?}", read.faults);
        assert_eq!(read.fault_lines()[1], 5, "{name}");
    }
}

#[test]
fn many_faults_are_counted_though_not_all_are_told() {
    let mut log = String::new();
    for number in 0..1_000 {
        log += &line(&format!("event {number}"));
        log += "garbage\n";
    }
    let read = Log::new(log).read();
    assert_eq!((read.events.len(), read.fault_count), (1_000, 1_000));
    assert!(read.faults.len() < 100);
    assert_eq!(read.fault_lines()[..3], [2, 4, 6]);
    assert!(!read.faults[0].message.is_empty());
}

#[test]
fn a_log_that_is_cut_anywhere_keeps_the_events_before() {
    let third = serde_json::to_string(&real_events()[7]).unwrap();
    let begin = line("a") + &line("b");
    for at in 1..third.len() {
        let cut = third.floor_char_boundary(at);
        let read = Log::new(begin.clone() + &third[..cut]).read();
        assert_eq!(read.ids(), ["a", "b"], "{cut}");
        assert_eq!(read.fault_lines(), [3], "{cut}");
    }
}

#[test]
fn a_list_that_is_cut_keeps_the_events_before() {
    for list in lists() {
        let list = &list[..list.len() / 2];
        let read = Log::new(list).read();
        let count = read.events.len();
        assert!((EVENTS / 4..EVENTS * 3 / 4).contains(&count), "{count}");
        assert_eq!(read.fault_count, 1);
        assert_eq!(read.fault_lines(), [list.lines().count() as u64]);
        assert!(read.faults[0].message.contains("ends"));
    }
}

#[test]
fn lines_after_a_line_that_is_cut_anywhere_are_read() {
    let cut_line = serde_json::to_string(&real_events()[7]).unwrap();
    let after: String = ["b", "c", "d"].map(line).concat();
    for at in 1..cut_line.len() {
        let cut = &cut_line[..cut_line.floor_char_boundary(at)];
        let read = Log::new(line("a") + cut + "\n" + &after).read();
        assert_eq!(read.ids(), ["a", "b", "c", "d"], "{cut}");
        assert_eq!(read.fault_count, 1, "{cut}");
    }
}

#[test]
fn a_cut_line_is_noticed_also_when_the_next_one_comes_in_pieces() {
    let next = line("b");
    for at in 1..next.len() {
        let (begin, rest) = next.split_at(at);
        let log = Log::new(line("a") + "{\"kind\":\"Event\",\"user\":\n" + begin);
        let mut reader = AuditLog::open(&log.follow()).unwrap();
        let mut read = Read::default();
        for text in [rest, &line("c"), ""] {
            while let Some(batch) = reader.next_batch().unwrap() {
                read.add(&batch);
            }
            log.append(text);
        }
        assert_eq!(read.ids(), ["a", "b", "c"], "{begin}");
        assert_eq!(read.lines(), [1, 3, 4], "{begin}");
        assert_eq!(read.fault_count, 1, "{begin}");
    }
}

#[test]
fn an_event_that_is_too_long_is_left_out_and_told() {
    let long = event(&"long".repeat(1_000_000));
    let pretty = |text: &str| {
        let value: Value = serde_json::from_str(text).unwrap();
        serde_json::to_string_pretty(&value).unwrap()
    };
    let (a, b) = (event("a"), event("b"));
    let begin = r#"{"kind":"EventList","items":"#;
    for (log, line, last) in [
        (format!("{a}\n{long}\n{b}\n"), 2, 3),
        (format!("{a}\n{long}\r\n{b}"), 2, 3),
        (format!("{a}\n{}\n{b}", pretty(&long)), 2, 8),
        (format!("[{a},\n{long},\n{b}]"), 2, 3),
        (format!("{begin}[{a},{long},{b}]}}\n"), 1, 1),
    ] {
        for log in [Log::new(&log), Log::new(gzip(log.as_bytes()))] {
            let options = LogOptions {
                max_event: 1_000,
                ..log.options()
            };
            let read = Read::all(&options).unwrap();
            assert_eq!(read.ids(), ["a", "b"]);
            assert_eq!(read.lines(), [1, last]);
            assert_eq!((read.fault_lines(), read.fault_count), (vec![line], 1));
            assert!(read.faults[0].message.contains("1000 bytes"));
            // It is the limit that was too low.
            assert_eq!(log.read().events.len(), 3);
        }
    }
    let exact = Log::new(line("a"));
    for (max_event, events) in [(a.len(), 1), (a.len() - 1, 0)] {
        let options = LogOptions {
            max_event,
            ..exact.options()
        };
        assert_eq!(Read::all(&options).unwrap().events.len(), events);
    }
}

#[test]
fn endless_garbage_is_one_fault() {
    let garbage = "x".repeat(MAX_EVENT + (1 << 20));
    let read = Log::new(line("a") + &garbage + "\n" + &line("b")).read();
    assert_eq!(read.ids(), ["a", "b"]);
    assert_eq!((read.fault_lines(), read.fault_count), (vec![2], 1));
}

#[test]
fn a_log_that_cannot_be_opened_is_told_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.log");
    for follow in [false, true] {
        for (path, reason) in [(&*missing, "No such file"), (folder.path(), "directory")] {
            let options = LogOptions {
                follow,
                ..LogOptions::new(path)
            };
            let error = AuditLog::open(&options).err().unwrap();
            assert!(matches!(error, LogError::Open { .. }));
            let error = error.to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
            assert!(error.contains(reason), "{error}");
        }
    }
}

#[test]
fn what_gets_no_more_events_cannot_be_followed() {
    let log = Log::new(gzip(&real_log()));
    let error = AuditLog::open(&log.follow()).err().unwrap().to_string();
    assert!(error.contains("audit.log"), "{error}");
    assert!(error.contains("compressed"), "{error}");
    assert!(error.contains("--follow"), "{error}");

    let options = LogOptions {
        follow: true,
        ..LogOptions::new("-")
    };
    let error = AuditLog::open(&options).err().unwrap().to_string();
    assert!(error.contains("standard input"), "{error}");
    assert!(error.contains("--follow"), "{error}");
}

#[test]
fn a_followed_log_gives_what_is_appended() {
    let log = Log::new("");
    let mut reader = AuditLog::open(&log.follow()).unwrap();
    assert_eq!(ids_soon(&mut reader), [""; 0]);
    log.append(&line("a"));
    assert_eq!(ids_now(&mut reader), ["a"]);
    // A line is read when it is whole.
    let (begin, end) = (event("b"), line("c"));
    let (begin, rest) = begin.split_at(40);
    log.append(begin);
    assert_eq!(ids_soon(&mut reader), [""; 0]);
    log.append(rest);
    assert_eq!(ids_soon(&mut reader), [""; 0]);
    log.append(&format!("\r\n{end}"));
    assert_eq!(ids_now(&mut reader), ["b", "c"]);
    // And so is a list, event by event.
    log.append(&format!("[{},\n{}", event("d"), event("e")));
    assert_eq!(ids_soon(&mut reader), ["d", "e"]);
    log.append(&format!(",{}]\n{}", event("f"), line("g")));
    assert_eq!(ids_soon(&mut reader), ["f", "g"]);
    // What has no line end at the very end.
    log.append(&event("h"));
    assert_eq!(ids_soon(&mut reader), [""; 0]);
    let mut read = Read::default();
    read.add(&reader.finish().unwrap());
    assert_eq!((read.ids(), read.lines()), (vec!["h"], vec![7]));
    assert!(reader.next_batch().unwrap().is_none());
}

#[test]
fn a_followed_log_may_be_rotated_by_renaming() {
    let log = Log::new(line("a"));
    let mut writer = OpenOptions::new().append(true).open(&log.path).unwrap();
    let mut reader = AuditLog::open(&log.follow()).unwrap();
    assert_eq!(ids_now(&mut reader), ["a"]);
    for round in 0..3 {
        log.rename();
        assert_eq!(ids_soon(&mut reader), [""; 0]);
        // The writer has not noticed yet.
        append(&mut writer, &line("between"));
        assert_eq!(ids_soon(&mut reader), ["between"]);
        append(&mut writer, &line("last"));
        let mut next = File::create(&log.path).unwrap();
        append(&mut next, &line(&format!("new {round}")));
        assert_eq!(
            ids_soon(&mut reader),
            ["last".to_owned(), format!("new {round}")]
        );
        writer = next;
        append(&mut writer, &line("more"));
        assert_eq!(ids_now(&mut reader), ["more"]);
    }
}

#[test]
fn the_lines_of_a_rotated_log_are_counted_from_its_begin() {
    let log = Log::new(line("a") + &line("b") + &event("no line end"));
    let mut reader = AuditLog::open(&log.follow()).unwrap();
    assert_eq!(ids_soon(&mut reader), ["a", "b"]);
    log.rename();
    fs::write(&log.path, line("c") + "garbage\n" + &line("d")).unwrap();
    let mut read = Read::default();
    for _ in 0..4 {
        while let Some(batch) = reader.next_batch().unwrap() {
            read.add(&batch);
        }
    }
    assert_eq!(read.ids(), ["no line end", "c", "d"]);
    assert_eq!(read.lines(), [3, 1, 3]);
    assert_eq!(read.fault_lines(), [2]);
}

#[test]
fn a_followed_log_may_be_removed_and_made_anew() {
    let log = Log::new(line("a"));
    let mut reader = AuditLog::open(&log.follow()).unwrap();
    assert_eq!(ids_soon(&mut reader), ["a"]);
    fs::remove_file(&log.path).unwrap();
    assert_eq!(ids_soon(&mut reader), [""; 0]);
    fs::write(&log.path, line("b")).unwrap();
    assert_eq!(ids_soon(&mut reader), ["b"]);
}

#[test]
fn a_followed_log_may_be_truncated() {
    let log = Log::new(line("a") + &line("b"));
    let mut reader = AuditLog::open(&log.follow()).unwrap();
    assert_eq!(ids_now(&mut reader), ["a", "b"]);
    for _ in 0..3 {
        // What `copytruncate` does; the writer goes on with the same file.
        fs::copy(&log.path, log.path.with_extension("log.1")).unwrap();
        let file = OpenOptions::new().write(true).open(&log.path).unwrap();
        file.set_len(0).unwrap();
        log.append(&line("c"));
        assert_eq!(ids_soon(&mut reader), ["c"]);
        log.append(&(line("d") + &line("e")));
        assert_eq!(ids_soon(&mut reader), ["d", "e"]);
    }
    // To nothing, within a line.
    log.append("{\"kind\":\"Event\",");
    assert_eq!(ids_soon(&mut reader), [""; 0]);
    File::create(&log.path).unwrap();
    let rest = reader.next_batch().unwrap().unwrap();
    assert_eq!((rest.len(), rest.faults().count()), (0, 1));
    log.append(&line("f"));
    assert_eq!(ids_soon(&mut reader), ["f"]);
}

/// Takes batches until there are `count` events.
async fn receive(receiver: &mut mpsc::Receiver<Batch>, count: usize) -> Vec<String> {
    let mut read = Read::default();
    while read.events.len() < count {
        let batch = timeout(HANGS, receiver.recv()).await.unwrap();
        read.add(&batch.unwrap());
    }
    read.ids().into_iter().map(str::to_owned).collect()
}

/// All that is still to come.
async fn receive_rest(receiver: &mut mpsc::Receiver<Batch>) -> Vec<String> {
    let mut read = Read::default();
    while let Some(batch) = timeout(HANGS, receiver.recv()).await.unwrap() {
        read.add(&batch);
    }
    read.ids().into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn serving_ends_with_the_log() {
    let log = Log::new(real_log());
    let reader = AuditLog::open(&log.options()).unwrap();
    let (sender, mut receiver) = mpsc::channel(1);
    let serving = tokio::spawn(reader.serve(sender, future::pending()));
    assert_eq!(receive_rest(&mut receiver).await.len(), EVENTS);
    timeout(HANGS, serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn serving_tells_why_it_ended_after_all_that_could_be_read() {
    let log = Log::new(gzip(&real_log()));
    let whole = fs::read(&log.path).unwrap();
    fs::write(&log.path, &whole[..whole.len() / 2]).unwrap();
    let reader = AuditLog::open(&log.options()).unwrap();
    let (sender, mut receiver) = mpsc::channel(1);
    let serving = tokio::spawn(reader.serve(sender, future::pending()));
    assert!(receive_rest(&mut receiver).await.len() > 10);
    let ended = timeout(HANGS, serving).await.unwrap().unwrap();
    assert!(matches!(ended, Err(LogError::Read { .. })), "{ended:?}");
}

#[tokio::test]
async fn a_followed_log_is_served_until_the_shutdown_with_all_that_is_in_it() {
    let log = Log::new(line("a"));
    let reader = AuditLog::open(&log.follow()).unwrap();
    let (sender, mut receiver) = mpsc::channel(1);
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(reader.serve(sender, async { drop(stopped.await) }));
    assert_eq!(receive(&mut receiver, 1).await, ["a"]);
    log.append(&line("b"));
    assert_eq!(receive(&mut receiver, 1).await, ["b"]);
    log.rename();
    fs::write(&log.path, line("c")).unwrap();
    assert_eq!(receive(&mut receiver, 1).await, ["c"]);
    // Not even looked at before the shutdown.
    log.append(&(line("d") + &event("e")));
    stop.send(()).unwrap();
    assert_eq!(receive_rest(&mut receiver).await, ["d", "e"]);
    timeout(HANGS, serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_log_that_is_rotated_right_before_the_shutdown_is_read_to_its_end() {
    let log = Log::new(line("a"));
    let reader = AuditLog::open(&log.follow()).unwrap();
    let (sender, mut receiver) = mpsc::channel(1);
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(reader.serve(sender, async { drop(stopped.await) }));
    assert_eq!(receive(&mut receiver, 1).await, ["a"]);
    log.append(&line("b"));
    log.rename();
    fs::write(&log.path, line("c")).unwrap();
    stop.send(()).unwrap();
    assert_eq!(receive_rest(&mut receiver).await, ["b", "c"]);
    timeout(HANGS, serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn serving_ends_when_nobody_receives() {
    let log = Log::new(line("a"));
    let reader = AuditLog::open(&log.follow()).unwrap();
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let serving = reader.serve(sender, future::pending());
    timeout(HANGS, serving).await.unwrap().unwrap();
}
