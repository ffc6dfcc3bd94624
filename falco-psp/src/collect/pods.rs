//! The agents' pods, as the API server lists them.

use serde::Deserialize;

use super::{CollectError, Options};
use crate::context::cluster::{Access, AskError, escaped, fetch};

/// Pods of one page.
const PAGE: usize = 250;
/// How many pods are asked: the largest cluster that Kubernetes is made for has so many nodes.
pub(super) const MAX_PODS: usize = 5_000;
/// Pages may be short, but not without end.
const MAX_PAGES: usize = 200;

/// A pod that should have a report.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pod {
    /// Its node; empty if it has none yet.
    pub(super) node: String,
    /// Its name.
    pub(super) name: String,
    /// `Running`, or what it is instead.
    pub(super) phase: String,
}

/// The pods that should have a report.
#[derive(Debug)]
pub(super) struct Pods {
    /// They, by node and name.
    pub(super) pods: Vec<Pod>,
    /// Whether there are more than are asked.
    pub(super) are_more: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct List {
    kind: String,
    metadata: ListMeta,
    items: Option<Vec<Object>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ListMeta {
    #[serde(rename = "continue")]
    more: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Object {
    metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Meta {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(rename = "nodeName")]
    node: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: Option<String>,
}

impl Pod {
    /// Where a report is from, in words.
    pub(super) fn place(&self) -> String {
        match self.node.is_empty() {
            true => format!("pod {} (on no node yet)", self.name),
            false => format!("node {} (pod {})", self.node, self.name),
        }
    }
}

/// Lists the pods, page by page.
pub(super) async fn list(access: &Access, options: &Options) -> Result<Pods, CollectError> {
    let failed = |why: AskError| CollectError::list(access, options, why);
    let first = format!(
        "/api/v1/namespaces/{}/pods?labelSelector={}&limit={PAGE}",
        escaped(&options.namespace),
        escaped(&options.selector)
    );
    let mut question = first.clone();
    let mut pods: Vec<Pod> = Vec::new();
    for _ in 0..MAX_PAGES {
        let body = fetch(access, &question, options.request_timeout).await;
        let page: List = serde_json::from_slice(&body.map_err(failed)?)
            .map_err(|why| failed(AskError::Nonsense(why.to_string())))?;
        // A Status, or the answer of something that is no API server, is not an empty list.
        if page.kind != "PodList" {
            let why = format!("no list of pods, but kind \"{}\"", page.kind);
            return Err(failed(AskError::Nonsense(why)));
        }
        for object in page.items.unwrap_or_default() {
            pods.push(Pod {
                node: object.spec.node.unwrap_or_default(),
                name: object.metadata.name,
                phase: object.status.phase.unwrap_or_default(),
            });
        }
        let more = page.metadata.more.filter(|more| !more.is_empty());
        let are_more = pods.len() > MAX_PODS || (pods.len() == MAX_PODS && more.is_some());
        let Some(more) = more.filter(|_| !are_more) else {
            pods.truncate(MAX_PODS);
            pods.sort();
            return Ok(Pods { pods, are_more });
        };
        let next = format!("{first}&continue={}", escaped(&more));
        if next == question {
            let why = "a page of the list names itself as the next".to_owned();
            return Err(failed(AskError::Nonsense(why)));
        }
        question = next;
    }
    let why = format!("a list of more than {MAX_PAGES} pages");
    Err(failed(AskError::Nonsense(why)))
}
