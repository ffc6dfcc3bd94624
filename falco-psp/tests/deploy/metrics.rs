//! The metrics that alert rules and the dashboard ask for.

use std::collections::BTreeSet;

use serde_json::Value;

use super::kustomize::{self, only};

/// The metrics of `--listen`, with their labels.
const METRICS: [(&str, &[&str]); 8] = [
    ("falco_psp_kernel_events_total", &["kind", "fate"]),
    (
        "falco_psp_alerts_total",
        &["policy", "control", "namespace"],
    ),
    ("falco_psp_output_delivered_total", &["output"]),
    ("falco_psp_output_dropped_total", &["output"]),
    ("falco_psp_output_queue_depth", &["output"]),
    ("falco_psp_reloads_total", &["outcome"]),
    ("falco_psp_last_reload_successful", &[]),
    ("falco_psp_metadata_lookups_total", &["layer", "outcome"]),
];

/// The labels that Prometheus gives every metric of a target.
const OF_TARGET: [&str; 4] = ["node", "pod", "job", "instance"];

/// The words of an expression that could be names of metrics or labels.
fn words(expression: &str) -> impl Iterator<Item = &str> {
    expression
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

/// What is wrong with an expression.
fn wrong(expression: &str) -> Vec<String> {
    let mut labels: BTreeSet<&str> = OF_TARGET.into();
    let mut wrong = Vec::new();
    for word in words(expression).filter(|word| word.starts_with("falco_psp_")) {
        match METRICS.iter().find(|(name, _)| *name == word) {
            Some((_, own)) => labels.extend(*own),
            None => wrong.push(format!("no metric {word}")),
        }
    }
    wrong.extend(
        asked_labels(expression)
            .filter(|label| !labels.contains(label))
            .map(|label| format!("no label {label}")),
    );
    wrong
}

/// The labels in `by (…)` and in `{…}`.
fn asked_labels(expression: &str) -> impl Iterator<Item = &str> {
    let grouped = expression.split(" by (").skip(1).flat_map(|rest| {
        let (list, _) = rest.split_once(')').unwrap_or((rest, ""));
        list.split(',').map(str::trim)
    });
    let matched = expression.split('{').skip(1).flat_map(|rest| {
        let (list, _) = rest.split_once('}').unwrap_or((rest, ""));
        let labels = list
            .split(',')
            .filter_map(|pair| pair.split(['=', '!']).next());
        labels.map(str::trim)
    });
    grouped.chain(matched)
}

/// The expressions of the alert rules and of the dashboard.
fn expressions(objects: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let groups = &only(objects, "PrometheusRule")["spec"]["groups"];
    for rule in groups[0]["rules"].as_array().expect("rules") {
        found.push(rule["expr"].as_str().expect("an expression").to_owned());
    }
    let dashboard = dashboard(objects);
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().expect("targets") {
            found.push(target["expr"].as_str().expect("an expression").to_owned());
        }
    }
    let variables = dashboard["templating"]["list"].as_array().expect("a list");
    for variable in variables {
        found.extend(variable["definition"].as_str().map(str::to_owned));
    }
    found
}

fn dashboard(objects: &[Value]) -> Value {
    let text = objects
        .iter()
        .find_map(|object| object["data"]["falco-psp.json"].as_str());
    serde_json::from_str(text.expect("the dashboard")).expect("JSON")
}

#[test]
fn alert_rules_and_dashboard_ask_for_metrics_that_there_are() {
    if !kustomize::available() {
        return;
    }
    let expressions = expressions(&kustomize::render("prometheus"));
    let wrong: Vec<_> = expressions
        .iter()
        .flat_map(|expression| {
            let wrong = wrong(expression);
            wrong
                .into_iter()
                .map(move |why| format!("{expression}: {why}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Each is shown somewhere.
    for (name, _) in METRICS {
        assert!(
            expressions
                .iter()
                .any(|expression| expression.contains(name)),
            "{name}"
        );
    }
}

#[test]
fn what_is_wrong_with_an_expression_is_found() {
    assert_eq!(
        wrong("sum by (kind) (falco_psp_kernel_events_total{fate=\"lost\"})"),
        [""; 0]
    );
    assert_eq!(
        wrong("rate(falco_psp_event_total[5m])"),
        ["no metric falco_psp_event_total"]
    );
    assert_eq!(
        wrong("sum by (output) (falco_psp_kernel_events_total)"),
        ["no label output"]
    );
    assert_eq!(
        wrong("falco_psp_kernel_events_total{fat!=\"lost\"}"),
        ["no label fat"]
    );
}

#[test]
fn panels_of_the_dashboard_do_not_overlap() {
    if !kustomize::available() {
        return;
    }
    let dashboard = dashboard(&kustomize::render("prometheus"));
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let place = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
        assert!(ids.insert(panel["id"].as_u64()), "{}", panel["title"]);
        assert!(place("x") + place("w") <= 24, "{}", panel["title"]);
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{} at {x},{y}", panel["title"]);
            }
        }
    }
}
