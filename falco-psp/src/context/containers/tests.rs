use super::*;

const HOST: HostNamespaces = HostNamespaces([1; namespace::COUNT]);

fn start(containers: &mut Containers, id: &str, pid: u32) {
    let container = ContainerRef {
        id: id.to_owned(),
        pod_uid: None,
    };
    let process = Arc::new(Process {
        pid,
        start_ns: 5,
        ..Process::default()
    });
    containers.start(&Sighting {
        container: &container,
        cgroup: Some((format!("/kubepods/besteffort/{id}"), pid.into())),
        process: &process,
        namespaces: &[2; namespace::COUNT],
    });
}

fn ids(containers: &[Arc<Container>]) -> Vec<&str> {
    containers.iter().map(|container| &*container.id).collect()
}

#[test]
fn a_container_is_forgotten_when_no_process_of_it_runs() {
    let mut containers = Containers::new(HOST);
    let [a, b] = ["a", "b"].map(|name| name.repeat(64));
    start(&mut containers, &a, 10);
    start(&mut containers, &b, 20);
    let now = Instant::now();
    let none = || panic!("all are alive");
    assert!(containers.forget_gone(now, |_, _| true, none).is_empty());

    // The first process has ended; of `b` another runs on.
    let path = format!("/kubepods/besteffort/{b}/inner");
    let running = || vec![(30, 5, "/system.slice".to_owned()), (21, 6, path.clone())];
    let is_alive = |pid, _| pid == 21;
    assert!(containers.forget_gone(now, is_alive, running).is_empty());
    let later = now + GRACE;
    let gone = containers.forget_gone(later, is_alive, running);
    assert_eq!(ids(&gone), [&a]);
    assert!(containers.get(&a).is_none() && containers.get(&b).is_some());
    // What runs on is known by its other process, and nothing is searched for.
    let none = || panic!("it is alive");
    assert!(containers.forget_gone(later, is_alive, none).is_empty());
    assert_eq!((containers.len(), containers.counts.forgotten), (1, 1));
}

#[test]
fn one_that_is_seen_again_in_time_is_kept() {
    let mut containers = Containers::new(HOST);
    let id = "a".repeat(64);
    start(&mut containers, &id, 10);
    let now = Instant::now();
    containers.forget_gone(now, |_, _| false, Vec::new);
    let path = format!("/kubepods/{id}");
    containers.forget_gone(now + GRACE / 2, |_, _| false, || vec![(11, 5, path)]);
    let gone = containers.forget_gone(now + GRACE, |_, _| false, Vec::new);
    assert!(gone.is_empty(), "the time begins anew");
}

#[test]
fn this_process_is_alive_and_has_a_control_group() {
    let pid = std::process::id();
    let found = processes::cgroups();
    let own = found.iter().find(|(found, ..)| *found == pid).unwrap();
    assert!(processes::is_alive(pid, own.1));
    assert!(!processes::is_alive(pid, own.1 + 1_000_000_000));
    assert!(!processes::is_alive(u32::MAX, 0));
}
