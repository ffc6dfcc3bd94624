//! Manifests: what a file declares, as the API server would have answered its creation.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::diagnostic::Diagnostic;
use crate::event::AuditEvent;
use crate::input;
use crate::sources::k8s_audit::decode::decode;
use crate::sources::k8s_audit::triage::Reason;
use crate::yaml::edit::Step;
use crate::yaml::{self, Node, Value as Yaml};

/// A pod that a manifest declares, by itself or as the template of a workload.
#[derive(Clone, Debug)]
pub struct Declared {
    /// Namespace, kind and name of the object in the manifest.
    pub workload: String,
    /// The namespace.
    pub namespace: String,
    /// The file, and the line on which the object begins.
    pub place: String,
    /// The file.
    pub file: Arc<str>,
    /// The number of the document in it, from 0.
    pub document: usize,
    /// Where the pod stands in the document.
    pub steps: Vec<Step>,
    /// The pod.
    pub pod: Value,
}

/// What files declare.
#[derive(Debug, Default)]
pub struct Manifests {
    /// The pods.
    pub declared: Vec<Declared>,
    /// How many objects of other kinds there were, by kind.
    pub others: BTreeMap<String, u64>,
    /// What could not be read.
    pub errors: Vec<Diagnostic>,
}

/// Where the pod stands in an object of each kind.
const TEMPLATES: [(&str, &str); 9] = [
    ("Pod", ""),
    ("Deployment", "/spec/template"),
    ("StatefulSet", "/spec/template"),
    ("DaemonSet", "/spec/template"),
    ("ReplicaSet", "/spec/template"),
    ("ReplicationController", "/spec/template"),
    ("Job", "/spec/template"),
    ("CronJob", "/spec/jobTemplate/spec/template"),
    ("PodTemplate", "/template"),
];

/// How deep folders and lists are followed.
const MAX_DEPTH: usize = 32;

impl Manifests {
    /// Adds what `path` declares: a file, a folder with its `.yaml`, `.yml` and `.json` files, or
    /// `-` for standard input. What names no namespace is in `namespace`.
    pub fn add(&mut self, path: &Path, namespace: &str) {
        self.add_path(path, namespace, 0);
    }

    fn add_path(&mut self, path: &Path, namespace: &str, depth: usize) {
        let file: Arc<str> = path.to_string_lossy().into();
        let failed =
            |error: io::Error| Diagnostic::error(&file, None, format!("cannot read it: {error}"));
        if path.is_dir() && depth < MAX_DEPTH {
            match fs::read_dir(path) {
                Ok(entries) => {
                    let mut paths: Vec<PathBuf> =
                        entries.flatten().map(|entry| entry.path()).collect();
                    paths.sort();
                    let is_manifest = |path: &PathBuf| {
                        let ending = path.extension().and_then(|ending| ending.to_str());
                        path.is_dir() || matches!(ending, Some("yaml" | "yml" | "json"))
                    };
                    for path in paths.iter().filter(|path| is_manifest(path)) {
                        self.add_path(path, namespace, depth + 1);
                    }
                }
                Err(error) => self.errors.push(failed(error)),
            }
            return;
        }
        let text = match path == Path::new("-") {
            true => input::read_stdin().and_then(input::text),
            false => input::read_text(path),
        };
        match text {
            Ok(text) => self.add_text(&file, &text, namespace),
            Err(error) => self.errors.push(failed(error)),
        }
    }

    /// Adds what a text declares; `file` is its name.
    pub fn add_text(&mut self, file: &Arc<str>, text: &str, namespace: &str) {
        match yaml::parse(file, text) {
            Ok(documents) => {
                let documents = documents.iter().enumerate();
                for (number, document) in documents.filter(|(_, document)| !document.is_null()) {
                    let at = At {
                        file,
                        document: number,
                        steps: Vec::new(),
                    };
                    self.add_node(&at, document, namespace, 0);
                }
            }
            Err(error) => self.errors.push(error),
        }
    }

    /// Adds an object, or the objects of a list.
    fn add_node(&mut self, at: &At<'_>, node: &Node, namespace: &str, depth: usize) {
        let kind = node.get("kind").and_then(Node::as_text).unwrap_or_default();
        if let Some(items) = node.get("items").and_then(Node::as_sequence)
            && kind.ends_with("List")
            && depth < MAX_DEPTH
        {
            for (index, item) in items.iter().enumerate() {
                let at = &at.below(&["items".into(), index.into()]);
                // `PodList` and its like do not repeat the kind.
                if item.get("kind").is_none() && kind != "List" {
                    let kind = kind.trim_end_matches("List");
                    self.add_object(at, item, kind, namespace);
                } else {
                    self.add_node(at, item, namespace, depth + 1);
                }
            }
            return;
        }
        self.add_object(at, node, &kind, namespace);
    }

