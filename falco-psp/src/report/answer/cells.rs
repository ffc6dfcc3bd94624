//! How an answer is made of what was found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{
    Answer, Cell, DeclaredCell, Evidence, ObservedCell, Seen, State, VERSION, Verdict, Workload,
    allowances::allowances, id_of,
};
use crate::container::{Container, WorkloadId};
use crate::control::Control;
use crate::mend::{self, Proposal};
use crate::needs::Needs;
use crate::policies::Policies;
use crate::report::declared::{self, Report};
use crate::report::summary::Summary;
use crate::report::tally::Found;
use crate::report::unknown::{IMAGE, LABELS, NAMESPACE};
use crate::rules::{EventTypes, Rule, Source};
use crate::sources::k8s_audit::counts::Counts;

/// What was found of declared pods.
#[derive(Debug)]
pub struct Declared<'a> {
    /// By workload.
    pub report: &'a Report,
    /// What became of the audit events.
    pub counts: &'a Counts,
}

/// A row in the making.
#[derive(Default)]
struct Row {
    containers: u64,
    declared_pods: u64,
    places: Vec<String>,
    /// `None` if the workload was not declared.
    declared: Option<BTreeMap<Control, (State, Vec<String>)>>,
    /// The policies in whose scope some container is.
    in_scope: BTreeSet<usize>,
    /// By policy and control; whether it tells only of what admission would change.
    evidence: Vec<(usize, Control, bool, Evidence)>,
    /// The types of events that did not come.
    unseen: Vec<&'static str>,
    needs: Needs,
    unknown: BTreeMap<Control, BTreeSet<String>>,
}

/// The answer of what was observed and what was declared. `holes` is what else is known to be missing.
pub fn answer(
    policies: &Policies,
    observed: Option<&Summary<'_>>,
    declared: Option<&Declared<'_>>,
    holes: &str,
) -> Answer {
    let mut rows: BTreeMap<WorkloadId, Row> = BTreeMap::new();
    let mut seen = Seen::default();
    let mut weaknesses: Vec<String> = holes.lines().map(str::to_owned).collect();
    let mut notes = Vec::new();
    // Those that break and are in no row.
    let mut unnamed = 0;
    // Those that are gone, break nothing, and are in no row.
    let mut gone = BTreeMap::new();
    match observed {
        Some(summary) => {
            unnamed += take_observed(summary, &mut rows, &mut gone, &mut seen, &mut notes);
            weaknesses.extend(unplaced(summary));
            weaknesses.extend(observed_weaknesses(summary, &seen));
        }
        None => notes.push("what pods do was not watched".to_owned()),
    }
    match declared {
        Some(declared) => {
            unnamed += take_declared(declared, &mut rows, &mut notes);
            seen.declared_pods = Some(declared.counts.judged);
            weaknesses.extend(declared_weaknesses(declared.counts));
        }
        None => notes.push("what pods declare was not read".to_owned()),
    }
    let controls = restricted(policies);
    let mut needs: BTreeMap<String, &Needs> = BTreeMap::new();
    let of_rows = rows.iter().map(|(id, row)| (id, &row.needs));
    for ((namespace, kind, name), of_workload) in gone.iter().chain(of_rows) {
        needs.insert(id_of(namespace, kind, name), of_workload);
    }
    let unseen = observed.map(|summary| summary.unseen);
    let uncertain = rows.values().flat_map(|row| row.unknown.keys());
    let uncertain: BTreeSet<Control> = uncertain.copied().collect();
    let allowances = allowances(policies, &needs, unseen, &uncertain, declared.is_some());
    let workloads = rows.into_iter();
    let workloads: Vec<Workload> = workloads
        .map(|(id, row)| row.finish(id, &controls, policies))
        .collect();
    let cells = workloads.iter().flat_map(|workload| &workload.cells);
    let unknown = cells.filter(|cell| cell.state == State::Unknown).count();
    if unknown > 0 {
        weaknesses.push(format!("cells that are unknown: {unknown}"));
    }
    if workloads.is_empty() {
        weaknesses.push("no workload of the policy's scope was seen".to_owned());
    }
    Answer {
        version: VERSION,
        policies: policies.each.iter().map(|p| p.name.clone()).collect(),
        // Drawn at the end.
        verdict: Verdict::NotEnoughSeen,
        breaking: 0,
        seen,
        weaknesses,
        notes,
        controls,
        allowances,
        workloads,
    }
    .conclude(unnamed)
}

