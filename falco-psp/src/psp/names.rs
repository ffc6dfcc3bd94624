//! What Kubernetes takes for a name.

/// Why `name` is no name of an object (a DNS-1123 subdomain), if it is none.
pub(super) fn subdomain_error(name: &str) -> Option<&'static str> {
    let fine_label = |label: &str| {
        let inner = label.bytes().all(|b| is_alphanumeric(b) || b == b'-');
        inner && fine_ends(label)
    };
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > 253 {
        Some("it is longer than 253 characters")
    } else if !name.split('.').all(fine_label) {
        Some(
            "it must consist of lower case letters, digits, '-' and '.', and each part must begin \
             and end with a letter or a digit",
        )
    } else {
        None
    }
}

/// Whether `pattern` names a sysctl, or sysctls by a `*` at its end.
pub(super) fn is_sysctl_pattern(pattern: &str) -> bool {
    let fine = |segment: &str| {
        let inner = |b: u8| is_alphanumeric(b) || matches!(b, b'-' | b'_');
        segment.bytes().all(inner) && fine_ends(segment)
    };
    let (parents, last) = pattern
        .rsplit_once('.')
        .map_or((None, pattern), |(parents, last)| (Some(parents), last));
    let fine_last = match last.strip_suffix('*') {
        // What stands before the `*` may end in `-` or `_`.
        Some(prefix) => prefix.is_empty() || fine(&format!("{prefix}x")),
        None => fine(last),
    };
    pattern.len() <= 253 && fine_last && parents.is_none_or(|parents| parents.split('.').all(fine))
}

/// Whether some sysctl is meant by both patterns.
pub(super) fn sysctls_overlap(one: &str, other: &str) -> bool {
    match (one.strip_suffix('*'), other.strip_suffix('*')) {
        (Some(one), Some(other)) => one.starts_with(other) || other.starts_with(one),
        (Some(prefix), None) => other.starts_with(prefix),
        (None, Some(prefix)) => one.starts_with(prefix),
        (None, None) => one == other,
    }
}

fn is_alphanumeric(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn fine_ends(label: &str) -> bool {
    let mut bytes = label.bytes();
    let first = bytes.next();
    let last = bytes.next_back().or(first);
    first.is_some_and(is_alphanumeric) && last.is_some_and(is_alphanumeric)
}