    fn add_object(&mut self, at: &At<'_>, node: &Node, kind: &str, namespace: &str) {
        let object = to_json(node);
        let template = TEMPLATES.iter().find(|(known, _)| *known == kind);
        let pod = template.and_then(|(_, place)| Some((place, object.pointer(place)?)));
        let Some((place, pod)) = pod.filter(|(_, pod)| pod.is_object()) else {
            let kind = if kind.is_empty() {
                "without a kind"
            } else {
                kind
            };
            *self.others.entry(kind.to_owned()).or_default() += 1;
            return;
        };
        let metadata = &object["metadata"];
        let namespace = metadata["namespace"].as_str().unwrap_or(namespace);
        let name = metadata["name"]
            .as_str()
            .or_else(|| metadata["generateName"].as_str());
        let name = name.unwrap_or("(no name)");
        let mut pod = pod.clone();
        if pod["metadata"].is_null() {
            pod["metadata"] = Value::Object(Map::new());
        }
        if let Some(metadata) = pod["metadata"].as_object_mut()
            && metadata.get("name").is_none_or(Value::is_null)
        {
            metadata.insert("generateName".to_owned(), name.into());
        }
        self.declared.push(Declared {
            workload: format!("{namespace}/{kind}/{name}"),
            namespace: namespace.to_owned(),
            place: format!("{}:{}", at.file, node.position.line),
            file: Arc::clone(at.file),
            document: at.document,
            steps: at.below(&steps_of(place)).steps,
            pod,
        });
    }
}

/// Where an object stands.
struct At<'f> {
    file: &'f Arc<str>,
    document: usize,
    steps: Vec<Step>,
}

impl At<'_> {
    fn below(&self, steps: &[Step]) -> Self {
        Self {
            file: self.file,
            document: self.document,
            steps: [&self.steps, steps].concat(),
        }
    }
}

/// A JSON pointer as steps.
fn steps_of(pointer: &str) -> Vec<Step> {
    let keys = pointer.split('/').filter(|key| !key.is_empty());
    keys.map(Step::from).collect()
}

impl Declared {
    /// The audit event of the pod's creation.
    ///
    /// # Errors
    /// The API server would refuse the pod, as a field has a value of a wrong type.
    pub fn event(&self, number: u64, time_ns: u64) -> Result<AuditEvent, String> {
        let json = json!({
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "stage": "ResponseComplete",
            "verb": "create",
            "objectRef": {"resource": "pods", "namespace": self.namespace},
            "responseStatus": {"code": 201},
            "requestObject": self.pod,
        });
        let decoded = decode(json.to_string().into(), number);
        let mut event = decoded.map_err(|reason| match reason {
            // Its place is one in the event that was made here.
            Reason::Malformed(why) => why.split(" at line ").next().unwrap_or_default().to_owned(),
            other => format!("{other:?}"),
        })?;
        event.time_ns = time_ns;
        Ok(event)
    }
}

/// A YAML node as JSON. Keys that are no text become text, as Kubernetes does it.
fn to_json(node: &Node) -> Value {
    match &node.value {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => (*value).into(),
        Yaml::Int(value) => (*value).into(),
        Yaml::Float(value) => (*value).into(),
        Yaml::String(value) => value.as_str().into(),
        Yaml::Sequence(items) => items.iter().map(to_json).collect(),
        Yaml::Mapping(entries) => {
            let entries = entries.iter().filter_map(|(key, value)| {
                let key = key.as_text()?.into_owned();
                Some((key, to_json(value)))
            });
            Value::Object(entries.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Manifests {
        let mut manifests = Manifests::default();
        manifests.add_text(&"m.yaml".into(), text, "default");
        manifests
    }

    fn workloads(text: &str) -> Vec<String> {
        let declared = read(text).declared.into_iter();
        declared.map(|declared| declared.workload).collect()
    }

    #[test]
    fn every_kind_of_workload_has_a_pod() {
        for (kind, place) in TEMPLATES {
            let mut object = json!({"kind": kind, "metadata": {"name": "w", "namespace": "n"}});
            let pod = json!({"spec": {"hostPID": true}});
            let mut inner = pod.clone();
            for part in place.split('/').filter(|part| !part.is_empty()).rev() {
                inner = json!({part: inner});
            }
            for (key, value) in inner.as_object().unwrap() {
                object[key] = value.clone();
            }
            let manifests = read(&object.to_string());
            assert_eq!(manifests.declared.len(), 1, "{kind}");
            assert_eq!(manifests.declared[0].workload, format!("n/{kind}/w"));
            let event = manifests.declared[0].event(1, 0).unwrap();
            assert!(event.pod.unwrap().host_pid, "{kind}");
        }
    }

    #[test]
    fn documents_and_lists_are_read_whole() {
        let pod = |name: &str| format!("kind: Pod\nmetadata: {{name: {name}}}\nspec: {{}}\n");
        let text = format!("{}---\n---\n{}", pod("a"), pod("b"));
        assert_eq!(workloads(&text), ["default/Pod/a", "default/Pod/b"]);
        let list = "kind: PodList\nitems: [{metadata: {name: a}}, {metadata: {name: b}}]";
        assert_eq!(workloads(list), ["default/Pod/a", "default/Pod/b"]);
        let list = "kind: List\nitems: [{kind: Service}, {kind: Pod, metadata: {name: c}}]";
        let manifests = read(list);
        assert_eq!(manifests.declared.len(), 1);
        assert_eq!(manifests.others["Service"], 1);
    }

    #[test]
    fn what_is_broken_is_told_and_the_rest_is_read() {
        assert_eq!(read("a: [").errors.len(), 1);
        let manifests = read("kind: Deployment\nspec: 7\n---\nkind: Pod\nspec: []\n");
        assert_eq!(manifests.others["Deployment"], 1);
        assert_eq!(manifests.declared.len(), 1);
        let manifests = read("kind: Job\nspec: {template: {metadata: web, spec: {}}}\n");
        let error = manifests.declared[0].event(1, 0).unwrap_err();
        assert!(error.contains("string \"web\""), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text: String) {
            for declared in read(&text).declared {
                let _ = declared.event(1, 0);
            }
        }
    }
}
