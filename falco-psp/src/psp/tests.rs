use std::sync::Arc;

use super::*;
use crate::control::Control;

const HEAD: &str = "apiVersion: policy/v1beta1\nkind: PodSecurityPolicy\nmetadata:\n  name: p\n";
const STRATEGIES: &str = concat!(
    "  runAsUser: {rule: RunAsAny}\n",
    "  fsGroup: {rule: RunAsAny}\n",
    "  supplementalGroups: {rule: RunAsAny}\n",
    "  seLinux: {rule: RunAsAny}\n",
);

fn file() -> Arc<str> {
    Arc::from("p.yaml")
}

/// A policy with these lines in its spec, from line 10 on.
fn with(spec: &str) -> String {
    format!("{HEAD}spec:\n{STRATEGIES}{spec}\n")
}

fn with_annotation(annotation: &str) -> String {
    let annotations = format!("  annotations:\n    {annotation}\n");
    format!("{HEAD}{annotations}spec:\n{STRATEGIES}")
}

fn errors(text: &str) -> Vec<String> {
    let findings = parse(&file(), text).expect_err(text);
    findings.iter().map(ToString::to_string).collect()
}

fn fine(text: &str) -> (Policy, Vec<String>) {
    match parse(&file(), text) {
        Ok((policy, warnings)) => (policy, warnings.iter().map(ToString::to_string).collect()),
        Err(findings) => panic!("{text}{findings:#?}"),
    }
}

fn policy(text: &str) -> Policy {
    let (policy, warnings) = fine(text);
    assert!(warnings.is_empty(), "{warnings:?}");
    policy
}

#[test]
fn a_file_without_a_policy_is_refused() {
    for (text, expected) in [
        (
            "",
            "p.yaml: error: the file holds no PodSecurityPolicy: it is empty",
        ),
        (
            "# nothing\n",
            "p.yaml: error: the file holds no PodSecurityPolicy: it is empty",
        ),
        (
            "---\n---\n",
            "p.yaml: error: the file holds no PodSecurityPolicy: it is empty",
        ),
        (
            "- a\n",
            "p.yaml:1:1: error: the document must be a mapping, but is a list",
        ),
        (
            "just text\n",
            "p.yaml:1:1: error: the document must be a mapping, but is a string: \"just text\"",
        ),
        (
            "a: b\n",
            "p.yaml:1:1: error: kind is missing, should be \"PodSecurityPolicy\"",
        ),
        (
            "apiVersion: v1\nkind: Pod\n",
            "p.yaml:2:7: error: kind is \"Pod\", but should be \"PodSecurityPolicy\"",
        ),
        (
            "kind: Pod\n---\nkind: Role\n",
            "p.yaml: error: the file holds no PodSecurityPolicy, but Pod, Role",
        ),
        (
            "a: [\n",
            "p.yaml:1:5: error: did not find expected node content, while parsing a flow node",
        ),
    ] {
        assert_eq!(errors(text), [expected]);
    }
    let missing = load(std::path::Path::new("/nowhere/p.yaml")).unwrap_err();
    assert_eq!(
        missing[0].to_string(),
        "/nowhere/p.yaml: error: cannot read it: No such file or directory (os error 2)"
    );
}

#[test]
fn versions_that_have_no_policy_are_refused() {
    let text = with("").replace("policy/v1beta1", "policy/v1");
    assert_eq!(
        errors(&text),
        [
            "p.yaml:1:13: error: apiVersion \"policy/v1\" has no PodSecurityPolicy; it should be \
          \"policy/v1beta1\""
        ]
    );
    policy(&with("").replace("policy/v1beta1", "extensions/v1beta1"));
    assert_eq!(
        errors(&with("").replace("apiVersion: policy/v1beta1\n", "")),
        ["p.yaml:1:1: error: apiVersion is missing, should be \"policy/v1beta1\""]
    );
}

#[test]
fn one_policy_a_file() {
    let one = with("");
    let (loaded, warnings) = fine(&format!("{one}---\nkind: ClusterRole\n"));
    assert_eq!(loaded, policy(&one));
    assert_eq!(
        warnings,
        ["p.yaml:12:1: warning: ClusterRole is no PodSecurityPolicy: ignored"]
    );
    assert_eq!(
        errors(&format!("{one}---\n{one}")),
        [
            "p.yaml:12:1: error: a second PodSecurityPolicy in the file; give each policy a file of \
          its own"
        ]
    );
    let indented = one.replace('\n', "\n  ");
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {indented}\n");
    assert_eq!(policy(&list), policy(&one));
}

