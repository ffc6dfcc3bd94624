//! Fields of an event that an alert told of.

use serde_json::Value as Json;

use super::{Field, Kind, Reference, Value};
use crate::event::ToldEvent;

/// Gives the values of a field, if the alert has it.
pub(super) fn extract<'e>(
    field: &Field,
    argument: Option<&str>,
    event: &'e ToldEvent,
    give: &mut dyn FnMut(Value<'e>),
) {
    match find(field, argument, event) {
        Some(Json::Array(values)) if field.list => {
            values
                .iter()
                .filter_map(|told| value(field.kind, told))
                .for_each(give);
        }
        Some(told) => value(field.kind, told).into_iter().for_each(give),
        None => {}
    }
}

fn find<'e>(field: &Field, argument: Option<&str>, event: &'e ToldEvent) -> Option<&'e Json> {
    let name = field.name;
    match argument {
        Some(argument) => {
            let brackets = event.fields.get(&format!("{name}[{argument}]"));
            brackets.or_else(|| event.fields.get(&format!("{name}.{argument}")))
        }
        None => event.fields.get(name),
    }
}

impl Reference {
    /// Whether an alert has the field, be it without a value.
    pub(crate) fn is_told(&self, event: &ToldEvent) -> bool {
        find(self.field, self.argument.as_deref(), event).is_some()
    }
}

/// A value of the field's type: Falco's JSON has some numbers and truth values as text.
fn value(kind: Kind, told: &Json) -> Option<Value<'_>> {
    match (kind, told) {
        (Kind::Int, Json::Number(number)) => number.as_i64().map(Value::from),
        (Kind::Int, Json::String(text)) => text.parse::<i64>().ok().map(Value::from),
        (Kind::Bool, Json::Bool(value)) => Some((*value).into()),
        (Kind::Bool, Json::String(text)) => text.parse::<bool>().ok().map(Value::from),
        (Kind::String, Json::String(text)) => Some(text.as_str().into()),
        (Kind::String, Json::Number(_) | Json::Bool(_)) => Some(told.to_string().into()),
        _ => None,
    }
}
