use std::sync::Arc;

use proptest::prelude::*;
use regex::Regex;

use super::*;
use crate::psp;
use crate::yaml::{self, Node};

const FREE: &str = concat!(
    "  privileged: true\n  hostPID: true\n  hostIPC: true\n  hostNetwork: true\n",
    "  fsGroup: {rule: RunAsAny}\n  seLinux: {rule: RunAsAny}\n",
);

/// A policy that allows everything observable but what the lines say.
fn policy(lines: &str) -> Policy {
    with_annotations(
        "{seccomp.security.alpha.kubernetes.io/allowedProfileNames: '*'}",
        lines,
    )
}

/// The same with these annotations, not those that allow everything.
fn with_annotations(annotations: &str, lines: &str) -> Policy {
    let mut text = format!(
        "apiVersion: policy/v1beta1\nkind: PodSecurityPolicy\nmetadata:\n  name: p\n  \
         annotations: {annotations}\nspec:\n{FREE}"
    );
    let defaults = [
        ("volumes", "['*']"),
        ("allowedCapabilities", "['*']"),
        ("runAsUser", "{rule: RunAsAny}"),
        ("supplementalGroups", "{rule: RunAsAny}"),
        ("hostPorts", "[{min: 0, max: 65535}]"),
        ("allowedUnsafeSysctls", "['*']"),
        ("allowedProcMountTypes", "[Default, Unmasked]"),
    ];
    for (field, value) in defaults {
        if !lines.contains(field) {
            text += &format!("  {field}: {value}\n");
        }
    }
    for line in lines.lines() {
        if let Some((field, _)) = line.split_once(':') {
            text = text
                .lines()
                .filter(|known| !known.starts_with(&format!("  {field}:")))
                .map(|known| format!("{known}\n"))
                .collect();
        }
        text += &format!("  {line}\n");
    }
    match psp::parse(&Arc::from("p.yaml"), &text) {
        Ok((policy, _)) => policy,
        Err(findings) => panic!("{text}{findings:#?}"),
    }
}

fn items(rules: &Rules) -> Vec<Node> {
    let documents = yaml::parse(&Arc::from("rules"), &rules.text);
    let mut documents = documents.unwrap_or_else(|error| panic!("{error}\n{}", rules.text));
    let document = documents.pop();
    document.map_or(Vec::new(), |document| {
        document.as_sequence().unwrap().to_vec()
    })
}

fn texts(items: &[Node], key: &str) -> Vec<String> {
    let texts = items.iter().filter_map(|item| item.get(key)?.as_str());
    texts.map(str::to_owned).collect()
}

/// The conditions of the policy's rules about what pods do, in one line each.
fn conditions(policy: &Policy) -> Vec<String> {
    conditions_of(policy, "syscall")
}

fn conditions_of(policy: &Policy, source: &str) -> Vec<String> {
    let rules = items(&rules_text(policy).unwrap());
    let of_source = |item: &&Node| {
        item.get("source")
            .is_some_and(|node| node.as_str() == Some(source))
    };
    let rules = rules.iter().filter(of_source);
    rules
        .map(|rule| {
            let condition = rule.get("condition").unwrap().as_str().unwrap();
            let words: Vec<_> = condition.split_whitespace().collect();
            words.join(" ")
        })
        .collect()
}

