//! Output formats with fields that Falco has.

/// Our fields, and the fields of Falco that tell as much.
const STAND_INS: [(&str, &str); 2] = [
    ("%ka.pod.name", "%ka.resp.name"),
    // Whatever a rule is about is in there.
    (
        "images=%ka.pod.images",
        "spec=%jevt.value[/requestObject/spec]",
    ),
];

/// The format without our own fields.
pub(super) fn lower(output: &str) -> String {
    let mut output = output.trim().to_owned();
    for (ours, falco) in STAND_INS {
        output = output.replace(ours, falco);
    }
    let mut lowered = String::new();
    let mut rest = output.as_str();
    while let Some((before, after)) = rest.split_once("%ka.pod.") {
        lowered.push_str(before);
        let is_name = |c: char| c.is_ascii_alphanumeric() || "._".contains(c);
        let name = after.find(|c| !is_name(c)).unwrap_or(after.len());
        // A full stop at its end is not the field's.
        rest = &after[after[..name].trim_end_matches('.').len()..];
        while lowered.ends_with([' ', '=']) {
            lowered.pop();
        }
        if lowered.ends_with('(') && rest.starts_with(')') {
            lowered.pop();
            rest = &rest[1..];
            while lowered.ends_with(' ') {
                lowered.pop();
            }
        }
    }
    lowered + rest
}

#[cfg(test)]
mod tests {
    #[test]
    fn our_fields_go() {
        assert_eq!(
            super::lower(
                "a %ka.pod.users, b (%ka.pod.users.of) c %ka.user.name (pod=%ka.pod.name)"
            ),
            "a, b c %ka.user.name (pod=%ka.resp.name)"
        );
    }
}
