//! A containerd of the test's own, with its CRI, and pods in it as a kubelet makes them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use falco_psp::context::cri::Connection;
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::cri_messages::{
    Capability, ContainerConfig, ContainerId, ContainerMetadata, CreateContainerRequest, Empty,
    ImageSpec, LinuxContainerConfig, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, Mount,
    NamespaceOption, PodSandboxConfig, PodSandboxMetadata, PortMapping, RunPodSandboxRequest,
    SandboxId, SecurityContext, SecurityProfile,
};

/// The image that all containers run.
pub(crate) const IMAGE: &str = "docker.io/falco-psp/busybox:1.2";
/// The address that each pod is told to have.
pub(crate) const POD_IP: &str = "10.88.0.5";
/// Each container in a process id namespace of its own, as the kubelet orders it.
const CONTAINER: i32 = 1;
/// Numbers of protocols and of kinds of profiles.
const UDP: i32 = 1;
const RUNTIME_DEFAULT: i32 = 0;
const UNCONFINED: i32 = 1;

/// A containerd; dropped, it is killed with all that runs in it.
pub(crate) struct Containerd {
    folder: TempDir,
    child: Option<Child>,
    runtime: Runtime,
    sandboxes: Vec<String>,
}

/// A container in a pod.
pub(crate) struct Pod {
    /// The container's id.
    pub(crate) id: String,
    /// The sandbox's id.
    pub(crate) sandbox: String,
}

impl Containerd {
    /// Starts one with the image in it.
    pub(crate) fn start() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("falco-psp-containerd-")
            .tempdir()
            .context("cannot make a folder for containerd")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut containerd = Self {
            folder,
            child: None,
            runtime,
            sandboxes: Vec::new(),
        };
        containerd.configure()?;
        containerd.resume()?;
        let image = containerd.path("image.tar");
        oci_archive(&containerd.path("image"), &image)?;
        let mut import = Command::new("ctr");
        import.arg("--address").arg(containerd.socket());
        import.args(["--namespace", "k8s.io", "images", "import"]);
        output(import.arg(image))?;
        Ok(containerd)
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path("containerd.sock")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Stops it; its containers run on.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that has ended already cannot be killed, which is right.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_file(self.socket());
    }

    /// Starts it again.
    pub(crate) fn resume(&mut self) -> Result<()> {
        let log = fs::File::options()
            .append(true)
            .create(true)
            .open(self.path("log"))?;
        let child = Command::new("containerd")
            .arg("--config")
            .arg(self.path("config.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start containerd")?;
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.call::<Empty>("Version", &Empty {}).is_err() {
            ensure!(
                Instant::now() < deadline,
                "containerd does not answer; it said:\n{}",
                fs::read_to_string(self.path("log"))?
            );
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn configure(&self) -> Result<()> {
        let (cni, conf) = (self.path("cni"), self.path("net.d"));
        fs::create_dir(&cni)?;
        fs::create_dir(&conf)?;
        // A network of its own for each pod, with nothing in it.
        let plugin = format!(
            "#!/bin/sh\n[ \"$CNI_COMMAND\" = ADD ] && echo '{}'\nexit 0\n",
            json!({
                "cniVersion": "0.3.1",
                "interfaces": [{"name": "eth0", "sandbox": "/none"}],
                "ips": [{"version": "4", "interface": 0, "address": format!("{POD_IP}/16")}],
            })
        );
        for name in ["loopback", "none"] {
            fs::write(cni.join(name), &plugin)?;
            fs::set_permissions(cni.join(name), fs::Permissions::from_mode(0o755))?;
        }
        let network = json!({"cniVersion": "0.3.1", "name": "none", "plugins": [{"type": "none"}]});
        fs::write(conf.join("10-none.conflist"), network.to_string())?;
        let folder = self.folder.path().display();
        let config = format!(
            r#"version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{IMAGE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{folder}/cni"
    conf_dir = "{folder}/net.d"
"#
        );
        fs::write(self.path("config.toml"), config)?;
        Ok(())
    }

    /// Runs a pod with one container, which violates what it can or nothing.
    pub(crate) fn pod(
        &mut self,
        namespace: &str,
        name: &str,
        labels: &[(&str, &str)],
        violating: bool,
    ) -> Result<Pod> {
        let uid = format!("falco-psp-{}-{name}", std::process::id());
        let own = [
            ("io.kubernetes.pod.name", name),
            ("io.kubernetes.pod.namespace", namespace),
            ("io.kubernetes.pod.uid", &uid),
        ];
        let map = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().chain(&own);
            pairs
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        let namespaces = || Some(NamespaceOption { pid: CONTAINER });
        let sandbox_config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: uid.clone(),
                namespace: namespace.to_owned(),
            }),
            hostname: name.to_owned(),
            log_directory: self.path("logs").display().to_string(),
            labels: map(labels),
            linux: Some(LinuxPodSandboxConfig {
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: namespaces(),
                    privileged: violating,
                }),
                sysctls: violating
                    .then(|| ("net.core.somaxconn".to_owned(), "1024".to_owned()))
                    .into_iter()
                    .collect(),
            }),
            port_mappings: vec![PortMapping {
                protocol: UDP,
                container_port: 53,
                host_port: if violating { 5353 } else { 0 },
            }],
        };
        let question = RunPodSandboxRequest {
            config: Some(sandbox_config.clone()),
        };
        let sandbox: SandboxId = self.call("RunPodSandbox", &question)?;
        self.sandboxes.push(sandbox.id.clone());
        let user = if violating { 0 } else { 1000 };
        let drop_all = Capability {
            drop: vec!["ALL".to_owned()],
        };
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: "main".to_owned(),
            }),
            image: Some(ImageSpec {
                image: IMAGE.to_owned(),
            }),
            command: vec!["/bin/sh".to_owned(), "-c".to_owned()],
            args: vec!["while :; do /bin/sleep 0.2; done".to_owned()],
            mounts: violating
                .then(|| Mount {
                    container_path: "/host".to_owned(),
                    host_path: "/etc".to_owned(),
                    readonly: true,
                })
                .into_iter()
                .collect(),
            labels: map(&[("io.kubernetes.container.name", "main")]),
            log_path: format!("{name}.log"),
            linux: Some(LinuxContainerConfig {
                security_context: Some(SecurityContext {
                    capabilities: (!violating).then_some(drop_all),
                    privileged: violating,
                    namespace_options: namespaces(),
                    run_as_user: Some(super::cri_messages::Int64Value { value: user }),
                    readonly_rootfs: !violating,
                    no_new_privs: !violating,
                    masked_paths: (!violating)
                        .then(|| "/proc/kcore".to_owned())
                        .into_iter()
                        .collect(),
                    seccomp: Some(SecurityProfile {
                        profile_type: if violating {
                            UNCONFINED
                        } else {
                            RUNTIME_DEFAULT
                        },
                    }),
                }),
            }),
        };
        let question = CreateContainerRequest {
            pod_sandbox_id: sandbox.id.clone(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let container: ContainerId = self.call("CreateContainer", &question)?;
        self.call::<Empty>("StartContainer", &container)?;
        Ok(Pod {
            id: container.id,
            sandbox: sandbox.id,
        })
    }

    fn call<T: Message + Default>(&self, method: &str, question: &impl Message) -> Result<T> {
        let path = format!("/runtime.v1.RuntimeService/{method}");
        let socket = self.socket();
        self.runtime.block_on(async {
            let call = async {
                let connection = Connection::open(&socket).await?;
                connection.call(&path, question).await
            };
            let answer = tokio::time::timeout(Duration::from_secs(60), call);
            let answer = answer
                .await
                .with_context(|| format!("{method}: no answer"))?;
            answer.with_context(|| method.to_owned())
        })
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if self.child.is_none()
            && let Err(error) = self.resume()
        {
            eprintln!("warning: cannot start containerd again: {error:#}");
        }
        for sandbox in std::mem::take(&mut self.sandboxes) {
            let question = SandboxId { id: sandbox };
            for method in ["StopPodSandbox", "RemovePodSandbox"] {
                if let Err(error) = self.call::<Empty>(method, &question) {
                    eprintln!("warning: {error:#}");
                }
            }
        }
        self.stop();
    }
}

