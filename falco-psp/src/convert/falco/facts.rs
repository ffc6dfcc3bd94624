//! The facts of a pod (`ka.pod.*`, which Falco does not have) as conditions over the request's
//! JSON.

use super::atoms::{
    Said, equals, has_text, matches, matches_some, one_of, quoted, some_section, some_section_has,
};
use super::complement::{Name, escaped, inside, number_inside, number_outside, outside};
use super::{containers, json, profiles};
use crate::convert::text::path_of_pattern;
use crate::pod::path_of_components;

/// Why something is left out, for the user.
pub(super) type Why = &'static str;

/// A character that JSON may write in two ways.
pub(super) const ODD_TEXT: Why =
    "a name with quotes, backslashes, <, >, & or characters beyond ASCII";
const WRITABLE: Why = "mounts that write below a read-only prefix: Falco cannot tell which volume a \
                       mount is of";
/// A fact that nothing in Falco shows.
pub(super) const UNKNOWN: Why = "a fact for which Falco has no field";
/// A comparison that Falco would refuse to load.
const TOO_LONG: Why = "a list that is too long: Falco takes 255 bytes for one comparison";
const TOKEN: Why = "projected volumes that hold more than a service account's token, where secret \
                    volumes are allowed and projected ones are not";
const BAR: Why = "host paths with a | in them";

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

    /// Expressions for the numbers that are meant.
    fn numbers(self) -> Result<Vec<String>, Why> {
        let ranges: Option<Vec<(i64, i64)>> = self.set().iter().map(|text| range(text)).collect();
        let ranges = ranges.ok_or(UNKNOWN)?;
        Ok(match self {
            Self::In(_) => number_inside(&ranges),
            Self::NotIn(_) => number_outside(&ranges),
        })
    }

    /// Expressions for the texts that are meant.
    pub(super) fn texts(self) -> Result<Vec<String>, Why> {
        self.names(|text| Some(Name::Exact(text.to_owned())))
    }

    fn names(self, name: impl Fn(&str) -> Option<Name>) -> Result<Vec<String>, Why> {
        let names: Option<Vec<Name>> = self.set().iter().map(|text| name(text)).collect();
        let names = names.ok_or(UNKNOWN)?;
        let expressions = match self {
            Self::In(_) => inside(&names),
            Self::NotIn(_) => outside(&names),
        };
        expressions.ok_or(ODD_TEXT)
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
    let (said, why) = unbounded(field, which)?;
    match said.is_too_long() {
        true => Err(TOO_LONG),
        false => Ok((said, why)),
    }
}

