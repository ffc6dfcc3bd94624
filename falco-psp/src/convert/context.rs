//! What the templates get to see of a policy.

use serde::{Serialize, Serializer};

use super::declared::Declared;
use super::{ConvertError, templates, text};
use crate::control::Control;
use crate::pod::path_components;
use crate::psp::{
    GroupStrategy, HostPath, IdRange, Policy, RUNTIME_DEFAULT_CAPABILITIES, RunAsUser, VolumeType,
    Volumes,
};

/// What stands behind a PersistentVolumeClaim.
const CLAIMED: [VolumeType; 20] = [
    VolumeType::AwsElasticBlockStore,
    VolumeType::AzureDisk,
    VolumeType::AzureFile,
    VolumeType::CephFs,
    VolumeType::Cinder,
    VolumeType::Csi,
    VolumeType::Fc,
    VolumeType::FlexVolume,
    VolumeType::Flocker,
    VolumeType::GcePersistentDisk,
    VolumeType::Glusterfs,
    VolumeType::Iscsi,
    VolumeType::Nfs,
    VolumeType::PhotonPersistentDisk,
    VolumeType::PortworxVolume,
    VolumeType::Quobyte,
    VolumeType::Rbd,
    VolumeType::ScaleIo,
    VolumeType::StorageOs,
    VolumeType::VsphereVolume,
];

/// What the templates get to see of a policy.
#[derive(Serialize)]
pub(super) struct Context {
    /// The policy's name, in one line.
    name: String,
    /// The name for output strings.
    shown: String,
    /// What the names of all macros and lists begin with. What follows is one word without `_`,
    /// so that no name is made for two policies.
    prefix: String,
    /// What the macros of templates need.
    policy: Header,
    /// All controls, in their order.
    every: Vec<&'static str>,
    /// Those that the policy restricts.
    restricted: Vec<&'static str>,
    /// Those of them that have a rule about what pods do, in their order.
    observed: Vec<&'static str>,
    #[serde(flatten)]
    declared: Declared,
    /// What the policy restricts, but no rule observes.
    #[serde(serialize_with = "names")]
    pub(super) unobserved: Vec<Control>,
    /// What makes admission unable to use the policy: the control, and what it lacks.
    unusable: Vec<(&'static str, &'static str)>,
    scope: Scope,
    volumes: VolumeTypes,
    host_paths: HostPaths,
    fs_group: Ids,
    run_as_user: Ids,
    run_as_group: Ids,
    /// With those of fsGroup, which a process shows as well.
    supplemental_groups: Ids,
    /// Without them.
    own_supplemental_groups: Ids,
    /// The capabilities that the policy lets a process have.
    capabilities: Vec<&'static str>,
    /// Those of a runtime's default that it takes away.
    taken_capabilities: Vec<&'static str>,
}

/// What the macros of templates need of a policy.
#[derive(Serialize)]
struct Header {
    name: String,
    shown: String,
    prefix: String,
    /// Whether its rules have a scope.
    limited: bool,
}

/// Strings of conditions.
#[derive(Serialize)]
struct Scope {
    images: Vec<String>,
    namespaces: Vec<String>,
    exempt_namespaces: Vec<String>,
    /// Conditions.
    labels: Vec<String>,
    /// Whether there is any of them.
    limited: bool,
}

#[derive(Serialize)]
struct VolumeTypes {
    /// What the policy lists.
    listed: Vec<&'static str>,
    /// What may be seen in a mount table under such a policy.
    observable: Vec<&'static str>,
    /// What a pod may name under such a policy.
    declarable: Vec<&'static str>,
    /// Whether claims are allowed.
    claims: bool,
    /// Whether `projected` is allowed only in the shape of a service account's token.
    tokens: bool,
}

#[derive(Serialize)]
struct HostPaths {
    /// Patterns, as strings of conditions.
    all: Vec<String>,
    /// Those below which a mount may be writable.
    writable: Vec<String>,
    /// The same for what pods declare, whose paths are not clean.
    parts: Vec<String>,
    /// Those of them below which a mount may be writable.
    writable_parts: Vec<String>,
    /// Whether some are not.
    some_read_only: bool,
    /// For outputs.
    shown: Vec<String>,
}

