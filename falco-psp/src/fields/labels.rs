//! Labels of containers and pods.

use std::collections::BTreeMap;

use super::Value;

/// Gives the label that the argument names.
pub(super) fn one<'e>(
    labels: Option<&'e BTreeMap<String, String>>,
    argument: Option<&str>,
    give: &mut dyn FnMut(Value<'e>),
) {
    if let Some(value) = labels
        .zip(argument)
        .and_then(|(labels, key)| labels.get(key))
    {
        give(value.as_str().into());
    }
}

/// Gives all labels in one text, as Falco does.
pub(super) fn all<'e>(
    labels: Option<&'e BTreeMap<String, String>>,
    give: &mut dyn FnMut(Value<'e>),
) {
    let labels = labels.into_iter().flatten();
    let labels: Vec<String> = labels
        .map(|(key, value)| format!("{key}:{value}"))
        .collect();
    if !labels.is_empty() {
        give(labels.join(", ").into());
    }
}
