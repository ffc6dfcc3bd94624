//! Volumes, and the paths of the host among them.

use serde_json::Value;

use super::items;

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
    pub(super) fn of(spec: &Value, containers: &[&Value]) -> Self {
        let mut facts = Self::default();
        for volume in items(&spec["volumes"]) {
            let volume_type = volume_type(volume);
            if !facts.types.contains(&volume_type) {
                facts.types.push(volume_type);
            }
            if let Some(path) = volume["hostPath"]["path"].as_str() {
                let writable = containers.iter().any(|container| {
                    items(&container["volumeMounts"]).any(|mount| {
                        mount["name"] == volume["name"] && mount["readOnly"] != Value::Bool(true)
                    })
                });
                facts.host_paths.push(path.to_owned());
                if writable {
                    facts.writable_host_paths.push(path.to_owned());
                }
            }
            let driver = |kind: &str| volume[kind]["driver"].as_str().map(str::to_owned);
            facts.flex_drivers.extend(driver("flexVolume"));
            facts.csi_drivers.extend(driver("csi"));
        }
        facts
    }
}

/// The type, as `GetVolumeFSType` of pkg/security/podsecuritypolicy/util tells it.
fn volume_type(volume: &Value) -> String {
    let keys = volume.as_object().into_iter().flatten();
    let mut sources = keys.filter(|(key, value)| *key != "name" && !value.is_null());
    match sources.next() {
        None => "emptyDir".to_owned(),
        Some((key, _)) if key == "cephfs" => "cephFS".to_owned(),
        Some((key, source)) if key == "projected" && is_token(source) => {
            "projected-token".to_owned()
        }
        Some((key, _)) => key.clone(),
    }
}

/// Whether a projected volume holds nothing but what the API server itself gives every pod
/// (`IsOnlyServiceAccountTokenSources`, the same package).
fn is_token(projected: &Value) -> bool {
    items(&projected["sources"]).all(|source| {
        let token = &source["serviceAccountToken"];
        let (config, downward) = (&source["configMap"], &source["downwardAPI"]);
        if token.is_null() && config.is_null() && downward.is_null() {
            return false;
        }
        let good_token = token.is_null()
            || (token["path"] == "token" && token["audience"].as_str().is_none_or(str::is_empty));
        let good_config = config.is_null() || config["name"] == "kube-root-ca.crt";
        let good_downward = items(&downward["items"]).all(|item| {
            let field = &item["fieldRef"];
            item["path"] == "namespace"
                && field["apiVersion"]
                    .as_str()
                    .is_none_or(|version| version == "v1")
                && field["fieldPath"] == "metadata.namespace"
        });
        good_token && good_config && good_downward
    })
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
