use std::collections::HashMap;
use std::time::Duration;

use falco_psp_common::record::namespace;

use super::*;
use crate::context::cgroup::ContainerRef;
use crate::context::containers::Sighting;
use crate::context::cri::{Choice, RuntimeFacts};
use crate::context::host::HostNamespaces;
use crate::event::Process;
use crate::outputs::Outputs;
use crate::rules::load;

/// One rule that needs metadata, one that does not, and one that tells why there is none.
const RULES: &str = "
- {rule: shop, desc: d, output: o, priority: info, condition: evt.type=execve and k8s.ns.name=shop}
- {rule: exec, desc: d, output: o, priority: info, condition: evt.type=execve}
- {rule: whole, desc: d, output: o, priority: info,
   condition: evt.type=container and k8s.ns.name=shop}
- rule: why
  desc: d
  output: o
  priority: info
  condition: >
    evt.type=execve and
    container.metadata.missing intersects ('no answer from runtime yet', 'runtime is down')
";

fn agent() -> Agent {
    let (rules, _) = load(&"r.yaml".into(), RULES).unwrap();
    let host = HostNamespaces([1; namespace::COUNT]);
    let mut agent = Agent::new(Arc::new(rules), true, host, Outputs::default());
    // Nobody answers there; the answers come from the tests.
    let folder = tempfile::tempdir().unwrap();
    let choice = Choice::Socket(folder.path().join("none.sock"));
    agent.look_up_with(Lookups::start(Some(choice)).unwrap());
    agent
}

/// A process of a container executes a program.
fn exec(agent: &mut Agent, id: &str) {
    exec_in(agent, id, None);
}

fn exec_in(agent: &mut Agent, id: &str, pod_uid: Option<&str>) {
    let process = Arc::new(Process {
        pid: u32::MAX,
        ..Process::default()
    });
    let container = ContainerRef {
        id: id.to_owned(),
        pod_uid: pod_uid.map(str::to_owned),
    };
    let sighting = Sighting {
        container: &container,
        cgroup: None,
        process: &process,
        namespaces: &[2; namespace::COUNT],
    };
    agent.start_container(&sighting, 1);
    agent.judge(id, Activity::Exec, process, 1, 0);
}

fn answer(agent: &mut Agent, id: &str, outcome: Outcome) {
    let id = id.to_owned();
    agent.learn(Answer { id, outcome });
}

fn known() -> Outcome {
    Ok(Box::new(RuntimeFacts::of_pod("shop", "web")))
}

/// How often each rule fired.
fn fired(agent: &Agent) -> HashMap<&str, u64> {
    let mut fired = HashMap::new();
    for (_, rule, count) in agent.judge.tally.counts() {
        *fired
            .entry(&*agent.judge.rules.rules()[rule].name)
            .or_default() += count;
    }
    fired
}

fn expire(agent: &mut Agent) {
    std::thread::sleep(LONGEST + Duration::from_millis(50));
    for pending in agent.metadata.hold.expired(Instant::now()) {
        agent.give_up(pending);
    }
}

#[test]
fn events_wait_for_what_is_looked_up() {
    let mut agent = agent();
    exec(&mut agent, "c");
    exec(&mut agent, "c");
    assert!(fired(&agent).is_empty());
    assert_eq!(agent.metadata_counts().held, 3);
    answer(&mut agent, "c", known());
    let expected = HashMap::from([("shop", 2), ("exec", 2), ("whole", 1)]);
    assert_eq!(fired(&agent), expected);
    // From then on nothing waits.
    exec(&mut agent, "c");
    assert_eq!(fired(&agent)["shop"], 3);
    let counts = agent.metadata_counts();
    assert_eq!((counts.held, counts.given_up, counts.cri.found), (0, 0, 1));
    assert_eq!((counts.bundle.not_there, counts.containers), (1, 1));
}

#[test]
fn without_an_answer_they_are_judged_by_what_is_known() {
    let mut agent = agent();
    exec(&mut agent, "c");
    expire(&mut agent);
    assert_eq!(fired(&agent), HashMap::from([("exec", 1), ("why", 1)]));
    exec(&mut agent, "c");
    assert_eq!(fired(&agent)["exec"], 2, "nothing waits any more");
    assert_eq!(agent.metadata_counts().given_up, 2);
    // The container as a whole is judged when it is known at last.
    answer(&mut agent, "c", known());
    exec(&mut agent, "c");
    let expected = HashMap::from([("exec", 3), ("why", 2), ("whole", 1), ("shop", 1)]);
    assert_eq!(fired(&agent), expected);
}

