//! Tests of the language as a whole: what loads, what it answers, what is refused.

mod changes;
mod evaluate;
mod load;
mod messages;
mod output;
mod parse;
mod properties;
mod ruleset;

use std::sync::Arc;

use super::RuleSet;
use crate::container::{Container, Pod, Volume};
use crate::diagnostic::Diagnostic;
use crate::event::{Activity, Capabilities, CommandLine, Event, Ids, Process, SyscallEvent};

/// A web server's exec in a pod, with a value for every field that can have one.
fn event() -> SyscallEvent {
    SyscallEvent {
        number: 7,
        time_ns: 1_561_593_996_540_876_032,
        activity: Activity::Exec,
        process: Arc::new(Process {
            pid: 4711,
            tid: 4712,
            parent_pid: 4700,
            virtual_pid: 1,
            start_ns: 99,
            name: "nginx".to_owned(),
            executable: Some("/usr/sbin/nginx".to_owned()),
            arguments: Some(CommandLine::from_iter(["nginx", "-g", "x y"])),
            users: Ids {
                real: 1000,
                effective: 0,
                saved: 1000,
                filesystem: 0,
            },
            groups: Ids {
                real: 30,
                effective: 30,
                saved: 30,
                filesystem: 30,
            },
            supplementary_groups: vec![30, 40, 50],
            capabilities: Capabilities {
                effective: 0b1,
                permitted: 0b10_0001,
                inheritable: 0,
                bounding: 0b10_0001,
                ambient: 0,
            },
            nested_user_namespace: false,
            no_new_privs: Some(true),
            seccomp_mode: 2,
            gained_privileges: false,
        }),
        container: Arc::new(Container {
            id: "0123456789abcdef".repeat(4),
            name: Some("web".to_owned()),
            image: Some("docker.io/library/nginx:1.25".to_owned()),
            pod: Some(Pod {
                uid: Some("8a1f".to_owned()),
                name: Some("shop-1".to_owned()),
                namespace: Some("prod".to_owned()),
                ..Pod::default()
            }),
            privileged: Some(false),
            host_pid: Some(true),
            host_ipc: None,
            host_network: Some(false),
            root_read_only: Some(true),
            volumes: Some(vec![
                volume("hostPath", "/etc/ssl", true),
                volume("hostPath", "/var/log/app", false),
                volume("configMap", "/var/lib/kubelet/x", true),
            ]),
            ..Container::default()
        }),
    }
}

fn volume(volume_type: &str, host_path: &str, read_only: bool) -> Volume {
    Volume {
        volume_type: volume_type.to_owned(),
        host_path: host_path.to_owned(),
        mount_path: "/mnt".to_owned(),
        read_only,
        fs_group: (volume_type == "configMap").then_some(2000),
        driver: None,
    }
}

/// An event of which nothing is known that can be unknown.
fn unknown() -> SyscallEvent {
    SyscallEvent {
        process: Arc::new(Process::default()),
        container: Arc::new(Container::default()),
        ..event()
    }
}

/// The same event with another activity.
fn with(activity: Activity) -> SyscallEvent {
    SyscallEvent {
        activity,
        ..event()
    }
}

/// A rule whose condition is the word c.
const RULE: &str = "- {rule: r, desc: d, output: o, priority: info, warn_evttypes: false, \
                    condition: c}\n";

/// A rules file of one rule with this condition.
fn file(condition: &str) -> String {
    let quoted = condition.replace('\'', "''");
    format!(
        "- rule: r\n  desc: d\n  condition: '{quoted}'\n  output: o\n  priority: WARNING\n  \
         warn_evttypes: false\n"
    )
}

fn try_load(text: &str) -> Result<(RuleSet, Vec<Diagnostic>), Vec<String>> {
    super::load(&Arc::from("r.yaml"), text)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

/// Loads a file that has nothing to complain of.
fn rules(text: &str) -> RuleSet {
    match try_load(text) {
        Ok((rules, warnings)) => {
            assert!(warnings.is_empty(), "{warnings:?}");
            rules
        }
        Err(errors) => panic!("{errors:?}"),
    }
}

/// What is wrong with a file.
fn errors(text: &str) -> Vec<String> {
    match try_load(text) {
        Ok(_) => panic!("it loads: {text}"),
        Err(errors) => errors,
    }
}

/// The warnings of a file that loads.
fn warnings(text: &str) -> Vec<String> {
    match try_load(text) {
        Ok((_, warnings)) => warnings.iter().map(ToString::to_string).collect(),
        Err(errors) => panic!("{errors:?}"),
    }
}

/// The names of the rules that fire.
fn fired(rules: &RuleSet, event: &SyscallEvent) -> Vec<String> {
    let mut names = Vec::new();
    let event = Event::from(event.clone());
    rules
        .matching(&event)
        .for_each(|(_, rule)| names.push(rule.name.clone()));
    names
}

/// What a condition says of an event.
fn holds(condition: &str, event: &SyscallEvent) -> bool {
    let rules = rules(&file(condition));
    !fired(&rules, event).is_empty()
}