fn list(policy: &Policy, name: &str) -> Vec<String> {
    let items = items(&rules_text(policy).unwrap());
    let list = items
        .iter()
        .find(|item| item.get("list").and_then(Node::as_str) == Some(name));
    let list = list.unwrap().get("items").unwrap().as_sequence().unwrap();
    list.iter()
        .map(|item| item.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_is_free_has_no_rule() {
    assert_eq!(conditions(&policy("")), [""; 0]);
}

#[test]
fn flags() {
    for (line, expected) in [
        (
            "privileged: false",
            "evt.type=container and container.privileged=true",
        ),
        (
            "hostPID: false",
            "evt.type=container and container.host_pid=true",
        ),
        (
            "hostIPC: false",
            "evt.type=container and container.host_ipc=true",
        ),
        (
            "hostNetwork: false",
            "evt.type=container and container.host_network=true",
        ),
        (
            "readOnlyRootFilesystem: true",
            "evt.type=root_write and evt.arg.path exists",
        ),
        (
            "allowPrivilegeEscalation: false",
            "evt.type=execve and proc.gained_privileges=true and not proc.no_new_privs=true",
        ),
    ] {
        assert_eq!(conditions(&policy(line)), [expected]);
    }
}

#[test]
fn volumes() {
    assert_eq!(
        conditions(&policy("volumes: []")),
        ["evt.type=container and container.volumes.type exists"]
    );
    let some = policy("volumes: [configMap, secret]");
    assert_eq!(
        conditions(&some),
        ["evt.type=container and container.volumes.type exists \
          and not container.volumes.type in (psp_p_types)"]
    );
    assert_eq!(
        list(&some, "psp_p_types"),
        ["configMap", "secret", "projected"]
    );
    let listed = policy("volumes: [projected, secret]");
    assert_eq!(list(&listed, "psp_p_types"), ["projected", "secret"]);
    let claims = list(
        &policy("volumes: [persistentVolumeClaim, csi]"),
        "psp_p_types",
    );
    assert_eq!(claims.len(), 21);
    assert!(claims.contains(&"cephFS".to_owned()) && !claims.contains(&"hostPath".to_owned()));
}

#[test]
fn host_paths() {
    for (paths, expected) in [
        (
            "{pathPrefix: /a}, {pathPrefix: /b//c/./d/}",
            "(container.volumes.host_path exists \
             and not container.volumes.host_path pmatch (\"/a\", \"/b/c/d\"))",
        ),
        (
            "{pathPrefix: /a}, {pathPrefix: /b, readOnly: true}",
            "(container.volumes.host_path exists \
             and not container.volumes.host_path pmatch (\"/a\", \"/b\")) or \
             (container.volumes.host_path.writable exists \
             and not container.volumes.host_path.writable pmatch (\"/a\"))",
        ),
        (
            "{pathPrefix: /, readOnly: true}",
            "(container.volumes.host_path exists \
             and not container.volumes.host_path pmatch (\"/\")) or \
             (container.volumes.host_path.writable exists)",
        ),
        (
            "{pathPrefix: relative}",
            "(container.volumes.host_path exists)",
        ),
        (
            "{pathPrefix: '/a*\"b\\[?]'}",
            "(container.volumes.host_path exists \
             and not container.volumes.host_path pmatch (\"/a[*]\\\"b\\\\[[][?]]\"))",
        ),
    ] {
        let policy = policy(&format!("allowedHostPaths: [{paths}]"));
        assert_eq!(
            conditions(&policy),
            [format!("evt.type=container and ( {expected} )")]
        );
    }
}

#[test]
fn ids() {
    let user =
        policy("runAsUser: {rule: MustRunAs, ranges: [{min: 30, max: 40}, {min: 7, max: 7}]}");
    assert_eq!(
        conditions(&user),
        [
            "evt.type in (execve, setuid, setreuid, setresuid, setfsuid) \
          and psp_p_succeeded and user.uids exists and not user.uids in (psp_p_users)"
        ]
    );
    assert_eq!(list(&user, "psp_p_users"), ["30:40", "7:7"]);
    assert_eq!(
        conditions(&policy("runAsUser: {rule: MustRunAsNonRoot}")),
        [
            "evt.type in (execve, setuid, setreuid, setresuid, setfsuid) \
          and psp_p_succeeded and user.uids intersects (0)"
        ]
    );
    for rule in ["MustRunAs", "MayRunAs"] {
        let line = |field| format!("{field}: {{rule: {rule}, ranges: [{{min: 1, max: 2}}]}}");
        assert_eq!(list(&policy(&line("runAsGroup")), "psp_p_groups"), ["1:2"]);
        assert_eq!(list(&policy(&line("fsGroup")), "psp_p_fsgroups"), ["1:2"]);
        let both =
            line("supplementalGroups") + "\nfsGroup: {rule: MayRunAs, ranges: [{min: 9, max: 9}]}";
        assert_eq!(list(&policy(&both), "psp_p_supplementary"), ["1:2", "9:9"]);
        let one = policy(&line("supplementalGroups"));
        assert_eq!(list(&one, "psp_p_supplementary"), ["1:2"]);
    }
    let none = policy("runAsUser: {rule: MustRunAs}");
    assert_eq!(list(&none, "psp_p_users"), [""; 0]);
}

#[test]
fn capabilities() {
    let none = policy("allowedCapabilities: []\nrequiredDropCapabilities: [ALL]");
    assert_eq!(list(&none, "psp_p_capabilities"), [""; 0]);
    let conditions = conditions(&none);
    let held = "thread.caps exists and not thread.caps in (psp_p_capabilities, CHOWN";
    let taken = "thread.caps intersects (CHOWN";
    let used = "evt.caps exists and not evt.caps in (psp_p_capabilities)";
    assert_eq!(conditions.len(), 4);
    assert!(conditions[0].contains(held) && conditions[1].contains(taken));
    assert!(conditions[2].contains(used) && conditions[3].contains(used));
    // What is allowed is not taken away.
    let all = policy("allowedCapabilities: [NET_ADMIN]");
    assert!(
        !rules_text(&all)
            .unwrap()
            .text
            .contains("Mutation (capabilities) System")
    );
    // A pod may then add ALL, and have any, though admission would deny SYS_ADMIN by name.
    let rules = rules_text(&policy("allowedCapabilities: [ALL]")).unwrap();
    assert!(rules.unobserved.contains(&Control::Capabilities));
    assert!(!rules.text.contains("System Activity\n"));
}

#[test]
fn what_no_rule_observes_is_named() {
    let rules = rules_text(&policy("runtimeClass: {allowedRuntimeClassNames: []}")).unwrap();
    assert_eq!(rules.unobserved, [Control::RuntimeClass]);
    assert!(rules.text.contains("#   runtimeClass\n"));
    // Admission takes any label for the one that this policy asks for, and sets none.
    let rules = rules_text(&policy("seLinux: {rule: MustRunAs}")).unwrap();
    assert_eq!(rules.unobserved, [Control::SeLinux]);
}

#[test]
fn host_ports() {
    for (ports, expected) in [
        ("[]", ""),
        (
            "[{min: 80, max: 80}, {min: 8000, max: 8080}]",
            "\"80:80\", \"8000:8080\"",
        ),
    ] {
        assert_eq!(
            conditions(&policy(&format!("hostPorts: {ports}"))),
            [format!(
                "evt.type=container and container.host_ports exists \
                 and not container.host_ports in ({expected})"
            )]
        );
    }
}

#[test]
fn drivers() {
    assert_eq!(
        conditions(&policy(
            "allowedCSIDrivers: [{name: csi.a.io}, {name: csi.b.io}]"
        )),
        [
            "evt.type=container and container.volumes.csi_driver exists \
          and not container.volumes.csi_driver in (\"csi.a.io\", \"csi.b.io\")"
        ]
    );
    assert_eq!(
        conditions(&policy("allowedFlexVolumes: [{driver: acme/lvm}]")),
        [
            "evt.type=container and container.volumes.flex_driver exists \
          and not container.volumes.flex_driver in (\"acme/lvm\")"
        ]
    );
}

#[test]
fn proc_mounts() {
    let unless_privileged = "and not container.privileged=true";
    for (types, expected) in [("[]", "Default"), ("[Unmasked]", "Unmasked")] {
        assert_eq!(
            conditions(&policy(&format!("allowedProcMountTypes: {types}"))),
            [format!(
                "evt.type=container and container.proc_mount exists \
                 and not container.proc_mount in ({expected}) {unless_privileged}"
            )]
        );
    }
}

#[test]
fn sysctls() {
    let safe = "\"/kernel/shm_rmid_forced/=\", \"/net/ipv4/ip_local_port_range/=\", \
                \"/net/ipv4/tcp_syncookies/=\", \"/net/ipv4/ping_group_range/=\"";
    for (lines, expected) in [
        (
            "allowedUnsafeSysctls: []".to_owned(),
            format!(
                "((container.sysctls.parts exists and not container.sysctls.parts pmatch ({safe})))"
            ),
        ),
        (
            "allowedUnsafeSysctls: ['kernel.msg*']\nforbiddenSysctls: [net.core.somaxconn]"
                .to_owned(),
            format!(
                "(container.sysctls intersects (\"net.core.somaxconn\") or \
                 (container.sysctls.parts exists \
                 and not container.sysctls.parts pmatch ({safe}, \"/kernel/msg*\")))"
            ),
        ),
        (
            "allowedUnsafeSysctls: []\nforbiddenSysctls: ['net.*']".to_owned(),
            format!(
                "(container.sysctls.prefixes intersects (\"net.\") or \
                 (container.sysctls.parts exists \
                 and not container.sysctls.parts pmatch ({safe})))"
            ),
        ),
    ] {
        let expected = format!("evt.type=container and {expected}");
        assert_eq!(conditions(&policy(&lines)), [expected], "{lines}");
    }
}

#[test]
fn labels() {
    let one = policy("seLinux: {rule: MustRunAs, seLinuxOptions: {type: app_t}}");
    assert_eq!(
        conditions(&one),
        ["evt.type=container and (container.selinux.type exists \
          and not container.selinux.type = \"app_t\")"]
    );
    // As the kernel writes it, or otherwise.
    for level in ["s0:c1,c2,c3", "s0:c3,c1.c2"] {
        let options = format!("{{user: system_u, level: '{level}'}}");
        let two = policy(&format!(
            "seLinux: {{rule: MustRunAs, seLinuxOptions: {options}}}"
        ));
        assert_eq!(
            conditions(&two),
            ["evt.type=container and ((container.selinux.user exists \
              and not container.selinux.user = \"system_u\") or (container.selinux.level exists \
              and not container.selinux.level = \"s0:c1,c2,c3\"))"]
        );
    }
}

#[test]
fn profiles() {
    const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/allowedProfileNames";
    const APP_ARMOR: &str = "apparmor.security.beta.kubernetes.io/allowedProfileNames";
    for (annotations, field, expected) in [
        // None may be named: what runs without one is unconfined, or has the runtime's own.
        (
            "{}".to_owned(),
            "seccomp",
            "\"unconfined\", \"runtime/default\"",
        ),
        (
            format!("{{{SECCOMP}: 'docker/default,runtime/default,localhost/a.json'}}"),
            "seccomp",
            "\"localhost/a.json\", \"runtime/default\"",
        ),
        (
            format!("{{{SECCOMP}: '*', {APP_ARMOR}: 'runtime/default,localhost/web'}}"),
            "apparmor",
            "\"runtime/default\", \"localhost/web\"",
        ),
        (
            format!("{{{SECCOMP}: '*', {APP_ARMOR}: ''}}"),
            "apparmor",
            "",
        ),
    ] {
        assert_eq!(
            conditions(&with_annotations(&annotations, "")),
            [format!(
                "evt.type=container and container.{field} exists \
                 and not container.{field} in ({expected}){}",
                match field {
                    "seccomp" => " and not container.privileged=true",
                    _ => "",
                }
            )],
            "{annotations}"
        );
    }
}

#[test]
fn the_scope_is_part_of_every_rule() {
    let mut policy = policy("volumes: []\nrunAsUser: {rule: MustRunAsNonRoot}\nhostPID: false");
    policy.scope.images = vec!["nginx".to_owned(), "a \"b\"".to_owned()];
    policy.scope.namespaces = vec!["default".to_owned()];
    let items = items(&rules_text(&policy).unwrap());
    assert_eq!(items[0].get("macro").unwrap().as_str(), Some("psp_p_scope"));
    assert_eq!(
        items[0].get("condition").unwrap().as_str(),
        Some(
            "container.image.names intersects (\"nginx\", \"a \\\"b\\\"\") \
             and k8s.ns.name in (\"default\")"
        )
    );
    let conditions = conditions(&policy);
    assert_eq!(conditions.len(), 3);
    for condition in conditions {
        assert!(condition.ends_with(" and psp_p_scope"), "{condition}");
    }
    let declared = conditions_of(&policy, "k8s_audit");
    assert!(declared.len() > 3);
    for condition in declared {
        assert!(condition.starts_with("psp_p_declared and "), "{condition}");
    }
    let declared = items
        .iter()
        .find(|item| item.get("macro").and_then(Node::as_str) == Some("psp_p_declared"));
    let declared = declared
        .unwrap()
        .get("condition")
        .unwrap()
        .as_str()
        .unwrap();
    assert!(declared.contains("ka.pod.images.names intersects (\"nginx\", \"a \\\"b\\\"\")"));
    assert!(declared.contains("ka.target.namespace in (\"default\")"));
}

#[test]
fn what_a_condition_cannot_say_is_an_error() {
    let mut policy = policy("volumes: []");
    policy.scope.images = vec!["a\nb".to_owned()];
    assert_eq!(
        rules_text(&policy).unwrap_err().to_string(),
        "falco-rules-psp-images: \"a\\nb\" has a control character, which a rule cannot say"
    );
}

#[test]
fn no_string_holds_the_name_of_a_list() {
    let mut policy = policy("volumes: [secret]");
    policy.scope.images = vec!["psp_p_types".to_owned()];
    let items = items(&rules_text(&policy).unwrap());
    let lists = texts(&items, "list");
    assert!(
        lists[0].starts_with("psp_p_") && lists[0] != "psp_p_types",
        "{lists:?}"
    );
}

#[test]
fn names_that_differ_give_names_that_differ() {
    let prefix = |name: &str| text::slug(name, false);
    assert_eq!(prefix("plain"), "plain");
    assert_eq!(prefix("a_b"), "a_b");
    let odd = ["a.b", "a-b", "a b", "1:b", "é"].map(prefix);
    let mut distinct = odd.to_vec();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), odd.len());
    assert!(odd[0].starts_with("a_b_"), "{odd:?}");
}