/// The controls that some policy restricts.
fn restricted(policies: &Policies) -> Vec<Control> {
    let rules = policies.rules.rules().iter();
    let mut controls: BTreeSet<Control> = rules.filter_map(|rule| rule.control()).collect();
    controls.extend(&policies.unobserved);
    controls.into_iter().collect()
}

/// Takes what was observed; how many break of those that are in no row.
fn take_observed(
    summary: &Summary<'_>,
    rows: &mut BTreeMap<WorkloadId, Row>,
    gone: &mut BTreeMap<WorkloadId, Needs>,
    seen: &mut Seen,
    notes: &mut Vec<String>,
) -> u64 {
    let policies = summary.policies;
    let running = summary.containers.iter().copied();
    // Of several with one id the one that runs, or the last.
    let departed: Vec<&Arc<Container>> = summary.departed.named().collect();
    let mut by_id: BTreeMap<&str, &Arc<Container>> = BTreeMap::new();
    for container in running.chain(departed.iter().rev().copied()) {
        by_id.entry(&container.id).or_insert(container);
    }
    let mut out_of_scope = 0;
    for container in by_id.values() {
        let in_scope = scope(policies, container);
        if in_scope.is_empty() {
            out_of_scope += u64::from(!may_be_in_scope(policies, container));
            continue;
        }
        let row = rows.entry(container.workload()).or_default();
        row.containers += 1;
        row.unseen = summary.unseen.to_vec();
        row.in_scope.extend(in_scope);
        for (control, why) in unknown(container) {
            row.unknown.entry(control).or_default().insert(why);
        }
    }
    for (id_of, rule, found) in summary.tally.found() {
        let Some(policy) = policies.policy_of(rule) else {
            // A rule of the user's own.
            continue;
        };
        let id = match by_id.get(id_of) {
            Some(container) => container.workload(),
            None => (String::new(), "Container".to_owned(), id_of.to_owned()),
        };
        let row = rows.entry(id).or_default();
        row.containers = row.containers.max(1);
        row.unseen = summary.unseen.to_vec();
        row.in_scope.insert(policy);
        row.take_found(policies, (policy, rule), found);
    }
    let in_scope = by_id.values().copied();
    let in_scope = in_scope.filter(|container| !scope(policies, container).is_empty());
    for (id, needs) in summary.needs.by_workload(in_scope) {
        match rows.get_mut(&id) {
            Some(row) => row.needs.absorb(&needs),
            None => _ = gone.insert(id, needs),
        }
    }
    let others = summary.needs.others();
    if !others.is_empty() {
        let name = "(others that are gone)".to_owned();
        gone.insert((String::new(), String::new(), name), others.clone());
    }
    if out_of_scope > 0 {
        notes.push(format!(
            "{out_of_scope} containers are in no policy's scope: not judged"
        ));
    }
    let others = summary.departed.others;
    if others > 0 {
        notes.push(format!(
            "{others} containers that are gone are counted, but are in no row"
        ));
    }
    seen.began = Some(time(summary.began_ns));
    seen.window_seconds = Some((summary.elapsed.as_secs_f64() * 10.0).round() / 10.0);
    seen.containers = Some(by_id.len() as u64 + others);
    seen.events_lost = summary.ledger.iter().map(|(_, c)| c.lost()).sum();
    let folded = summary.tally.folded();
    let folded = folded.filter(|(rules, _)| {
        let breaking = rules.iter().filter(|rule| !policies.only_changes(**rule));
        let violated: BTreeSet<usize> = breaking.filter_map(|r| policies.policy_of(*r)).collect();
        !violated.is_empty() && violated.len() == policies.each.len()
    });
    folded.map(|(_, folded)| folded.subjects).sum()
}