/// The same, with texts that may be too long.
fn unbounded(field: &str, which: Which<'_>) -> Result<(Said, Option<Why>), Why> {
    let said = match field {
        "ka.pod.host_ports" => host_ports(which)?,
        "ka.pod.users" => ids(USER, "runAsUser", which)?,
        "ka.pod.groups" => ids(GROUP, "runAsGroup", which)?,
        "ka.pod.fs_group" => matches_some(FS_GROUP, &which.numbers()?, str::to_owned),
        "ka.pod.supplemental_groups" => matches_some(GROUPS, &which.numbers()?, |number| {
            format!(r"\[(.*,)?{number}(,.*)?\]")
        }),
        "ka.pod.volumes.types" => return volume_types(which),
        "ka.pod.volumes.host_path.parts" => return host_paths(which),
        "ka.pod.volumes.host_path.writable.parts" => return Err(WRITABLE),
        "ka.pod.volumes.flex_drivers" => {
            among("ka.req.pod.volumes.flexvolume_driver", which, which.set())
        }
        "ka.pod.volumes.csi_drivers" => matches_some(VOLUMES, &which.texts()?, json::csi_driver),
        "ka.pod.caps.added" => {
            let string = json::STRING;
            some_section_has(&which.texts()?, |name| {
                format!(r#".*"add":\[({string},)*"{name}"[,\]].*"#)
            })
        }
        "ka.pod.caps.dropped" => containers::every_one_lists(&["drop"], which)?,
        "ka.pod.caps.named" => containers::every_one_lists(&["add", "drop"], which)?,
        "ka.pod.sysctls" => sysctl(&which.texts()?),
        "ka.pod.sysctls.prefixes" => {
            sysctl(&which.names(|text| Some(Name::Prefix(text.to_owned())))?)
        }
        "ka.pod.sysctls.parts" => sysctl(&which.names(sysctl_of_parts)?),
        "ka.pod.proc_mounts" => Said::any([
            some_section_has(&which.texts()?, |name| {
                format!(r#".*"procMount":"{name}"[,}}].*"#)
            }),
            match which.means("Default") {
                true => containers::some_lacks("proc_mount"),
                false => Said::False,
            },
        ]),
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
        _ => of_containers(field, which)?,
    };
    Ok((said, None))
}

/// Facts that are names of containers: whether there is any.
fn of_containers(field: &str, which: Which<'_>) -> Result<Said, Why> {
    if !matches!(which, Which::NotIn([])) {
        return Err(UNKNOWN);
    }
    let some_with = |key: &str, value: &str| some_section(&format!(r#".*"{key}":{value}[,}}].*"#));
    let bool = "(true|false)";
    Ok(match field {
        "ka.pod.privileged" => some_with("privileged", "true"),
        "ka.pod.escalation" => some_with("allowPrivilegeEscalation", "true"),
        "ka.pod.escalation.unset" => containers::some_lacks("allow_privilege_escalation"),
        "ka.pod.writable_root" => some_with("readOnlyRootFilesystem", "false"),
        "ka.pod.read_only_root.unset" => containers::some_lacks("read_only_fs"),
        "ka.pod.users.unset" => Said::all([
            matches(USER, NUMBER).not(),
            containers::some_lacks("run_as_user"),
        ]),
        "ka.pod.groups.unset" => Said::all([
            matches(GROUP, NUMBER).not(),
            containers::some_lacks("run_as_group"),
        ]),
        "ka.pod.non_root.false" => Said::any([
            some_with("runAsNonRoot", "false"),
            Said::all([
                equals(NON_ROOT, "false"),
                containers::some_has_none_of(&["runAsNonRoot"]),
            ]),
        ]),
        "ka.pod.non_root.unset" => Said::all([
            matches(USER, NUMBER).not(),
            matches(NON_ROOT, bool).not(),
            containers::some_has_none_of(&["runAsUser", "runAsNonRoot"]),
        ]),
        _ => return Err(UNKNOWN),
    })
}

fn host_ports(which: Which<'_>) -> Result<Said, Why> {
    let numbers = which.numbers()?;
    // 0 is as good as none.
    let without_zero = match which {
        Which::In(_) => return Err(UNKNOWN),
        Which::NotIn(set) => {
            let mut set = set.to_vec();
            set.push("0".to_owned());
            Which::NotIn(&set).numbers()?
        }
    };
    Ok(Said::any([
        some_section_has(&without_zero, |number| {
            format!(r#".*"hostPort":{number}[,}}].*"#)
        }),
        Said::all([
            equals(&format!("{SPEC}/hostNetwork"), "true"),
            some_section_has(&numbers, json::port_without_host),
        ]),
    ]))
}

/// Ids of containers; the pod's are those of containers that say nothing.
fn ids(pod: &str, key: &str, which: Which<'_>) -> Result<Said, Why> {
    let numbers = which.numbers()?;
    let field = match key {
        "runAsUser" => "run_as_user",
        _ => "run_as_group",
    };
    Ok(Said::any([
        some_section_has(&numbers, |number| format!(r#".*"{key}":{number}[,}}].*"#)),
        Said::all([
            matches_some(pod, &numbers, str::to_owned),
            containers::some_lacks(field),
        ]),
    ]))
}

/// Whether some value of a list field of Falco's is of these.
fn among(field: &str, which: Which<'_>, set: &[String]) -> Said {
    let set: Vec<String> = set.iter().map(|text| quoted(text)).collect();
    let set = set.join(", ");
    match which {
        Which::In(_) => Said::Is(format!("{field} intersects ({set})")),
        Which::NotIn([]) => Said::Is(format!("{field} exists")),
        Which::NotIn(_) => Said::all([
            Said::Is(format!("{field} exists")),
            Said::Is(format!("not {field} in ({set})")),
        ]),
    }
}

fn volume_types(which: Which<'_>) -> Result<(Said, Option<Why>), Why> {
    let Which::NotIn(types) = which else {
        return Err(UNKNOWN);
    };
    if types.is_empty() {
        return Ok((matches(VOLUMES, r"\[\{.*"), None));
    }
    let has = |name: &str| types.iter().any(|known| known == name);
    let keys = types.iter().map(|name| match name.as_str() {
        "cephFS" => "cephfs".to_owned(),
        "projected-token" => "projected".to_owned(),
        name => name.to_owned(),
    });
    let keys: Vec<String> = keys.collect();
    let other = among("ka.req.pod.volumes.volume_type", which, &keys);
    // What has no source is an emptyDir.
    let nothing = match has("emptyDir") {
        true => Said::False,
        false => matches(VOLUMES, &json::volume_without_source()),
    };
    let why = (has("projected-token") && !has("projected")).then_some(TOKEN);
    Ok((Said::any([other, nothing]), why))
}

/// Whether a host path is outside of these. Falco joins the paths, with a bar between them.
fn host_paths(which: Which<'_>) -> Result<(Said, Option<Why>), Why> {
    const PATHS: &str = "ka.req.pod.volumes.hostpath";
    let Which::NotIn(prefixes) = which else {
        return Err(UNKNOWN);
    };
    let exists = Said::Is(format!("{PATHS} exists"));
    if prefixes.is_empty() {
        return Ok((exists, None));
    }
    let prefix = |parts: &String| {
        let path = path_of_components(&path_of_pattern(parts)).ok_or(UNKNOWN)?;
        let is_plain = !path.contains('|') && inside(&[Name::Path(path.clone())]).is_some();
        is_plain.then(|| escaped(&path)).ok_or(ODD_TEXT)
    };
    let prefixes: Vec<String> = prefixes.iter().map(prefix).collect::<Result<_, Why>>()?;
    let expression = format!("(({})(/[^|]*)?([|]|$))+", prefixes.join("|"));
    let joined = format!(r#"join("|", {PATHS}) regex {}"#, quoted(&expression));
    Ok((
        Said::all([exists, Said::Is(format!("not {joined}"))]),
        Some(BAR),
    ))
}

fn sysctl(names: &[String]) -> Said {
    matches_some(SYSCTLS, names, |name| format!(r#".*"name":"{name}".*"#))
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
    let everywhere = [
        POD_CONTEXT,
        json::SECTIONS[0],
        json::SECTIONS[1],
        json::SECTIONS[2],
    ];
    Ok(match which {
        Which::NotIn([]) => {
            Said::any(everywhere.map(|pointer| matches(pointer, r#".*"seLinuxOptions":\{.*"#)))
        }
        Which::NotIn([label]) => {
            let other = profiles::OtherLabel::than(label)?;
            Said::any(everywhere.map(|pointer| other.is_at(pointer)))
        }
        _ => return Err(UNKNOWN),
    })
}

/// Whether some image has one of these names, with registry, tag and digest or without.
fn images(which: Which<'_>) -> Result<Said, Why> {
    let Which::In(names) = which else {
        return Err(UNKNOWN);
    };
    let plain = |text: &str| match Which::In(&[text.to_owned()]).texts()?.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(UNKNOWN),
    };
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
    Ok(some_section_has(&each, |name| {
        format!(r#".*"image":"([^"\\]*/)?{name}".*"#)
    }))
}
