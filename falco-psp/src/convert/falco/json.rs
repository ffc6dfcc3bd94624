//! Regular expressions over the JSON text of an object's parts.
//!
//! `jevt.value[/requestObject/spec/containers]` is that part of the event as JSON without blanks.
//! In it a quote that belongs to a text has a backslash before it, so `"privileged":` can only be
//! a key; and the keys of the API are in any order.

/// A string.
pub(super) const STRING: &str = r#""([^"\\]|\\.)*""#;

/// The three lists of containers that a pod has.
pub(super) const SECTIONS: [&str; 3] = [
    "/requestObject/spec/containers",
    "/requestObject/spec/initContainers",
    "/requestObject/spec/ephemeralContainers",
];

/// Text in which a CSI volume has such a driver. What comes before the driver is a word, a text,
/// or an object of texts.
pub(super) fn csi_driver(driver: &str) -> String {
    let object = format!(r#"\{{([^{{}}"]|{STRING})*\}}"#);
    format!(r#".*"csi":\{{("[A-Za-z]+":([a-z]+|{STRING}|{object}),)*"driver":"{driver}".*"#)
}

/// Text with a volume that has nothing but a name.
pub(super) fn volume_without_source() -> String {
    format!(r#".*[,[]\{{"name":{STRING}\}}[],].*"#)
}

/// A port that is not said to be one of the host.
pub(super) fn port_without_host(container_port: &str) -> String {
    let other = format!(r#"("(name|protocol|hostIP)":{STRING}|"hostPort":0)"#);
    format!(r#".*\{{({other},)*"containerPort":{container_port}(,{other})*\}}.*"#)
}

/// Text in which `seLinuxOptions` have such a value.
pub(super) fn selinux_option(key: &str, value: &str) -> String {
    format!(r#".*"seLinuxOptions":\{{({STRING}:{STRING},)*"{key}":"{value}".*"#)
}

/// Text in which `seLinuxOptions` have none but these keys.
pub(super) fn selinux_options_of(keys: &str) -> String {
    let option = format!(r#""({keys})":{STRING}"#);
    format!(r#".*"seLinuxOptions":\{{({option}(,{option})*)?\}}.*"#)
}