/// The policies in whose scope a container is.
fn scope(policies: &Policies, container: &Arc<Container>) -> BTreeSet<usize> {
    let each = policies.each.iter().enumerate();
    each.filter(|(_, policy)| policy.has_in_scope(container))
        .map(|(index, _)| index)
        .collect()
}

/// Whether what a policy's scope rests on is unknown of a container.
fn may_be_in_scope(policies: &Policies, container: &Container) -> bool {
    let pod = container.pod.as_ref();
    let scope = policies.scope;
    (scope.images && container.image.is_none())
        || (scope.namespaces && pod.is_none_or(|pod| pod.namespace.is_none()))
        || (scope.labels && pod.is_none_or(|pod| pod.labels.is_none()))
}

/// Containers that no policy judges as too little is known of them.
fn unplaced(summary: &Summary<'_>) -> Option<String> {
    let policies = summary.policies;
    let containers = summary.containers.iter().copied();
    let unplaced = containers
        .chain(summary.departed.named())
        .filter(|container| may_be_in_scope(policies, container))
        .filter(|container| scope(policies, container).is_empty());
    match unplaced.count() {
        0 => None,
        count => Some(format!(
            "containers of which the namespace, image or labels are unknown, so that they may be in \
             a policy's scope: {count}"
        )),
    }
}

/// What is unknown of a container, and why.
fn unknown(container: &Container) -> impl Iterator<Item = (Control, String)> {
    let gaps: Vec<&str> = container.gaps.iter().map(|gap| gap.describe()).collect();
    let why = match gaps.is_empty() {
        true => "it could not be read".to_owned(),
        false => gaps.join(", "),
    };
    let of_volumes: &[Control] = &[
        Control::Volumes,
        Control::AllowedHostPaths,
        Control::AllowedCsiDrivers,
        Control::AllowedFlexVolumes,
    ];
    let facts: [(bool, &[Control]); 6] = [
        (container.privileged.is_none(), &[Control::Privileged]),
        (container.host_pid.is_none(), &[Control::HostPid]),
        (container.host_ipc.is_none(), &[Control::HostIpc]),
        (container.host_network.is_none(), &[Control::HostNetwork]),
        (
            container.root_read_only.is_none(),
            &[Control::ReadOnlyRootFilesystem],
        ),
        (container.volumes.is_none(), of_volumes),
    ];
    let facts = facts.into_iter().filter(|(is_unknown, _)| *is_unknown);
    let facts = facts.flat_map(|(_, controls)| controls.iter().copied());
    let facts = facts.map(move |control| (control, why.clone()));
    let posture = container.unknown_posture();
    facts.chain(posture.map(|(control, why)| (control, why.describe().to_owned())))
}

fn observed_weaknesses(summary: &Summary<'_>, seen: &Seen) -> Vec<String> {
    let fates = summary.fates;
    let counts = [
        (seen.events_lost, "events that were lost"),
        (
            fates.unreadable,
            "processes of containers that could not be read",
        ),
        (
            fates.unknown_origin,
            "processes that ran before, of a program that is in no file",
        ),
        (
            fates.undecodable,
            "records of the kernel side that make no sense",
        ),
        (
            summary.metadata.given_up,
            "events that were judged before it was known whose they are",
        ),
    ];
    told(counts).chain(unknown_of_departed(summary)).collect()
}

