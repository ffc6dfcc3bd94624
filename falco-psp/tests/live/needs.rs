//! What the live tests need, and what happens where it is missing.

use std::{env, ffi::OsStr, fs, path::Path, process::Command};

/// Whether a test that starts containers can run here. Where it cannot, it says why; in CI that
/// is a failure, because a test that nobody misses is none.
pub(crate) fn containers() -> bool {
    if env::var_os("FALCO_PSP_LIVE").as_deref() == Some(OsStr::new("skip")) {
        println!("skipped: by FALCO_PSP_LIVE=skip");
        return false;
    }
    met(missing())
}

/// The same for a test that needs containerd as well.
pub(crate) fn containerd() -> bool {
    containers() && met(missing_containerd())
}

/// Names the hooks that tell which capabilities are used, where the kernel is known, as in a virtual
/// machine.
const HOOKS: &str = "FALCO_PSP_CAPABILITY_HOOKS";

/// The hooks that this kernel surely has to tell which capabilities are used: by the kernel's own types
/// and not by what the agent says, whose faults the tests are to find.
pub(crate) fn capability_hooks() -> Vec<String> {
    if let Ok(hooks) = env::var(HOOKS) {
        return hooks.split_whitespace().map(str::to_owned).collect();
    }
    let types = fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
    let tracepoint = b"\0btf_trace_cap_capable\0";
    let has_tracepoint = types
        .windows(tracepoint.len())
        .any(|part| part == tracepoint);
    let hooks = has_tracepoint.then(|| "cap_capable".to_owned());
    hooks.into_iter().collect()
}

/// Whether there is one of them. Where there is none, no machine can run the test, CI included.
pub(crate) fn capability_use() -> bool {
    let is_told = !capability_hooks().is_empty();
    if !is_told {
        println!("skipped: this kernel has no tracepoint cap_capable, and nobody says what else");
    }
    is_told
}

/// Whether the kernel takes the calls of 32-bit programs, by trying one.
#[cfg(target_arch = "x86_64")]
pub(crate) fn compat_calls() -> bool {
    let takes = crate::workload::workload().is_ok_and(|program| {
        // getpid.
        let call = Command::new(program).args(["compat", "20"]).output();
        call.is_ok_and(|output| output.status.success())
    });
    if !takes {
        println!("skipped: this kernel has no calls of 32-bit programs (CONFIG_IA32_EMULATION)");
    }
    takes
}

fn met(missing: Option<&str>) -> bool {
    let Some(missing) = missing else {
        return true;
    };
    let ci = env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!ci, "needs {missing}, and in CI nothing is skipped");
    println!("skipped: needs {missing}");
    false
}

fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("root");
    }
    if Command::new("runc").arg("--version").output().is_err() {
        return Some("runc");
    }
    if !Path::new("/bin/busybox").exists() {
        return Some("a static busybox at /bin/busybox");
    }
    None
}

fn missing_containerd() -> Option<&'static str> {
    let runs = |program: &str| Command::new(program).arg("--version").output().is_ok();
    (!runs("containerd") || !runs("ctr")).then_some("containerd with ctr")
}
