//! What Docker and podman keep on disk of the containers that they run outside of Kubernetes: the
//! names that people gave them, and the images.
//!
//! Docker: `containers/<id>/config.v2.json` below its data root (moby's `container.Container`).
//! podman: `overlay-containers/containers.json` below its storage (containers/storage's
//! `Container`, whose `metadata` is podman's own text).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::container::{Container, Runtime};

/// Where Docker keeps its containers when nobody says otherwise.
const DOCKER: &str = "var/lib/docker/containers";
/// Where podman, run as root, keeps its own.
const PODMAN: &str = "var/lib/containers/storage/overlay-containers/containers.json";
/// What is read of such a file at the most: podman's holds all containers.
const MAX_BYTES: u64 = 32 << 20;

/// What an engine keeps of a container.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Kept {
    name: Option<String>,
    image: Option<String>,
    image_id: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

impl Kept {
    /// Adds it to a container of which these are not known.
    pub fn add_to(self, container: &mut Container) {
        let Self {
            name,
            image,
            image_id,
            labels,
        } = self;
        container.name = container.name.take().or(name);
        container.image = container.image.take().or(image);
        container.image_id = container.image_id.take().or(image_id);
        container.labels = container.labels.take().or(labels);
    }
}

/// What the engine that runs the container `id` keeps of it; `None` where that cannot be read, or
/// another runtime runs it.
pub fn find(id: &str, runtime: Option<Runtime>) -> Option<Kept> {
    find_below(Path::new("/"), id, runtime)
}

fn find_below(root: &Path, id: &str, runtime: Option<Runtime>) -> Option<Kept> {
    match runtime? {
        // The id comes from the name of a control group: it must not lead elsewhere.
        Runtime::Docker if id.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            docker(&root.join(DOCKER).join(id).join("config.v2.json"))
        }
        Runtime::Podman => podman(&root.join(PODMAN), id),
        Runtime::Docker | Runtime::Containerd | Runtime::CriO => None,
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct DockerContainer {
    /// With a slash before it.
    name: String,
    /// The image's id.
    image: String,
    config: DockerConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct DockerConfig {
    /// The image as it was asked for.
    image: String,
    labels: Option<BTreeMap<String, String>>,
}

fn docker(path: &Path) -> Option<Kept> {
    let kept: DockerContainer = read(path)?;
    Some(Kept {
        name: some(kept.name.trim_start_matches('/')),
        image: some(&kept.config.image),
        image_id: some(&kept.image),
        labels: kept.config.labels,
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodmanContainer {
    id: String,
    names: Option<Vec<String>>,
    /// The image's id, without the algorithm.
    image: String,
    /// JSON.
    metadata: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodmanMetadata {
    #[serde(rename = "image-name")]
    image_name: String,
}

fn podman(path: &Path, id: &str) -> Option<Kept> {
    let all: Vec<PodmanContainer> = read(path)?;
    let kept = all.into_iter().find(|container| container.id == id)?;
    let metadata: PodmanMetadata = serde_json::from_str(&kept.metadata).unwrap_or_default();
    let image_id = some(&kept.image).map(|id| format!("sha256:{id}"));
    Some(Kept {
        name: kept.names.unwrap_or_default().into_iter().next(),
        image: some(&metadata.image_name),
        image_id,
        labels: None,
    })
}

/// A file of JSON. One that is there and makes no sense is worth a line in the log: a newer engine
/// may write it in another way.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let text = || -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        File::open(path)?.take(MAX_BYTES).read_to_end(&mut text)?;
        Ok(text)
    };
    let read = text().and_then(|text| Ok(serde_json::from_slice(&text)?));
    read.inspect_err(|error| tracing::debug!(path = %path.display(), %error, "not read"))
        .ok()
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ID: &str = "4f1c1c9d4d9e0e9b2b2cbe6ab3f0f2b1f3c5d7e9a1b3c5d7e9f1a3b5c7d9e1f3";

    fn with(path: &str, text: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        root
    }

    #[test]
    fn docker_names_container_and_image() {
        let root = with(
            &format!("{DOCKER}/{ID}/config.v2.json"),
            r#"{"State":{"Running":true},"ID":"x","Image":"sha256:ab12","Name":"/web","Config":
            {"Hostname":"h","Image":"nginx:1.25","Labels":{"team":"shop"}},"MountPoints":{}}"#,
        );
        let mut container = Container::default();
        find_below(root.path(), ID, Some(Runtime::Docker))
            .unwrap()
            .add_to(&mut container);
        assert_eq!(container.name.as_deref(), Some("web"));
        assert_eq!(container.image.as_deref(), Some("nginx:1.25"));
        assert_eq!(container.image_id.as_deref(), Some("sha256:ab12"));
        assert_eq!(container.labels.unwrap()["team"], "shop");
        assert_eq!(find_below(root.path(), ID, Some(Runtime::Podman)), None);
        assert_eq!(find_below(root.path(), ID, None), None);
        let elsewhere = format!("../containers/{ID}");
        assert_eq!(
            find_below(root.path(), &elsewhere, Some(Runtime::Docker)),
            None
        );
    }

    #[test]
    fn podman_names_container_and_image() {
        let root = with(
            PODMAN,
            &format!(
                r#"[{{"id":"other","names":["db"]}},{{"id":"{ID}","names":["web"],"image":"ab12",
                "metadata":"{{\"image-name\":\"docker.io/library/nginx:latest\",\"name\":\"web\"}}",
                "layer":"l","created":"2026-11-26T17:00:00Z"}}]"#
            ),
        );
        let mut container = Container::default();
        find_below(root.path(), ID, Some(Runtime::Podman))
            .unwrap()
            .add_to(&mut container);
        assert_eq!(container.name.as_deref(), Some("web"));
        assert_eq!(
            container.image.as_deref(),
            Some("docker.io/library/nginx:latest")
        );
        assert_eq!(container.image_id.as_deref(), Some("sha256:ab12"));
        assert_eq!(find_below(root.path(), "none", Some(Runtime::Podman)), None);
    }

    #[test]
    fn what_is_known_already_stays() {
        let mut container = Container {
            name: Some("c".into()),
            ..Container::default()
        };
        let kept = Kept {
            name: Some("k8s_c_pod_ns".into()),
            image: some("nginx"),
            ..Kept::default()
        };
        kept.add_to(&mut container);
        assert_eq!(container.name.as_deref(), Some("c"));
        assert_eq!(container.image.as_deref(), Some("nginx"));
    }

    #[test]
    fn files_that_make_no_sense_tell_nothing() {
        for text in ["", "{\"Name\":1}", "\u{0}", "[{\"id\":null}]"] {
            let docker = with(&format!("{DOCKER}/{ID}/config.v2.json"), text);
            assert_eq!(
                find_below(docker.path(), ID, Some(Runtime::Docker)),
                None,
                "{text}"
            );
            let podman = with(PODMAN, text);
            assert_eq!(
                find_below(podman.path(), ID, Some(Runtime::Podman)),
                None,
                "{text}"
            );
        }
    }
}
