//! Why there is no report of a cluster, and what would help.

use std::io;

use hyper::StatusCode;
use thiserror::Error;

use super::Options;
use crate::context::cluster::{Access, AskError, ConfigError};
use crate::rules::escape;

/// How many reasons are told.
const MAX_REASONS: usize = 10;

/// Why there is no report of a cluster.
#[derive(Debug, Error)]
pub enum CollectError {
    /// It is not known which API server to ask, or as whom.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nothing can be asked at all.
    #[error("cannot start: {0}")]
    Start(io::Error),
    /// The API server does not list the pods.
    #[error("the API server {server} does not list the pods of the agents: {why}")]
    List {
        /// Its host and port.
        server: String,
        /// Why not, and what would help.
        why: String,
    },
    /// There is no such pod.
    #[error(
        "no pod in the namespace {namespace} has the labels {selector}: are the agents there \
         (kubectl apply -k deploy/overlays/...)? --namespace and --selector name others"
    )]
    NoPods {
        /// Where.
        namespace: String,
        /// Which.
        selector: String,
    },
    /// No pod gave a report.
    #[error("none of the pods in the namespace {namespace} gave a report:{}", listed(.reasons))]
    NoReport {
        /// Where.
        namespace: String,
        /// Each pod and its reason.
        reasons: Vec<String>,
    },
}

impl CollectError {
    pub(super) fn list(access: &Access, options: &Options, why: AskError) -> Self {
        let advice = match &why {
            AskError::Broken(_) | AskError::Silent => {
                "; kubectl cluster-info tells whether kubectl reaches it"
            }
            AskError::Refused { status, .. } if *status == StatusCode::BAD_REQUEST => {
                "; is --selector right?"
            }
            AskError::Refused { status, .. } if *status == StatusCode::GONE => {
                "; the list has changed too much meanwhile: try again"
            }
            _ => "",
        };
        Self::List {
            server: access.authority().to_owned(),
            why: format!(
                "{}{advice}{}",
                escape(&why.to_string()),
                self::advice(&why, &options.namespace)
            ),
        }
    }
}

/// What helps whom the API server refuses.
pub(super) fn advice(why: &AskError, namespace: &str) -> String {
    match why {
        AskError::Refused { status, .. } if *status == StatusCode::UNAUTHORIZED => {
            "; the token or certificate is not valid there: kubectl auth whoami tells".to_owned()
        }
        AskError::Refused { status, .. } if *status == StatusCode::FORBIDDEN => format!(
            "; it takes list of pods and get of pods/proxy in the namespace {namespace}, which the Role \
             falco-psp-report-reader gives (deploy/base/report-reader.yaml): kubectl -n {namespace} \
             create rolebinding NAME --role=falco-psp-report-reader --user=USER"
        ),
        _ => String::new(),
    }
}

fn listed(reasons: &[String]) -> String {
    let mut text = String::new();
    for reason in reasons.iter().take(MAX_REASONS) {
        text.push_str("\n  ");
        text.push_str(&escape(reason));
    }
    match reasons.len().saturating_sub(MAX_REASONS) {
        0 => {}
        more => text.push_str(&format!("\n  and {more} more")),
    }
    text
}
