//! What the agent must know of the host: its namespaces, and what this process may do.

use std::fs;
use std::path::Path;

use falco_psp_common::record::namespace;

/// Names of the namespaces in `/proc/PID/ns`, in the order of [`namespace`].
const NAMES: [&str; namespace::COUNT] = ["mnt", "pid", "net", "ipc", "user"];

/// Inode numbers of the initial namespaces that the kernel fixes (`include/linux/proc_ns.h`; the
/// initial mount and network namespaces have none).
const FIXED: [Option<u32>; namespace::COUNT] = [
    None,
    Some(0xefff_fffc),
    None,
    Some(0xefff_ffff),
    Some(0xefff_fffd),
];

/// The namespaces of the host, by [`namespace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostNamespaces(pub [u32; namespace::COUNT]);

impl HostNamespaces {
    /// Finds them: from a kernel thread, which never leaves them, or from this process where it is
    /// itself in the host's pid namespace.
    ///
    /// # Errors
    /// The namespace that could not be found; then the agent cannot tell a container from the
    /// host.
    pub fn find() -> Result<Self, String> {
        // Process 2 is kthreadd on every kernel, if this process sees the host's processes.
        let kernel_thread =
            fs::read_to_string("/proc/2/comm").is_ok_and(|name| name == "kthreadd\n");
        let own_pid_ns = inode("self", "pid");
        let on_host = own_pid_ns == FIXED[namespace::PID];
        let mut found = [0; namespace::COUNT];
        for (index, name) in NAMES.iter().enumerate() {
            let from_kernel_thread = kernel_thread.then(|| inode("2", name)).flatten();
            let from_self = || on_host.then(|| inode("self", name)).flatten();
            found[index] = from_kernel_thread
                .or(FIXED[index])
                .or_else(from_self)
                .ok_or_else(|| (*name).to_owned())?;
        }
        Ok(Self(found))
    }

    /// The inode number of the host's namespace of this kind.
    pub fn get(&self, kind: usize) -> u32 {
        self.0.get(kind).copied().unwrap_or(0)
    }
}

/// The inode number of a namespace of a process, from the link `/proc/PID/ns/NAME`.
pub fn inode(pid: &str, name: &str) -> Option<u32> {
    let target = fs::read_link(Path::new("/proc").join(pid).join("ns").join(name)).ok()?;
    let text = target.to_str()?;
    text.split_once(":[")?.1.strip_suffix(']')?.parse().ok()
}

/// The namespaces of a process, by [`namespace`]; 0 where one cannot be read.
pub fn namespaces(pid: u32) -> [u32; namespace::COUNT] {
    let pid = pid.to_string();
    NAMES.map(|name| inode(&pid, name).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_namespaces_are_readable() {
        let own = namespaces(std::process::id());
        assert!(own.iter().all(|inode| *inode != 0), "{own:?}");
    }
}