fn pod_of_shop() -> PodFacts {
    PodFacts {
        uid: "u".to_owned(),
        name: "web".to_owned(),
        namespace: "shop".to_owned(),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        owner: None,
        ip: None,
    }
}

#[test]
fn without_a_runtime_events_wait_for_the_api_server() {
    let mut agent = agent();
    agent.look_up_with(None);
    let (cluster, tell) = Cluster::of_test();
    agent.complete_with(Some(cluster));
    exec_in(&mut agent, "c", Some("u"));
    // In no pod: nobody to wait for.
    exec(&mut agent, "other");
    assert_eq!(fired(&agent), HashMap::from([("exec", 1)]));
    tell(pod_of_shop());
    agent.settle();
    let expected = HashMap::from([("shop", 1), ("exec", 2), ("whole", 1)]);
    assert_eq!(fired(&agent), expected);
    // What is known when a container starts needs no waiting.
    exec_in(&mut agent, "d", Some("u"));
    assert_eq!(fired(&agent)["shop"], 2);
    let api = agent.metadata_counts().api;
    assert_eq!((api.found, api.not_there, api.failed), (2, 1, 0));
}

#[test]
fn what_the_api_server_tells_late_judges_the_container_again() {
    let mut agent = agent();
    agent.look_up_with(None);
    let (cluster, tell) = Cluster::of_test();
    agent.complete_with(Some(cluster));
    exec_in(&mut agent, "c", Some("u"));
    expire(&mut agent);
    assert_eq!(fired(&agent), HashMap::from([("exec", 1)]));
    tell(pod_of_shop());
    agent.settle();
    assert_eq!(fired(&agent)["whole"], 1);
    // Labels that change later are those of later events.
    let labels = [("app".to_owned(), "front".to_owned())].into();
    tell(PodFacts {
        labels,
        ..pod_of_shop()
    });
    agent.settle();
    let pod = agent.containers().next().unwrap().pod.clone().unwrap();
    assert_eq!(pod.labels.unwrap()["app"], "front");
    assert_eq!(fired(&agent)["whole"], 1, "it was judged with its pod");
}

#[test]
fn a_runtime_and_the_api_server_complete_each_other() {
    let mut agent = agent();
    let (cluster, tell) = Cluster::of_test();
    agent.complete_with(Some(cluster));
    tell(pod_of_shop());
    agent.settle();
    exec_in(&mut agent, "c", Some("u"));
    assert!(fired(&agent).is_empty(), "the runtime is asked");
    let facts = RuntimeFacts::of_pod("shop", "web");
    answer(&mut agent, "c", Ok(Box::new(facts)));
    let expected = HashMap::from([("shop", 1), ("exec", 1), ("whole", 1)]);
    assert_eq!(fired(&agent), expected);
    let pod = agent.containers().next().unwrap().pod.clone().unwrap();
    assert_eq!(pod.labels.unwrap()["app"], "web");
}

#[test]
fn an_answer_that_tells_nothing_ends_the_waiting() {
    let mut agent = agent();
    exec(&mut agent, "c");
    answer(&mut agent, "c", Err(Gap::RuntimeDown));
    assert_eq!(fired(&agent), HashMap::from([("exec", 1), ("why", 1)]));
    assert_eq!(agent.metadata_counts().cri.failed, 1);
    answer(&mut agent, "c", known());
    assert_eq!(fired(&agent)["whole"], 1);
    // Once.
    answer(&mut agent, "c", known());
    assert_eq!(fired(&agent)["whole"], 1);
}

#[test]
fn of_too_many_events_the_oldest_are_judged_at_once() {
    let mut agent = agent();
    for _ in 0..=MOST {
        exec(&mut agent, "c");
    }
    // One event is that of the container as a whole.
    assert_eq!(fired(&agent)["exec"], 1);
    assert_eq!(agent.metadata_counts().held, MOST as u64);
    answer(&mut agent, "c", known());
    assert_eq!(fired(&agent)["exec"], MOST as u64 + 1);
    assert_eq!(fired(&agent)["whole"], 1);
}

#[test]
fn a_sandbox_is_no_subject() {
    let mut agent = agent();
    exec(&mut agent, "s");
    answer(&mut agent, "s", Ok(Box::new(RuntimeFacts::sandbox())));
    exec(&mut agent, "s");
    assert!(fired(&agent).is_empty());
    assert_eq!(agent.fates.sandbox, 3);
}

#[test]
fn nothing_is_lost_at_the_end() {
    let mut agent = agent();
    exec(&mut agent, "c");
    agent.settle_all();
    assert_eq!(fired(&agent)["exec"], 1);
}
