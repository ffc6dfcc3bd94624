//! The answer as objects of `wgpolicyk8s.io/v1alpha2`, which dashboards of clusters show: a
//! PolicyReport for each namespace, a ClusterPolicyReport for what is in none.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::text::cut;
use super::{Answer, Cell, State, Verdict, Workload};
use crate::rules::escape;

/// How large an object gets, as JSON. etcd takes 1.5 MiB, and the API server adds something.
const MAX_OBJECT: usize = 1_000_000;
/// What is kept of that for the result that tells what was left out.
const RESERVE: usize = 4096;
/// The longest message, in characters.
const MAX_MESSAGE: usize = 1000;
/// The longest annotation, in characters.
const MAX_ANNOTATION: usize = 10_000;
/// The longest name that Kubernetes allows.
const MAX_NAME: usize = 253;
const CATEGORY: &str = "PodSecurityPolicy";
const SOURCE: &str = "falco-psp";

/// See [`Answer::policy_reports`].
pub(super) fn policy_reports(answer: &Answer, now: Timestamp) -> Result<String, Error> {
    let mut namespaces: BTreeMap<&str, Vec<&Workload>> = BTreeMap::new();
    for workload in &answer.workloads {
        let workloads = namespaces.entry(&workload.namespace).or_default();
        workloads.push(workload);
    }
    // What was not seen is to be read in any case.
    if namespaces.is_empty() {
        namespaces.insert("", Vec::new());
    }
    let mut text = String::new();
    for (namespace, workloads) in namespaces {
        text += "---\n";
        let report = Report::new(answer, namespace, &workloads, now)?;
        text += &serde_yaml::to_string(&report)?;
    }
    Ok(text)
}

/// Why there are no objects: never with what an answer is made of.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not as YAML.
    #[error(transparent)]
    Yaml(#[from] serde_yaml::Error),
    /// Not as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    summary: Summary,
    results: Vec<Outcome>,
}

#[derive(Serialize)]
struct Metadata {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    labels: BTreeMap<&'static str, &'static str>,
    annotations: BTreeMap<&'static str, String>,
}

/// How many cells there are of each outcome, those that were left out included.
#[derive(Default, Serialize)]
struct Summary {
    pass: usize,
    fail: usize,
    warn: usize,
    error: usize,
    skip: usize,
}

/// A `PolicyReportResult`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    policy: String,
    rule: &'static str,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<&'static str>,
    scored: bool,
    category: &'static str,
    source: &'static str,
    timestamp: Time,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resources: Vec<Resource>,
    properties: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Time {
    seconds: i64,
    nanos: i32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<&'static str>,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    name: String,
}

impl Report {
    fn new(
        answer: &Answer,
        namespace: &str,
        workloads: &[&Workload],
        now: Timestamp,
    ) -> Result<Self, Error> {
        let kind = match namespace {
            "" => "ClusterPolicyReport",
            _ => "PolicyReport",
        };
        let mut report = Self {
            api_version: "wgpolicyk8s.io/v1alpha2",
            kind,
            metadata: Metadata::new(answer, namespace),
            summary: Summary::default(),
            results: Vec::new(),
        };
        let cells = workloads.iter().flat_map(|workload| {
            let cells = workload.cells.iter();
            cells.map(move |cell| (*workload, cell))
        });
        let mut cells: Vec<(&Workload, &Cell)> = cells.collect();
        for (_, cell) in &cells {
            report.summary.count(cell.state);
        }
        cells.retain(|(_, cell)| cell.state != State::Fine);
        cells.sort_by_key(|(_, cell)| Reverse(cell.state));
        let policy = policy(answer);
        let mut size = serde_json::to_string(&report)?.len() + RESERVE;
        for (workload, cell) in &cells {
            let outcome = Outcome::of(&policy, workload, cell, now);
            size += serde_json::to_string(&outcome)?.len() + 1;
            if size > MAX_OBJECT {
                break;
            }
            report.results.push(outcome);
        }
        let left_out = cells.len() - report.results.len();
        if left_out > 0 {
            let annotations = &mut report.metadata.annotations;
            annotations.insert("falco-psp-left-out", left_out.to_string());
            report
                .results
                .push(Outcome::left_out(policy, left_out, now));
        }
        Ok(report)
    }
}

impl Metadata {
    fn new(answer: &Answer, namespace: &str) -> Self {
        let verdict = match answer.verdict {
            Verdict::Safe => "safe",
            Verdict::Breaks => "breaks",
            Verdict::NotEnoughSeen => "not_enough_seen",
        };
        let mut annotations = BTreeMap::from([
            ("falco-psp-verdict", verdict.to_owned()),
            (
                "falco-psp-headline",
                cut(&escape(&answer.headline()), MAX_ANNOTATION),
            ),
            ("falco-psp-basis", answer.basis()),
        ]);
        for (key, texts) in [
            ("falco-psp-not-seen", &answer.weaknesses),
            ("falco-psp-notes", &answer.notes),
        ] {
            if !texts.is_empty() {
                let texts: Vec<_> = texts.iter().map(|text| escape(text)).collect();
                annotations.insert(key, cut(&texts.join("\n"), MAX_ANNOTATION));
            }
        }
        Self {
            name: object_name(&answer.policies),
            namespace: in_namespace(namespace),
            labels: BTreeMap::from([("app.kubernetes.io/managed-by", SOURCE)]),
            annotations,
        }
    }
}

