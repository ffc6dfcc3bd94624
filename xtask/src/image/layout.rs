//! An image as an OCI image layout in an archive, which containerd, Docker and podman take without
//! a registry.

use std::{collections::BTreeMap, io::Write};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tar::EntryType;

use super::{
    digest::Digest,
    layer::{Layer, header},
    libraries::Machine,
    name::ImageName,
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The same for every image, so that the same files give the same image.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// An image.
pub(crate) struct Image {
    /// What it runs on.
    pub(crate) machine: Machine,
    /// Its only layer.
    pub(crate) layer: Layer,
    /// The program that runs.
    pub(crate) entry_point: &'static str,
    /// Labels and annotations.
    pub(crate) labels: BTreeMap<&'static str, String>,
    /// The name that it is imported under.
    pub(crate) name: ImageName,
}

impl Image {
    /// Writes the archive and returns the digest that a runtime knows the image by.
    pub(crate) fn write(&self, output: impl Write) -> Result<Digest> {
        let mut parts = Parts::default();
        let layer = parts.add(LAYER, self.layer.packed.clone());
        let config = parts.add_json(CONFIG, &self.config())?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [layer],
            "annotations": self.labels,
        });
        let mut manifest = parts.add_json(MANIFEST, &manifest)?;
        let digest = parts.last.clone();
        manifest["platform"] = json!({ "architecture": self.machine.oci_name(), "os": "linux" });
        manifest["annotations"] = json!({
            // containerd and podman read the first, others the second.
            "io.containerd.image.name": self.name.to_string(),
            "org.opencontainers.image.ref.name": self.name.to_string(),
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [manifest],
        });
        // `docker load` without containerd's store reads this instead of the index.
        let blob = |part: &Value| {
            let digest = part["digest"].as_str().unwrap_or_default();
            format!("blobs/{}", digest.replace(':', "/"))
        };
        let docker = json!([{
            "Config": blob(&config),
            "RepoTags": [self.name.to_string()],
            "Layers": [blob(&layer)],
        }]);
        let mut files = parts.files;
        files.insert("index.json".to_owned(), serde_json::to_vec(&index)?);
        files.insert("manifest.json".to_owned(), serde_json::to_vec(&docker)?);
        let version = json!({ "imageLayoutVersion": "1.0.0" });
        files.insert("oci-layout".to_owned(), serde_json::to_vec(&version)?);
        archive(&files, output).context("cannot write the archive")?;
        digest.context("an image without parts")
    }

    fn config(&self) -> Value {
        json!({
            "created": CREATED,
            "architecture": self.machine.oci_name(),
            "os": "linux",
            "config": {
                "Entrypoint": [self.entry_point],
                "WorkingDir": "/",
                "Labels": self.labels,
            },
            "rootfs": { "type": "layers", "diff_ids": [self.layer.unpacked.to_string()] },
            "history": [{ "created": CREATED, "created_by": "cargo xtask image" }],
        })
    }
}

/// The parts of an image, which name each other by their digests.
#[derive(Default)]
struct Parts {
    files: BTreeMap<String, Vec<u8>>,
    last: Option<Digest>,
}

impl Parts {
    /// Adds a part, and returns how another names it.
    fn add(&mut self, media_type: &str, content: Vec<u8>) -> Value {
        let digest = Digest::of(&content);
        let descriptor = json!({
            "mediaType": media_type,
            "digest": digest.to_string(),
            "size": content.len(),
        });
        self.files
            .insert(format!("blobs/sha256/{}", digest.hex()), content);
        self.last = Some(digest);
        descriptor
    }

    fn add_json(&mut self, media_type: &str, content: &Value) -> Result<Value> {
        Ok(self.add(media_type, serde_json::to_vec(content)?))
    }
}

fn archive(files: &BTreeMap<String, Vec<u8>>, output: impl Write) -> Result<()> {
    let mut tar = tar::Builder::new(output);
    for folder in ["blobs/", "blobs/sha256/"] {
        tar.append_data(&mut header(EntryType::Directory, 0o755, 0), folder, &[][..])?;
    }
    for (path, content) in files {
        let size = u64::try_from(content.len())?;
        let mut header = header(EntryType::Regular, 0o644, size);
        tar.append_data(&mut header, path, content.as_slice())?;
    }
    tar.into_inner()?.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::image::layer::{Access, Files};

    fn written() -> Vec<u8> {
        let mut files = Files::default();
        files.add("/usr/bin/falco-psp", Access::Run, b"program".to_vec());
        let image = Image {
            machine: Machine::X86_64,
            layer: files.pack().unwrap(),
            entry_point: "/usr/bin/falco-psp",
            labels: BTreeMap::from([("org.opencontainers.image.title", "falco-psp".to_owned())]),
            name: "localhost/falco-psp:test".parse().unwrap(),
        };
        let mut bytes = Vec::new();
        image.write(&mut bytes).unwrap();
        bytes
    }

    fn unpacked(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            if entry.header().entry_type().is_file() {
                files.insert(path, content);
            }
        }
        files
    }

    /// The part that a descriptor names; its digest and size are checked.
    fn part<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
        let digest = descriptor["digest"].as_str().unwrap();
        let content = &files[&format!("blobs/{}", digest.replace(':', "/"))];
        assert_eq!(Digest::of(content).to_string(), digest);
        assert_eq!(descriptor["size"], content.len());
        content
    }

    fn json_of(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn the_layout_is_valid() {
        let files = unpacked(&written());
        assert_eq!(json_of(&files["oci-layout"])["imageLayoutVersion"], "1.0.0");
        let index = json_of(&files["index.json"]);
        let descriptor = &index["manifests"][0];
        assert_eq!(descriptor["mediaType"], MANIFEST);
        assert_eq!(descriptor["platform"]["architecture"], "amd64");
        assert_eq!(
            descriptor["annotations"]["io.containerd.image.name"],
            "localhost/falco-psp:test"
        );
        let manifest = json_of(part(&files, descriptor));
        assert_eq!(manifest["config"]["mediaType"], CONFIG);
        let config = json_of(part(&files, &manifest["config"]));
        let entry_point = &config["config"]["Entrypoint"];
        assert_eq!(*entry_point, json!(["/usr/bin/falco-psp"]));
        let layer = part(&files, &manifest["layers"][0]);
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(layer)
            .read_to_end(&mut tar)
            .unwrap();
        assert_eq!(
            config["rootfs"]["diff_ids"],
            json!([Digest::of(&tar).to_string()])
        );
        // Nothing is there that nothing names.
        assert_eq!(files.len(), 6, "{:?}", files.keys());
    }

    #[test]
    fn docker_finds_the_same_parts() {
        let files = unpacked(&written());
        let docker = json_of(&files["manifest.json"]);
        let config = docker[0]["Config"].as_str().unwrap();
        assert_eq!(json_of(&files[config])["os"], "linux");
        assert!(files.contains_key(docker[0]["Layers"][0].as_str().unwrap()));
        assert_eq!(docker[0]["RepoTags"], json!(["localhost/falco-psp:test"]));
    }

    #[test]
    fn the_same_image_gives_the_same_archive() {
        assert_eq!(written(), written());
    }
}
