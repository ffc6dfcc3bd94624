//! The facts of a pod (`ka.pod.*`, which Falco does not have) as conditions over the request's
//! JSON.

use super::atoms::{Said, equals, has_text, matches, one_of, some_container_is_not, some_section};
use super::complement::{Name, inside, number_inside, number_outside, outside};
use super::{json, profiles};
use crate::convert::text::path_of_pattern;
use crate::pod::path_of_components;

/// Why something is left out, for the user.
pub(super) type Why = &'static str;

/// A character that JSON may write in two ways.
pub(super) const ODD_TEXT: Why =
    "a name with quotes, backslashes, <, >, & or characters beyond ASCII";
const WRITABLE: Why = "mounts that write below a read-only prefix: Falco cannot tell which volume a \
                       mount is of";
const UNKNOWN: Why = "a fact for which Falco has no field";

pub(super) const SPEC: &str = "/requestObject/spec";
const VOLUMES: &str = "/requestObject/spec/volumes";
const USER: &str = "/requestObject/spec/securityContext/runAsUser";
const GROUP: &str = "/requestObject/spec/securityContext/runAsGroup";
const NON_ROOT: &str = "/requestObject/spec/securityContext/runAsNonRoot";
const FS_GROUP: &str = "/requestObject/spec/securityContext/fsGroup";
const GROUPS: &str = "/requestObject/spec/securityContext/supplementalGroups";
const SYSCTLS: &str = "/requestObject/spec/securityContext/sysctls";
const POD_SELINUX: &str = "/requestObject/spec/securityContext/seLinuxOptions";
const POD_CONTEXT: &str = "/requestObject/spec/securityContext";
const RUNTIME_CLASS: &str = "/requestObject/spec/runtimeClassName";

const NUMBER: &str = "-?[0-9]+";

/// Which values of a fact are meant: those in a set, or those that are not.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which<'a> {
    In(&'a [String]),
    NotIn(&'a [String]),
}

impl<'a> Which<'a> {
    /// Any value.
    pub(super) const ANY: Self = Self::NotIn(&[]);

    pub(super) fn set(self) -> &'a [String] {
        match self {
            Self::In(set) | Self::NotIn(set) => set,
        }
    }

    /// Whether a value is meant.
    pub(super) fn means(self, value: &str) -> bool {
        let is_in = self.set().iter().any(|known| known == value);
        match self {
            Self::In(_) => is_in,
            Self::NotIn(_) => !is_in,
        }
    }

    /// The numbers that are meant.
    fn number(self) -> Result<String, Why> {
        let ranges: Option<Vec<(i64, i64)>> = self.set().iter().map(|text| range(text)).collect();
        let ranges = ranges.ok_or(UNKNOWN)?;
        Ok(match self {
            Self::In(_) => number_inside(&ranges),
            Self::NotIn(_) => number_outside(&ranges),
        })
    }

    /// The texts that are meant.
    pub(super) fn name(self) -> Result<String, Why> {
        self.names(|text| Some(Name::Exact(text.to_owned())))
    }

    fn names(self, name: impl Fn(&str) -> Option<Name>) -> Result<String, Why> {
        let names: Option<Vec<Name>> = self.set().iter().map(|text| name(text)).collect();
        let names = names.ok_or(UNKNOWN)?;
        let expression = match self {
            Self::In(_) => inside(&names),
            Self::NotIn(_) => outside(&names),
        };
        expression.ok_or(ODD_TEXT)
    }
}

/// `min:max`, or one number.
fn range(text: &str) -> Option<(i64, i64)> {
    let (min, max) = text.split_once(':').unwrap_or((text, text));
    Some((min.parse().ok()?, max.parse().ok()?))
}

/// Whether a fact that is true or false is true.
pub(super) fn flag(field: &str) -> Result<Said, Why> {
    let of_spec = |key: &str| equals(&format!("{SPEC}/{key}"), "true");
    Ok(match field {
        // The rules look at whole pods only.
        "ka.pod.whole" => Said::True,
        "ka.pod.host_pid" => of_spec("hostPID"),
        "ka.pod.host_ipc" => of_spec("hostIPC"),
        "ka.pod.host_network" => of_spec("hostNetwork"),
        "ka.pod.supplemental_groups.set" => matches(GROUPS, r"\[.*"),
        "ka.pod.selinux.unset" => matches(POD_SELINUX, r"\{.*").not(),
        "ka.pod.seccomp.annotated" => has_text(profiles::SECCOMP_POD),
        _ => return Err(UNKNOWN),
    })
}

