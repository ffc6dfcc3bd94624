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
    let process = Arc::new(Process {
        pid: u32::MAX,
        ..Process::default()
    });
    let container = ContainerRef {
        id: id.to_owned(),
        pod_uid: None,
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
