//! `/v1/policy`: what is in force.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::own_rules::OwnRules;
use crate::policies::Policies;
use crate::reload::{Failure, Reloads};

/// Since when each policy is in force.
#[derive(Debug, Default)]
pub struct Since {
    /// By file and hash, so that a policy that a reload leaves as it is keeps its time.
    times: HashMap<(String, String), Timestamp>,
}

impl Since {
    /// Takes note of what is in force from now on.
    pub fn note(&mut self, policies: &Policies, own: &OwnRules) {
        let now = Timestamp::now();
        let before = std::mem::take(&mut self.times);
        for key in digests(policies, own) {
            let time = before.get(&key).copied().unwrap_or(now);
            self.times.insert(key, time);
        }
    }

    fn of(&self, file: &str, sha256: &str) -> Option<String> {
        let key = (file.to_owned(), sha256.to_owned());
        self.times.get(&key).map(Timestamp::to_string)
    }
}

/// The files that are in force, each with the hash of its bytes.
pub fn digests(policies: &Policies, own: &OwnRules) -> Vec<(String, String)> {
    let of_policies = policies.each.iter().map(|policy| &policy.source);
    let mut all: Vec<(String, String)> = of_policies
        .chain(&own.sources)
        .map(|source| (source.file.clone(), source.sha256.clone()))
        .collect();
    all.sort();
    all
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    policies: Vec<DocumentPolicy<'a>>,
    rules_files: Vec<DocumentFile<'a>>,
    /// How many rules the rules files have.
    rules: usize,
    reloads: DocumentReloads<'a>,
}

#[derive(Serialize)]
struct DocumentPolicy<'a> {
    name: &'a str,
    #[serde(flatten)]
    file: DocumentFile<'a>,
    rules: usize,
}

#[derive(Serialize)]
struct DocumentFile<'a> {
    file: &'a str,
    sha256: &'a str,
    since: Option<String>,
}

#[derive(Serialize)]
struct DocumentReloads<'a> {
    succeeded: u64,
    failed: u64,
    /// Of the last reload, if it failed.
    error: Option<&'a Failure>,
}

/// The page.
pub fn document(policies: &Policies, own: &OwnRules, since: &Since, reloads: &Reloads) -> String {
    let file = |source: &'_ crate::policies::SourceFile| since.of(&source.file, &source.sha256);
    let document = Document {
        version: 1,
        policies: policies
            .each
            .iter()
            .map(|policy| DocumentPolicy {
                name: &policy.name,
                file: DocumentFile {
                    file: &policy.source.file,
                    sha256: &policy.source.sha256,
                    since: file(&policy.source),
                },
                rules: policy.rules.len(),
            })
            .collect(),
        rules_files: own
            .sources
            .iter()
            .map(|source| DocumentFile {
                file: &source.file,
                sha256: &source.sha256,
                since: file(source),
            })
            .collect(),
        rules: own.rules.rules().len(),
        reloads: DocumentReloads {
            succeeded: reloads.succeeded,
            failed: reloads.failed,
            error: reloads.error.as_ref(),
        },
    };
    // Texts and numbers: cannot fail.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}
