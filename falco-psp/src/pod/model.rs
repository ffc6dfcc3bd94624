//! The parts of a Pod object that verdicts rest on, read off JSON without copying.
//!
//! Names are those of the Kubernetes API. As to the API server, `null` is as if it were not there,
//! unknown fields mean nothing, and a value of another type than the API's is an error.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A text that is borrowed from the JSON where it has no escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// `null` is the default, too.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A structure of which every field may be absent or null.
macro_rules! object {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
        pub(super) struct $name<'a> {
            $(
                $(#[$field_doc])*
                #[serde(deserialize_with = "or_default")]
                pub(super) $field: $type,
            )*
        }
    };
}

/// A Pod; or EphemeralContainers, which has some of the containers and no spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Pod<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) kind: Text<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) metadata: Metadata<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) spec: Spec<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) ephemeral_containers: Vec<Container<'a>>,
}

impl<'a> Pod<'a> {
    /// All containers: init, normal and ephemeral ones.
    pub(super) fn containers(&self) -> impl Iterator<Item = &Container<'a>> {
        let spec = &self.spec;
        [
            &spec.init_containers,
            &spec.containers,
            &spec.ephemeral_containers,
            &self.ephemeral_containers,
        ]
        .into_iter()
        .flatten()
    }

    /// `metadata.namespace`; may be empty.
    pub fn namespace(&self) -> &str {
        &self.metadata.namespace
    }
}

object! {
    /// `metadata`
    Metadata {
        name: Text<'a>,
        generate_name: Text<'a>,
        namespace: Text<'a>,
        labels: Labels<'a>,
        annotations: Annotations<'a>,
        owner_references: Vec<Owner<'a>>,
    }
}

object! {
    /// An owner of an object.
    Owner {
        kind: Text<'a>,
        name: Text<'a>,
        controller: bool,
    }
}

object! {
    /// The one label that tells something: which ReplicaSet of a Deployment it is.
    Labels {
        #[serde(rename = "pod-template-hash")]
        pod_template_hash: Text<'a>,
    }
}

object! {
    /// `spec`
    Spec {
        #[serde(rename = "hostPID")]
        host_pid: bool,
        #[serde(rename = "hostIPC")]
        host_ipc: bool,
        host_network: bool,
        security_context: PodSecurityContext<'a>,
        init_containers: Vec<Container<'a>>,
        containers: Vec<Container<'a>>,
        ephemeral_containers: Vec<Container<'a>>,
        volumes: Vec<Volume<'a>>,
        runtime_class_name: Text<'a>,
    }
}

object! {
    /// `spec.securityContext`
    PodSecurityContext {
        run_as_user: Option<i64>,
        run_as_group: Option<i64>,
        run_as_non_root: Option<bool>,
        fs_group: Option<i64>,
        supplemental_groups: Option<Vec<i64>>,
        se_linux_options: Option<SeLinuxOptions<'a>>,
        seccomp_profile: Option<SeccompProfile<'a>>,
        sysctls: Vec<Sysctl<'a>>,
    }
}

object! {
    /// A sysctl.
    Sysctl { name: Text<'a> }
}

object! {
    /// `seLinuxOptions`
    SeLinuxOptions {
        user: Text<'a>,
        role: Text<'a>,
        #[serde(rename = "type")]
        type_: Text<'a>,
        level: Text<'a>,
    }
}

object! {
    /// `seccompProfile`
    SeccompProfile {
        #[serde(rename = "type")]
        type_: Text<'a>,
        localhost_profile: Text<'a>,
    }
}

object! {
    /// An init, normal or ephemeral container.
    Container {
        name: Text<'a>,
        image: Text<'a>,
        ports: Vec<Port>,
        volume_mounts: Vec<Mount<'a>>,
        security_context: SecurityContext<'a>,
    }
}

impl Container<'_> {
    /// The ports of the host that it uses, as the API server fills them in: with hostNetwork every
    /// port is one.
    pub(super) fn host_ports(&self, host_network: bool) -> impl Iterator<Item = i64> {
        self.ports.iter().filter_map(move |port| {
            let host_port = Some(port.host_port).filter(|port| *port != 0);
            let same = Some(port.container_port).filter(|_| host_network);
            host_port.or(same)
        })
    }

    /// The kind of its `/proc`.
    pub(super) fn proc_mount(&self) -> &str {
        self.security_context
            .proc_mount
            .as_deref()
            .unwrap_or("Default")
    }
}

/// A port.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Port {
    #[serde(deserialize_with = "or_default")]
    pub(super) container_port: i64,
    #[serde(deserialize_with = "or_default")]
    pub(super) host_port: i64,
}

object! {
    /// A volume mount.
    Mount {
        name: Text<'a>,
        read_only: bool,
    }
}

