//! The candidate policies, made ready to judge: read, turned into rules, and loaded.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::cli::{RulesFormat, Watch};
use crate::container::Container;
use crate::control::Control;
use crate::convert::{self, ConvertError, FalcoRules};
use crate::diagnostic::Diagnostic;
use crate::event::{Activity, Event, SyscallEvent};
use crate::psp::{self, Scope};
use crate::rules::{self, Condition, Priority, Rule, RuleSet};
use crate::selector::Selector;

/// Why policies cannot judge.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// A policy cannot be used.
    #[error("{}", lines(.0))]
    Policy(Vec<Diagnostic>),
    /// A policy cannot be turned into rules.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// Two policies have the same name.
    #[error("{}: there is a policy {name} already; give each its own metadata.name", .path.display())]
    SameName {
        /// The file of the later one.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// The rules that a policy became do not load: a defect of falco-psp.
    #[error("falco-psp made rules that it cannot load; please report this:\n{}", lines(.0))]
    Rules(Vec<Diagnostic>),
    /// The rules cannot be saved.
    #[error("cannot write {}: {why}; name a file in a directory that exists", .path.display())]
    Save {
        /// Where.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// What limits the rules besides the policies' own annotations.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Only these namespaces; any if empty.
    pub namespaces: Vec<String>,
    /// Not these namespaces.
    pub exempt_namespaces: Vec<String>,
    /// Only what pods with these labels do.
    pub selector: Selector,
}

/// A file that was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceFile {
    /// Its name as the user gave it.
    pub file: String,
    /// The SHA-256 hash of its bytes, in hex.
    pub sha256: String,
}

impl SourceFile {
    /// The file of this name that holds `text`.
    pub fn new(file: &str, text: &str) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        Self {
            file: file.to_owned(),
            sha256: digest
                .as_ref()
                .iter()
                .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}")),
        }
    }
}

/// A policy among several.
#[derive(Clone, Debug)]
pub struct PolicyRules {
    /// The policy's name.
    pub name: String,
    /// Where it is from.
    pub source: SourceFile,
    /// Its rules, by their index in the rule set.
    pub rules: Range<usize>,
    /// The policy itself.
    pub policy: psp::Policy,
    /// What is true of the containers in its scope, if that is limited.
    scope: Option<Condition>,
}

impl PolicyRules {
    /// Whether a container is in the policy's scope, as far as is known of it.
    pub fn has_in_scope(&self, container: &Arc<Container>) -> bool {
        let Some(scope) = &self.scope else {
            return true;
        };
        scope.matches(&Event::from(SyscallEvent {
            number: 0,
            time_ns: 0,
            activity: Activity::Container,
            process: Arc::default(),
            container: Arc::clone(container),
        }))
    }
}

/// Policies made ready to judge.
#[derive(Debug, Default)]
pub struct Policies {
    /// Each of them, in the order of their names, in which admission tries them.
    pub each: Vec<PolicyRules>,
    /// The rules of all.
    pub rules: Arc<RuleSet>,
    /// The text of the rules.
    pub text: String,
    /// Controls that a policy restricts and no rule observes.
    pub unobserved: Vec<Control>,
    /// What the scope of the rules rests on.
    pub scope: crate::report::summary::Scope,
    /// What the policies' author should know.
    pub warnings: Vec<Diagnostic>,
}

impl Policies {
    /// Reads policies and turns them into rules.
    ///
    /// # Errors
    /// One of them is none, or cannot be converted.
    pub fn load(paths: &[PathBuf], limits: &Limits) -> Result<Self, PolicyError> {
        let mut texts = Vec::new();
        let mut errors = Vec::new();
        for path in paths {
            match psp::read_file(path) {
                Ok((_, text)) => texts.push((path.clone(), text)),
                Err(found) => errors.extend(found),
            }
        }
        if errors.is_empty() {
            return Self::of_texts(&texts, limits);
        }
        Err(PolicyError::Policy(errors))
    }

    /// Turns policies into rules that are the texts of files.
    ///
    /// # Errors
    /// One of them is none, or cannot be converted.
    pub fn of_texts(texts: &[(PathBuf, String)], limits: &Limits) -> Result<Self, PolicyError> {
        let mut loaded = Vec::new();
        let mut warnings = Vec::new();
        let mut errors = Vec::new();
        for (path, text) in texts {
            let file: Arc<str> = path.to_string_lossy().into();
            let source = SourceFile::new(&file, text);
            match psp::parse(&file, text) {
                Ok((policy, found)) => {
                    warnings.extend(found);
                    loaded.push((path, source, policy));
                }
                Err(found) => errors.extend(found),
            }
        }
        if !errors.is_empty() {
            return Err(PolicyError::Policy(errors));
        }
        loaded.sort_by(|(_, _, a), (_, _, b)| a.name.cmp(&b.name));
        let mut policies = Self {
            warnings,
            ..Self::default()
        };
        let mut all: Vec<Rule> = Vec::new();
        for (path, source, mut policy) in loaded {
            if policies.each.last().is_some_and(|p| p.name == policy.name) {
                return Err(PolicyError::SameName {
                    path: path.clone(),
                    name: policy.name,
                });
            }
            limits.apply(&mut policy.scope);
            let first = all.len();
            let (rules, scope) = policies.rules_of(path, &policy)?;
            all.extend(rules);
            policies.each.push(PolicyRules {
                name: policy.name.clone(),
                policy,
                source,
                rules: first..all.len(),
                scope,
            });
        }
        policies.rules = Arc::new(all.into_iter().collect());
        policies.unobserved.sort_unstable();
        policies.unobserved.dedup();
        Ok(policies)
    }

