//! The sockets at which processes wait to be called: the tables in `/proc/PID/net`, of the network
//! namespace of that process, and the links in `/proc/PID/fd`.
//!
//! Formats: `net/ipv4/tcp_ipv4.c` (`get_tcp4_sock`), `net/ipv4/udp.c` (`udp4_format_sock`) and their
//! likes for IPv6.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::Path;

use crate::container::posture::{HostPort, Protocol, Way, Why};

/// As much of a table is read: about 100,000 sockets.
const MOST: u64 = 16 << 20;
/// Some lines of a table, which have 150 bytes.
const PIECE: usize = 1 << 10;
/// As many open files of a look are asked for, of all processes together.
pub const MOST_FILES: usize = 262_144;

/// Listening sockets by their inode number.
pub type Listening = BTreeMap<u64, HostPort>;

/// What stands in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Tcp,
    Udp,
}

/// The listening sockets of the network namespace of process `pid`; `None` if it is gone.
///
/// UDP knows no listening: a socket that nobody else is fixed to, at a port that the kernel does
/// not give out by itself, is taken for one.
pub fn listening(pid: u32) -> Option<Listening> {
    let net = Path::new("/proc").join(pid.to_string()).join("net");
    let given_out = given_out();
    let mut found = Listening::new();
    // The kernel may lack IPv6.
    for (name, table, is_vital) in [
        ("tcp", Table::Tcp, true),
        ("udp", Table::Udp, true),
        ("tcp6", Table::Tcp, false),
        ("udp6", Table::Udp, false),
    ] {
        match File::open(net.join(name)) {
            Ok(file) => read(file, table, &given_out, &mut found),
            Err(_) if is_vital => return None,
            Err(_) => {}
        }
    }
    Some(found)
}

/// How many sockets of each protocol the network namespace of process `pid` has; `None` if it is
/// gone. To read the tables the kernel walks through the connections of the whole machine; these
/// numbers it has at hand (`net/ipv4/proc.c`, `sockstat_seq_show`).
pub fn in_use(pid: u32) -> Option<BTreeMap<String, u64>> {
    let net = Path::new("/proc").join(pid.to_string()).join("net");
    let text = fs::read_to_string(net.join("sockstat")).ok()?;
    let text6 = fs::read_to_string(net.join("sockstat6")).unwrap_or_default();
    Some(numbers(&text).chain(numbers(&text6)).collect())
}

/// `TCP: inuse 2 orphan 0 tw 0 alloc 3 mem 0`
fn numbers(text: &str) -> impl Iterator<Item = (String, u64)> {
    text.lines().filter_map(|line| {
        let (protocol, rest) = line.split_once(':')?;
        let mut words = rest.split_ascii_whitespace();
        words.find(|word| *word == "inuse")?;
        Some((protocol.to_owned(), words.next()?.parse().ok()?))
    })
}

/// The ports that the kernel gives to sockets that ask for any: of this process's own namespace, as
/// no other's can be asked for.
fn given_out() -> RangeInclusive<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = text.split_whitespace().filter_map(|end| end.parse().ok());
    match (ends.next(), ends.next()) {
        (Some(first), Some(last)) => first..=last,
        // The kernel's default (net/ipv4/af_inet.c, `inet_init_net`).
        _ => 32_768..=60_999,
    }
}

fn read(table: impl Read, kind: Table, given_out: &RangeInclusive<u16>, found: &mut Listening) {
    // In small pieces: what is not asked for is not looked for.
    for line in BufReader::with_capacity(PIECE, table.take(MOST))
        .lines()
        .skip(1)
    {
        let Ok(line) = line else {
            return;
        };
        let Some(socket) = Socket::parse(&line) else {
            continue;
        };
        match kind {
            Table::Tcp if socket.state == TCP_LISTEN => {}
            // The kernel lists those that listen first.
            Table::Tcp => return,
            Table::Udp if socket.is_unconnected && !given_out.contains(&socket.port) => {}
            Table::Udp => continue,
        }
        let protocol = match kind {
            Table::Tcp => Protocol::Tcp,
            Table::Udp => Protocol::Udp,
        };
        let port = HostPort {
            port: socket.port,
            protocol,
            way: Way::Listens(socket.address),
        };
        found.insert(socket.inode, port);
    }
}

/// `include/net/tcp_states.h`.
const TCP_LISTEN: u8 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    address: IpAddr,
    port: u16,
    is_unconnected: bool,
    state: u8,
    inode: u64,
}

impl Socket {
    fn parse(line: &str) -> Option<Self> {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (address, port) = columns.next()?.split_once(':')?;
        let (_, remote_port) = columns.next()?.split_once(':')?;
        let state = columns.next()?;
        // tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
        let inode = columns.nth(5)?;
        Some(Self {
            address: parse_address(address)?,
            port: u16::from_str_radix(port, 16).ok()?,
            is_unconnected: u16::from_str_radix(remote_port, 16).ok()? == 0,
            state: u8::from_str_radix(state, 16).ok()?,
            inode: inode.parse().ok()?,
        })
    }
}

