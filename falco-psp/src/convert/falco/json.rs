//! Regular expressions over the JSON text of an object's parts.
//!
//! `jevt.value[/requestObject/spec/containers]` is that part of the event as JSON without blanks.
//! In it a quote that belongs to a text has a backslash before it, so `"privileged":` can only be
//! a key; and the keys of the API are in any order. Nesting is followed to a fixed depth, which is
//! more than the API has.

/// A string.
pub(super) const STRING: &str = r#""([^"\\]|\\.)*""#;

/// The three lists of containers that a pod has.
pub(super) const SECTIONS: [&str; 3] = [
    "/requestObject/spec/containers",
    "/requestObject/spec/initContainers",
    "/requestObject/spec/ephemeralContainers",
];

/// How deep what a container holds may be nested.
const CONTAINER_DEPTH: usize = 6;
/// The same of a volume.
const VOLUME_DEPTH: usize = 8;

/// Any value that is nested at most `depth` levels deep.
fn value(depth: usize) -> String {
    let mut inner = String::new();
    for _ in 1..depth {
        inner = balanced(&inner);
    }
    let scalar = r#"[^\[\]{}",]+"#;
    match depth {
        0 => format!("({scalar}|{STRING})"),
        _ => format!(
            r"({scalar}|{STRING}|[\[{{]{inner}[\]}}])",
            inner = or_flat(&inner)
        ),
    }
}

/// What stands between brackets, if what is nested in it is `inner`.
fn balanced(inner: &str) -> String {
    format!(r#"([^\[\]{{}}"]|{STRING}|[\[{{]{}[\]}}])*"#, or_flat(inner))
}

fn or_flat(inner: &str) -> String {
    match inner {
        "" => format!(r#"([^\[\]{{}}"]|{STRING})*"#),
        inner => inner.to_owned(),
    }
}

/// A key and its value.
fn member(depth: usize) -> String {
    format!("{STRING}:{}", value(depth))
}

/// An object that has the member.
fn object_with(member_in_it: &str, depth: usize) -> String {
    let other = member(depth);
    format!(r"\{{({other},)*{member_in_it}(,{other})*\}}")
}

/// A list all of whose elements are so.
pub(super) fn every(element: &str) -> String {
    format!(r"\[({element}(,{element})*)?\]|null")
}

/// A container that has the member in its security context.
pub(super) fn container_with(member_of_context: &str) -> String {
    let context = object_with(member_of_context, 2);
    object_with(&format!(r#""securityContext":{context}"#), CONTAINER_DEPTH)
}

/// A container whose capabilities have the text in one of the lists.
pub(super) fn container_with_capability(lists: &str, text: &str) -> String {
    let list = format!(r#""{lists}":\[({STRING},)*"{text}"(,{STRING})*\]"#);
    let capabilities = object_with(&list, 1);
    container_with(&format!(r#""capabilities":{capabilities}"#))
}

/// Text in which an object of the key has a member so.
pub(super) fn has_object_with(key: &str, member_in_it: &str) -> String {
    format!(
        r#".*"{key}":\{{({},)*{member_in_it}[,}}].*"#,
        member(VOLUME_DEPTH)
    )
}

/// A volume of one of these types.
pub(super) fn volume_of(keys: &[&str], token: bool, without_type: bool) -> String {
    let name = format!(r#""name":{STRING}"#);
    let mut sources = Vec::new();
    if !keys.is_empty() {
        sources.push(format!(r#""({})":{}"#, keys.join("|"), value(VOLUME_DEPTH)));
    }
    if token {
        sources.push(format!(r#""projected":{}"#, token_source()));
    }
    let mut volumes = Vec::new();
    if !sources.is_empty() {
        let sources = sources.join("|");
        volumes.push(format!(r"\{{({name},)?({sources})(,{name})?\}}"));
    }
    if without_type {
        volumes.push(format!(r"\{{{name}\}}"));
    }
    match volumes.is_empty() {
        // Nothing but an empty list.
        true => r"\{\}".to_owned(),
        false => format!("({})", volumes.join("|")),
    }
}

/// The source of a projected volume that holds nothing but what the API server itself gives every
/// pod (`IsOnlyServiceAccountTokenSources` of pkg/security/podsecuritypolicy/util).
fn token_source() -> String {
    let list_of = |element: &str| format!(r"\[({element}(,{element})*)?\]");
    let object_of = |members: &[String]| {
        let members = members.join("|");
        format!(r"\{{(({members})(,({members}))*)?\}}")
    };
    let number = r#"[^\[\]{}",]+"#;
    let token = {
        let other = format!(r#""expirationSeconds":{number}|"audience":"""#);
        format!(r#"\{{(({other}),)*"path":"token"(,({other}))*\}}"#)
    };
    let config_map = {
        let other = format!(r#""(items|optional)":{}"#, value(3));
        format!(r#"\{{({other},)*"name":"kube-root-ca[.]crt"(,{other})*\}}"#)
    };
    let field = {
        let version = r#""apiVersion":"(v1)?""#;
        let path = r#""fieldPath":"metadata[.]namespace""#;
        format!(r"\{{({version},)?{path}(,{version})?\}}")
    };
    let item = {
        let path = r#""path":"namespace""#;
        let field = format!(r#""fieldRef":{field}"#);
        let mode = format!(r#""mode":{number}"#);
        format!(r"\{{({mode},)?({path},({mode},)?{field}|{field},({mode},)?{path})(,{mode})?\}}")
    };
    let downward = object_of(&[format!(r#""items":{}"#, list_of(&item))]);
    let source = {
        let known = [
            format!(r#""serviceAccountToken":{token}"#),
            format!(r#""configMap":{config_map}"#),
            format!(r#""downwardAPI":{downward}"#),
        ];
        let known = known.join("|");
        let known = format!("({known})");
        format!(r"\{{{known}(,{known})*\}}")
    };
    object_of(&[
        format!(r#""sources":({}|null)"#, list_of(&source)),
        format!(r#""defaultMode":{number}"#),
    ])
}

/// A port that is not said to be one of the host.
pub(super) fn port_without_host(container_port: &str) -> String {
    let other = format!(r#"("(name|protocol|hostIP)":{STRING}|"hostPort":0)"#);
    format!(r#".*\{{({other},)*"containerPort":{container_port}(,{other})*\}}.*"#)
}

/// Text in which `seLinuxOptions` differ from these: user, role, type and every form of the level.
pub(super) fn other_selinux(parts: [(&str, String, bool); 4]) -> String {
    let mut others = Vec::new();
    for (key, outside, may_lack) in &parts {
        others.push(format!(r#"({STRING}:{STRING},)*"{key}":"{outside}""#));
        if !may_lack {
            let keys = parts.iter().map(|(key, ..)| *key).filter(|k| k != key);
            let keys = keys.collect::<Vec<_>>().join("|");
            let other = format!(r#""({keys})":{STRING}"#);
            others.push(format!(r"({other}(,{other})*)?\}}"));
        }
    }
    format!(r#".*"seLinuxOptions":\{{({}).*"#, others.join("|"))
}
