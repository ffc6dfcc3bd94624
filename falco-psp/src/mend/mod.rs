//! What would mend a workload that a policy breaks: a change of its specification, as far as what it was
//! seen to do tells one, or a change of the policy.
//!
//! Proposals only: the rules judge whether they do what they should.

mod files;
pub mod policy;
pub mod spec;

use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::needs::{Needs, Uses};
use crate::psp::Policy;
use crate::yaml::edit::{Edit, Step, flow};
pub use files::{By, MendError, Mended, Of, mend};

/// Something that would mend a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// What is to be changed.
    pub of: Target,
    /// The change: a patch of the pod's `spec`, or what the policy is to have.
    pub change: String,
    /// What it rests on, and what may be in its way.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub because: String,
}

/// What is to be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The pod's specification.
    Spec,
    /// The policy of this name.
    Policy(String),
}

/// What would mend this control of a workload that `policy` breaks.
pub fn proposals(policy: &Policy, control: Control, needs: &Needs) -> Vec<Proposal> {
    let mut proposals = Vec::new();
    if let Some(change) = spec::change(policy, control, needs) {
        proposals.push(Proposal {
            of: Target::Spec,
            change: flow(&change.patch()),
            because: change.because,
        });
    }
    let changes = policy::changes(policy, control, &all(needs));
    if !changes.is_empty() {
        let changes: Vec<String> = changes.iter().map(describe).collect();
        proposals.push(Proposal {
            of: Target::Policy(policy.name.clone()),
            change: changes.join("; "),
            because: String::new(),
        });
    }
    proposals
}

/// All that a workload needs, declared or observed.
fn all(needs: &Needs) -> Uses {
    let mut all = needs.all_observed().unwrap_or_default();
    if let Some(declared) = &needs.declared {
        all.absorb(declared);
    }
    all
}

/// A change as one would say it: `spec.allowedCapabilities: + NET_ADMIN`.
fn describe(edit: &Edit) -> String {
    let (path, sign, value) = match edit {
        Edit::Set(path, value) => (path, "", value),
        Edit::Add(path, value) => (path, "+ ", value),
    };
    let steps = path.iter().map(|step| match step {
        Step::Key(key) => key.clone(),
        Step::Item(index) => index.to_string(),
    });
    let path: Vec<String> = steps.collect();
    format!("{}: {sign}{}", path.join("."), flow(value))
}
