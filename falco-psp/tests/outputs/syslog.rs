//! Syslog daemons: a unix socket, UDP and TCP.

use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::thread;

use crate::run::{PATIENCE, Workplace, stderr, until};

/// Asserts that it is RFC 5424's, and gives what it says. Error of facility user: 8 + 3.
fn text(message: &str) -> &str {
    let parts: Vec<&str> = message.splitn(8, ' ').collect();
    assert_eq!(parts[0], "<11>1", "{message}");
    assert_eq!(parts[1], "2026-11-23T12:42:33.834067Z");
    assert!(!parts[2].is_empty());
    assert_eq!(parts[3], "falco-psp");
    assert!(parts[4].parse::<u32>().is_ok());
    assert_eq!((parts[5], parts[6]), ("k8s_audit", "-"));
    parts[7]
}

#[test]
fn a_unix_socket_gets_a_datagram_an_alert_also_when_its_daemon_comes_back() {
    let workplace = Workplace::new(3);
    let path = workplace.path("log.socket");
    let running = workplace.follow(&format!(
        "--output syslog:{} --output file:all.log",
        path.display()
    ));
    until("all alerts are told", || {
        workplace.lines("all.log").len() == 3
    });
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for number in 0..3 {
        let mut bytes = [0; 9000];
        let length = socket.recv(&mut bytes).unwrap();
        let message = std::str::from_utf8(&bytes[..length]).unwrap();
        assert!(
            text(message).ends_with(&format!("Error made n{number}")),
            "{message}"
        );
    }
    let told = running.end();
    assert_eq!(told.matches("it is tried again").count(), 1, "{told}");
}

#[test]
fn udp_gets_a_datagram_an_alert_and_long_ones_are_cut() {
    let workplace = Workplace::with_names(["é".repeat(10_000)]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = socket.local_addr().unwrap();
    let output = workplace.run(&format!("--output syslog:{address}"));
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let mut bytes = [0; 65_536];
    let length = socket.recv(&mut bytes).unwrap();
    let message = std::str::from_utf8(&bytes[..length]).unwrap();
    assert!(text(message).contains("Error made éé"));
    assert!((8190..=8192).contains(&length) && message.ends_with("é[cut]"));
}

#[test]
fn tcp_gets_each_alert_with_its_length() {
    let workplace = Workplace::new(50);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        listener
            .accept()
            .unwrap()
            .0
            .read_to_string(&mut text)
            .unwrap();
        text
    });
    workplace.run(&format!("--output syslog:tcp://{address}"));
    let all = reader.join().unwrap();
    let mut rest = all.as_str();
    for number in 0..50 {
        let (length, after) = rest.split_once(' ').unwrap();
        let (message, after) = after.split_at(length.parse().unwrap());
        assert!(text(message).ends_with(&format!("made n{number}")));
        rest = after;
    }
    assert_eq!(rest, "");
}