#[test]
fn the_output_begins_with_the_words_of_the_name() {
    let items = items(&rules_text(&policy("volumes: []\nhostPID: false")).unwrap());
    for item in items.iter().filter(|item| item.get("rule").is_some()) {
        let name = item.get("rule").unwrap().as_str().unwrap();
        let output = item.get("output").unwrap().as_str().unwrap();
        let Some(words) = name.strip_suffix(" System Activity") else {
            let words = name.strip_suffix(" K8s Audit").unwrap();
            assert!(output.starts_with(words), "{output}");
            continue;
        };
        assert!(
            output.starts_with(&format!("{words} container has ")),
            "{output}"
        );
        assert!(output.contains(" and the policy allows "), "{output}");
        assert!(output.ends_with(" uid=%user.uid)"), "{output}");
        let tags = item.get("tags").unwrap().as_sequence().unwrap();
        assert_eq!(tags[0].as_str(), Some("k8s-psp"));
        assert!(words.ends_with(&format!("({})", tags[1].as_str().unwrap())));
    }
}

fn restricted() -> Policy {
    let mut policy = policy(concat!(
        "volumes: [secret]\nallowedHostPaths: [{pathPrefix: /a, readOnly: true}]\n",
        "runAsUser: {rule: MustRunAs, ranges: [{min: 1, max: 2}]}\nprivileged: false\n",
        "allowedCapabilities: []\nallowPrivilegeEscalation: false\n",
        "supplementalGroups: {rule: MayRunAs, ranges: [{min: 1, max: 2}]}",
    ));
    policy.scope.namespaces = vec!["default".to_owned()];
    policy
}

