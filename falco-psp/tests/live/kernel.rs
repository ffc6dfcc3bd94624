//! Kernels that lack what this one has: the facts that need it are off, and that is said.

use std::{fs, io::Write as _, path::Path};

use anyhow::{Context as _, Result, ensure};

use super::{
    agent::{Agent, Alert, RESTRICTED, controls},
    bundle::Bundle,
    container::Container,
    needs,
};

/// A copy of this kernel's type description in which members have other names.
fn without(members: &[&str]) -> Result<tempfile::NamedTempFile> {
    let mut data = fs::read("/sys/kernel/btf/vmlinux").context("cannot read the kernel's types")?;
    for member in members {
        let name = format!("\0{member}\0").into_bytes();
        let places: Vec<usize> = data
            .windows(name.len())
            .enumerate()
            .filter(|(_, window)| *window == name)
            .map(|(at, _)| at)
            .collect();
        ensure!(!places.is_empty(), "no member {member}");
        for at in places {
            data[at + 1] = b'~';
        }
    }
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(&data)?;
    Ok(file)
}

fn path(file: &tempfile::NamedTempFile) -> Result<&str> {
    Path::to_str(file.path()).context("a path of plain characters")
}

#[test]
fn missing_members_are_named_and_the_rest_works() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let members = [
        "secureexec",
        "exe_file",
        "cgroups",
        "atomic_flags",
        "arg_start",
    ];
    let btf = without(&members)?;
    let agent = Agent::start(RESTRICTED, &["--btf", path(&btf)?])?;
    let benign = Container::start(Bundle::benign()?)?;
    let root = Container::start(Bundle::benign()?.user(0, 0, &[1000]))?;
    let seen = |alerts: &[Alert]| alerts.iter().any(|alert| alert.is_about(root.id()));
    assert!(agent.wait_for(seen), "no alert about the root container");
    let ended = agent.stop()?;
    for member in members {
        assert!(ended.messages.contains(member), "{}", ended.messages);
    }
    let of_root = controls(&ended.alerts, root.id());
    assert_eq!(
        of_root,
        ["runAsUser".to_owned()].into(),
        "{:#?}",
        ended.alerts
    );
    let of_benign = controls(&ended.alerts, benign.id());
    assert!(of_benign.is_empty(), "{:#?}", ended.alerts);
    Ok(())
}

#[test]
fn a_kernel_of_unknown_layout_is_refused_by_name() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let btf = without(&["real_cred"])?;
    let started = Agent::start(RESTRICTED, &["--btf", path(&btf)?]);
    let error = started.err().context("the agent must not start")?;
    let error = format!("{error:#}");
    assert!(error.contains("task_struct.real_cred"), "{error}");
    Ok(())
}
