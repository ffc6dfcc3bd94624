//! Finds the policy in a file: documents, kind, version, metadata.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::annotations;
use super::model::Policy;
use super::names::subdomain_error;
use super::reader::{Field, Object, Reader};
use super::spec;
use crate::diagnostic::{Diagnostic, nearest};
use crate::input;
use crate::yaml::{self, Node};

const KIND: &str = "PodSecurityPolicy";
const VERSIONS: [&str; 2] = ["policy/v1beta1", "extensions/v1beta1"];
const FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];

/// The fields of `metadata`, in every version of Kubernetes.
const METADATA_FIELDS: [&str; 16] = [
    "annotations",
    "clusterName",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Loads the policy in the file `path`, with warnings about it.
///
/// # Errors
/// All that is wrong with the file, in its order; warnings among it.
pub fn load(path: &Path) -> Result<(Policy, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (file, text) = read_file(path)?;
    parse(&file, &text)
}

/// Reads the file `path`: its name for messages, and its text.
///
/// # Errors
/// It cannot be read, or is no text.
pub fn read_file(path: &Path) -> Result<(Arc<str>, String), Vec<Diagnostic>> {
    let file = Arc::from(path.to_string_lossy());
    let text = input::read_text(path).map_err(|error| {
        let message = match error.kind() {
            io::ErrorKind::InvalidData => error.to_string(),
            _ => format!("cannot read it: {error}"),
        };
        vec![Diagnostic::error(&file, None, message)]
    })?;
    Ok((file, text))
}

/// Reads the policy in `text`, with warnings about it; `file` is the name for messages.
///
/// # Errors
/// All that is wrong with the text, in its order; warnings among it.
pub fn parse(file: &Arc<str>, text: &str) -> Result<(Policy, Vec<Diagnostic>), Vec<Diagnostic>> {
    let documents = yaml::parse(file, text).map_err(|error| vec![error])?;
    let mut reader = Reader::new(file);
    let policy = find(&mut reader, &documents).and_then(|field| read(&mut reader, &field));
    let mut findings = reader.findings;
    findings.sort_by_key(|finding| finding.position);
    match policy {
        Some(policy) if !findings.iter().any(Diagnostic::is_error) => Ok((policy, findings)),
        _ => Err(findings),
    }
}

/// The one policy among the documents, or among the items of a `List`.
fn find<'a>(reader: &mut Reader, documents: &'a [Node]) -> Option<Field<'a>> {
    let mut objects = Vec::new();
    for document in documents.iter().filter(|document| !document.is_null()) {
        let items = document.get("items").and_then(Node::as_sequence);
        match (kind(document), items) {
            (Some("List" | "PodSecurityPolicyList"), Some(items)) => {
                objects.extend(items.iter().enumerate().map(|(index, node)| Field {
                    path: format!("items[{index}]"),
                    node,
                }));
            }
            _ => objects.push(Field {
                path: String::new(),
                node: document,
            }),
        }
    }
    if objects.is_empty() {
        reader.error(None, "the file holds no PodSecurityPolicy: it is empty");
        return None;
    }
    let mut policies: Vec<_> = objects
        .iter()
        .filter(|object| kind(object.node) == Some(KIND))
        .cloned()
        .collect();
    if policies.is_empty() {
        if objects.len() == 1 {
            return objects.pop(); // and what it is instead is an error
        }
        let mut found: Vec<_> = objects.iter().filter_map(|o| kind(o.node)).collect();
        found.dedup();
        let found = found.join(", ");
        reader.error(
            None,
            format!("the file holds no PodSecurityPolicy, but {found}"),
        );
        return None;
    }
    for other in objects.iter().filter(|o| kind(o.node) != Some(KIND)) {
        let kind = kind(other.node).unwrap_or("an object without a kind");
        reader.warning(
            other.position(),
            format!("{kind} is no PodSecurityPolicy: ignored"),
        );
    }
    let policy = policies.remove(0);
    for another in policies {
        let message = "a second PodSecurityPolicy in the file";
        reader.error(another.position(), message);
        reader.help("give each policy a file of its own");
    }
    Some(policy)
}

