//! Whether objects are what the API server and the operators take: each is read into the types of
//! its API and written again, and nothing may be lost or changed on the way.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment},
    core::v1::{ConfigMap, Namespace, Service, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// What is wrong with an object, if anything.
pub(crate) fn check(object: &Value) -> Result<(), String> {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default();
    match (version, kind) {
        ("v1", "Namespace") => as_type::<Namespace>(object),
        ("v1", "ServiceAccount") => as_type::<ServiceAccount>(object),
        ("v1", "ConfigMap") => as_type::<ConfigMap>(object),
        ("v1", "Service") => as_type::<Service>(object),
        ("v1", "Config") => as_type::<Kubeconfig>(object),
        ("apps/v1", "DaemonSet") => as_type::<DaemonSet>(object),
        ("apps/v1", "Deployment") => as_type::<Deployment>(object),
        ("rbac.authorization.k8s.io/v1", "Role") => as_type::<Role>(object),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => as_type::<RoleBinding>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => as_type::<ClusterRole>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => {
            as_type::<ClusterRoleBinding>(object)
        }
        ("monitoring.coreos.com/v1", "ServiceMonitor") => as_type::<ServiceMonitor>(object),
        ("monitoring.coreos.com/v1", "PrometheusRule") => as_type::<PrometheusRule>(object),
        ("audit.k8s.io/v1", "Policy") => as_type::<AuditPolicy>(object),
        _ => Err(format!("no schema for {version} {kind}")),
    }
}

fn as_type<T: DeserializeOwned + Serialize>(object: &Value) -> Result<(), String> {
    let typed: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    let again = serde_json::to_value(typed).map_err(|error| error.to_string())?;
    let mut lost = Vec::new();
    compare("", object, &again, &mut lost);
    match lost.is_empty() {
        true => Ok(()),
        false => Err(format!("not in the API: {}", lost.join(", "))),
    }
}

/// Lists what is in `before` and not, or otherwise, in `after`.
fn compare(path: &str, before: &Value, after: &Value, lost: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let path = format!("{path}.{key}");
                match after.get(key) {
                    Some(after) => compare(&path, value, after, lost),
                    None => lost.push(path),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                compare(&format!("{path}[{index}]"), before, after, lost);
            }
        }
        _ if before == after => {}
        _ => lost.push(format!("{path} ({before} became {after})")),
    }
}

/// What is used of the Prometheus Operator's ServiceMonitor.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ServiceMonitor {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: ServiceMonitorSpec,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ServiceMonitorSpec {
    selector: k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
    namespace_selector: NamespaceSelector,
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NamespaceSelector {
    match_names: Vec<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Endpoint {
    port: String,
    path: String,
    interval: String,
    honor_labels: bool,
    relabelings: Vec<Relabeling>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Relabeling {
    source_labels: Vec<String>,
    target_label: String,
}

/// What is used of its PrometheusRule.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PrometheusRule {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: PrometheusRuleSpec,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct PrometheusRuleSpec {
    groups: Vec<RuleGroup>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RuleGroup {
    name: String,
    rules: Vec<AlertRule>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct AlertRule {
    alert: String,
    expr: String,
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pending: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

/// The file that `--audit-policy-file` of the API server names (`audit.k8s.io/v1`).
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AuditPolicy {
    api_version: String,
    kind: String,
    omit_stages: Vec<String>,
    omit_managed_fields: bool,
    rules: Vec<AuditRule>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct AuditRule {
    level: AuditLevel,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    verbs: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    resources: Vec<AuditResources>,
}

#[derive(Deserialize, Serialize)]
enum AuditLevel {
    None,
    Metadata,
    Request,
    RequestResponse,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct AuditResources {
    group: String,
    resources: Vec<String>,
}

/// The file that `--audit-webhook-config-file` names (`clientcmd/api/v1`).
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kubeconfig {
    api_version: String,
    kind: String,
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
    contexts: Vec<NamedContext>,
    #[serde(rename = "current-context")]
    current_context: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Cluster {
    server: String,
    tls_server_name: String,
    certificate_authority: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct User {
    client_certificate: String,
    client_key: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Context {
    cluster: String,
    user: String,
}