/// Writes an image of busybox as an OCI archive.
fn oci_archive(folder: &Path, archive: &Path) -> Result<()> {
    let (root, blobs) = (folder.join("rootfs"), folder.join("oci/blobs/sha256"));
    fs::create_dir_all(&blobs)?;
    super::bundle::make_rootfs(&root)?;
    let layer = folder.join("layer.tar");
    let mut tar = Command::new("tar");
    tar.arg("--create").arg("--file").arg(&layer);
    output(tar.arg("--directory").arg(&root).arg("."))?;
    let blob = |file: &Path, media_type: &str| -> Result<Value> {
        let sum = output(Command::new("sha256sum").arg(file))?;
        let sum = sum.split(' ').next().unwrap_or_default().to_owned();
        let size = fs::metadata(file)?.len();
        fs::copy(file, blobs.join(&sum))?;
        let digest = format!("sha256:{sum}");
        Ok(json!({"mediaType": media_type, "digest": digest, "size": size}))
    };
    let json_blob = |value: Value, media_type: &str| -> Result<Value> {
        let file = folder.join("part.json");
        fs::write(&file, value.to_string())?;
        blob(&file, media_type)
    };
    let layer = blob(&layer, "application/vnd.oci.image.layer.v1.tar")?;
    let config = json!({
        "architecture": match std::env::consts::ARCH { "aarch64" => "arm64", _ => "amd64" },
        "os": "linux",
        "config": {"Entrypoint": ["/bin/sleep", "36000"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let config = json_blob(config, "application/vnd.oci.image.config.v1+json")?;
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": [layer],
    });
    let mut manifest = json_blob(manifest, manifest_type)?;
    manifest["annotations"] = json!({"io.containerd.image.name": IMAGE});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    let oci = folder.join("oci");
    fs::write(oci.join("index.json"), index.to_string())?;
    fs::write(oci.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#)?;
    let mut tar = Command::new("tar");
    tar.arg("--create").arg("--file").arg(archive);
    output(tar.arg("--directory").arg(&oci).arg("."))?;
    Ok(())
}

/// What a program prints.
fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