    fn rules_of(
        &mut self,
        path: &Path,
        policy: &psp::Policy,
    ) -> Result<(impl Iterator<Item = Rule> + use<>, Option<Condition>), PolicyError> {
        let converted = convert::rules_text(policy)?;
        let file = Arc::from(format!("{} (as rules)", path.display()));
        let (rules, found) = rules::load(&file, &converted.text).map_err(PolicyError::Rules)?;
        let scope = match &converted.scope {
            None => None,
            Some(name) => {
                // As a rule of its own, which fires for whatever is in scope.
                let text = format!(
                    "{}\n- rule: scope\n  desc: d\n  condition: evt.type=container and {name}\n  \
                     output: o\n  priority: DEBUG\n  source: syscall\n",
                    converted.text
                );
                let (rules, _) = rules::load(&file, &text).map_err(PolicyError::Rules)?;
                rules.into_rules().last().map(|rule| rule.condition)
            }
        };
        self.warnings.extend(found);
        self.unobserved.extend(converted.unobserved);
        self.scope.images |= !policy.scope.images.is_empty();
        self.scope.labels |= !policy.scope.labels.is_empty();
        self.scope.namespaces |=
            !policy.scope.namespaces.is_empty() || !policy.scope.exempt_namespaces.is_empty();
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text += &converted.text;
        Ok((rules.into_rules(), scope))
    }

    /// The policy that a rule belongs to, by their indexes.
    pub fn policy_of(&self, rule: usize) -> Option<usize> {
        self.each
            .iter()
            .position(|policy| policy.rules.contains(&rule))
    }

    /// Whether a rule tells of what admission would change, and not of what it would refuse or what
    /// breaks.
    pub fn only_changes(&self, rule: usize) -> bool {
        let of_policy = self.policy_of(rule).and(self.rules.rules().get(rule));
        of_policy.is_some_and(|rule| rule.priority == Priority::Notice)
    }

    /// The names, for people.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.each.iter().map(|policy| &*policy.name).collect();
        names.join(", ")
    }

    /// The rules as text, for whom they are.
    ///
    /// # Errors
    /// Our own rules cannot be read: a defect of falco-psp.
    pub fn text_for(&self, format: RulesFormat) -> Result<String, PolicyError> {
        match format {
            RulesFormat::FalcoPsp => Ok(self.text.clone()),
            RulesFormat::Falco => Ok(self.falco_rules()?.text),
        }
    }

    /// The rules in the words of Falco alone.
    ///
    /// # Errors
    /// Our own rules cannot be read: a defect of falco-psp.
    pub fn falco_rules(&self) -> Result<FalcoRules, PolicyError> {
        convert::falco_rules(&Arc::from("the rules"), &self.text).map_err(PolicyError::Rules)
    }
}

/// Writes rules to a file.
///
/// # Errors
/// The file cannot be written.
pub fn save(path: &Path, text: &str) -> Result<(), PolicyError> {
    fs::write(path, text).map_err(|why| PolicyError::Save {
        path: path.to_path_buf(),
        why,
    })
}

impl Limits {
    /// Those of a run.
    pub fn of(options: &Watch) -> Self {
        Self {
            namespaces: options.namespace.clone(),
            exempt_namespaces: options.exempt_namespace.clone(),
            selector: options.selector.clone().unwrap_or_default(),
        }
    }

    fn apply(&self, scope: &mut Scope) {
        scope.labels.extend(self.selector.conditions());
        scope
            .exempt_namespaces
            .extend(self.exempt_namespaces.iter().cloned());
        if self.namespaces.is_empty() {
            return;
        }
        if scope.namespaces.is_empty() {
            scope.namespaces.clone_from(&self.namespaces);
            return;
        }
        // Both have to hold.
        scope
            .namespaces
            .retain(|name| self.namespaces.contains(name));
        if scope.namespaces.is_empty() {
            // An empty list would allow any.
            scope.namespaces.clone_from(&self.namespaces);
            let none = self.namespaces.iter().cloned();
            scope.exempt_namespaces.extend(none);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(annotation: &[&str], namespaces: &[&str]) -> Scope {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut scope = Scope {
            namespaces: owned(annotation),
            ..Scope::default()
        };
        let limits = Limits {
            namespaces: owned(namespaces),
            ..Limits::default()
        };
        limits.apply(&mut scope);
        scope
    }

    #[test]
    fn annotation_and_command_line_both_have_to_hold() {
        assert_eq!(limited(&["a", "b"], &[]).namespaces, ["a", "b"]);
        assert_eq!(limited(&[], &["a"]).namespaces, ["a"]);
        assert_eq!(limited(&["a", "b"], &["b", "c"]).namespaces, ["b"]);
        // Nothing is left, and that is not the same as no limit.
        let none = limited(&["a"], &["b"]);
        assert_eq!(none.namespaces, none.exempt_namespaces);
    }
}
