//! Renders an overlay of `deploy/overlays` as users do, with `kubectl kustomize`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize as _;
use serde_json::Value;

/// All overlays.
pub(crate) const OVERLAYS: [&str; 4] = [
    "audit-webhook",
    "least-privilege",
    "privileged",
    "prometheus",
];

/// The folder of what is deployed.
pub(crate) fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Whether overlays can be rendered here. Where they cannot, it says why; in CI that is a failure.
pub(crate) fn available() -> bool {
    if Command::new("kubectl")
        .arg("kustomize")
        .arg("--help")
        .output()
        .is_ok()
    {
        return true;
    }
    let ci = env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!ci, "needs kubectl, and in CI nothing is skipped");
    println!("skipped: needs kubectl");
    false
}

/// The objects of an overlay.
pub(crate) fn render(overlay: &str) -> Vec<Value> {
    let folder = deploy().join("overlays").join(overlay);
    let output = Command::new("kubectl")
        .arg("kustomize")
        .arg(&folder)
        .output();
    let output = output.expect("kubectl runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{overlay}: {errors}");
    // Warnings are about what the next version of kustomize refuses.
    assert!(errors.is_empty(), "{overlay}: {errors}");
    documents(&String::from_utf8_lossy(&output.stdout))
}

/// The documents of a YAML text.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).expect("YAML"))
        .collect()
}

/// The object of this kind; there must be one.
pub(crate) fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let first = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "more than one {kind}");
    first
}
