//! What the policies allow, and who uses it: what nobody uses can be taken away.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::event::{CAPABLE, ROOT_WRITE};
use crate::needs::clauses::clauses;
use crate::needs::{Needs, Uses};
use crate::policies::Policies;

/// A clause of a policy that allows something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// The policy.
    pub policy: String,
    /// The control that it belongs to.
    pub control: Control,
    /// The clause: `allowedCapabilities: NET_ADMIN`.
    pub clause: String,
    /// The workloads that were seen to use it; `null` if that was not observed.
    pub used_by: Option<BTreeSet<String>>,
    /// The workloads whose pods ask for it; `null` if none was read.
    pub declared_by: Option<BTreeSet<String>>,
}

impl Allowance {
    /// Whether nobody was seen to use it, although that was looked for.
    pub fn is_unused(&self) -> bool {
        self.used_by.as_ref().is_some_and(BTreeSet::is_empty)
    }

    /// Whether nobody asks for it, as far as was read.
    pub fn is_undeclared(&self) -> bool {
        self.declared_by.as_ref().is_none_or(BTreeSet::is_empty)
    }

    /// Adds what another node has seen of it.
    pub(super) fn add(&mut self, other: Self) {
        let sets = [
            (&mut self.used_by, other.used_by),
            (&mut self.declared_by, other.declared_by),
        ];
        for (own, of_other) in sets {
            if let Some(of_other) = of_other {
                own.get_or_insert_default().extend(of_other);
            }
        }
    }
}

/// The allowances of all policies. `unseen` are the types of events that did not come; `None` if nothing
/// was watched. Of `uncertain` controls something is unknown of some workload.
pub(super) fn allowances(
    policies: &Policies,
    needs: &BTreeMap<String, &Needs>,
    unseen: Option<&[&str]>,
    uncertain: &BTreeSet<Control>,
    has_declared: bool,
) -> Vec<Allowance> {
    let observed: Vec<(&String, Uses)> = needs
        .iter()
        .filter_map(|(id, needs)| Some((id, needs.all_observed()?)))
        .collect();
    let is_observed = |control: Control| {
        unseen.is_some_and(|unseen| match control {
            Control::Capabilities => !unseen.contains(&CAPABLE),
            Control::ReadOnlyRootFilesystem => !unseen.contains(&ROOT_WRITE),
            // A node knows the handler, not the class.
            Control::RuntimeClass => false,
            _ => true,
        })
    };
    // That nobody was seen to use it says nothing where somebody may.
    let used_by = |users: BTreeSet<String>, control: Control| {
        let is_certain = !users.is_empty() || !uncertain.contains(&control);
        (is_observed(control) && is_certain).then_some(users)
    };
    let each = policies.each.iter();
    each.flat_map(|policy| {
        let clauses = clauses(&policy.policy).into_iter();
        clauses.map(|clause| {
            let used = observed.iter().filter(|(_, uses)| clause.is_used(uses));
            let declared = needs.iter().filter(|(_, needs)| {
                let declared = needs.declared.as_ref();
                declared.is_some_and(|uses| clause.is_used(uses))
            });
            Allowance {
                policy: policy.name.clone(),
                control: clause.control,
                used_by: used_by(used.map(|(id, _)| (*id).clone()).collect(), clause.control),
                declared_by: has_declared.then(|| declared.map(|(id, _)| id.clone()).collect()),
                clause: clause.text,
            }
        })
    })
    .collect()
}
