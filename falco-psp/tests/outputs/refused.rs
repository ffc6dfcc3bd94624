//! What cannot be is refused at start, with what would be right.

use std::fs;

use crate::run::{Workplace, stderr};

#[test]
fn bad_outputs_are_refused_with_what_would_be_right() {
    let workplace = Workplace::new(1);
    fs::write(workplace.path("no.pem"), "no certificate").unwrap();
    for (options, words) in [
        ("--output stdio", "file:PATH"),
        ("--output file:", "file:/var/log/"),
        ("--output http:falcosidekick", "http://falcosidekick:2801/"),
        ("--output http://user:secret@a/", "user or password"),
        ("--output syslog:a:b:c", "syslog:HOST:PORT"),
        ("--output file:/no/such/folder/a", "/no/such/folder/a"),
        ("--output file:.", "Is a directory"),
        ("--output stdout --output stdout", "given twice"),
        ("--spool-dir s", "--output http://"),
        ("--output http://a --spool-size 1MiB", "--spool-dir"),
        ("--output http://a --spool-dir s --spool-size 1", "64KiB"),
        (
            "--output http://a --spool-dir rule.yaml",
            "cannot use the spool rule.yaml",
        ),
        ("--output-file-max-size 5pounds", "100MiB"),
        ("--output http://a --output-ca no.pem", "--output https://"),
        ("--output https://a --output-ca no.pem", "BEGIN CERTIFICATE"),
        ("--output https://a --output-ca nothing.pem", "nothing.pem"),
    ] {
        let output = workplace.run(options);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{options}: {told}");
        assert!(told.contains(words), "{options}: {told}");
        assert!(!told.contains("panicked"), "{told}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_spool_is_one_processs() {
    let workplace = Workplace::new(1);
    let options = "--output http://127.0.0.1:1/ --output file:a.log --spool-dir s";
    let running = workplace.follow(options);
    crate::run::until("it runs", || workplace.lines("a.log").len() == 1);
    let output = workplace.run(options);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("another process uses it"),
        "{}",
        stderr(&output)
    );
    assert!(running.end().contains("next run 1"));
}
