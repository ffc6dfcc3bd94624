//! Rules judge events, through the public interface; and the common case costs no allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use falco_psp::container::{Container, Volume};
use falco_psp::control::Control;
use falco_psp::event::{Activity, Event, Ids, Process, SyscallEvent};
use falco_psp::rules::{self, EventTypes, RuleSet};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends may have dropped its counter.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the promises of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const RULES: &str = r#"
- required_engine_version: 0.62.0
- list: web_images
  items: [nginx, httpd]
- list: web_ids
  items: ["30:40", 1000]
- macro: web
  condition: container.image.names intersects (web_images)
- macro: ids_set
  condition: evt.type in (container, execve, setuid, setresuid)

- rule: PSP web Violation (privileged) System Activity
  desc: The policy web forbids privileged containers.
  condition: evt.type = container and web and container.privileged = true
  output: "privileged container (image=%container.image id=%container.id)"
  priority: WARNING
  tags: [k8s-psp, privileged]

- rule: PSP web Violation (runAsUser) System Activity
  desc: The policy web allows the user ids 30 to 40 and 1000.
  condition: ids_set and user.uids exists and not user.uids in (web_ids)
  output: "user id outside of the allowed set (uids=%user.uids command=%proc.cmdline)"
  priority: WARNING
  tags: [k8s-psp, runAsUser]
  skip-if-unknown-filter: true

- rule: PSP web Violation (allowedHostPaths) System Activity
  desc: The policy web allows the host paths below /etc and /var/log.
  condition: >
    evt.type = container and container.volumes.host_path exists
    and not container.volumes.host_path pmatch (/etc, /var/log)
  output: "host path outside of the allowed set (paths=%container.volumes.host_path)"
  priority: WARNING
  tags: [k8s-psp, allowedHostPaths]
  skip-if-unknown-filter: true

- rule: PSP web Violation (capabilities) System Activity
  desc: The policy web allows no capability but CHOWN.
  condition: >
    evt.type in (execve, capset) and thread.caps exists and not thread.caps in (CHOWN)
    or evt.caps exists
  output: "capability outside of the allowed set (caps=%thread.caps used=%evt.caps)"
  priority: WARNING
  tags: [k8s-psp, capabilities]
  skip-if-unknown-filter: true
  warn_evttypes: false
"#;

fn load() -> RuleSet {
    let loaded = rules::load(&Arc::from("web.yaml"), RULES);
    assert!(
        matches!(&loaded, Ok((_, warnings)) if warnings.is_empty()),
        "{loaded:?}"
    );
    loaded.map(|(rules, _)| rules).unwrap_or_default()
}

fn event(activity: Activity, uid: u32, host_path: &str) -> SyscallEvent {
    let users = Ids {
        real: uid,
        effective: uid,
        saved: uid,
        filesystem: uid,
    };
    SyscallEvent {
        number: 1,
        time_ns: 1,
        activity,
        process: Arc::new(Process {
            name: "nginx".to_owned(),
            users,
            ..Process::default()
        }),
        container: Arc::new(Container {
            id: "0123456789abcdef".to_owned(),
            image: Some("docker.io/library/nginx:1.25".to_owned()),
            privileged: Some(false),
            volumes: Some(vec![Volume {
                volume_type: "hostPath".to_owned(),
                host_path: host_path.to_owned(),
                mount_path: "/mnt".to_owned(),
                read_only: true,
                fs_group: None,
                driver: None,
            }]),
            ..Container::default()
        }),
    }
}

fn controls(rules: &RuleSet, event: &SyscallEvent) -> Vec<Option<Control>> {
    let mut controls = Vec::new();
    let event = Event::from(event.clone());
    rules
        .matching(&event)
        .for_each(|(_, rule)| controls.push(rule.control()));
    controls
}

#[test]
fn rules_judge_what_containers_do() {
    let rules = load();
    let ok = event(Activity::Container, 35, "/etc/ssl");
    assert_eq!(controls(&rules, &ok), []);

    let mut bad = event(Activity::Container, 41, "/etcetera");
    Arc::make_mut(&mut bad.container).privileged = Some(true);
    assert_eq!(
        controls(&rules, &bad),
        [
            Some(Control::Privileged),
            Some(Control::RunAsUser),
            Some(Control::AllowedHostPaths)
        ]
    );
    let mut lines = Vec::new();
    let whole = bad.clone().into();
    rules
        .matching(&whole)
        .for_each(|(_, rule)| lines.push(rule.output.render(&whole)));
    assert_eq!(
        lines,
        [
            "privileged container (image=docker.io/library/nginx:1.25 id=0123456789ab)",
            "user id outside of the allowed set (uids=41 command=nginx)",
            "host path outside of the allowed set (paths=/etcetera)",
        ]
    );
    // Unknown is no violation of these rules: they ask for the facts first.
    Arc::make_mut(&mut bad.container).privileged = None;
    Arc::make_mut(&mut bad.container).volumes = None;
    assert_eq!(controls(&rules, &bad), [Some(Control::RunAsUser)]);
}

#[test]
fn any_type_may_use_a_capability() {
    let mount = Activity::Mount {
        call: "mount",
        result: 0,
        source: String::new(),
        target: String::new(),
        fs_type: String::new(),
    };
    let rules = load();
    assert_eq!(rules.event_types(), EventTypes::ALL);
    let mount = event(mount, 35, "/etc");
    assert_eq!(controls(&rules, &mount), [Some(Control::Capabilities)]);
}

#[test]
fn an_event_that_matches_no_rule_costs_no_allocation() {
    let rules = load();
    let ok = event(Activity::Container, 35, "/etc/ssl").into();
    let exec = event(Activity::Exec, 1000, "/var/log/nginx").into();
    let mut matched = 0;
    let before = ALLOCATIONS.get();
    for _ in 0..100 {
        matched += rules.matching(&ok).count();
        matched += rules.matching(&exec).count();
    }
    let allocations = ALLOCATIONS.get() - before;
    assert_eq!((matched, allocations), (0, 0));
}