object! {
    /// `securityContext` of a container
    SecurityContext {
        privileged: bool,
        run_as_user: Option<i64>,
        run_as_group: Option<i64>,
        run_as_non_root: Option<bool>,
        read_only_root_filesystem: Option<bool>,
        allow_privilege_escalation: Option<bool>,
        proc_mount: Option<Text<'a>>,
        capabilities: Capabilities<'a>,
        se_linux_options: Option<SeLinuxOptions<'a>>,
        seccomp_profile: Option<SeccompProfile<'a>>,
    }
}

object! {
    /// `capabilities`
    Capabilities {
        add: Vec<Text<'a>>,
        drop: Vec<Text<'a>>,
    }
}

object! {
    /// The source of a flexVolume or an inline csi volume.
    Driver { driver: Text<'a> }
}

object! {
    /// The source of a hostPath volume.
    HostPath { path: Text<'a> }
}

object! {
    /// The source of a projected volume.
    Projected { sources: Vec<Projection<'a>> }
}

object! {
    /// A part of a projected volume.
    Projection {
        service_account_token: Option<TokenProjection<'a>>,
        config_map: Option<ConfigMapProjection<'a>>,
        #[serde(rename = "downwardAPI")]
        downward_api: Option<DownwardProjection<'a>>,
    }
}

object! {
    /// A service account's token.
    TokenProjection {
        path: Text<'a>,
        audience: Text<'a>,
    }
}

object! {
    /// A config map.
    ConfigMapProjection { name: Text<'a> }
}

object! {
    /// Facts of the pod.
    DownwardProjection { items: Vec<DownwardItem<'a>> }
}

object! {
    /// A file with a fact of the pod.
    DownwardItem {
        path: Text<'a>,
        field_ref: FieldRef<'a>,
    }
}

object! {
    /// A field of the pod.
    FieldRef {
        api_version: Text<'a>,
        field_path: Text<'a>,
    }
}

/// A volume: its name and its source.
#[derive(Clone, Debug, Default)]
pub(super) struct Volume<'a> {
    pub(super) name: Text<'a>,
    /// Key and content of the source; a volume without one is an emptyDir.
    pub(super) source: Option<(Text<'a>, VolumeSource<'a>)>,
}

/// What matters of a volume's source.
#[derive(Clone, Debug)]
pub(super) enum VolumeSource<'a> {
    HostPath(Text<'a>),
    Flex(Text<'a>),
    Csi(Text<'a>),
    Projected(Vec<Projection<'a>>),
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Volume<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(VolumeVisitor)
    }
}

struct VolumeVisitor;

impl<'de> Visitor<'de> for VolumeVisitor {
    type Value = Volume<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a volume")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut volume = Volume::default();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            let source = match &*key {
                "name" => {
                    volume.name = map.next_value::<Option<_>>()?.unwrap_or_default();
                    continue;
                }
                "hostPath" => map
                    .next_value::<Option<HostPath<'_>>>()?
                    .map(|source| VolumeSource::HostPath(source.path)),
                "flexVolume" => map
                    .next_value::<Option<Driver<'_>>>()?
                    .map(|source| VolumeSource::Flex(source.driver)),
                "csi" => map
                    .next_value::<Option<Driver<'_>>>()?
                    .map(|source| VolumeSource::Csi(source.driver)),
                "projected" => map
                    .next_value::<Option<Projected<'_>>>()?
                    .map(|source| VolumeSource::Projected(source.sources)),
                _ => map
                    .next_value::<Option<IgnoredAny>>()?
                    .map(|_| VolumeSource::Other),
            };
            if let Some(source) = source
                && volume.source.is_none()
            {
                volume.source = Some((key, source));
            }
        }
        Ok(volume)
    }
}

/// The annotations that name seccomp and AppArmor profiles.
#[derive(Clone, Debug, Default)]
pub(super) struct Annotations<'a>(Vec<(Text<'a>, Text<'a>)>);

impl Annotations<'_> {
    /// The value of an annotation.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let mut all = self.0.iter();
        all.find(|(known, _)| **known == *key)
            .map(|(_, value)| &**value)
    }

    /// The value of an annotation about a container.
    pub(super) fn get_of(&self, prefix: &str, container: &str) -> Option<&str> {
        let mut all = self.0.iter();
        all.find(|(known, _)| known.strip_prefix(prefix) == Some(container))
            .map(|(_, value)| &**value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Annotations<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnnotationsVisitor)
    }
}

struct AnnotationsVisitor;

impl<'de> Visitor<'de> for AnnotationsVisitor {
    type Value = Annotations<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("annotations")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            if key.contains("seccomp.security.") || key.contains("apparmor.security.") {
                kept.push((key, map.next_value::<Option<_>>()?.unwrap_or_default()));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Annotations(kept))
    }
}
