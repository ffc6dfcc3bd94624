//! What later items change of an earlier rule.

use super::Loader;
use super::collected::Collected;
use crate::rules::items::{Change, Exception, Part, Place, RuleItem};

impl Loader<'_> {
    /// Applies the changes to the rule of the name.
    pub(super) fn change_rule(
        &mut self,
        collected: &mut Collected,
        name: &str,
        place: Place,
        changes: Vec<Change>,
    ) {
        let Some(entry) = collected.rules.get_mut(name) else {
            self.error(place, format!("there is no rule \"{name}\" before this"));
            return;
        };
        entry.last = collected.count;
        for change in changes {
            self.change(&mut entry.item, change);
        }
    }

    fn change(&mut self, rule: &mut RuleItem, change: Change) {
        let Change {
            place,
            append,
            part,
        } = change;
        match part {
            Part::Condition(text) if append => rule.condition.append(text),
            Part::Condition(text) => rule.condition = text,
            Part::Output(text) if append => rule.output.append(text),
            Part::Output(text) => rule.output = text,
            Part::Description(text) if append => {
                rule.description = format!("{} {}", rule.description, text.trim());
            }
            Part::Description(text) => rule.description = text.trim().to_owned(),
            Part::Tags(tags) => {
                if !append {
                    rule.tags.clear();
                }
                rule.tags.extend(tags);
            }
            Part::Exceptions(exceptions) if append => {
                for exception in exceptions {
                    self.append_exception(rule, exception);
                }
            }
            Part::Exceptions(exceptions) => {
                if exceptions.iter().any(|e| e.fields.is_none()) {
                    self.error(place, "an exception needs \"fields\"");
                }
                rule.exceptions = exceptions;
            }
            Part::Priority(priority) => rule.priority = priority,
            Part::Enabled(enabled) => rule.enabled = enabled,
            Part::WarnEventTypes(warn) => rule.warn_event_types = warn,
            Part::SkipIfUnknownFilter(skip) => rule.skip_if_unknown_filter = skip,
            Part::Nothing => {}
        }
    }

    /// Adds values to the exception of the name, or a new exception.
    fn append_exception(&mut self, rule: &mut RuleItem, exception: Exception) {
        let known = rule
            .exceptions
            .iter_mut()
            .find(|e| e.name == exception.name);
        match (known, &exception.fields) {
            (None, Some(_)) => rule.exceptions.push(exception),
            (None, None) => {
                let message = format!(
                    "the rule \"{}\" has no exception \"{}\"; a new one needs \"fields\"",
                    rule.name, exception.name
                );
                self.error(exception.place, message);
            }
            (Some(_), Some(_)) => {
                let message = format!(
                    "only values can be added to the exception \"{}\", not fields",
                    exception.name
                );
                self.error(exception.place, message);
            }
            (Some(known), None) => {
                if exception.values.is_empty() {
                    let message = format!("nothing is added to the exception \"{}\"", known.name);
                    self.warn(exception.place, message);
                }
                known.values.extend(exception.values);
            }
        }
    }
}
