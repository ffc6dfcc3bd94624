//! The rules of policies in the words of Falco alone, for real Falco to load.
//!
//! Our rules compare facts that Falco has no fields for. Here each comparison is replaced by one
//! that says the same about the request's JSON, which Falco can show (`jevt.value`), or the rule
//! is left out and named. A rule that is partly said fires only where the original does.
//!
//! Falco is 0.44 or newer, with its plugins k8saudit and json.

mod atoms;
mod complement;
mod containers;
mod facts;
mod json;
mod lower;
mod outputs;
mod profiles;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use self::lower::{Lowered, Macros, lower};
use super::text;
use crate::diagnostic::Diagnostic;
use crate::rules::{ParsedRule, parse_file};

/// The engine of Falco 0.44.
const ENGINE: &str = "0.62.0";
/// The plugins and their oldest versions: k8saudit's first with fields for init containers, and the
/// one of json that Falco's own audit rules ask for.
const PLUGINS: [(&str, &str); 2] = [("k8saudit", "0.18.0"), ("json", "0.7.0")];
/// Width of a comment.
const WIDTH: usize = 96;

/// A rules file for Falco.
#[derive(Clone, Debug)]
pub struct FalcoRules {
    /// The file.
    pub text: String,
    /// What Falco cannot say, and why.
    pub left_out: Vec<LeftOut>,
}

/// A rule that is not in the file, or only in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The rule's name.
    pub rule: String,
    /// What is missing, if the rule is there in part.
    pub partly: bool,
    /// Why.
    pub why: Vec<&'static str>,
}

/// What is left out, in a line for each reason.
fn reasons(left_out: &[LeftOut]) -> Vec<String> {
    let mut whole: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut partly: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for rule in left_out {
        let kind = if rule.partly { &mut partly } else { &mut whole };
        for why in &rule.why {
            kind.entry(why).or_default().push(&rule.rule);
        }
    }
    let whole = whole.iter().map(|(why, rules)| {
        let rules = rules.join(", ");
        format!("left out: {why} ({rules})")
    });
    let partly = partly.iter().map(|(why, rules)| {
        let rules = rules.join(", ");
        format!("not seen: {why} ({rules})")
    });
    whole.chain(partly).collect()
}

impl FalcoRules {
    /// What Falco cannot say, in lines for people.
    pub fn reasons(&self) -> Vec<String> {
        reasons(&self.left_out)
    }
}

/// Turns a file of our rules into one for Falco.
///
/// # Errors
/// The text is no rules file.
pub fn falco_rules(file: &Arc<str>, text: &str) -> Result<FalcoRules, Vec<Diagnostic>> {
    let parsed = parse_file(file, text)?;
    let mut left_out = Vec::new();
    let mut items = Vec::new();
    let mut macros = Macros::new();
    for (name, condition) in parsed.macros {
        let lowered = lower(&condition, &macros);
        macros.insert(name, lowered);
    }
    for rule in &parsed.rules {
        let Lowered { said, missing } = match rule.source.as_str() {
            "k8s_audit" => lower(&rule.condition, &macros),
            _ => Lowered {
                said: None,
                missing: [ACTIVITY].into(),
            },
        };
        let usable = said.filter(|said| *said != atoms::Said::False);
        if !missing.is_empty() {
            left_out.push(LeftOut {
                rule: rule.name.clone(),
                partly: usable.is_some(),
                why: missing.into_iter().collect(),
            });
        }
        if let Some(said) = usable {
            items.push(Item::rule(rule, said.line("\n")));
        }
    }
    // A macro that nobody names is a warning to Falco.
    let conditions = items.iter().filter_map(Item::condition);
    let conditions: Vec<String> = conditions.map(str::to_owned).collect();
    let is_used = |name: &str| {
        let mut words = conditions.iter().flat_map(|c| c.split_whitespace());
        words.any(|word| word == name)
    };
    let macros = macros.into_iter().filter_map(|(name, lowered)| {
        let condition = lowered.said?.line("\n");
        is_used(&name).then_some(Item::Macro {
            r#macro: name,
            condition,
        })
    });
    let mut all = vec![
        Item::Engine {
            required_engine_version: ENGINE,
        },
        Item::Plugins {
            required_plugin_versions: PLUGINS.map(|(name, version)| Plugin { name, version }),
        },
    ];
    all.extend(macros);
    all.extend(items);
    let body: Vec<String> = all.iter().map(Item::text).collect();
    Ok(FalcoRules {
        text: format!("{}\n{}", head(&left_out), body.join("\n")),
        left_out,
    })
}

const ACTIVITY: &str = "what pods do: Falco has no event for the state of a container, and no \
                        fields for all ids, capabilities, volumes, ports, profiles and sysctls";

/// The comment at the begin of the file.
fn head(left_out: &[LeftOut]) -> String {
    let mut lines = vec![
        "Falco rules of a PodSecurityPolicy, written by falco-psp for Falco 0.44 or newer with the \
         plugins k8saudit and json."
            .to_owned(),
        "A rule matches what the policy would not allow, or (Mutation) what admission would fill \
         in. Set rule_matching: all in falco.yaml, or Falco tells only the first rule that matches \
         a pod."
            .to_owned(),
        "Pods that are changed by a patch are not seen: Falco shows the patch and not what comes \
         of it."
            .to_owned(),
    ];
    lines.push(format!(
        "Of a pod with more than {} containers of a kind, the further ones are not asked whether \
         they drop or add a capability or set runAsNonRoot.",
        containers::ASKED
    ));
    lines.extend(reasons(left_out));
    let mut text = String::new();
    for line in lines {
        let words = line.split(' ').map(text::printable).collect();
        let wrapped = text::wrap_words(words, WIDTH - 2);
        for line in wrapped.lines() {
            text.push_str("# ");
            text.push_str(line);
            text.push('\n');
        }
        text.push_str("#\n");
    }
    text.truncate(text.len() - 2);
    text
}

#[derive(Serialize)]
#[serde(untagged)]
enum Item<'a> {
    Engine {
        required_engine_version: &'static str,
    },
    Plugins {
        required_plugin_versions: [Plugin; 2],
    },
    Macro {
        r#macro: String,
        condition: String,
    },
    Rule {
        rule: &'a str,
        desc: &'a str,
        condition: String,
        output: String,
        priority: String,
        source: &'a str,
        tags: Vec<&'a str>,
    },
}

#[derive(Serialize)]
struct Plugin {
    name: &'static str,
    version: &'static str,
}

impl<'a> Item<'a> {
    fn rule(rule: &'a ParsedRule, condition: String) -> Self {
        Self::Rule {
            rule: &rule.name,
            desc: &rule.description,
            condition,
            output: outputs::lower(&rule.output),
            priority: rule.priority.word().to_uppercase(),
            source: &rule.source,
            tags: rule.tags.iter().map(String::as_str).collect(),
        }
    }

    fn condition(&self) -> Option<&str> {
        match self {
            Self::Rule { condition, .. } => Some(condition),
            _ => None,
        }
    }

    /// As an item of a YAML sequence.
    fn text(&self) -> String {
        serde_yaml::to_string(&[self]).unwrap_or_default()
    }
}
