//! `thread`: the thread and its capabilities.

use falco_psp_common::capability;

use super::{Field, Value};

/// The fields.
pub(super) static FIELDS: [Field; 7] = [
    Field::int(
        "thread.tid",
        "the thread id on the host",
        |event, _, give| give(event.process.tid.into()),
    ),
    Field::text(
        "thread.cap_effective",
        "the effective capabilities, each with CAP_, joined by blanks",
        |event, _, give| give(joined(event.process.capabilities.effective).into()),
    ),
    Field::text(
        "thread.cap_permitted",
        "the permitted capabilities, each with CAP_, joined by blanks",
        |event, _, give| give(joined(event.process.capabilities.permitted).into()),
    ),
    Field::text(
        "thread.cap_inheritable",
        "the inheritable capabilities, each with CAP_, joined by blanks",
        |event, _, give| give(joined(event.process.capabilities.inheritable).into()),
    ),
    Field::text(
        "thread.caps",
        "the capabilities that it can use on the container: effective or permitted, without CAP_; \
         none in a user namespace that the container made",
        |event, _, give| {
            let sets = event.process.capabilities;
            if !event.process.nested_user_namespace {
                each(sets.effective | sets.permitted, give);
            }
        },
    )
    .list()
    .ours(),
    Field::text(
        "thread.cap_bounding",
        "the capabilities that an exec can give at most, without CAP_",
        |event, _, give| each(event.process.capabilities.bounding, give),
    )
    .list()
    .ours(),
    Field::text(
        "thread.cap_ambient",
        "the capabilities that survive the exec of an ordinary program, without CAP_",
        |event, _, give| each(event.process.capabilities.ambient, give),
    )
    .list()
    .ours(),
];

fn each<'e>(set: u64, give: &mut dyn FnMut(Value<'e>)) {
    capability::names(set).for_each(|name| give(name.into()));
}

/// As Falco shows a set: `CAP_CHOWN CAP_KILL`.
fn joined(set: u64) -> String {
    let mut text = String::new();
    for name in capability::names(set) {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str("CAP_");
        text.push_str(name);
    }
    text
}