/// What there is of things that weaken an answer.
fn told<const N: usize>(counts: [(u64, &'static str); N]) -> impl Iterator<Item = String> {
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    counts.map(|(count, what)| format!("{what}: {count}"))
}

/// What was unknown of containers that are gone and in no row.
fn unknown_of_departed(summary: &Summary<'_>) -> Option<String> {
    let (policies, unknown) = (summary.policies, &summary.departed.unknown);
    let controls = restricted(policies);
    let is_unknown = unknown.facts().any(|(fact, _)| match fact {
        IMAGE => policies.scope.images,
        NAMESPACE => policies.scope.namespaces,
        LABELS => policies.scope.labels,
        _ => true,
    }) || unknown
        .posture()
        .any(|(control, _, _)| controls.contains(&control));
    is_unknown.then(|| "something was unknown of containers that are gone and in no row".to_owned())
}

fn declared_weaknesses(counts: &Counts) -> impl Iterator<Item = String> {
    told([
        (counts.malformed, "audit events that make no sense"),
        (
            counts.level_metadata + counts.no_object + counts.raw_patch,
            "audit events that may declare pods and do not have them",
        ),
    ])
}

/// Takes what was declared; how many break of those that are in no row.
fn take_declared(
    declared: &Declared<'_>,
    rows: &mut BTreeMap<WorkloadId, Row>,
    notes: &mut Vec<String>,
) -> u64 {
    let mut out_of_scope = 0;
    for named in declared.report.each() {
        let state = match named.verdict {
            declared::Verdict::OutOfScope => {
                out_of_scope += 1;
                continue;
            }
            declared::Verdict::Fine => State::Fine,
            declared::Verdict::Changed => State::Changed,
            declared::Verdict::Denied => State::Denied,
        };
        let mut parts = named.id.splitn(3, '/').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        let row = rows.entry((part(), part(), part())).or_default();
        row.declared_pods += named.pods;
        row.places.extend_from_slice(named.places);
        row.needs
            .declared
            .get_or_insert_default()
            .absorb(named.uses);
        let cells = row.declared.get_or_insert_default();
        for (_, control, messages) in named.findings() {
            let (of_control, texts) = cells.entry(control).or_insert((state, Vec::new()));
            *of_control = state;
            texts.extend(messages.iter().cloned());
        }
    }
    if out_of_scope > 0 {
        notes.push(format!(
            "{out_of_scope} declared workloads are in no policy's scope: not judged"
        ));
    }
    let (all, denied) = declared.report.unnamed();
    if all > 0 {
        notes.push(format!(
            "{all} declared workloads that came before are counted, but are in no row"
        ));
    }
    denied as u64
}

impl Row {
    fn take_found(&mut self, policies: &Policies, (policy, rule): (usize, usize), found: &Found) {
        let only_changes = policies.only_changes(rule);
        let Some(rule) = policies.rules.rules().get(rule) else {
            return;
        };
        let Some(control) = rule.control() else {
            return;
        };
        let policy_name = policies.each.get(policy).map(|policy| policy.name.clone());
        let new = Evidence {
            policy: policy_name.unwrap_or_default(),
            rule: rule.name.clone(),
            count: found.count,
            first: time(found.first_ns),
            last: time(found.last_ns),
            examples: found.examples.clone(),
        };
        let mut evidence = self.evidence.iter_mut();
        let same =
            evidence.find(|(p, c, _, known)| (*p, *c, &known.rule) == (policy, control, &new.rule));
        match same {
            Some((_, _, _, known)) => known.add(new),
            None => self.evidence.push((policy, control, only_changes, new)),
        }
    }

    fn finish(
        mut self,
        (namespace, kind, name): WorkloadId,
        controls: &[Control],
        policies: &Policies,
    ) -> Workload {
        let breaking = self
            .evidence
            .iter()
            .filter(|(_, _, only_changes, _)| !only_changes);
        let violated: BTreeSet<usize> = breaking.map(|(policy, _, _, _)| *policy).collect();
        let unseen = self.unseen.iter().map(|kind| (*kind).to_owned());
        self.needs.unseen = unseen.collect();
        // With one of several policies it may still be admitted.
        let is_broken = self.in_scope.is_subset(&violated);
        let mut cells: Vec<Cell> = controls
            .iter()
            .map(|control| self.cell(*control, is_broken, policies))
            .collect();
        for cell in cells.iter_mut().filter(|cell| cell.state.is_broken()) {
            cell.proposals = self.proposals(cell.control, policies);
        }
        Workload {
            namespace,
            kind,
            name,
            state: Workload::worst(&cells),
            declared_pods: self.declared_pods,
            containers: self.containers,
            places: self.places,
            needs: self.needs,
            cells,
        }
    }

    /// What would mend a broken cell: of each policy that restricts it.
    fn proposals(&self, control: Control, policies: &Policies) -> Vec<Proposal> {
        let each = policies.each.iter().map(|policy| &policy.policy);
        let restricting = each.filter(|policy| policy.restricts(control));
        restricting
            .flat_map(|policy| mend::proposals(policy, control, &self.needs))
            .collect()
    }

    fn cell(&mut self, control: Control, is_broken: bool, policies: &Policies) -> Cell {
        let declared = self.declared.as_mut().map(|found| {
            let (state, messages) = found.remove(&control).unwrap_or((State::Fine, Vec::new()));
            DeclaredCell { state, messages }
        });
        let observed = (self.containers > 0).then(|| {
            let evidence = self.evidence.extract_if(.., |(_, of, _, _)| *of == control);
            let (kinds, evidence): (Vec<bool>, Vec<Evidence>) = evidence
                .map(|(_, _, kind, evidence)| (kind, evidence))
                .unzip();
            let breaks = kinds.contains(&false);
            let mut unknown: Vec<String> = self
                .unknown
                .remove(&control)
                .into_iter()
                .flatten()
                .collect();
            if policies.unobserved.contains(&control) {
                unknown.push("only what is declared shows it".to_owned());
            }
            if !breaks {
                let blindness = blindness(policies, control, &self.unseen);
                let matters = match blindness {
                    Some(Blindness::Whole) => true,
                    // Whoever has nothing that could be taken away uses nothing.
                    Some(Blindness::Partial) => !evidence.is_empty(),
                    None => false,
                };
                if matters {
                    unknown.push("this kernel does not tell".to_owned());
                }
            }
            let state = match (breaks, unknown.is_empty()) {
                (true, _) if is_broken => State::Breaks,
                (false, false) => State::Unknown,
                (false, true) if !evidence.is_empty() => State::Changed,
                _ => State::Fine,
            };
            ObservedCell {
                state,
                unknown,
                evidence,
            }
        });
        Cell::of(control, declared, observed)
    }
}

/// How much of a control cannot be observed.
enum Blindness {
    /// No rule can tell.
    Whole,
    /// Some of the rules that tell what breaks cannot.
    Partial,
}

/// How much of a control cannot be observed without events of these types.
fn blindness(policies: &Policies, control: Control, unseen: &[&str]) -> Option<Blindness> {
    let rules = policies.rules.rules().iter().enumerate();
    let rules = rules.filter(|(index, rule)| {
        let is_observed = rule.source == Source::Syscall && rule.control() == Some(control);
        is_observed && !policies.only_changes(*index)
    });
    let is_blind = |rule: &Rule| match &rule.event_types {
        EventTypes::AllBut(_) => false,
        EventTypes::Only(types) => types.iter().all(|kind| unseen.contains(&&**kind)),
    };
    let blind: Vec<bool> = rules.map(|(_, rule)| is_blind(rule)).collect();
    match (blind.contains(&true), blind.contains(&false)) {
        (true, false) => Some(Blindness::Whole),
        (true, true) => Some(Blindness::Partial),
        (false, _) => None,
    }
}

fn time(ns: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_default();
    format!("{time:.3}")
}
