//! The lines of `/proc/PID/mountinfo` (`Documentation/filesystems/proc.rst`, 3.5).
//!
//! Read here, byte by byte, and not by a library: paths may hold any bytes, and a table that
//! cannot be read because of one odd name would let a container hide its mounts.

use std::fs;
use std::io;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Id of the mount: no two mounts of the machine have the same one at a time.
    pub id: u64,
    /// Device of the file system, `major:minor`.
    pub device: String,
    /// The directory of the file system that is mounted.
    pub root: String,
    /// Where it is mounted, seen from the process's root.
    pub mount_point: String,
    /// Whether this mount, or its whole file system, is read-only.
    pub read_only: bool,
    /// Type of the file system.
    pub fs_type: String,
}

/// The mount table of a process.
///
/// # Errors
/// The process is gone, or this process may not look at it.
pub fn read(pid: u32) -> io::Result<Vec<Mount>> {
    Ok(parse(&fs::read(format!("/proc/{pid}/mountinfo"))?))
}

/// Reads a mount table; lines that make no sense are left out.
pub fn parse(table: &[u8]) -> Vec<Mount> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(line)
        .collect()
}

fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut field = || fields.next();
    let (id, _parent) = (field()?, field()?);
    let (device, root, mount_point, options) = (field()?, field()?, field()?, field()?);
    // Optional fields end with a dash.
    while field()? != b"-" {}
    let (fs_type, _source) = (field()?, field()?);
    let super_options = field().unwrap_or_default();
    let read_only = |options: &[u8]| {
        options
            .split(|byte| *byte == b',')
            .any(|option| option == b"ro")
    };
    Some(Mount {
        id: std::str::from_utf8(id).ok()?.parse().ok()?,
        device: text(device),
        root: text(&unescape(root)),
        mount_point: text(&unescape(mount_point)),
        read_only: read_only(options) || read_only(super_options),
        fs_type: text(fs_type),
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Blank, tab, newline and backslash are written as `\` and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let code = after
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| {
                let digits = std::str::from_utf8(digits).ok()?;
                u8::from_str_radix(digits, 8).ok()
            });
        match code {
            Some(byte) => {
                plain.push(byte);
                rest = &after[3..];
            }
            None => {
                plain.push(first);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lines_as_the_kernel_writes_them() {
        let table = b"367 323 254:0 /etc /host/etc rw,relatime - ext4 /dev/vda rw\n\
            368 323 0:40 / /proc ro,nosuid shared:5 master:1 - proc proc rw\n\
            369 323 254:0 /a\\040b /c\\134d rw - ext4 /dev/vda ro,errors=remount-ro\n";
        let mounts = parse(table);
        assert_eq!(mounts.len(), 3);
        assert_eq!(
            mounts[0],
            Mount {
                id: 367,
                device: "254:0".to_owned(),
                root: "/etc".to_owned(),
                mount_point: "/host/etc".to_owned(),
                read_only: false,
                fs_type: "ext4".to_owned(),
            }
        );
        assert!(mounts[1].read_only);
        assert_eq!(
            (mounts[2].root.as_str(), mounts[2].mount_point.as_str()),
            ("/a b", "/c\\d")
        );
        assert!(mounts[2].read_only);
    }

    #[test]
    fn an_odd_line_hides_no_other() {
        let mounts = parse(b"nonsense\n1 2 8:1 / /\xff rw - ext4 x rw\n1 2 8:1 / / rw -\n");
        assert_eq!(mounts.len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(table: Vec<u8>) {
            let _ = parse(&table);
        }
    }
}
