//! The image of `cargo xtask image` under a real containerd, run as the DaemonSet of each overlay
//! says: it sees what other containers do.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{agent::READY, bundle::Bundle, container::hierarchies, needs};

#[path = "../deploy/kustomize.rs"]
#[expect(
    dead_code,
    clippy::expect_used,
    clippy::panic,
    reason = "the tests of the manifests use the rest"
)]
mod kustomize;

const PATIENCE: Duration = Duration::from_secs(30);

/// What a container has in containerd unless it is told otherwise.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// A containerd of our own, in a folder of its own.
struct Containerd {
    folder: TempDir,
    child: Child,
    tasks: Vec<String>,
    cgroups: Vec<String>,
}

impl Containerd {
    fn start() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("falco-psp-containerd-")
            .tempdir()
            .context("cannot make a folder for containerd")?;
        let place = folder.path().display();
        let config = format!(
            "version = 2\nroot = \"{place}/root\"\nstate = \"{place}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\n  address = \"{place}/containerd.sock\"\n"
        );
        let config_path = folder.path().join("config.toml");
        fs::write(&config_path, config).context("cannot write containerd's configuration")?;
        let log = File::create(folder.path().join("containerd.log"))?;
        let child = Command::new("containerd")
            .arg("--config")
            .arg(config_path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start containerd")?;
        let containerd = Self {
            folder,
            child,
            tasks: Vec::new(),
            cgroups: Vec::new(),
        };
        let answers = || {
            let version = containerd.ctr().arg("version").output();
            version.is_ok_and(|output| output.status.success())
        };
        ensure!(wait_until(answers), "containerd does not answer");
        Ok(containerd)
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn ctr(&self) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address")
            .arg(self.folder.path().join("containerd.sock"))
            .args(["--namespace", "k8s.io"])
            .stdin(Stdio::null());
        ctr
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        let output = self.ctr().args(arguments).output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ctr {arguments:?}: {errors}");
        Ok(())
    }