#[test]
fn all_errors_are_told_in_the_order_of_the_file() {
    let text = format!(
        "{HEAD}  lables: {{}}\nhostNetwork: true\nspec:\n{}",
        "  privilegd: true\n  hostPID: \"true\"\n  hostIPC: yes\n  volumes: secret\n  runAsUser: {rule: MustRunAs, ranges: [{min: 5, max: 4}, {min: -1, max: 1}, {max: 1}]}\n  fsGroup: {rules: RunAsAny}\n  supplementalGroups: {rule: MustRunAsAny}\n"
    );
    assert_eq!(
        errors(&text),
        [
            "p.yaml:5:3: error: unknown field \"lables\" in metadata; did you mean \"labels\"?",
            "p.yaml:6:1: error: unknown field \"hostNetwork\"; it belongs into spec",
            "p.yaml:8:3: error: unknown field \"privilegd\" in spec; did you mean \"privileged\"?",
            "p.yaml:8:3: error: spec.seLinux.rule is missing; known are MustRunAs, RunAsAny",
            "p.yaml:9:12: error: spec.hostPID must be true or false, but is a string: \"true\"; \
             remove the quotes",
            "p.yaml:10:12: error: spec.hostIPC must be true or false, but is a string: \"yes\"; \
             write true",
            "p.yaml:11:12: error: spec.volumes must be a list, but is a string: \"secret\"",
            "p.yaml:12:41: error: spec.runAsUser.ranges[0]: min 5 is greater than max 4",
            "p.yaml:12:59: error: spec.runAsUser.ranges[1].min is negative: -1",
            "p.yaml:12:78: error: spec.runAsUser.ranges[2].min is missing",
            "p.yaml:13:12: error: spec.fsGroup.rule is missing; known are MustRunAs, MayRunAs, \
             RunAsAny",
            "p.yaml:13:13: error: unknown field \"rules\" in spec.fsGroup; did you mean \"rule\"?",
            "p.yaml:14:30: error: spec.supplementalGroups.rule: unknown strategy \"MustRunAsAny\"; \
             did you mean \"MustRunAs\"?",
        ]
    );
}

#[test]
fn missing_strategies_are_refused_but_for_run_as_group() {
    let all = errors(&format!("{HEAD}spec:\n  privileged: true\n"));
    assert_eq!(all.len(), 4, "{all:?}");
    for name in ["runAsUser", "fsGroup", "supplementalGroups", "seLinux"] {
        let missing = format!("p.yaml:6:3: error: spec.{name}.rule is missing");
        assert!(
            all.iter().any(|error| error.starts_with(&missing)),
            "{all:?}"
        );
    }
    assert_eq!(policy(&with("")).run_as_group, GroupStrategy::RunAsAny);
    assert_eq!(errors(HEAD), ["p.yaml:1:1: error: spec is missing"]);
}

