//! Volumes, and the paths of the host among them.

use super::model::{Container, DownwardItem, Projection, Volume, VolumeSource};

/// Facts of all volumes together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeFacts {
    /// Types in the words of a PodSecurityPolicy, each once. `projected` is `projected-token` if
    /// it holds nothing but what a service account's token needs.
    pub types: Vec<String>,
    /// Paths of hostPath volumes.
    pub host_paths: Vec<String>,
    /// Those that any container mounts writable.
    pub writable_host_paths: Vec<String>,
    /// Drivers of flexVolumes.
    pub flex_drivers: Vec<String>,
    /// Drivers of inline csi volumes.
    pub csi_drivers: Vec<String>,
}

impl VolumeFacts {
    pub(super) fn of(volumes: &[Volume<'_>], containers: &[&Container<'_>]) -> Self {
        let mut facts = Self::default();
        for volume in volumes {
            let volume_type = volume_type(volume);
            if !facts.types.iter().any(|known| known == volume_type) {
                facts.types.push(volume_type.to_owned());
            }
            match volume.source.as_ref().map(|(_, source)| source) {
                Some(VolumeSource::HostPath(path)) => {
                    let writable = containers.iter().any(|container| {
                        let mut mounts = container.volume_mounts.iter();
                        mounts.any(|mount| mount.name == volume.name && !mount.read_only)
                    });
                    facts.host_paths.push(path.to_string());
                    if writable {
                        facts.writable_host_paths.push(path.to_string());
                    }
                }
                Some(VolumeSource::Flex(driver)) => facts.flex_drivers.push(driver.to_string()),
                Some(VolumeSource::Csi(driver)) => facts.csi_drivers.push(driver.to_string()),
                Some(VolumeSource::Projected(_) | VolumeSource::Other) | None => {}
            }
        }
        facts
    }
}

/// The type, as `GetVolumeFSType` of pkg/security/podsecuritypolicy/util tells it.
pub(super) fn volume_type<'v>(volume: &'v Volume<'_>) -> &'v str {
    match &volume.source {
        None => "emptyDir",
        Some((_, VolumeSource::Projected(sources))) if is_token(sources) => "projected-token",
        Some((key, _)) if **key == *"cephfs" => "cephFS",
        Some((key, _)) => key,
    }
}

/// Whether a projected volume holds nothing but what the API server itself gives every pod
/// (`IsOnlyServiceAccountTokenSources`, the same package).
fn is_token(sources: &[Projection<'_>]) -> bool {
    sources.iter().all(|source| {
        let token = source.service_account_token.as_ref();
        let config = source.config_map.as_ref();
        let downward = source.downward_api.as_ref();
        if token.is_none() && config.is_none() && downward.is_none() {
            return false;
        }
        token.is_none_or(|token| &*token.path == "token" && token.audience.is_empty())
            && config.is_none_or(|config| &*config.name == "kube-root-ca.crt")
            && downward.is_none_or(|downward| downward.items.iter().all(is_namespace))
    })
}

fn is_namespace(item: &DownwardItem<'_>) -> bool {
    let field = &item.field_ref;
    &*item.path == "namespace"
        && matches!(&*field.api_version, "" | "v1")
        && &*field.field_path == "metadata.namespace"
}

/// A path as components that `pmatch` compares like PSP admission compares prefixes: byte by byte,
/// one slash at the end trimmed, nothing else normalised. What `pmatch` would skip or normalise
/// has a name of its own.
pub fn path_components(path: &str) -> String {
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    let mut components = String::new();
    for (index, part) in trimmed.split('/').enumerate() {
        match part {
            "" if index == 0 => {}
            "" => components.push_str("/%"),
            part => {
                if index == 0 {
                    components.push_str("/%.");
                }
                components.push('/');
                components.push_str(&part.replace('%', "%%"));
            }
        }
    }
    if components.is_empty() {
        components.push('/');
    }
    components
}

/// The path that [`path_components`] made these of, without a slash at its end; `None` if it made
/// them of none.
pub fn path_of_components(components: &str) -> Option<String> {
    let rest = components.strip_prefix('/')?;
    if rest.is_empty() {
        return Some(String::new());
    }
    let mut path = String::new();
    for (index, part) in rest.split('/').enumerate() {
        match part {
            "%." if index == 0 => continue,
            "%" => path.push('/'),
            part => {
                if index > 0 && path.is_empty() {
                    // After the mark of a path that does not begin at the root.
                } else {
                    path.push('/');
                }
                path.push_str(&part.replace("%%", "%"));
            }
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_give_the_path_back() {
        for path in [
            "", "/", "/etc", "/etc/", "//", "/a//b", "a/b", "a", "a//b", "/%/%.", "%", "a/%./b",
        ] {
            let trimmed = path.strip_suffix('/').unwrap_or(path);
            assert_eq!(
                path_of_components(&path_components(path)).as_deref(),
                Some(trimmed),
                "{path}"
            );
        }
    }
}