/// Whether some value of a fact is of these; and what of that cannot be said.
pub(super) fn some(field: &str, which: Which<'_>) -> Result<(Said, Option<Why>), Why> {
    let said = match field {
        "ka.pod.host_ports" => host_ports(which)?,
        "ka.pod.users" => ids(USER, "runAsUser", which)?,
        "ka.pod.groups" => ids(GROUP, "runAsGroup", which)?,
        "ka.pod.fs_group" => matches(FS_GROUP, &which.number()?),
        "ka.pod.supplemental_groups" => {
            let number = which.number()?;
            matches(GROUPS, &format!(r"\[(.*,)?{number}(,.*)?\]"))
        }
        "ka.pod.volumes.types" => volume_types(which)?,
        "ka.pod.volumes.host_path.parts" => {
            let path = which.names(|parts| {
                let path = path_of_components(&path_of_pattern(parts))?;
                Some(Name::Path(path))
            })?;
            matches(
                VOLUMES,
                &json::has_object_with("hostPath", &format!(r#""path":"{path}""#)),
            )
        }
        "ka.pod.volumes.host_path.writable.parts" => return Err(WRITABLE),
        "ka.pod.volumes.flex_drivers" => driver("flexVolume", which)?,
        "ka.pod.volumes.csi_drivers" => driver("csi", which)?,
        "ka.pod.caps.added" => {
            let name = which.name()?;
            let string = json::STRING;
            some_section(&format!(r#".*"add":\[({string},)*"{name}"[,\]].*"#))
        }
        "ka.pod.caps.dropped" => every_container_names("drop", which)?,
        "ka.pod.caps.named" => every_container_names("(add|drop)", which)?,
        "ka.pod.sysctls" => sysctl(&which.name()?),
        "ka.pod.sysctls.prefixes" => {
            sysctl(&which.names(|text| Some(Name::Prefix(text.to_owned())))?)
        }
        "ka.pod.sysctls.parts" => sysctl(&which.names(sysctl_of_parts)?),
        "ka.pod.proc_mounts" => {
            let name = which.name()?;
            Said::any([
                some_section(&format!(r#".*"procMount":"{name}"[,}}].*"#)),
                match which.means("Default") {
                    true => some_container_lacks("procMount", json::STRING),
                    false => Said::False,
                },
            ])
        }
        "ka.pod.runtime_class" => Said::all([
            has_text(RUNTIME_CLASS),
            match which {
                Which::In(names) => one_of(RUNTIME_CLASS, names),
                Which::NotIn(names) => one_of(RUNTIME_CLASS, names).not(),
            },
        ]),
        "ka.pod.selinux" => selinux(which)?,
        "ka.pod.images.names" => images(which)?,
        "ka.pod.seccomp" => profiles::pod_seccomp(which)?,
        "ka.pod.seccomp.containers" => profiles::container_seccomp(which)?,
        "ka.pod.apparmor" => profiles::app_armor(which)?,
        "ka.pod.apparmor.unset" if matches!(which, Which::NotIn([])) => {
            return Ok(profiles::app_armor_unset());
        }
        _ => containers(field, which)?,
    };
    Ok((said, None))
}

/// Facts that are names of containers: whether there is any.
fn containers(field: &str, which: Which<'_>) -> Result<Said, Why> {
    if !matches!(which, Which::NotIn([])) {
        return Err(UNKNOWN);
    }
    let some_with = |key: &str, value: &str| some_section(&format!(r#".*"{key}":{value}[,}}].*"#));
    let lack = some_container_lacks;
    let bool = "(true|false)";
    let pod_has = |pointer: &str, value: &str| matches(pointer, value);
    Ok(match field {
        "ka.pod.privileged" => some_with("privileged", "true"),
        "ka.pod.escalation" => some_with("allowPrivilegeEscalation", "true"),
        "ka.pod.escalation.unset" => lack("allowPrivilegeEscalation", bool),
        "ka.pod.writable_root" => some_with("readOnlyRootFilesystem", "false"),
        "ka.pod.read_only_root.unset" => lack("readOnlyRootFilesystem", bool),
        "ka.pod.users.unset" => Said::all([pod_has(USER, NUMBER).not(), lack("runAsUser", NUMBER)]),
        "ka.pod.groups.unset" => {
            Said::all([pod_has(GROUP, NUMBER).not(), lack("runAsGroup", NUMBER)])
        }
        "ka.pod.non_root.false" => Said::any([
            some_with("runAsNonRoot", "false"),
            Said::all([equals(NON_ROOT, "false"), lack("runAsNonRoot", bool)]),
        ]),
        "ka.pod.non_root.unset" => Said::all([
            pod_has(USER, NUMBER).not(),
            pod_has(NON_ROOT, bool).not(),
            lack("(runAsUser|runAsNonRoot)", &format!("({NUMBER}|{bool})")),
        ]),
        _ => return Err(UNKNOWN),
    })
}

/// Whether a container's security context does not say it.
fn some_container_lacks(key: &str, value: &str) -> Said {
    some_container_is_not(&json::container_with(&format!(r#""{key}":{value}"#)))
}

fn host_ports(which: Which<'_>) -> Result<Said, Why> {
    let number = which.number()?;
    // 0 is as good as none.
    let without_zero = match which {
        Which::In(_) => return Err(UNKNOWN),
        Which::NotIn(set) => {
            let mut set = set.to_vec();
            set.push("0".to_owned());
            Which::NotIn(&set).number()?
        }
    };
    Ok(Said::any([
        some_section(&format!(r#".*"hostPort":{without_zero}[,}}].*"#)),
        Said::all([
            equals(&format!("{SPEC}/hostNetwork"), "true"),
            some_section(&json::port_without_host(&number)),
        ]),
    ]))
}

/// Ids of containers; the pod's are those of containers that say nothing.
fn ids(pod: &str, key: &str, which: Which<'_>) -> Result<Said, Why> {
    let number = which.number()?;
    Ok(Said::any([
        some_section(&format!(r#".*"{key}":{number}[,}}].*"#)),
        Said::all([matches(pod, &number), some_container_lacks(key, NUMBER)]),
    ]))
}

fn volume_types(which: Which<'_>) -> Result<Said, Why> {
    let Which::NotIn(types) = which else {
        return Err(UNKNOWN);
    };
    if types.is_empty() {
        return Ok(matches(VOLUMES, r"\[\{.*"));
    }
    let has = |name: &str| types.iter().any(|known| known == name);
    let is_key = |name: &&str| *name != "projected-token";
    let keys = types.iter().map(|name| match name.as_str() {
        "cephFS" => "cephfs",
        name => name,
    });
    let keys: Vec<&str> = keys.filter(is_key).collect();
    let token = has("projected-token") && !has("projected");
    let volume = json::volume_of(&keys, token, has("emptyDir"));
    Ok(Said::all([
        Said::Is(format!("jevt.value[{VOLUMES}] exists")),
        matches(VOLUMES, &json::every(&volume)).not(),
    ]))
}

fn driver(key: &str, which: Which<'_>) -> Result<Said, Why> {
    let name = which.name()?;
    let member = format!(r#""driver":"{name}""#);
    Ok(matches(VOLUMES, &json::has_object_with(key, &member)))
}

/// Whether every container has one and the same of the capabilities in its lists.
fn every_container_names(lists: &str, which: Which<'_>) -> Result<Said, Why> {
    let Which::In(capabilities) = which else {
        return Err(UNKNOWN);
    };
    let mut each = Vec::new();
    for capability in capabilities {
        let name = Which::In(std::slice::from_ref(capability)).name()?;
        each.push(some_container_is_not(&json::container_with_capability(lists, &name)).not());
    }
    Ok(Said::any(each))
}

fn sysctl(name: &str) -> Said {
    matches(SYSCTLS, &format!(r#".*"name":"{name}".*"#))
}

/// The sysctls that a pattern of `ka.pod.sysctls.parts` means.
fn sysctl_of_parts(pattern: &str) -> Option<Name> {
    let name = |parts: &str| Some(parts.strip_prefix('/')?.replace('/', "."));
    if let Some(parts) = pattern.strip_suffix("/=") {
        return name(parts).map(Name::Exact);
    }
    let parts = pattern
        .strip_suffix("[!=]*")
        .or_else(|| pattern.strip_suffix('*'))?;
    name(parts).map(Name::Prefix)
}

fn selinux(which: Which<'_>) -> Result<Said, Why> {
    let options = match which {
        Which::NotIn([]) => r#".*"seLinuxOptions":\{.*"#.to_owned(),
        Which::NotIn([label]) => profiles::other_label(label)?,
        _ => return Err(UNKNOWN),
    };
    Ok(Said::any([
        matches(POD_CONTEXT, &options),
        some_section(&options),
    ]))
}

/// Whether some image has one of these names, with registry, tag and digest or without.
fn images(which: Which<'_>) -> Result<Said, Why> {
    let Which::In(names) = which else {
        return Err(UNKNOWN);
    };
    let plain = |text: &str| Which::In(&[text.to_owned()]).name();
    let tag = r#"(:[^"@/]*)?"#;
    let digest = r#"(@[^"]*)?"#;
    let mut each = Vec::new();
    for name in names {
        let last = name.rsplit('/').next().unwrap_or(name);
        // What the name leaves out, the image may have.
        each.push(match name.split_once('@') {
            Some((name, digest)) => format!("{}{tag}@{}", plain(name)?, plain(digest)?),
            None if last.contains(':') => format!("{}{digest}", plain(name)?),
            None => format!("{}{tag}{digest}", plain(name)?),
        });
    }
    let each = each.join("|");
    Ok(some_section(&format!(
        r#".*"image":"([^"\\]*/)?({each})".*"#
    )))
}