/// Ids that must be in ranges.
#[derive(Serialize)]
struct Ids {
    rule: &'static str,
    /// Items of a list: `"30:40"`.
    items: Vec<String>,
    /// For outputs.
    shown: String,
    /// The first id of the first range: what admission fills in.
    first: Option<String>,
}

fn names<S: Serializer>(controls: &[Control], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(controls.iter().map(|control| control.name()))
}

impl Context {
    /// The macro of the scope, where templates/policy.yaml.j2 makes one.
    pub(super) fn scope_macro(&self) -> Option<String> {
        let is_there = !self.observed.is_empty() && self.scope.limited;
        is_there.then(|| format!("{}_scope", self.prefix))
    }

    pub(super) fn new(policy: &Policy) -> Result<Self, ConvertError> {
        let capabilities = policy.capabilities.attainable();
        let declared = Declared::new(policy)?;
        let has_rule = |control: &Control| {
            templates::observes(*control)
                && match control {
                    Control::Capabilities => capabilities.is_some(),
                    Control::SeLinux => declared.has_label(),
                    _ => true,
                }
        };
        let restricted = Control::ALL.into_iter();
        let (observed, unobserved): (Vec<_>, Vec<_>) = restricted
            .filter(|&control| policy.restricts(control))
            .partition(has_rule);
        let scope = Scope {
            images: strings("falco-rules-psp-images", &policy.scope.images)?,
            namespaces: strings("falco-rules-psp-namespaces", &policy.scope.namespaces)?,
            exempt_namespaces: strings("exempt namespaces", &policy.scope.exempt_namespaces)?,
            labels: policy.scope.labels.clone(),
            limited: policy.scope != crate::psp::Scope::default(),
        };
        let host_paths = HostPaths::new(&policy.allowed_host_paths)?;
        // Falco puts the items of a list wherever the list's name stands, in strings as well.
        let mut prefix = format!("psp_{}", text::slug(&policy.name, false));
        let mut strings = scope
            .images
            .iter()
            .chain(&scope.namespaces)
            .chain(&scope.exempt_namespaces)
            .chain(&scope.labels)
            .chain(&host_paths.all);
        if strings.any(|string| string.contains(&format!("{prefix}_"))) {
            prefix = format!("psp_{}", text::slug(&policy.name, true));
        }
        // A pod's fsGroup is one of the supplementary groups of its processes.
        let mut supplementary = Ids::of_groups(&policy.supplemental_groups);
        if let Some(ranges) = policy.fs_group.ranges() {
            let more = items(ranges).into_iter();
            let more: Vec<_> = more
                .filter(|item| !supplementary.items.contains(item))
                .collect();
            supplementary.items.extend(more);
        }
        Ok(Self {
            policy: Header {
                name: text::printable(&policy.name),
                shown: text::harmless(&policy.name),
                prefix: prefix.clone(),
                limited: scope.limited,
            },
            name: text::printable(&policy.name),
            shown: text::harmless(&policy.name),
            prefix,
            every: Control::ALL.map(Control::name).to_vec(),
            restricted: Control::ALL
                .into_iter()
                .filter(|&control| policy.restricts(control))
                .map(Control::name)
                .collect(),
            observed: observed.into_iter().map(Control::name).collect(),
            declared,
            unobserved,
            unusable: policy
                .unusable()
                .map(|(control, lacks)| (control.name(), lacks))
                .collect(),
            scope,
            volumes: VolumeTypes::new(&policy.volumes),
            host_paths,
            fs_group: Ids::of_groups(&policy.fs_group),
            run_as_user: Ids::of_user(&policy.run_as_user),
            run_as_group: Ids::of_groups(&policy.run_as_group),
            supplemental_groups: supplementary,
            own_supplemental_groups: Ids::of_groups(&policy.supplemental_groups),
            taken_capabilities: RUNTIME_DEFAULT_CAPABILITIES
                .into_iter()
                .filter(|name| capabilities.as_ref().is_some_and(|all| !all.contains(name)))
                .collect(),
            capabilities: capabilities.unwrap_or_default(),
        })
    }
}

pub(super) fn string(field: &'static str, value: &str) -> Result<String, ConvertError> {
    text::quoted(value).ok_or_else(|| ConvertError::Unsayable {
        field,
        value: value.to_owned(),
    })
}

