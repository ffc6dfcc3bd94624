//! Changes of a pod's specification with which a workload does not need what a policy refuses, by what
//! it was seen to do.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::policy::is_in;
use crate::control::Control;
use crate::event::{CAPABLE, ROOT_WRITE};
use crate::needs::clauses::is_below;
use crate::needs::{Needs, Uses};
use crate::psp::{AllowedNames, Policy, RunAsUser, VolumeType};

/// Folders that an image has something in which programs need: an empty volume would hide it.
const OF_IMAGE: [&str; 12] = [
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/root",
    "/sbin", "/usr",
];

/// A change of a pod's specification.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// By container: what its security context is to have.
    pub containers: BTreeMap<String, Map<String, Value>>,
    /// By container: the folders that are to be on an empty volume of their own.
    pub empty_dirs: BTreeMap<String, BTreeSet<String>>,
    /// What it rests on, and what may be in its way.
    pub because: String,
}

impl Change {
    /// As a patch of the pod's `spec`, such as `kubectl patch` takes.
    pub fn patch(&self) -> Value {
        let names: BTreeSet<&String> = self
            .containers
            .keys()
            .chain(self.empty_dirs.keys())
            .collect();
        let mut volumes = Vec::new();
        let containers: Vec<Value> = names
            .into_iter()
            .map(|name| {
                let mut container = json!({ "name": name });
                if let Some(context) = self.containers.get(name) {
                    container["securityContext"] = Value::Object(context.clone());
                }
                if let Some(folders) = self.empty_dirs.get(name) {
                    let mounts = folders.iter().map(|folder| {
                        let volume = volume_name(name, folder);
                        volumes.push(json!({"name": volume, "emptyDir": {}}));
                        json!({"name": volume, "mountPath": folder})
                    });
                    container["volumeMounts"] = mounts.collect();
                }
                container
            })
            .collect();
        let mut patch = json!({ "containers": containers });
        if !volumes.is_empty() {
            patch["volumes"] = volumes.into();
        }
        patch
    }
}

/// The name of the volume for a folder: a DNS label.
pub fn volume_name(container: &str, folder: &str) -> String {
    let text = format!("{container}{folder}").to_lowercase();
    let is_safe = |c: char| c.is_ascii_alphanumeric();
    let name: String = text
        .chars()
        .map(|c| if is_safe(c) { c } else { '-' })
        .collect();
    let name: String = name.trim_matches('-').chars().take(63).collect();
    name.trim_end_matches('-').to_owned()
}

/// A change by which the workload would need nothing of this control that `policy` refuses, as far as
/// was seen. `None` if none is known.
pub fn change(policy: &Policy, control: Control, needs: &Needs) -> Option<Change> {
    let rests_on = match control {
        Control::Capabilities | Control::Privileged => Some(CAPABLE),
        Control::ReadOnlyRootFilesystem => Some(ROOT_WRITE),
        _ => None,
    };
    if rests_on.is_some_and(|event_type| needs.unseen.contains(event_type)) {
        return None;
    }
    let mut change = Change::default();
    let mut because = BTreeSet::new();
    for (name, uses) in &needs.observed {
        // Whose container's name is unknown cannot be changed.
        let name = Some(name).filter(|name| !name.is_empty())?;
        let context = change.containers.entry(name.clone()).or_default();
        because.insert(match control {
            Control::RunAsUser => run_as_user(policy, uses, context)?,
            Control::RunAsGroup => run_as_group(policy, uses, context)?,
            Control::Capabilities => capabilities(policy, uses, context)?,
            Control::Privileged => {
                context.insert("privileged".to_owned(), false.into());
                capabilities(policy, uses, context)?;
                "it may need devices or what is masked in /proc, which is not observed".to_owned()
            }
            Control::AllowPrivilegeEscalation => {
                if uses.escalation {
                    return None;
                }
                context.insert("allowPrivilegeEscalation".to_owned(), false.into());
                "no program gave it privileges".to_owned()
            }
            Control::Seccomp => {
                let allows_default = match &policy.seccomp.allowed {
                    AllowedNames::Any => true,
                    AllowedNames::Only(names) => names.iter().any(|name| name == "runtime/default"),
                };
                if !allows_default {
                    return None;
                }
                let profile = json!({"type": "RuntimeDefault"});
                context.insert("seccompProfile".to_owned(), profile);
                "which calls the profile would refuse it is not observed".to_owned()
            }
            Control::ReadOnlyRootFilesystem => {
                let folders = folders(&uses.root_writes)?;
                if uses.cut || !(folders.is_empty() || policy.volumes.allows(VolumeType::EmptyDir))
                {
                    return None;
                }
                context.insert("readOnlyRootFilesystem".to_owned(), true.into());
                if !folders.is_empty() {
                    change.empty_dirs.insert(name.clone(), folders);
                }
                "it changes nothing else in the root file system; an empty volume hides what the \
                 image has in its place"
                    .to_owned()
            }
            _ => return None,
        });
    }
    change.because = because.into_iter().collect::<Vec<_>>().join("; ");
    (!change.containers.is_empty()).then_some(change)
}

fn run_as_user(policy: &Policy, uses: &Uses, context: &mut Map<String, Value>) -> Option<String> {
    let is_allowed = |id: i64| match &policy.run_as_user {
        RunAsUser::RunAsAny => true,
        RunAsUser::MustRunAsNonRoot => id != 0,
        RunAsUser::MustRunAs(ranges) => is_in(ranges, id),
    };
    let allowed = uses.users.iter().copied().filter(|id| is_allowed(*id));
    let mut allowed: Vec<i64> = allowed.collect();
    let user = allowed.pop().filter(|_| allowed.is_empty())?;
    context.insert("runAsUser".to_owned(), user.into());
    context.insert("runAsNonRoot".to_owned(), true.into());
    Some(of_ids("users", uses.users.iter(), user))
}