#[test]
fn what_the_api_server_refuses_is_refused() {
    for (spec, expected) in [
        (
            "  volumes: [secret, cephfs]",
            "10:21: error: spec.volumes[1]: unknown volume type \"cephfs\"; did you mean \"cephFS\"?",
        ),
        (
            "  allowedHostPaths: [{pathPrefix: /a/../b}]\n  volumes: [hostPath]",
            "10:35: error: spec.allowedHostPaths[0].pathPrefix: \"/a/../b\" must not contain '..'",
        ),
        (
            "  allowedHostPaths: [{readOnly: true}]\n  volumes: [hostPath]",
            "10:22: error: spec.allowedHostPaths[0].pathPrefix is missing",
        ),
        (
            "  allowedFlexVolumes: [{driver: \"\"}]\n  volumes: [flexVolume]",
            "10:24: error: spec.allowedFlexVolumes[0].driver is missing",
        ),
        (
            "  allowedCSIDrivers: [{name: a_b}]\n  volumes: [csi]",
            "10:23: error: spec.allowedCSIDrivers[0].name: \"a_b\" is no driver: it must consist of \
             lower case letters, digits, '-' and '.', and each part must begin and end with a \
             letter or a digit",
        ),
        (
            "  requiredDropCapabilities: [KILL]\n  defaultAddCapabilities: [KILL]",
            "11:28: error: spec.defaultAddCapabilities[0]: \"KILL\" is in requiredDropCapabilities \
             as well",
        ),
        (
            "  requiredDropCapabilities: [KILL]\n  allowedCapabilities: [KILL]",
            "11:25: error: spec.allowedCapabilities[0]: \"KILL\" is in requiredDropCapabilities as \
             well",
        ),
        (
            "  requiredDropCapabilities: [KILL]\n  allowedCapabilities: ['*']",
            "10:30: error: spec.requiredDropCapabilities must be empty while allowedCapabilities \
             has \"*\"",
        ),
        (
            "  defaultAllowPrivilegeEscalation: true\n  allowPrivilegeEscalation: false",
            "10:36: error: spec.defaultAllowPrivilegeEscalation cannot be true while \
             allowPrivilegeEscalation is false",
        ),
        (
            "  allowedUnsafeSysctls: [net.*.x]",
            "10:26: error: spec.allowedUnsafeSysctls[0]: \"net.*.x\" is no name of a sysctl; a * \
             can only stand at the end",
        ),
        (
            "  forbiddenSysctls: ['*', kernel.msgmax]",
            "10:22: error: spec.forbiddenSysctls[0]: beside \"*\" there must be no other sysctls",
        ),
        (
            "  allowedUnsafeSysctls: [kernel.msg*]\n  forbiddenSysctls: [kernel.msgmax]",
            "10:26: error: spec.allowedUnsafeSysctls[0]: \"kernel.msg*\" overlaps with \
             \"kernel.msgmax\" in forbiddenSysctls",
        ),
        (
            "  allowedProcMountTypes: [unmasked]",
            "10:27: error: spec.allowedProcMountTypes[0]: unknown type \"unmasked\"; did you mean \
             \"Unmasked\"?",
        ),
        (
            "  runtimeClass: {allowedRuntimeClassNames: ['*', a]}",
            "10:50: error: spec.runtimeClass.allowedRuntimeClassNames[1]: beside \"*\" there must \
             be no other names",
        ),
        (
            "  runtimeClass: {allowedRuntimeClassNames: [a, a]}",
            "10:48: error: spec.runtimeClass.allowedRuntimeClassNames[1]: \"a\" is in the list twice",
        ),
        (
            "  runtimeClass: {allowedRuntimeClassNames: [a], defaultRuntimeClassName: b}",
            "10:74: error: spec.runtimeClass.defaultRuntimeClassName: allowedRuntimeClassNames \
             lacks \"b\"",
        ),
        (
            "  runAsGroup: {rule: MayRunAs}",
            "10:22: error: spec.runAsGroup: MayRunAs must have at least one range",
        ),
        (
            "  runAsGroup: {rule: RunAsAny, ranges: [{min: 1, max: 2}]}",
            "10:22: error: spec.runAsGroup.ranges must be empty with RunAsAny",
        ),
        (
            "  hostPorts: [{min: 1, max: 3000000000}]",
            "10:15: error: spec.hostPorts[0]: 3000000000 does not fit into 32 bits",
        ),
        (
            "  hostPorts: [{min: 80}]",
            "10:15: error: spec.hostPorts[0].max is missing",
        ),
        (
            "  hostPorts: [80]",
            "10:15: error: spec.hostPorts[0] must be a mapping, but is an integer: \"80\"",
        ),
        (
            "  volumes: [1]",
            "10:13: error: spec.volumes[0] must be a string, but is an integer: \"1\"; put it in \
             quotes",
        ),
    ] {
        assert_eq!(
            errors(&with(spec)),
            [format!("p.yaml:{expected}")],
            "{spec}"
        );
    }
}