pub(super) fn strings(field: &'static str, values: &[String]) -> Result<Vec<String>, ConvertError> {
    values.iter().map(|value| string(field, value)).collect()
}

impl VolumeTypes {
    fn new(volumes: &Volumes) -> Self {
        let Volumes::Only(listed) = volumes else {
            return Self {
                listed: Vec::new(),
                observable: Vec::new(),
                declarable: Vec::new(),
                claims: false,
                tokens: false,
            };
        };
        // A generic ephemeral volume is a claim, too.
        let claims = listed.contains(&VolumeType::PersistentVolumeClaim)
            || listed.contains(&VolumeType::Ephemeral);
        let tokens =
            listed.contains(&VolumeType::Secret) && !listed.contains(&VolumeType::Projected);
        let mut observable = listed.clone();
        if claims {
            let more = CLAIMED
                .into_iter()
                .chain([VolumeType::PersistentVolumeClaim]);
            observable.extend(more.filter(|volume_type| !listed.contains(volume_type)));
        }
        if tokens {
            observable.push(VolumeType::Projected);
        }
        let mut declarable: Vec<_> = listed
            .iter()
            .map(|volume_type| volume_type.name())
            .collect();
        if tokens || listed.contains(&VolumeType::Projected) {
            declarable.push("projected-token");
        }
        let names = |types: &[VolumeType]| types.iter().map(|t| t.name()).collect();
        Self {
            listed: names(listed),
            observable: names(&observable),
            declarable,
            claims,
            tokens,
        }
    }
}

impl HostPaths {
    fn new(prefixes: &[HostPath]) -> Result<Self, ConvertError> {
        let mut paths = Self {
            all: Vec::new(),
            writable: Vec::new(),
            parts: Vec::new(),
            writable_parts: Vec::new(),
            some_read_only: prefixes.iter().any(|prefix| prefix.read_only),
            shown: Vec::new(),
        };
        for prefix in prefixes {
            let path = &prefix.path_prefix;
            let read_only = if prefix.read_only { " (read-only)" } else { "" };
            paths.shown.push(text::harmless(path) + read_only);
            let parts = text::path_pattern(&path_components(path));
            let parts = string("allowedHostPaths", &parts)?;
            if !prefix.read_only {
                paths.writable_parts.push(parts.clone());
            }
            paths.parts.push(parts);
            if !path.starts_with('/') {
                continue; // no path on a node begins so
            }
            let parts: Vec<_> = path
                .split('/')
                .filter(|part| !matches!(*part, "" | "."))
                .collect();
            let clean = format!("/{}", parts.join("/"));
            let pattern = string("allowedHostPaths", &text::path_pattern(&clean))?;
            if !prefix.read_only {
                paths.writable.push(pattern.clone());
            }
            paths.all.push(pattern);
        }
        Ok(paths)
    }
}

impl Ids {
    fn of_groups(strategy: &GroupStrategy) -> Self {
        Self::new(strategy.rule(), strategy.ranges().unwrap_or_default())
    }

    fn of_user(strategy: &RunAsUser) -> Self {
        match strategy {
            RunAsUser::MustRunAs(ranges) => Self::new("MustRunAs", ranges),
            RunAsUser::MustRunAsNonRoot => Self::new("MustRunAsNonRoot", &[]),
            RunAsUser::RunAsAny => Self::new("RunAsAny", &[]),
        }
    }

    fn new(rule: &'static str, ranges: &[IdRange]) -> Self {
        let shown: Vec<_> = ranges
            .iter()
            .map(|IdRange { min, max }| match min == max {
                true => min.to_string(),
                false => format!("{min}-{max}"),
            })
            .collect();
        Self {
            rule,
            first: ranges.first().map(|range| range.min.to_string()),
            items: items(ranges),
            shown: if shown.is_empty() {
                "none".to_owned()
            } else {
                shown.join(", ")
            },
        }
    }
}

/// Ranges as items of a list; in quotes, for YAML takes `30:40` for a number.
fn items(ranges: &[IdRange]) -> Vec<String> {
    ranges.iter().map(|range| format!("\"{range}\"")).collect()
}
