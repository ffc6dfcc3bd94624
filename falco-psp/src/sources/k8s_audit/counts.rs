//! What became of the audit events.

use std::collections::BTreeMap;
use std::fmt;

use super::triage::Reason;
use crate::event::AuditEvent;

/// Refused requests of one status code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// All of them.
    pub all: u64,
    /// Those of Kubernetes' own controllers, which ask again and again.
    pub by_controllers: u64,
}

/// How many events were judged, and how many not, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pods that were judged.
    pub judged: u64,
    /// Those among them that were only a trial.
    pub dry_run: u64,
    /// About something else than pods.
    pub not_pod: u64,
    /// About a part of a pod that no policy governs.
    pub subresource: u64,
    /// Reading or deleting.
    pub verb: u64,
    /// Before the API server's answer.
    pub stage: u64,
    /// Refused by the API server, by status code.
    pub refused: BTreeMap<i32, Refused>,
    /// Without the object, at level Metadata.
    pub level_metadata: u64,
    /// Without the object, at a level that should have it.
    pub no_object: u64,
    /// Patches without what came of them.
    pub raw_patch: u64,
    /// No audit events.
    pub malformed: u64,
}

impl Counts {
    /// Counts a pod that is judged.
    pub fn note_judged(&mut self, event: &AuditEvent) {
        self.judged += 1;
        self.dry_run += u64::from(event.request.dry_run);
    }

    /// Counts an event that is not judged.
    pub fn note_skipped(&mut self, reason: &Reason) {
        match reason {
            Reason::NotPod => self.not_pod += 1,
            Reason::Subresource => self.subresource += 1,
            Reason::Verb => self.verb += 1,
            Reason::Stage => self.stage += 1,
            Reason::Refused { code, controller } => {
                let refused = self.refused.entry(*code).or_default();
                refused.all += 1;
                refused.by_controllers += u64::from(*controller);
            }
            Reason::NoObject { metadata: true } => self.level_metadata += 1,
            Reason::NoObject { metadata: false } => self.no_object += 1,
            Reason::RawPatch => self.raw_patch += 1,
            Reason::Malformed(_) => self.malformed += 1,
        }
    }

    /// Counts input that was not even an event, such as a broken line.
    pub fn note_malformed(&mut self, count: u64) {
        self.malformed += count;
    }

    /// All events.
    pub fn events(&self) -> u64 {
        self.judged + self.blind() + self.needless()
    }

    /// Events that should have been judged and could not be.
    pub fn blind(&self) -> u64 {
        self.level_metadata + self.no_object + self.raw_patch + self.malformed
    }

    /// Events that need no verdict.
    pub fn needless(&self) -> u64 {
        let refused: u64 = self.refused.values().map(|refused| refused.all).sum();
        self.not_pod + self.subresource + self.verb + self.stage + refused
    }
}

/// The lines of the summary.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.events() == 0 {
            return writeln!(f, "no audit event received yet");
        }
        write!(
            f,
            "{} audit events: {} pods judged",
            self.events(),
            self.judged
        )?;
        if self.dry_run > 0 {
            write!(f, " ({} of dry runs)", self.dry_run)?;
        }
        writeln!(f)?;
        if self.blind() > 0 {
            write!(
                f,
                "NOT JUDGED, though they may declare pods: {}",
                self.blind()
            )?;
            let hint = "level Metadata; the audit policy should say RequestResponse for pods";
            list(
                f,
                &[
                    (self.level_metadata, hint),
                    (self.no_object, "without the request's object"),
                    (
                        self.raw_patch,
                        "patches at level Request; the audit policy should say RequestResponse",
                    ),
                    (self.malformed, "malformed"),
                ],
            )?;
        }
        if self.needless() > 0 {
            write!(f, "need no verdict: {}", self.needless())?;
            let mut parts = vec![
                (self.not_pod, "not of pods".to_owned()),
                (
                    self.subresource,
                    "exec, log, status and the like".to_owned(),
                ),
                (self.verb, "reading or deleting".to_owned()),
                (self.stage, "before the answer".to_owned()),
            ];
            for (code, refused) in &self.refused {
                let mut text = format!("already refused with {code}");
                if refused.by_controllers > 0 {
                    text += &format!(" ({} by controllers' retries)", refused.by_controllers);
                }
                parts.push((refused.all, text));
            }
            list(f, &parts)?;
        }
        Ok(())
    }
}

fn list(f: &mut fmt::Formatter<'_>, parts: &[(u64, impl fmt::Display)]) -> fmt::Result {
    let mut mark = " (";
    for (count, what) in parts.iter().filter(|(count, _)| *count > 0) {
        write!(f, "{mark}{count} {what}")?;
        mark = "; ";
    }
    writeln!(f, ")")
}