/// One or four words of 32 bits, each as this machine would read it from the bytes of the address.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |index: usize| {
        let digits = text.get(index * 8..index * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(index)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

/// Gives the inode numbers of the sockets that process `pid` has open; why there may be more.
/// `left` is how many open files may still be looked at.
pub fn of_process(pid: u32, left: &mut usize, mut each: impl FnMut(u64)) -> Option<Why> {
    let files = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Some(Why::Unreadable);
        }
        // It has ended.
        Err(_) => return None,
    };
    for file in files.flatten() {
        let Some(fewer) = left.checked_sub(1) else {
            return Some(Why::TooMany);
        };
        *left = fewer;
        let target = match fs::read_link(file.path()) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Some(Why::Unreadable);
            }
            // It was closed.
            Err(_) => continue,
        };
        let inode = target
            .to_str()
            .and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']'))
            .and_then(|inode| inode.parse().ok());
        if let Some(inode) = inode {
            each(inode);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when\n";

    fn found(table: &str, kind: Table) -> Vec<(u64, String)> {
        let mut found = Listening::new();
        read(table.as_bytes(), kind, &(32_768..=60_999), &mut found);
        let found = found.into_iter();
        found
            .map(|(inode, port)| (inode, port.to_string()))
            .collect()
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn tables_are_read_as_the_kernel_writes_them() {
        let tcp = format!(
            "{HEAD}\
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 4712 1 0 100 0 0 10 0\n\
   2: 0100007F:1F90 0100007F:D2F0 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 20 4 30 10 -1\n\
   3: 00000000:0051 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 4714 1 0 100 0 0 10 0\n"
        );
        let expected = [
            (4711, "TCP 127.0.0.1:8080".to_owned()),
            (4712, "TCP 0.0.0.0:80".to_owned()),
        ];
        assert_eq!(found(&tcp, Table::Tcp), expected);
        // A resolver's socket has a port that the kernel gave it; one is connected.
        let udp = format!(
            "{HEAD}\
  10: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 21 2 x 0\n\
  11: 00000000:9C40 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 22 2 x 0\n\
  12: 0100007F:007B 0100007F:0035 01 00000000:00000000 00:00000000 00000000     0        0 23 2 x 0\n"
        );
        assert_eq!(found(&udp, Table::Udp), [(21, "UDP 0.0.0.0:53".to_owned())]);
        let tcp6 = format!(
            "{HEAD}\
   0: 00000000000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31 1 x 100 0 0 10 0\n"
        );
        assert_eq!(found(&tcp6, Table::Tcp), [(31, "TCP [::1]:443".to_owned())]);
    }

    #[test]
    fn numbers_are_those_in_use() {
        let text = "sockets: used 155\nTCP: inuse 2 orphan 0 tw 0 alloc 3 mem 0\nUDP: inuse 7 mem 0\n\
                    RAW: inuse\nnonsense\nFRAG: inuse x memory 0\n";
        let found: Vec<_> = numbers(text).collect();
        assert_eq!(found, [("TCP".to_owned(), 2), ("UDP".to_owned(), 7)]);
        let pid = std::process::id();
        let before = in_use(pid).unwrap();
        assert!(before.contains_key("TCP"), "{before:?}");
        assert_eq!(in_use(u32::MAX), None);
    }

    #[test]
    fn odd_lines_are_left_out() {
        for line in [
            "",
            "nonsense",
            "0: 0100007F 00000000:0000 0A",
            "0: x:y z:w 0A 0 0 0 0 0 1",
        ] {
            assert_eq!(found(&format!("{HEAD}{line}\n"), Table::Tcp), []);
        }
    }

    #[test]
    fn this_process_listens_where_it_says() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp_port = tcp.local_addr().unwrap().port();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let pid = std::process::id();
        let listening = listening(pid).unwrap();
        let mut own = Vec::new();
        let mut left = MOST_FILES;
        assert_eq!(of_process(pid, &mut left, |inode| own.push(inode)), None);
        let mut ports = own.iter().filter_map(|inode| listening.get(inode));
        assert!(ports.any(|port| port.port == tcp_port));
        // The kernel chose the port of the other.
        let udp_port = udp.local_addr().unwrap().port();
        let is_udp = |port: &&HostPort| port.protocol == Protocol::Udp && port.port == udp_port;
        assert!(
            !own.iter()
                .filter_map(|inode| listening.get(inode))
                .any(|port| is_udp(&port))
        );
        assert_eq!(of_process(pid, &mut 1, |_| {}), Some(Why::TooMany));
        assert_eq!(of_process(u32::MAX, &mut 1, |_| {}), None, "it is gone");
        assert_eq!(super::listening(u32::MAX), None);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(line: String) {
            let _ = Socket::parse(&line);
            let _ = parse_address(&line);
        }
    }
}
