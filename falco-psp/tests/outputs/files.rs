//! Files: rotated, renamed by others, and on a full disk.

use std::fs;

use rustix::process::Signal;

use crate::run::{Workplace, stderr, until};

#[test]
fn a_file_is_appended_to_and_rotated_by_size() {
    let workplace = Workplace::new(600);
    fs::write(workplace.path("a.log"), "before\n").unwrap();
    let output = workplace.run(
        "--output file:a.log --output-file-max-size 4KiB \
         --output-file-keep 2",
    );
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let files = ["a.log.2", "a.log.1", "a.log"];
    let mut names = Vec::new();
    for file in files {
        assert!(fs::metadata(workplace.path(file)).unwrap().len() <= 4096);
        for line in workplace.lines(file) {
            names.push(line.rsplit(' ').next().unwrap().to_owned());
        }
    }
    assert!(!workplace.path("a.log.3").exists());
    // The latest, without a hole.
    let expected: Vec<String> = (600 - names.len()..600).map(|n| format!("n{n}")).collect();
    assert!(names.len() > 100);
    assert_eq!(names, expected);
}

#[test]
fn what_was_in_a_file_stays() {
    let workplace = Workplace::new(2);
    fs::write(workplace.path("a.log"), "before\n").unwrap();
    workplace.run("--output file:a.log");
    assert_eq!(workplace.lines("a.log").len(), 3);
    assert_eq!(workplace.lines("a.log")[0], "before");
}

#[test]
fn a_file_that_was_renamed_is_opened_anew_on_sighup() {
    let workplace = Workplace::new(3);
    let running = workplace.follow("--json --output file:a.log");
    until("it writes", || workplace.lines("a.log").len() == 3);
    fs::rename(workplace.path("a.log"), workplace.path("b.log")).unwrap();
    running.signal(Signal::HUP);
    until("the file is there again", || {
        workplace.path("a.log").exists()
    });
    let log = fs::read_to_string(workplace.path("audit.log")).unwrap();
    fs::write(workplace.path("audit.log"), log.clone() + &log).unwrap();
    until("it writes", || workplace.lines("a.log").len() >= 3);
    assert_eq!(workplace.lines("b.log").len(), 3);
    running.end();
    for line in workplace.lines("a.log") {
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
    }
}

#[test]
fn a_full_disk_is_told_once_counted_and_holds_up_no_other_output() {
    let workplace = Workplace::new(100);
    let output = workplace.run("--output file:/dev/full --output stdout");
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert_eq!(told.matches("No space left on device").count(), 1, "{told}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().lines().count(),
        100
    );
    assert!(
        told.contains("output file:/dev/full: delivered 0, retried"),
        "{told}"
    );
    assert!(told.contains("lost 100\n"), "{told}");
    assert!(
        told.contains("output stdout: delivered 100, retried 0, lost 0\n"),
        "{told}"
    );
}