impl Summary {
    fn count(&mut self, state: State) {
        let count = match outcome(state) {
            "pass" => &mut self.pass,
            "fail" => &mut self.fail,
            "warn" => &mut self.warn,
            _ => &mut self.skip,
        };
        *count += 1;
    }
}

impl Outcome {
    fn of(policy: &str, workload: &Workload, cell: &Cell, now: Timestamp) -> Self {
        let mut properties = BTreeMap::from([("state", cell.state.name().to_owned())]);
        let mut time = now;
        if let Some((count, first, last)) = cell.times() {
            time = last.parse().unwrap_or(now);
            properties.insert("count", count.to_string());
            properties.insert("first", cut(&escape(first), MAX_NAME));
            properties.insert("last", cut(&escape(last), MAX_NAME));
        }
        if let Some(place) = workload.places.first() {
            properties.insert("place", cut(&escape(place), MAX_MESSAGE));
        }
        let severity = match cell.state {
            state if state.is_broken() => Some("high"),
            State::Changed => Some("low"),
            _ => None,
        };
        Self {
            policy: policy.to_owned(),
            rule: cell.control.name(),
            result: outcome(cell.state),
            severity,
            scored: cell.state.is_broken(),
            category: CATEGORY,
            source: SOURCE,
            timestamp: Time::of(time),
            message: cut(&cell.message(), MAX_MESSAGE),
            resources: vec![Resource::of(workload)],
            properties,
        }
    }

    /// What tells that there are more.
    fn left_out(policy: String, count: usize, now: Timestamp) -> Self {
        Self {
            policy,
            rule: "left-out",
            result: "skip",
            severity: None,
            scored: false,
            category: CATEGORY,
            source: SOURCE,
            timestamp: Time::of(now),
            message: format!(
                "{count} more results are only counted in the summary, as the object would be too \
                 large; the worst are here, all are in the report in JSON"
            ),
            resources: Vec::new(),
            properties: BTreeMap::from([("left-out", count.to_string())]),
        }
    }
}

impl Time {
    fn of(time: Timestamp) -> Self {
        Self {
            seconds: time.as_second(),
            nanos: time.subsec_nanosecond().max(0),
        }
    }
}

impl Resource {
    fn of(workload: &Workload) -> Self {
        let api_version = match &*workload.kind {
            "Pod" | "PodTemplate" | "ReplicationController" => Some("v1"),
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => Some("apps/v1"),
            "Job" | "CronJob" => Some("batch/v1"),
            _ => None,
        };
        Self {
            api_version,
            kind: cut(&escape(&workload.kind), MAX_NAME),
            namespace: in_namespace(&workload.namespace),
            name: cut(&escape(&workload.name), MAX_NAME),
        }
    }
}

fn outcome(state: State) -> &'static str {
    match state {
        State::Fine => "pass",
        State::Unknown => "skip",
        State::Changed => "warn",
        State::Breaks | State::Denied => "fail",
    }
}

fn in_namespace(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| cut(&escape(name), MAX_NAME))
}

fn policy(answer: &Answer) -> String {
    cut(&escape(&answer.policies.join(", ")), MAX_MESSAGE)
}

