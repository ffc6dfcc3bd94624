//! Alerts for a syslog daemon, as RFC 5424 has them: a datagram each, or over TCP with its length
//! before it (RFC 6587).

use std::fmt;
use std::io::{self, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use super::alert::{Alert, Style};
use super::sink::Sink;
use crate::rules::Priority;

/// Where the system's daemon listens.
const DEV_LOG: &str = "/dev/log";
/// What is written after `syslog:`.
pub(super) const FORMS: &str =
    "syslog:HOST:PORT, syslog:tcp://HOST:PORT, or syslog:/PATH of a unix socket";
/// `user`, as Falco's.
const FACILITY: usize = 1;
/// What daemons take in one message at least in practice; a longer one they cut or refuse.
const MAX_MESSAGE: usize = 8192;
/// At the end of a message that was longer.
const CUT: &str = "[cut]";
/// A daemon that takes nothing for so long is tried again.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Where a syslog daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix datagram socket.
    Unix(PathBuf),
    /// A host and its port, by UDP.
    Udp(String, u16),
    /// A host and its port, by TCP.
    Tcp(String, u16),
}

impl Default for Address {
    fn default() -> Self {
        Self::Unix(DEV_LOG.into())
    }
}

impl Address {
    /// Reads what stands after `syslog:`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.starts_with('/') {
            return Some(Self::Unix(text.into()));
        }
        if let Some(address) = text.strip_prefix("tcp://") {
            let (host, port) = host_and_port(address, 601)?;
            return Some(Self::Tcp(host, port));
        }
        let address = text.strip_prefix("udp://").unwrap_or(text);
        let (host, port) = host_and_port(address, 514)?;
        Some(Self::Udp(host, port))
    }
}

fn host_and_port(text: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (text, default),
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let right = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(is_name),
    };
    (right && port != 0).then(|| (bare.unwrap_or(host).to_owned(), port))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Self::Unix(path) => return write!(f, "{}", path.display()),
            Self::Udp(host, port) => ("udp", host, port),
            Self::Tcp(host, port) => ("tcp", host, port),
        };
        match host.contains(':') {
            true => write!(f, "{scheme}://[{host}]:{port}"),
            false => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

/// The alert as a message of RFC 5424.
pub(super) fn message(alert: &Alert, style: &Style) -> String {
    // Falco's priorities are syslog's severities, in their order.
    let severity = Priority::ALL
        .iter()
        .position(|priority| priority.word() == alert.priority)
        .unwrap_or(Priority::ALL.len() - 1);
    let host: String = style
        .hostname
        .chars()
        .filter(char::is_ascii_graphic)
        .collect();
    let host = if host.is_empty() { "-" } else { &host };
    let mut message = format!(
        "<{}>1 {} {host} falco-psp {} {} - {}",
        FACILITY * 8 + severity,
        // The RFC knows no more than microseconds.
        alert.timestamp().strftime("%Y-%m-%dT%H:%M:%S.%6fZ"),
        std::process::id(),
        alert.source,
        alert.line(style),
    );
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE - CUT.len()));
        message += CUT;
    }
    message
}

/// A way to a syslog daemon, which is found anew after a failure.
#[derive(Debug)]
pub(super) struct Syslog {
    address: Address,
    connection: Option<Connection>,
}

#[derive(Debug)]
enum Connection {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Syslog {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            connection: None,
        }
    }
}

impl Sink for Syslog {
    fn write(&mut self, message: &str) -> io::Result<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.address)?,
        };
        match &mut connection {
            Connection::Unix(socket) => drop(socket.send(message.as_bytes())?),
            Connection::Udp(socket) => drop(socket.send(message.as_bytes())?),
            Connection::Tcp(stream) => {
                stream.write_all(format!("{} {message}", message.len()).as_bytes())?;
            }
        }
        self.connection = Some(connection);
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Connection {
    fn open(address: &Address) -> io::Result<Self> {
        Ok(match address {
            Address::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(TIMEOUT))?;
                Self::Unix(socket)
            }
            Address::Udp(host, port) => {
                let remote = resolve(host, *port)?;
                let any = if remote.is_ipv6() {
                    "[::]:0"
                } else {
                    "0.0.0.0:0"
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(remote)?;
                Self::Udp(socket)
            }
            Address::Tcp(host, port) => {
                let stream = TcpStream::connect_timeout(&resolve(host, *port)?, TIMEOUT)?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                stream.set_nodelay(true)?;
                Self::Tcp(stream)
            }
        })
    }
}

fn resolve(host: &str, port: u16) -> io::Result<std::net::SocketAddr> {
    let mut found = (host, port).to_socket_addrs()?;
    found
        .next()
        .ok_or_else(|| io::Error::other(format!("{host} has no address")))
}
