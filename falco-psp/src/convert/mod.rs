//! Turns a policy into the text of Falco rules, by the templates in `templates/`.
//!
//! What is rendered is what runs: the agent loads this text as it loads any other rules file.

mod context;
mod declared;
pub(crate) use declared::SAFE_SYSCTLS;
mod falco;
mod templates;
mod text;

pub use falco::{FalcoRules, LeftOut, falco_rules};

use crate::control::Control;
use crate::psp::Policy;

/// The rules of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A rules file.
    pub text: String,
    /// What the policy restricts, but no rule in the file observes.
    pub unobserved: Vec<Control>,
    /// The macro in the file that tells whether a container is in the policy's scope, if that is
    /// limited.
    pub scope: Option<String>,
}

/// Why a policy did not become rules.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The policy holds a text that cannot be written in a condition.
    #[error("{field}: {value:?} has a control character, which a rule cannot say")]
    Unsayable {
        /// The field of the policy.
        field: &'static str,
        /// The text.
        value: String,
    },
    /// A template is wrong.
    #[error("cannot render the template {name}: {source:#}")]
    Template {
        /// The template's file name.
        name: String,
        /// What is wrong with it.
        source: minijinja::Error,
    },
}

/// Renders the rules of `policy`.
///
/// # Errors
/// If a path or a name in the policy has characters that a condition cannot hold.
pub fn rules_text(policy: &Policy) -> Result<Rules, ConvertError> {
    let context = context::Context::new(policy)?;
    let text = templates::render(&context).map_err(|source| ConvertError::Template {
        name: source.name().unwrap_or(templates::MAIN).to_owned(),
        source,
    })?;
    Ok(Rules {
        text,
        scope: context.scope_macro(),
        unobserved: context.unobserved,
    })
}

#[cfg(test)]
mod tests;