#[test]
fn annotations_that_the_api_server_refuses_are_refused() {
    for annotation in [
        "seccomp.security.alpha.kubernetes.io/defaultProfileName: localhost/../a",
        "apparmor.security.beta.kubernetes.io/allowedProfileNames: '*'",
    ] {
        let all = errors(&with_annotation(annotation));
        assert!(
            all[0].contains("is no name of a profile; profiles are "),
            "{all:?}"
        );
    }
    assert_eq!(
        errors(&with_annotation(
            "seccomp.security.alpha.kubernetes.io/allowedProfileNames: runtime/default, unconfined"
        )),
        [
            "p.yaml:6:63: error: metadata.annotations.seccomp.security.alpha.kubernetes.io/\
          allowedProfileNames: \" unconfined\" is no name of a profile; write the list without \
          blanks"
        ]
    );
    assert_eq!(
        errors(&with_annotation("some: 1")),
        [
            "p.yaml:6:11: error: metadata.annotations.some must be a string, but is an integer: \
          \"1\"; put it in quotes"
        ]
    );
    assert_eq!(
        errors(&with_annotation("falco-rules-psp-images: [nginx, busybox]")),
        [
            "p.yaml:6:29: error: metadata.annotations.falco-rules-psp-images must be a string, but \
          is a list; put the whole list in quotes: \"[a, b]\""
        ]
    );
}

#[test]
fn what_admission_cannot_use_is_a_warning() {
    let text = with("").replace(
        "runAsUser: {rule: RunAsAny}",
        "runAsUser: {rule: MustRunAs}",
    );
    let (policy, warnings) = fine(&text);
    assert_eq!(policy.run_as_user, RunAsUser::MustRunAs(Vec::new()));
    assert_eq!(
        warnings,
        [
            "p.yaml:6:21: warning: spec.runAsUser: this strategy has no ranges; the API server \
          accepts this, but admission then cannot use the policy"
        ]
    );
    let text = with("").replace("seLinux: {rule: RunAsAny}", "seLinux: {rule: MustRunAs}");
    assert!(fine(&text).1[0].contains("spec.seLinux: this strategy has no seLinuxOptions"));
}

#[test]
fn what_does_not_mean_what_it_says_is_a_warning() {
    for (spec, expected) in [
        (
            "  allowedCapabilities: [CAP_NET_ADMIN]",
            "10:25: warning: spec.allowedCapabilities[0]: admission does not take \
             \"CAP_NET_ADMIN\" for NET_ADMIN; write \"NET_ADMIN\"",
        ),
        (
            "  allowedCapabilities: [NET_ADMN]",
            "10:25: warning: spec.allowedCapabilities[0]: no capability is called \"NET_ADMN\"; \
             did you mean \"NET_ADMIN\"?",
        ),
        (
            "  hostPorts: [{min: 100, max: 70000}]",
            "10:15: warning: spec.hostPorts[0]: 70000 is no port; ports are 0 to 65535",
        ),
        (
            "  hostPorts: [{min: 100, max: 99}]",
            "10:15: warning: spec.hostPorts[0]: min 100 is greater than max 99: allows no port",
        ),
        (
            "  allowedHostPaths: [{pathPrefix: /a//b}]\n  volumes: ['*']",
            "10:35: warning: spec.allowedHostPaths[0].pathPrefix: admission takes \"/a//b\" letter \
             by letter; write it without '//' and '/./'",
        ),
        (
            "  allowedHostPaths: [{pathPrefix: /a}]",
            "10:21: warning: spec.allowedHostPaths allows nothing: volumes lacks \"hostPath\"",
        ),
    ] {
        assert_eq!(
            fine(&with(spec)).1,
            [format!("p.yaml:{expected}")],
            "{spec}"
        );
    }
    for name in ["My Policy", "-a", "a..b", "A"] {
        let (policy, warnings) = fine(&with("").replace("name: p", &format!("name: {name:?}")));
        assert_eq!(policy.name, name);
        assert!(
            warnings[0].starts_with(&format!(
                "p.yaml:4:9: warning: the API server would refuse the name {name:?}"
            )),
            "{warnings:?}"
        );
    }
    for name in ["eks.privileged", "10-restricted", "a"] {
        assert_eq!(
            policy(&with("").replace("name: p", &format!("name: {name}"))).name,
            name
        );
    }
}

