//! The harness itself: containers are as ordered, and leave nothing behind.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use super::{
    bundle::{Bundle, Id},
    container::{Container, hierarchies},
    needs,
    workload::{WORKLOAD, workload},
};

/// The number of the capability set that the kernel shows in hex.
fn set(container: &Container, name: &str) -> Result<u64> {
    let status = container.status()?;
    let text = status.get(name).with_context(|| format!("no {name}"))?;
    u64::from_str_radix(text, 16).with_context(|| format!("{name}: {text}"))
}

fn own_bounding_set() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    Ok(u64::from_str_radix(line.context("no CapBnd")?.trim(), 16)?)
}

/// All that a container could leave behind.
fn traces(id: &Id) -> Vec<String> {
    let mut found = Vec::new();
    let state = Path::new("/run/runc").join(id.as_str());
    if state.exists() {
        found.push(state.display().to_string());
    }
    let pod = format!("kubepods/besteffort/pod{}", id.pod_uid());
    for hierarchy in hierarchies() {
        if hierarchy.join(&pod).exists() {
            found.push(hierarchy.join(&pod).display().to_string());
        }
    }
    found
}

/// Whether the process runs. One that is dead but not yet collected by init does not.
fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(") ")
            .next()
            .unwrap_or_default()
            .starts_with('Z')
    })
}

#[test]
fn a_benign_container_is_as_ordered_and_leaves_nothing() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let container = Container::start(Bundle::benign()?)?;
    let status = container.status()?;
    assert_eq!(status["Uid"], "1000\t1000\t1000\t1000");
    assert_eq!(status["Groups"], "1000");
    assert_eq!(status["NoNewPrivs"], "1");
    assert_eq!(set(&container, "CapEff")?, 0);
    assert_eq!(set(&container, "CapBnd")?, 0);
    let pid = container.pid();
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    assert!(cgroup.contains(&container.id().cgroup()), "{cgroup}");
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    let root = mounts
        .lines()
        .find(|line| line.split(' ').nth(4) == Some("/"));
    let root = root.context("no root mount")?;
    assert!(root.contains(" / ro,"), "{root}");

    let id = container.id().clone();
    assert!(
        !traces(&id).is_empty(),
        "the container is seen while it runs"
    );
    drop(container);
    assert_eq!(traces(&id), Vec::<String>::new());
    assert!(!is_alive(pid), "process {pid} runs on");
    Ok(())
}

#[test]
fn capabilities_are_as_ordered() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let root = Container::start(Bundle::new()?)?;
    assert_eq!(set(&root, "CapEff")?, 0xa804_25fb, "containerd's default");
    assert_eq!(root.status()?["NoNewPrivs"], "0");

    let admin = Bundle::benign()?.ambient_capabilities(&["CAP_SYS_ADMIN"]);
    let admin = Container::start(admin)?;
    assert_eq!(set(&admin, "CapEff")?, 1 << 21);

    let privileged = Container::start(Bundle::new()?.privileged()?)?;
    assert_eq!(set(&privileged, "CapEff")?, own_bounding_set()?);
    Ok(())
}

#[test]
fn namespaces_and_mounts_are_as_ordered() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let same = |container: &Container, kind: &str| -> Result<bool> {
        let theirs = fs::read_link(format!("/proc/{}/ns/{kind}", container.pid()))?;
        Ok(theirs == fs::read_link(format!("/proc/self/ns/{kind}"))?)
    };
    for (namespace, file) in [("pid", "pid"), ("ipc", "ipc"), ("network", "net")] {
        let shared = Container::start(Bundle::benign()?.host_namespace(namespace))?;
        assert!(same(&shared, file)?, "{namespace} is the host's");
        let separate = Container::start(Bundle::benign()?)?;
        assert!(!same(&separate, file)?, "{namespace} is the container's");
    }
    let container = Container::start(Bundle::benign()?.host_path("/etc", "/host/etc", true))?;
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", container.pid()))?;
    assert!(mounts.contains(" /host/etc ro,"), "{mounts}");
    Ok(())
}

#[test]
fn the_workload_does_what_it_is_told() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let run = |bundle: Bundle, args: &[&str]| -> Result<String> {
        let bundle = bundle.program(workload()?, WORKLOAD, 0o755)?;
        let bundle = bundle
            .setuid_root(workload()?, "/bin/suid-root")?
            .args(args);
        let id = bundle.id().clone();
        let output = Container::run_to_end(bundle)?;
        assert_eq!(traces(&id), Vec::<String>::new());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let escalating = || Ok::<_, anyhow::Error>(Bundle::benign()?.no_new_privs(false));
    let can =
        |names: &[&str]| Ok::<_, anyhow::Error>(Bundle::benign()?.ambient_capabilities(names));

    let ids = run(Bundle::benign()?, &[WORKLOAD, "print-ids"])?;
    assert!(ids.contains("Uid:\t1000\t1000\t1000\t1000"), "{ids}");
    let suid = [WORKLOAD, "exec", "/bin/suid-root", "print-ids"];
    let ids = run(escalating()?, &suid)?;
    assert!(ids.contains("Uid:\t1000\t0\t0\t0"), "{ids}");
    let ids = run(Bundle::benign()?, &suid)?;
    assert!(
        ids.contains("Uid:\t1000\t1000"),
        "no_new_privs holds: {ids}"
    );
    let ids = run(can(&["CAP_SETUID"])?, &[WORKLOAD, "setuid", "0"])?;
    assert!(ids.contains("Uid:\t0\t0\t0\t0"), "{ids}");
    let ids = run(Bundle::new()?, &[WORKLOAD, "setuid-back", "0"])?;
    assert!(ids.contains("Uid:\t1000\t0\t0\t0"), "{ids}");
    run(
        can(&["CAP_SYS_ADMIN"])?,
        &[WORKLOAD, "bind", "/etc", "/mnt"],
    )?;
    run(Bundle::benign()?, &[WORKLOAD, "exec-loop", "100", WORKLOAD])?;
    Ok(())
}

#[test]
fn containers_can_be_started_at_the_same_time() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    std::thread::scope(|scope| {
        let starts: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| -> Result<Id> {
                    let container = Container::start(Bundle::benign()?)?;
                    let output = container.exec(&["/bin/echo", "hello"])?;
                    assert_eq!(output.stdout, b"hello\n", "{output:?}");
                    Ok(container.id().clone())
                })
            })
            .collect();
        for start in starts {
            let id = start.join().expect("no panic")?;
            assert_eq!(traces(&id), Vec::<String>::new());
        }
        Ok(())
    })
}