fn run_as_group(policy: &Policy, uses: &Uses, context: &mut Map<String, Value>) -> Option<String> {
    let ranges = policy.run_as_group.ranges()?;
    let allowed = uses.groups.iter().copied().filter(|id| is_in(ranges, *id));
    let mut allowed: Vec<i64> = allowed.collect();
    let group = allowed.pop().filter(|_| allowed.is_empty())?;
    context.insert("runAsGroup".to_owned(), group.into());
    Some(of_ids("groups", uses.groups.iter(), group))
}

/// What is known of ids, and of the step to one of them.
fn of_ids<'i>(what: &str, ids: impl Iterator<Item = &'i i64>, chosen: i64) -> String {
    let ids: Vec<String> = ids.map(ToString::to_string).collect();
    let steps = match ids.len() {
        1 => "",
        _ => ", and must be able to start as the last one, with files that this one owns",
    };
    let chosen = match ids.len() {
        1 => String::new(),
        _ => format!(" ({chosen} is allowed)"),
    };
    format!("it ran as {what} {}{chosen}{steps}", ids.join(", "))
}

/// Drops all capabilities but those that were used, if the policy allows these.
fn capabilities(policy: &Policy, uses: &Uses, context: &mut Map<String, Value>) -> Option<String> {
    let attainable = policy.capabilities.attainable();
    let is_attainable = |name: &String| {
        let mut names = attainable.iter().flatten();
        attainable.is_none() || names.any(|known| known == name)
    };
    if uses.cut || !uses.capabilities.iter().all(is_attainable) {
        return None;
    }
    let mut value = json!({"drop": ["ALL"]});
    if !uses.capabilities.is_empty() {
        value["add"] = uses.capabilities.iter().map(String::as_str).collect();
    }
    context.insert("capabilities".to_owned(), value);
    Some("it used no other capability".to_owned())
}

/// The folders that hold all that was written. `None` if it is in one that an image needs.
fn folders(writes: &BTreeMap<String, bool>) -> Option<BTreeSet<String>> {
    let mut folders: BTreeSet<String> = BTreeSet::new();
    for (path, is_new_folder) in writes {
        // A folder that was made was not in the image.
        let folder = match path.rsplit_once('/') {
            _ if *is_new_folder => path.as_str(),
            Some(("", _)) | None => return None,
            Some((folder, _)) => folder,
        };
        if folder == "/" || folder.contains("...") {
            return None;
        }
        let is_of_image = OF_IMAGE.iter().any(|of_image| is_below(folder, of_image));
        if is_of_image && !is_new_folder {
            return None;
        }
        if !folders.iter().any(|known| is_below(folder, known)) {
            folders.retain(|known| !is_below(known, folder));
            folders.insert(folder.to_owned());
        }
    }
    Some(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_hold_what_was_written() {
        let of = |writes: &[(&str, bool)]| {
            let writes = writes
                .iter()
                .map(|(path, made)| ((*path).to_owned(), *made));
            folders(&writes.collect()).map(|folders| folders.into_iter().collect::<Vec<_>>())
        };
        let cache = [
            ("/var/cache/nginx/client_temp", true),
            ("/var/cache/nginx/x/y", false),
            ("/run/nginx.pid", false),
        ];
        assert_eq!(
            of(&cache).unwrap(),
            ["/run", "/var/cache/nginx/client_temp", "/var/cache/nginx/x"]
        );
        assert_eq!(
            of(&[("/var", true), ("/var/log/x", false)]).unwrap(),
            ["/var"]
        );
        assert_eq!(of(&[]).unwrap(), [""; 0]);
        for hides in ["/file", "/etc/passwd", "/usr/lib/x", "/.../cut/x"] {
            assert_eq!(of(&[(hides, false)]), None, "{hides}");
        }
    }

    #[test]
    fn what_was_not_observed_is_not_taken_for_unused() {
        let text = "apiVersion: policy/v1beta1\nkind: PodSecurityPolicy\nmetadata: {name: p}\n\
                    spec:\n  requiredDropCapabilities: [ALL]\n  volumes: ['*']\n  \
                    runAsUser: {rule: RunAsAny}\n  seLinux: {rule: RunAsAny}\n  \
                    fsGroup: {rule: RunAsAny}\n  supplementalGroups: {rule: RunAsAny}\n";
        let (policy, _) = crate::psp::parse(&"p.yaml".into(), text).unwrap();
        let mut needs = Needs {
            observed: BTreeMap::from([("main".to_owned(), Uses::default())]),
            ..Needs::default()
        };
        let control = Control::Capabilities;
        let patch = change(&policy, control, &needs).unwrap().patch();
        let dropped = json!({"capabilities": {"drop": ["ALL"]}});
        assert_eq!(patch["containers"][0]["securityContext"], dropped);
        needs.unseen.insert(CAPABLE.to_owned());
        assert_eq!(change(&policy, control, &needs), None);
    }

    #[test]
    fn volumes_have_names_that_kubernetes_takes() {
        assert_eq!(
            volume_name("web", "/var/cache/nginx"),
            "web-var-cache-nginx"
        );
        assert_eq!(volume_name("web", "/Ünï/"), "web--n");
        assert!(volume_name("web", &"/x".repeat(90)).len() <= 63);
    }
}