proptest! {
    /// A policy with random damage is refused or rendered, and what is rendered is YAML.
    #[test]
    fn damaged_policies_are_refused_or_rendered(
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..4usize, "[-a-z0-9:,*%'\"\\[{} \\n]"), 1..6)
    ) {
        let whole = include_str!("../../tests/golden/all-fields.psp.yaml");
        let mut lines: Vec<String> = whole.lines().map(str::to_owned).collect();
        for (place, kind, text) in damage {
            let line = place.index(lines.len());
            let characters = lines[line].chars().count();
            match kind {
                0 => drop(lines.remove(line)),
                1 => lines.insert(line, lines[line].clone()),
                2 => {
                    let middle: usize = lines[line].chars().take(characters / 2).map(char::len_utf8).sum();
                    lines[line].insert_str(middle, &text);
                }
                _ => lines[line].push_str(&text),
            }
        }
        let text = lines.join("\n");
        match psp::parse(&Arc::from("p.yaml"), &text) {
            Ok((policy, _)) => {
                items(&rules_text(&policy).unwrap());
            }
            Err(findings) => {
                prop_assert!(findings.iter().any(|finding| finding.is_error()));
                let count = text.lines().count();
                for position in findings.iter().filter_map(|finding| finding.position) {
                    prop_assert!(position.line <= count, "{:?}", findings);
                }
            }
        }
    }

    /// Whatever a policy is called, its rules are YAML that means what it should.
    #[test]
    fn any_name_will_do(name in "(\\PC|[ -~]|[\0-\u{a0}]|[\u{2020}-\u{202f}\u{feff}]){1,20}") {
        let mut policy = restricted();
        policy.name = name.clone();
        let rules = items(&rules_text(&policy).unwrap());
        let plain = items(&rules_text(&restricted()).unwrap());
        prop_assert_eq!(rules.len(), plain.len());
        let printable = text::printable(&name);
        let expected: Vec<_> = texts(&plain, "rule")
            .iter()
            .map(|rule| rule.replacen("PSP p ", &format!("PSP {printable} "), 1))
            .collect();
        prop_assert_eq!(texts(&rules, "rule"), expected);
        let identifier = Regex::new("^psp_[a-zA-Z0-9_]+$").unwrap();
        for key in ["macro", "list"] {
            for name in texts(&rules, key) {
                prop_assert!(identifier.is_match(&name), "{}", name);
            }
        }
        let shown = text::harmless(&name);
        prop_assert!(!shown.contains('%'));
        let expected: Vec<_> = texts(&plain, "output")
            .iter()
            .map(|output| output.replacen("PSP p ", &format!("PSP {shown} "), 1))
            .collect();
        prop_assert_eq!(texts(&rules, "output"), expected);
    }
}
