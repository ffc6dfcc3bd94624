//! The summary at the end of a run: what was found, and what was not seen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use falco_psp_common::record::Kind;

use super::departed::Departed;
use super::tally::Tally;
use super::unknown::{IMAGE, LABELS, NAMESPACE};
use crate::agent::Fates;
use crate::container::Container;
use crate::context::metadata::MetadataCounts;
use crate::needs::Kept;
use crate::policies::Policies;
use crate::rules::{RuleSet, Source, escape};
use crate::sources::syscall::ledger::Counts;

/// All that a summary tells.
pub struct Summary<'a> {
    /// When the run began: nanoseconds since the Unix epoch.
    pub began_ns: u64,
    /// How long the run took.
    pub elapsed: Duration,
    /// The policies whose rules judged.
    pub policies: &'a Policies,
    /// These rules, then the user's own.
    pub rules: &'a RuleSet,
    /// What they found.
    pub tally: &'a Tally,
    /// The containers that run.
    pub containers: Vec<&'a Arc<Container>>,
    /// Those that are gone.
    pub departed: &'a Departed,
    /// The kernel side's ledger.
    pub ledger: Vec<(Kind, Counts)>,
    /// What became of the records.
    pub fates: Fates,
    /// What came of looking up what surrounds containers.
    pub metadata: MetadataCounts,
    /// What was seen, whatever the rules say of it.
    pub needs: &'a Kept,
    /// The types of events that this kernel does not give.
    pub unseen: &'a [&'static str],
}

/// What a policy's scope rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The image.
    pub images: bool,
    /// The namespace.
    pub namespaces: bool,
    /// The pod's labels.
    pub labels: bool,
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
        let named_violating = by_container
            .values()
            .filter(|counts| self.violates(counts.iter().map(|(rule, _)| *rule)));
        let named_violating = named_violating.count() as u64;
        let folded = self.tally.folded();
        let folded = folded.filter(|(rules, _)| self.violates(rules.iter().copied()));
        let folded: u64 = folded.map(|(_, folded)| folded.subjects).sum();
        let changed = by_container.len() as u64 - named_violating;
        let named = self.departed.named().count();
        let watched = (self.containers.len() + named) as u64 + self.departed.others;
        let seconds = self.elapsed.as_secs_f64();
        let what = match self.policies.each.len() {
            0 => "fire a rule",
            1 => "violate the policy",
            _ => "violate a policy",
        };
        match named_violating + folded {
            _ if self.rules.rules().is_empty() => writeln!(
                text,
                "{watched} containers in {seconds:.0} s, judged by no rule"
            )?,
            0 if changed > 0 => writeln!(
                text,
                "no violation in {watched} containers in {seconds:.0} s; admission would change \
                 {changed} of them:"
            )?,
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
            let container = self.container(id);
            match container {
                Some(container) => writeln!(text, "  {}", describe(container))?,
                None => writeln!(text, "  {}", escape(id))?,
            }
            for (index, count) in counts {
                self.rule(text, index, count)?;
            }
        }
        for (rules, folded) in self.tally.folded() {
            writeln!(text, "  {} others, which are gone", folded.subjects)?;
            for (index, count) in rules.iter().zip(&folded.counts) {
                self.rule(text, *index, *count)?;
            }
        }
        Ok(())
    }

    /// Whether one of these rules tells of more than a change.
    fn violates(&self, mut rules: impl Iterator<Item = usize>) -> bool {
        rules.any(|rule| !self.policies.only_changes(rule))
    }

    /// The container of this id, be it gone; of several the one that runs, or the last.
    fn container(&self, id: &str) -> Option<&Arc<Container>> {
        let running = self.containers.iter().copied();
        let departed = self.departed.named().collect::<Vec<_>>().into_iter().rev();
        running.chain(departed).find(|container| container.id == id)
    }

    fn rule(&self, text: &mut String, index: usize, count: u64) -> std::fmt::Result {
        let rule = self.rules.rules().get(index);
        let mut name = rule.map_or_else(String::new, |rule| {
            let of_policy = self.policies.policy_of(index).is_some();
            let control = rule.control().filter(|_| of_policy);
            let control = control.map(|control| control.name());
            let mut name = control.unwrap_or(&rule.name).to_owned();
            if self.policies.only_changes(index) {
                name += " (changed)";
            }
            name
        });
        let policy = self.policies.policy_of(index);
        let policy = policy.and_then(|policy| self.policies.each.get(policy));
        if let Some(policy) = policy.filter(|_| self.policies.each.len() > 1) {
            name = format!("{}: {name}", escape(&policy.name));
        }
        writeln!(text, "    {name:<26}{count:>10}")
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
        let mut unknown = self.departed.unknown.clone();
        for container in self.containers.iter().copied().chain(self.departed.named()) {
            unknown.count(container);
        }
        for (fact, containers) in unknown.facts() {
            let matters = match fact {
                IMAGE => self.policies.scope.images,
                NAMESPACE => self.policies.scope.namespaces,
                LABELS => self.policies.scope.labels,
                _ => true,
            };
            if matters {
                writeln!(
                    text,
                    "unknown: {fact} of {containers} containers; not judged"
                )?;
            }
        }
        for (control, why, containers) in unknown.posture() {
            // A rule of the user's own may ask for it, too; then its field has the reason.
            let is_judged = self
                .rules
                .rules()
                .iter()
                .any(|rule| rule.source == Source::Syscall && rule.control() == Some(control));
            if is_judged {
                let why = why.describe();
                writeln!(
                    text,
                    "unknown: {control} of {containers} containers ({why}); not judged by it"
                )?;
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
            other_mount,
            undecodable,
            unreadable: _,
            unknown_origin: _,
        } = self.fates;
        writeln!(
            text,
            "agent: judged {judged}, runtime set-up {set_up}, no container {no_container}, \
             sandbox {sandbox}, on another mount {other_mount}, undecodable {undecodable}"
        )?;
        for (layer, outcomes) in self.metadata.layers() {
            writeln!(text, "metadata by {layer}: {outcomes}")?;
        }
        if self.metadata.given_up > 0 {
            let events = self.metadata.given_up;
            writeln!(
                text,
                "metadata: {events} events were judged before it was known"
            )?;
        }
        Ok(())
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