/// A name that Kubernetes takes, of what the policies are called.
fn object_name(policies: &[String]) -> String {
    let name = format!("falco-psp-{}", policies.join("-")).to_lowercase();
    let chars = name.chars().map(|c| match c {
        'a'..='z' | '0'..='9' | '.' => c,
        _ => '-',
    });
    let name: String = chars.take(MAX_NAME).collect();
    // What is between the dots begins and ends with a letter or a digit.
    let parts = name.split('.').map(|part| part.trim_matches('-'));
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use serde_yaml::Value;

    use super::super::tests::{cell, nothing, of};
    use super::*;
    use crate::control::Control;

    fn read(answer: &Answer) -> Vec<Value> {
        let text = answer.policy_reports().unwrap();
        let documents = serde_yaml::Deserializer::from_str(&text);
        documents.map(|d| Value::deserialize(d).unwrap()).collect()
    }

    #[test]
    fn an_answer_of_nothing_is_one_object_that_says_so() {
        let objects = read(&nothing());
        assert_eq!(objects.len(), 1);
        assert_eq!(objects[0]["kind"], "ClusterPolicyReport");
        assert_eq!(objects[0]["results"].as_sequence().unwrap().len(), 0);
        let annotations = &objects[0]["metadata"]["annotations"];
        assert_eq!(annotations["falco-psp-verdict"], "not_enough_seen");
        assert_eq!(annotations["falco-psp-not-seen"], "no report was given");
    }

    #[test]
    fn each_namespace_has_an_object() {
        let mut answer = of("b", "PSP p Violation (capabilities) x");
        let mut others = ["a", "c", ""].map(|namespace| {
            let mut workload = of("w", "x").workloads.remove(0);
            workload.namespace = namespace.to_owned();
            workload.kind = "Container".to_owned();
            workload
        });
        others[1].cells[0].state = State::Changed;
        let unknown = cell(Control::Seccomp, State::Unknown, "");
        let fine = cell(Control::FsGroup, State::Fine, "");
        answer.workloads[0].cells.splice(0..0, [fine, unknown]);
        answer.workloads.extend(others);
        let objects = read(&answer);
        let ids: Vec<(Option<&str>, Option<&str>)> = objects
            .iter()
            .map(|object| {
                (
                    object["kind"].as_str(),
                    object["metadata"]["namespace"].as_str(),
                )
            })
            .collect();
        assert_eq!(
            ids,
            [
                (Some("ClusterPolicyReport"), None),
                (Some("PolicyReport"), Some("a")),
                (Some("PolicyReport"), Some("c")),
                (Some("PolicyReport"), Some("n")),
            ]
        );
        let object = &objects[3];
        assert_eq!(object["metadata"]["name"], "falco-psp-p");
        for (outcome, count) in [
            ("pass", 1),
            ("fail", 1),
            ("warn", 0),
            ("error", 0),
            ("skip", 1),
        ] {
            assert_eq!(object["summary"][outcome], count, "{outcome}");
        }
        let results = object["results"].as_sequence().unwrap();
        assert_eq!(results.len(), 2);
        assert_eq!(
            (&results[0]["result"], &results[1]["result"]),
            (&"fail".into(), &"skip".into())
        );
        assert_eq!(results[0]["message"], "x");
        // When it was seen last.
        assert_eq!(results[0]["timestamp"]["seconds"], 1_767_225_601);
        assert_eq!(results[0]["resources"][0]["apiVersion"], "v1");
        assert_eq!(objects[2]["results"][0]["result"], "warn");
        assert_eq!(
            objects[0]["results"][0]["resources"][0]["namespace"],
            Value::Null
        );
    }

    #[test]
    fn hostile_names_stay_text() {
        for name in [
            "yes",
            "1e3",
            "a: b",
            "- x",
            "\"\n\u{1b}---\n",
            "0x1f",
            "~",
            "!!int 3",
        ] {
            let text = format!("PSP p Violation (capabilities) {name}");
            let mut answer = of(name, &text);
            answer.workloads[0].namespace = name.to_owned();
            let objects = read(&answer);
            assert_eq!(objects.len(), 1, "{name}");
            let expected: Value = escape(name).into_owned().into();
            assert_eq!(objects[0]["metadata"]["namespace"], expected);
            let result = &objects[0]["results"][0];
            assert_eq!(result["resources"][0]["name"], expected);
            assert_eq!(result["message"], expected);
        }
    }

    #[test]
    fn objects_are_small_and_keep_the_worst() {
        let mut answer = of("web", "x");
        let long = "\u{1b}".repeat(5000);
        for n in 0..3000 {
            let mut workload = of(&format!("{n}"), &long).workloads.remove(0);
            workload.places = vec![format!("{}:1", "p".repeat(10_000))];
            let state = if n == 2999 {
                State::Denied
            } else {
                State::Unknown
            };
            workload.cells[0].state = state;
            workload
                .cells
                .push(cell(Control::FsGroup, State::Changed, &long));
            answer.workloads.push(workload);
        }
        answer.weaknesses = vec![long.clone(); 100];
        answer.policies = vec!["P".repeat(10_000)];
        let text = answer.policy_reports().unwrap();
        let objects = read(&answer);
        assert_eq!(objects.len(), 1);
        let stored = serde_json::to_string(&objects[0]).unwrap().len();
        assert!(stored < 1 << 20, "{stored}");
        assert!(text.len() < 5 << 18, "{}", text.len());
        let results = objects[0]["results"].as_sequence().unwrap();
        assert_eq!(results[0]["properties"]["state"], "denied");
        assert_eq!(results[1]["properties"]["state"], "breaks");
        assert_eq!(results[2]["properties"]["state"], "changed");
        let last = results.last().unwrap();
        assert_eq!(
            (&last["rule"], &last["result"]),
            (&"left-out".into(), &"skip".into())
        );
        let left_out: usize = last["properties"]["left-out"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        // The last one only tells of them.
        assert_eq!(results.len() - 1 + left_out, 6001);
        let annotations = &objects[0]["metadata"]["annotations"];
        assert_eq!(annotations["falco-psp-left-out"], left_out.to_string());
        assert_eq!(objects[0]["summary"]["warn"], 3000);
        assert_eq!(objects[0]["summary"]["skip"], 2999);
    }

    #[test]
    fn objects_have_names_that_kubernetes_takes() {
        for (policies, expected) in [
            (&["restricted"][..], "falco-psp-restricted"),
            (&["A_b", "c."], "falco-psp-a-b-c"),
            (&["x.-.y-"], "falco-psp-x.y"),
            (&["ü"], "falco-psp"),
            (&[], "falco-psp"),
        ] {
            let policies: Vec<String> = policies.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(object_name(&policies), expected);
        }
        assert_eq!(object_name(&["a".repeat(300)]).len(), MAX_NAME);
    }
}
