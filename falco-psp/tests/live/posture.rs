//! Containers that break a policy by how they are started: each alerts for what it breaks and
//! for nothing else, whether the agent or the container was there first.

use std::{collections::BTreeSet, thread, time::Duration};

use anyhow::Result;

use super::{
    agent::{Agent, Alert, RESTRICTED, about_host, controls},
    bundle::Bundle,
    container::Container,
    needs,
};

/// A kind of container, and the controls that it must alert for.
struct Fixture {
    name: &'static str,
    bundle: fn() -> Result<Bundle>,
    controls: &'static [&'static str],
}

/// Each differs from the benign one in just its own point, except where Linux or containerd ties
/// points together: root has the capabilities it is given, privileged means all of them.
const FIXTURES: &[Fixture] = &[
    Fixture {
        name: "benign",
        bundle: Bundle::benign,
        controls: &[],
    },
    Fixture {
        name: "root",
        bundle: || Ok(Bundle::benign()?.user(0, 0, &[1000])),
        controls: &["runAsUser"],
    },
    Fixture {
        name: "root with the default capabilities and a writable root file system",
        bundle: || {
            let bundle = Bundle::benign()?.user(0, 0, &[1000]);
            Ok(bundle.default_capabilities().read_only_root(false))
        },
        controls: &["capabilities", "runAsUser"],
    },
    Fixture {
        name: "writable root file system, not written to",
        bundle: || Ok(Bundle::benign()?.read_only_root(false)),
        controls: &[],
    },
    Fixture {
        name: "without no_new_privs, and nothing to gain",
        bundle: || Ok(Bundle::benign()?.no_new_privs(false)),
        controls: &[],
    },
    Fixture {
        name: "group 0",
        bundle: || Ok(Bundle::benign()?.user(1000, 1000, &[0, 1000])),
        controls: &["supplementalGroups"],
    },
    Fixture {
        name: "privileged",
        bundle: || {
            let bundle = Bundle::benign()?.user(0, 0, &[1000]);
            bundle.privileged()
        },
        controls: &["privileged", "runAsUser"],
    },
    Fixture {
        name: "hostPath /etc",
        bundle: || Ok(Bundle::benign()?.host_path("/etc", "/host/etc", true)),
        controls: &["volumes"],
    },
    Fixture {
        name: "SYS_ADMIN added",
        bundle: || Ok(Bundle::benign()?.ambient_capabilities(&["CAP_SYS_ADMIN"])),
        controls: &["capabilities"],
    },
    Fixture {
        name: "hostPID",
        bundle: || Ok(Bundle::benign()?.host_namespace("pid")),
        controls: &["hostPID"],
    },
    Fixture {
        name: "hostIPC",
        bundle: || Ok(Bundle::benign()?.host_namespace("ipc")),
        controls: &["hostIPC"],
    },
    Fixture {
        name: "benign, by a runtime with mounts of its own",
        bundle: || Ok(Bundle::benign()?.runtime_with_mounts_of_its_own()),
        controls: &[],
    },
    Fixture {
        name: "root, by a runtime with mounts of its own",
        bundle: || {
            let bundle = Bundle::benign()?.user(0, 0, &[1000]);
            Ok(bundle.runtime_with_mounts_of_its_own())
        },
        controls: &["runAsUser"],
    },
    Fixture {
        name: "hostNetwork",
        bundle: || Ok(Bundle::benign()?.host_namespace("network")),
        controls: &["hostNetwork"],
    },
];

fn start_all() -> Result<Vec<Container>> {
    FIXTURES
        .iter()
        .map(|fixture| Container::start((fixture.bundle)()?))
        .collect()
}

fn expected(fixture: &Fixture) -> BTreeSet<String> {
    fixture
        .controls
        .iter()
        .map(|&name| name.to_owned())
        .collect()
}

#[test]
fn each_container_alerts_for_exactly_what_it_breaks() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let before = start_all()?;
    let agent = Agent::start(RESTRICTED, &[])?;
    let after = start_all()?;
    let all = || {
        let groups = [("before", &before), ("after", &after)];
        groups.into_iter().flat_map(|(when, containers)| {
            FIXTURES
                .iter()
                .zip(containers)
                .map(move |pair| (when, pair))
        })
    };
    let complete = |alerts: &[Alert]| {
        all().all(|(_, (fixture, container))| {
            expected(fixture).is_subset(&controls(alerts, container.id()))
        })
    };
    agent.wait_for(complete);
    // What should not come has time to come.
    thread::sleep(Duration::from_secs(1));
    let ended = agent.stop()?;

    let mut wrong = Vec::new();
    for (when, (fixture, container)) in all() {
        let found = controls(&ended.alerts, container.id());
        let expected = expected(fixture);
        if found != expected {
            let name = fixture.name;
            wrong.push(format!(
                "{name}, started {when}: {expected:?}, found {found:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), ended.messages);
    let host = about_host(&ended.alerts);
    assert!(host.is_empty(), "alerts about the host: {host:?}");
    assert_eq!(ended.code, Some(0), "{}", ended.messages);
    Ok(())
}

#[test]
fn an_alert_names_the_pod() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let bundle = Bundle::benign()?.user(0, 0, &[1000]);
    let bundle = bundle.pod("shop", "cart-7d4b").container_name("cart");
    let container = Container::start(bundle)?;
    let agent = Agent::start(RESTRICTED, &["--duration", "3s"])?;
    let ended = agent.wait()?;
    let alert = ended
        .alerts
        .iter()
        .find(|alert| alert.is_about(container.id()));
    let Some(alert) = alert else {
        panic!("no alert; {}", ended.messages);
    };
    assert_eq!(alert.field("k8s.ns.name"), Some("shop"), "{alert:?}");
    assert_eq!(alert.field("k8s.pod.name"), Some("cart-7d4b"), "{alert:?}");
    assert_eq!(alert.field("container.name"), Some("cart"), "{alert:?}");
    Ok(())
}
