//! The report of a whole cluster: each agent's `/v1/report`, through the API server's proxy to pods,
//! made one.
//!
//! A pod that gives no report is never passed over: the answer names it, with its node, as what was
//! not seen.

mod error;
mod options;
pub mod plugin;
mod pods;

use std::collections::BTreeMap;

use tokio::task::JoinSet;

pub use error::CollectError;
pub use options::Options;

use crate::context::cluster::{Access, AskError, escaped, fetch};
use crate::control::Control;
use crate::report::answer::{Answer, Merger};
use pods::{MAX_PODS, Pod, Pods};

/// How many pods are asked at once.
const AT_ONCE: usize = 8;

/// Asks the agents of a cluster, and makes one answer of theirs.
///
/// # Errors
/// See [`CollectError`]. That some of the pods give no report is none.
pub fn collect(options: &Options) -> Result<Answer, CollectError> {
    let access = Access::of_kubectl(options.kubeconfig.as_deref(), options.context.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CollectError::Start)?;
    let answer = runtime.block_on(ask(access, options));
    // A name may still be looked up that nobody waits for.
    runtime.shutdown_background();
    answer
}

async fn ask(access: Access, options: &Options) -> Result<Answer, CollectError> {
    let Pods { pods, are_more } = pods::list(&access, options).await?;
    if pods.is_empty() {
        return Err(CollectError::NoPods {
            namespace: options.namespace.clone(),
            selector: options.selector.clone(),
        });
    }
    let mut taken = Taken::default();
    if are_more {
        let text = format!("there are more than {MAX_PODS} pods; the others were not asked");
        taken.missing.push(text);
    }
    let mut waiting = pods.iter().enumerate();
    let mut asked = JoinSet::new();
    // Those that came before their turn: reports are added in the order of their nodes, so that the
    // same reports give the same answer.
    let mut early: BTreeMap<usize, Result<Answer, String>> = BTreeMap::new();
    let mut next = 0;
    loop {
        while asked.len() < AT_ONCE
            && let Some((number, pod)) = waiting.next()
        {
            let (access, options, pod) = (access.clone(), options.clone(), pod.clone());
            asked.spawn(async move { (number, report(&access, &options, &pod).await) });
        }
        match asked.join_next().await {
            None => break,
            Some(Ok((number, report))) => _ = early.insert(number, report),
            // It was never ended from here, so it has a defect: its pod is told below.
            Some(Err(error)) => tracing::warn!(%error, "asking a pod failed"),
        }
        while let Some(report) = early.remove(&next) {
            if let Some(pod) = pods.get(next) {
                taken.add(pod, report);
            }
            next += 1;
        }
    }
    for (number, pod) in pods.iter().enumerate().skip(next) {
        let report = early.remove(&number);
        taken.add(
            pod,
            report.unwrap_or_else(|| Err("was not asked".to_owned())),
        );
    }
    taken.finish(pods.len(), options)
}

/// The report of a pod, or why there is none.
async fn report(access: &Access, options: &Options, pod: &Pod) -> Result<Answer, String> {
    match pod.phase.as_str() {
        "Running" => {}
        "" => return Err("is not Running".to_owned()),
        phase => return Err(format!("is {phase}, not Running")),
    }
    let path = format!(
        "/api/v1/namespaces/{}/pods/http:{}:{}/proxy/v1/report",
        escaped(&options.namespace),
        escaped(&pod.name),
        options.port
    );
    let body = match fetch(access, &path, options.request_timeout).await {
        Ok(body) => body,
        Err(AskError::Silent) => {
            let time = options.request_timeout.as_secs_f64();
            return Err(format!("no answer in {time} s (--request-timeout)"));
        }
        Err(why) => {
            let advice = error::advice(&why, &options.namespace);
            return Err(format!("{why}{advice}"));
        }
    };
    Answer::from_json(&body).map_err(|why| why.to_string())
}

/// What the pods said.
#[derive(Default)]
struct Taken {
    /// Reports that go together. There is more than one group while a policy is rolled out.
    groups: Vec<Group>,
    /// Which pods gave no report, and why.
    missing: Vec<String>,
}

/// Reports about the same policies.
struct Group {
    policies: Vec<String>,
    controls: Vec<Control>,
    /// Where they are from.
    pods: Vec<Pod>,
    merger: Merger,
}

impl Taken {
    fn add(&mut self, pod: &Pod, report: Result<Answer, String>) {
        let answer = match report {
            Ok(answer) => answer,
            Err(why) => return self.missing.push(format!("{}: {why}", pod.place())),
        };
        let is_same = |group: &&mut Group| {
            group.policies == answer.policies && group.controls == answer.controls
        };
        let group = match self.groups.iter_mut().find(is_same) {
            Some(group) => group,
            None => self.groups.push_mut(Group {
                policies: answer.policies.clone(),
                controls: answer.controls.clone(),
                pods: Vec::new(),
                merger: Merger::default(),
            }),
        };
        match group.merger.add(pod.place(), answer) {
            Ok(()) => group.pods.push(pod.clone()),
            Err(why) => self.missing.push(format!("{}: {why:?}", pod.place())),
        }
    }

    /// The answer of the largest group; of those that are as large, of the first.
    fn finish(mut self, asked: usize, options: &Options) -> Result<Answer, CollectError> {
        let largest = self.groups.iter().map(|group| group.pods.len()).max();
        let place = self
            .groups
            .iter()
            .position(|group| Some(group.pods.len()) == largest);
        let Some(place) = place else {
            return Err(CollectError::NoReport {
                namespace: options.namespace.clone(),
                reasons: self.missing,
            });
        };
        let chosen = self.groups.swap_remove(place);
        for group in &self.groups {
            let other = match group.policies == chosen.policies {
                true => "the same policies with other controls".to_owned(),
                false => format!("policy {}", group.policies.join(", ")),
            };
            let most = chosen.policies.join(", ");
            for pod in &group.pods {
                let place = pod.place();
                self.missing.push(format!(
                    "{place}: its report is about {other}, those of most pods about {most}; left out"
                ));
            }
        }
        let mut by_node: BTreeMap<&str, usize> = BTreeMap::new();
        for pod in &chosen.pods {
            *by_node.entry(&pod.node).or_default() += 1;
        }
        let answered = chosen.pods.len();
        let mut notes = vec![format!(
            "reports of {answered} of {asked} pods, on {} nodes; of a node without such a pod nothing \
             is known",
            by_node.len()
        )];
        for (node, pods) in by_node.into_iter().filter(|(_, pods)| *pods > 1) {
            notes.push(format!(
                "node {node}: {pods} pods have reported, so its containers count {pods} times"
            ));
        }
        Ok(chosen.merger.finish(self.missing, notes))
    }
}
