//! No name that someone gives something can forge a line, an alert or a terminal's commands.

use std::os::unix::net::UnixDatagram;

use crate::receiver::{Receiver, Reply};
use crate::run::{PATIENCE, Workplace, stderr};

const FORGED: &str = "x\n12:00:00.000000000: Error forged\r\u{1b}[2J\u{7f}\u{9b}31m\u{85}\u{2028}\u{2029}\
                      \u{202e}gnp\u{2066}\u{200f}\0\", \"priority\":\"Debug";

fn assert_harmless(text: &str) {
    let bad = text.chars().find(|c| {
        c.is_control()
            || ('\u{2028}'..='\u{202e}').contains(c)
            || ('\u{2066}'..='\u{2069}').contains(c)
            || *c == '\u{200f}'
    });
    assert_eq!(bad, None, "{text:?}");
}

#[test]
fn a_forged_name_stays_a_name_in_every_output() {
    let workplace = Workplace::with_names([FORGED.to_owned()]);
    let receiver = Receiver::start(|_| Reply::Status(200));
    let path = workplace.path("log.socket");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let outputs = format!(
        "--output stdout --output file:a.log --output {} --output syslog:{}",
        receiver.url(),
        path.display()
    );
    let output = workplace.run(&outputs);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    stderr(&output).lines().for_each(assert_harmless);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    assert_harmless(stdout.trim_end_matches('\n'));
    assert_eq!(workplace.lines("a.log").len(), 1);
    assert_harmless(&workplace.lines("a.log")[0]);

    let received = &receiver.received()[0];
    assert_harmless(&received.body);
    // JSON's escapes leave the value as it is.
    assert_eq!(received.name(), FORGED);
    assert_eq!(received.json()["priority"], "Error");

    let mut bytes = [0; 9000];
    let length = socket.recv(&mut bytes).unwrap();
    assert_harmless(std::str::from_utf8(&bytes[..length]).unwrap());

    let json = workplace.run("--json").stdout;
    let json = String::from_utf8(json).unwrap();
    assert_harmless(json.trim_end_matches('\n'));
}
