//! The summary at the end of a run: what was found, and what was not seen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use falco_psp_common::record::Kind;

use super::tally::Tally;
use crate::agent::Fates;
use crate::container::Container;
use crate::policies::Policies;
use crate::rules::{RuleSet, escape};
use crate::sources::syscall::ledger::Counts;

/// All that a summary tells.
pub struct Summary<'a> {
    /// How long the run took.
    pub elapsed: Duration,
    /// The policies whose rules judged.
    pub policies: &'a Policies,
    /// These rules, then the user's own.
    pub rules: &'a RuleSet,
    /// What they found.
    pub tally: &'a Tally,
    /// The containers that were seen.
    pub containers: Vec<&'a Arc<Container>>,
    /// The kernel side's ledger.
    pub ledger: Vec<(Kind, Counts)>,
    /// What became of the records.
    pub fates: Fates,
}

/// What a policy's scope rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The image.
    pub images: bool,
    /// The namespace.
    pub namespaces: bool,
}

impl Summary<'_> {
    /// The summary as text of several lines.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.violations(&mut text);
        let _ = self.not_seen(&mut text);
        let _ = self.events(&mut text);
        text
    }

    /// Only what was found.
    pub fn found(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.violations(&mut text);
        text
    }

    fn violations(&self, text: &mut String) -> std::fmt::Result {
        let mut by_container: BTreeMap<&str, Vec<(usize, u64)>> = BTreeMap::new();
        for (id, rule, count) in self.tally.counts() {
            by_container.entry(id).or_default().push((rule, count));
        }
        let watched = self.containers.len();
        let seconds = self.elapsed.as_secs_f64();
        let what = match self.policies.each.len() {
            0 => "fire a rule",
            1 => "violate the policy",
            _ => "violate a policy",
        };
        match by_container.len() {
            0 => writeln!(
                text,
                "no violation in {watched} containers in {seconds:.0} s"
            )?,
            violating => writeln!(
                text,
                "{violating} of {watched} containers {what} (seen in {seconds:.0} s):"
            )?,
        }
        for (id, counts) in by_container {
            let container = self.containers.iter().find(|container| container.id == id);
            match container {
                Some(container) => writeln!(text, "  {}", describe(container))?,
                None => writeln!(text, "  {}", escape(id))?,
            }
            for (index, count) in counts {
                let rule = self.rules.rules().get(index);
                let mut name = rule.map_or_else(String::new, |rule| {
                    let of_policy = self.policies.policy_of(index).is_some();
                    let control = rule.control().filter(|_| of_policy);
                    let control = control.map(|control| control.name());
                    control.unwrap_or(&rule.name).to_owned()
                });
                let policy = self.policies.policy_of(index);
                let policy = policy.and_then(|policy| self.policies.each.get(policy));
                if let Some(policy) = policy.filter(|_| self.policies.each.len() > 1) {
                    name = format!("{}: {name}", escape(&policy.name));
                }
                writeln!(text, "    {name:<26}{count:>10}")?;
            }
        }
        Ok(())
    }

    /// What weakens the answer.
    fn not_seen(&self, text: &mut String) -> std::fmt::Result {
        if !self.policies.unobserved.is_empty() {
            let names: Vec<&str> = self.policies.unobserved.iter().map(|c| c.name()).collect();
            writeln!(
                text,
                "not observed, though the policy restricts it: {}",
                names.join(", ")
            )?;
        }
        type IsUnknown = fn(&Container) -> bool;
        let facts: [(&str, IsUnknown, bool); 6] = [
            ("privileged", |c| c.privileged.is_none(), true),
            ("host namespaces", |c| c.host_network.is_none(), true),
            ("read-only root", |c| c.root_read_only.is_none(), true),
            ("volumes", |c| c.volumes.is_none(), true),
            ("image", |c| c.image.is_none(), self.policies.scope.images),
            (
                "namespace",
                |c| c.pod.as_ref().is_none_or(|pod| pod.namespace.is_none()),
                self.policies.scope.namespaces,
            ),
        ];
        for (fact, is_unknown, matters) in facts {
            let containers = self.containers.iter();
            let unknown = containers.filter(|container| is_unknown(container)).count();
            if matters && unknown > 0 {
                writeln!(text, "unknown: {fact} of {unknown} containers; not judged")?;
            }
        }
        if self.fates.unreadable > 0 {
            let count = self.fates.unreadable;
            writeln!(
                text,
                "unknown: {count} processes of containers could not be read"
            )?;
        }
        if self.fates.unknown_origin > 0 {
            writeln!(
                text,
                "unknown: {} processes that ran before run a program that is in no file; not judged",
                self.fates.unknown_origin
            )?;
        }
        let lost: u64 = self.ledger.iter().map(|(_, counts)| counts.lost()).sum();
        if lost > 0 {
            writeln!(
                text,
                "{lost} EVENTS WERE LOST: violations may be missing (see --ring-size)"
            )?;
        }
        Ok(())
    }

    fn events(&self, text: &mut String) -> std::fmt::Result {
        for (kind, counts) in &self.ledger {
            writeln!(text, "{}: {counts}", kind.name())?;
        }
        let Fates {
            judged,
            set_up,
            no_container,
            sandbox,
            undecodable,
            unreadable: _,
            unknown_origin: _,
        } = self.fates;
        writeln!(
            text,
            "agent: judged {judged}, runtime set-up {set_up}, no container {no_container}, \
             sandbox {sandbox}, undecodable {undecodable}"
        )
    }
}

/// A container in one line: `namespace/pod/name (id image)`.
fn describe(container: &Container) -> String {
    let pod = container.pod.as_ref();
    let parts = [
        pod.and_then(|pod| pod.namespace.as_deref()),
        pod.and_then(|pod| pod.name.as_deref()),
        container.name.as_deref(),
    ];
    let name: Vec<&str> = parts.into_iter().flatten().collect();
    let mut text = name.join("/");
    if text.is_empty() {
        text.push_str("container");
    }
    let image = container.image.as_deref().unwrap_or("image unknown");
    let _ = write!(text, " ({}, {image})", container.short_id());
    escape(&text).into_owned()
}