#[test]
fn names_that_yaml_takes_for_numbers_are_refused() {
    assert_eq!(
        errors(&with("").replace("name: p", "name: 10")),
        [
            "p.yaml:4:9: error: metadata.name must be a string, but is an integer: \"10\"; put it in \
          quotes"
        ]
    );
    assert_eq!(
        errors(&with("").replace("  name: p\n", "  generateName: p\n")),
        [
            "p.yaml:4:3: error: metadata.name is missing; a generated name is not known yet: give one"
        ]
    );
}

#[test]
fn the_scope_is_read_in_every_notation() {
    for value in [
        "\"[nginx, 'b:1']\"",
        "'[\"nginx\",\"b:1\"]'",
        "nginx, b:1",
        "nginx,b:1,",
    ] {
        let text = with_annotation(&format!("falco-rules-psp-images: {value}"));
        assert_eq!(policy(&text).scope.images, ["nginx", "b:1"], "{value}");
    }
    let text = with_annotation("falco-rules-psp-namespaces: default");
    assert_eq!(policy(&text).scope.namespaces, ["default"]);
    for value in ["'[nginx'", "'[nginx], b'", "'[{a: b}]'"] {
        let all = errors(&with_annotation(&format!(
            "falco-rules-psp-images: {value}"
        )));
        assert!(
            all[0].ends_with("is no list of names; write \"[a, b]\" or \"a, b\""),
            "{all:?}"
        );
    }
    let (_, warnings) = fine(&with_annotation("falco-rules-psp-image: nginx"));
    assert_eq!(
        warnings,
        [
            "p.yaml:6:28: warning: the annotation \"falco-rules-psp-image\" means nothing here; did \
          you mean \"falco-rules-psp-images\"?"
        ]
    );
}

#[test]
fn unset_fields_have_the_defaults_of_the_api() {
    let policy = policy(&with("  hostPID: null"));
    assert!(policy.allow_privilege_escalation);
    assert!(!policy.host_pid && !policy.privileged);
    assert_eq!(policy.volumes, Volumes::Only(Vec::new()));
    let free: Vec<_> = Control::ALL
        .into_iter()
        .filter(|&control| !policy.restricts(control))
        .map(Control::name)
        .collect();
    assert_eq!(
        free,
        [
            "allowedHostPaths",
            "allowedFlexVolumes",
            "allowedCSIDrivers",
            "fsGroup",
            "runAsUser",
            "runAsGroup",
            "supplementalGroups",
            "seLinux",
            "readOnlyRootFilesystem",
            "allowPrivilegeEscalation",
            "runtimeClass",
            "apparmor"
        ]
    );
}

#[test]
fn all_host_ports_are_no_restriction() {
    for (ranges, restricts) in [
        ("[{min: 0, max: 65535}]", false),
        ("[{min: 1, max: 65535}]", false),
        ("[{min: 100, max: 65535}, {min: 1, max: 99}]", false),
        ("[{min: 1, max: 65534}]", true),
        ("[{min: 1, max: 10}, {min: 12, max: 65535}]", true),
    ] {
        let policy = policy(&with(&format!("  hostPorts: {ranges}")));
        assert_eq!(policy.restricts(Control::HostPorts), restricts, "{ranges}");
    }
}

#[test]
fn attainable_capabilities() {
    let attainable = |spec: &str| fine(&with(spec)).0.capabilities.attainable();
    assert_eq!(attainable("").unwrap(), RUNTIME_DEFAULT_CAPABILITIES);
    assert_eq!(attainable("  allowedCapabilities: ['*', MKNOD]"), None);
    assert_eq!(attainable("  allowedCapabilities: [ALL]"), None);
    assert_eq!(
        attainable("  requiredDropCapabilities: [ALL]").unwrap(),
        [""; 0]
    );
    assert_eq!(
        attainable("  requiredDropCapabilities: [ALL]\n  allowedCapabilities: [cap_net_admin]\n  defaultAddCapabilities: [CHOWN]").unwrap(),
        ["CHOWN", "NET_ADMIN"]
    );
    let dropped = attainable("  requiredDropCapabilities: [KILL, MKNOD]").unwrap();
    assert_eq!(dropped.len(), 12);
    let all_but = attainable("  allowedCapabilities: [ALL]\n  requiredDropCapabilities: [BPF]");
    assert_eq!(all_but.unwrap().len(), 40);
}