fn kind(node: &Node) -> Option<&str> {
    node.get("kind").and_then(Node::as_str)
}

fn read(reader: &mut Reader, field: &Field<'_>) -> Option<Policy> {
    let root = reader.map(field)?;
    if !is_policy(reader, &root) {
        return None;
    }
    unknown_at_the_top(reader, field);
    let metadata = match root.field("metadata") {
        Some(metadata) => reader.object(&metadata, &METADATA_FIELDS),
        None => {
            reader.error(root.position, "metadata.name is missing");
            None
        }
    };
    let name = metadata.as_ref().and_then(|object| name(reader, object));
    let annotations = metadata
        .and_then(|object| object.field("annotations"))
        .map(|field| annotations::read(reader, &field))
        .unwrap_or_default();
    let spec = match root.field("spec") {
        Some(spec) => reader.object(&spec, &spec::FIELDS)?,
        None => {
            reader.error(root.position, "spec is missing");
            return None;
        }
    };
    spec::read(reader, &spec, name.unwrap_or_default(), annotations)
}

fn is_policy(reader: &mut Reader, root: &Object<'_>) -> bool {
    let kind = root
        .field("kind")
        .map(|field| (field.position(), reader.string(&field)));
    let version = root
        .field("apiVersion")
        .map(|field| (field.position(), reader.string(&field)));
    let fine_kind = match kind {
        Some((_, Some(KIND))) => true,
        Some((at, Some(other))) => {
            reader.error(at, format!("kind is \"{other}\", but should be \"{KIND}\""));
            false
        }
        Some((_, None)) => false,
        None => {
            reader.error(
                root.position,
                format!("kind is missing, should be \"{KIND}\""),
            );
            false
        }
    };
    match version {
        Some((_, Some(version))) if VERSIONS.contains(&version) => {}
        _ if !fine_kind => {} // another kind has other versions
        Some((at, Some(other))) => {
            let message = format!("apiVersion \"{other}\" has no {KIND}");
            reader.error(at, message);
            reader.help(format!("it should be \"{}\"", VERSIONS[0]));
        }
        Some((_, None)) => {}
        None => {
            let message = format!("apiVersion is missing, should be \"{}\"", VERSIONS[0]);
            reader.error(root.position, message);
        }
    }
    fine_kind
}

fn unknown_at_the_top(reader: &mut Reader, root: &Field<'_>) {
    for (key, _) in root.node.as_mapping().unwrap_or_default() {
        let Some(name) = key.as_str().filter(|name| !FIELDS.contains(name)) else {
            continue;
        };
        let at = key.position;
        reader.error(at, format!("unknown field \"{name}\""));
        if spec::FIELDS.contains(&name) {
            reader.help("it belongs into spec");
        } else if METADATA_FIELDS.contains(&name) {
            reader.help("it belongs into metadata");
        } else if let Some(meant) = nearest(name, FIELDS) {
            reader.help(format!("did you mean \"{meant}\"?"));
        }
    }
}

fn name(reader: &mut Reader, metadata: &Object<'_>) -> Option<String> {
    if let Some(namespace) = metadata.field("namespace") {
        let message = "metadata.namespace: a PodSecurityPolicy belongs to no namespace";
        reader.warning(namespace.position(), message);
    }
    let Some(field) = metadata.field("name") else {
        reader.error(metadata.position, "metadata.name is missing");
        if metadata.field("generateName").is_some() {
            reader.help("a generated name is not known yet: give one");
        }
        return None;
    };
    let name = reader.string(&field)?;
    if name.is_empty() {
        reader.error(field.position(), "metadata.name is empty");
        return None;
    }
    if let Some(reason) = subdomain_error(name) {
        let message = format!("the API server would refuse the name {name:?}: {reason}");
        reader.warning(field.position(), message);
    }
    Some(name.to_owned())
}