    /// Starts a container that mounts the host's `/etc` and runs as root, as a pod's.
    fn start_violating(&mut self, bundle: &Bundle, pod: &str) -> Result<()> {
        let id = bundle.id().as_str();
        let rootfs = bundle.folder().join("rootfs");
        let uid = bundle.id().pod_uid();
        let mut arguments = vec!["run".to_owned(), "--detach".into(), "--rootfs".into()];
        arguments.extend(["--cgroup".into(), bundle.id().cgroup()]);
        for (name, value) in [
            ("container-type", "container"),
            ("container-name", "web"),
            ("sandbox-name", pod),
            ("sandbox-namespace", "shop"),
            ("sandbox-uid", &uid),
        ] {
            let annotation = format!("io.kubernetes.cri.{name}={value}");
            arguments.extend(["--annotation".into(), annotation]);
        }
        let etc = "type=bind,src=/etc,dst=/host/etc,options=rbind:ro";
        arguments.extend(["--mount".into(), etc.into()]);
        arguments.push(rootfs.display().to_string());
        arguments.extend([id, "/bin/sleep", "3600"].map(str::to_owned));
        self.tasks.push(id.to_owned());
        self.cgroups.push(bundle.id().cgroup());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.run(&arguments)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        for task in &self.tasks {
            // What has ended already is gone, which is right.
            let _ = self.run(&["tasks", "rm", "--force", task]);
            let _ = self.run(&["containers", "rm", task]);
        }
        // The runtime removes the container's own control group, not its pod's.
        for cgroup in &self.cgroups {
            let pod = Path::new(cgroup.trim_start_matches('/')).parent();
            for hierarchy in hierarchies() {
                let _ = pod.map(|pod| fs::remove_dir(hierarchy.join(pod)));
            }
        }
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

fn wait_until(condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if condition() {
            return true;
        }
        thread::sleep(Duration::from_millis(50));
    }
    false
}

/// Makes the image of the agent that is tested, and returns its name.
fn import_image(containerd: &Containerd) -> Result<String> {
    let archive = containerd.folder.path().join("image.tar");
    let name = format!("localhost/falco-psp:{}", env!("CARGO_PKG_VERSION"));
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--package", "xtask", "--", "image"])
        .args(["--agent", env!("CARGO_BIN_EXE_falco-psp"), "--tag", &name])
        .arg("--output")
        .arg(&archive)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .context("cannot run cargo xtask image")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo xtask image: {errors}");
    containerd.run(&["images", "import", &archive.to_string_lossy()])?;
    Ok(name)
}

/// The options of `ctr run` that give a container what the pod asks for.
fn options(containerd: &Containerd, objects: &[Value]) -> Result<Vec<String>> {
    let pod = &kustomize::only(objects, "DaemonSet")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let mut options = Vec::new();
    ensure!(pod["hostPID"] == true, "the pod has process ids of its own");
    // This process, as runc sees itself, is on the host.
    options.push("--with-ns=pid:/proc/self/ns/pid".to_owned());
    let security = &container["securityContext"];
    if security["readOnlyRootFilesystem"] == true {
        options.push("--read-only".to_owned());
    }
    if security["privileged"] == true {
        options.push("--privileged".to_owned());
    } else {
        let drop = DEFAULT_CAPABILITIES.map(|name| format!("--cap-drop=CAP_{name}"));
        options.extend(drop);
        let added = security["capabilities"]["add"].as_array();
        let names = added.into_iter().flatten().filter_map(Value::as_str);
        options.extend(names.map(|name| format!("--cap-add=CAP_{name}")));
        if security["seccompProfile"]["type"] == "RuntimeDefault" {
            options.push("--seccomp".to_owned());
        }
    }
    for mount in container["volumeMounts"].as_array().into_iter().flatten() {
        let mut volumes = pod["volumes"].as_array().into_iter().flatten();
        let volume = volumes.find(|volume| volume["name"] == mount["name"]);
        let source = source(containerd, objects, volume.context("no such volume")?)?;
        let place = mount["mountPath"].as_str().context("no mountPath")?;
        options.push(format!(
            "--mount=type=bind,src={},dst={place},options=rbind:ro",
            source.display()
        ));
    }
    Ok(options)
}

/// The folder that is mounted for a volume.
fn source(containerd: &Containerd, objects: &[Value], volume: &Value) -> Result<PathBuf> {
    let made = containerd.folder.path().join("volumes");
    if let Some(name) = volume["configMap"]["name"].as_str() {
        let map = objects
            .iter()
            .find(|object| object["kind"] == "ConfigMap" && object["metadata"]["name"] == name);
        let data = map.and_then(|map| map["data"].as_object());
        fs::create_dir_all(made.join(name))?;
        for (file, text) in data.context("no such ConfigMap")? {
            fs::write(
                made.join(name).join(file),
                text.as_str().unwrap_or_default(),
            )?;
        }
        return Ok(made.join(name));
    }
    match volume["hostPath"]["path"].as_str() {
        // Where our containerd has what others have there.
        Some("/run/containerd") => Ok(containerd.state()),
        // DirectoryOrCreate, but not on the machine that runs the tests.
        Some(path) if !Path::new(path).is_dir() => {
            let folder = made.join(path.trim_start_matches('/'));
            fs::create_dir_all(&folder)?;
            Ok(folder)
        }
        Some(path) => Ok(path.into()),
        None => bail!("a volume of a kind that is not known here: {volume}"),
    }
}

/// The program's arguments, as the manifest has them.
fn arguments(objects: &[Value]) -> Vec<String> {
    let container = &kustomize::only(objects, "DaemonSet")["spec"]["template"]["spec"];
    let arguments = container["containers"][0]["args"].as_array();
    let arguments = arguments.into_iter().flatten().filter_map(Value::as_str);
    arguments.map(str::to_owned).collect()
}

fn sees_another_container(overlay: &str) -> Result<()> {
    let objects = kustomize::render(overlay);
    let mut containerd = Containerd::start()?;
    let image = import_image(&containerd)?;
    let (before, after) = (Bundle::new()?, Bundle::new()?);
    containerd.start_violating(&before, "web-before")?;

    let id = format!("agent-{}", after.id().short());
    let folder = containerd.folder.path();
    let (out, err) = (folder.join("alerts.jsonl"), folder.join("messages.txt"));
    let mut agent = containerd
        .ctr()
        .args(["run", "--rm"])
        .args(options(&containerd, &objects)?)
        .args([&image, &id, "/usr/bin/falco-psp"])
        .args(arguments(&objects))
        .stdout(File::create(&out)?)
        .stderr(File::create(&err)?)
        .spawn()
        .context("cannot run ctr")?;
    containerd.tasks.push(id.clone());
    let said = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let ready = wait_until(|| said(&err).contains(READY));
    ensure!(ready, "{overlay}: never ready: {}", said(&err));
    containerd.start_violating(&after, "web-after")?;

    let controls = |pod: &str| {
        let alerts = said(&out);
        let alerts = alerts.lines().filter_map(|line| {
            let alert: Value = serde_json::from_str(line).ok()?;
            let fields = &alert["output_fields"];
            let about = fields["k8s.pod.name"] == pod && fields["k8s.ns.name"] == "shop";
            about.then(|| alert["tags"].to_string())
        });
        alerts.collect::<String>()
    };
    let complete = |pod: &str| {
        let found = controls(pod);
        let expected = ["volumes", "runAsUser", "capabilities"];
        expected.iter().all(|name| found.contains(name))
    };
    let seen = wait_until(|| complete("web-before") && complete("web-after"));
    containerd.run(&["tasks", "kill", "--signal", "SIGTERM", &id])?;
    let status = agent.wait()?;
    let messages = said(&err);
    ensure!(
        seen,
        "{overlay}: not all was seen:\n{}\n{messages}",
        said(&out)
    );
    ensure!(status.success(), "{overlay}: {status}: {messages}");
    // The node's processes are told from containers: the tests themselves are none.
    ensure!(!said(&out).contains("\"container.id\":\"host\""));
    Ok(())
}

#[test]
fn as_a_privileged_daemonset_it_sees_another_container() -> Result<()> {
    if !needs::containerd() || !kustomize::available() {
        return Ok(());
    }
    sees_another_container("privileged")
}

#[test]
fn with_few_privileges_it_sees_another_container() -> Result<()> {
    if !needs::containerd() || !kustomize::available() {
        return Ok(());
    }
    sees_another_container("least-privilege")
}
