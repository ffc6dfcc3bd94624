//! Capability names, as Kubernetes writes them: upper case, without `CAP_`.

use falco_psp_common::capability::NAMES;

use super::model::{AllowedNames, Capabilities};

/// What container runtimes give a container that asks for nothing.
pub const RUNTIME_DEFAULT_CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SYS_CHROOT",
    "MKNOD",
    "AUDIT_WRITE",
    "SETFCAP",
];

/// The name in which the kernel's capability is known: `cap_net_admin` is `NET_ADMIN`.
pub(super) fn normal(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned()
}

/// Whether this is a name as Kubernetes writes it.
pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

impl Capabilities {
    /// The capabilities that a process of an admitted container can have: what the runtime gives
    /// without being asked, less what the policy drops, and what it lets pods add. `None` if
    /// these are all.
    pub fn attainable(&self) -> Option<Vec<&'static str>> {
        let AllowedNames::Only(allowed) = &self.allowed else {
            return None;
        };
        let normal_names = |names: &[String]| names.iter().map(|name| normal(name)).collect();
        let mut added: Vec<String> = normal_names(allowed);
        added.extend(normal_names(&self.default_add));
        let dropped: Vec<String> = normal_names(&self.required_drop);
        let has = |names: &[String], name: &str| names.iter().any(|known| known == name);
        // "ALL" in a container's list stands for all of them.
        let given: &[&str] = match (has(&dropped, "ALL"), has(&added, "ALL")) {
            (true, _) => &[],
            (false, true) => &NAMES,
            (false, false) => &RUNTIME_DEFAULT_CAPABILITIES,
        };
        let attainable: Vec<_> = NAMES
            .into_iter()
            .filter(|name| given.contains(name) && !has(&dropped, name) || has(&added, name))
            .collect();
        (attainable.len() < NAMES.len()).then_some(attainable)
    }
}
