//! `--selector`: which pods are meant, by their labels, as `kubectl --selector` takes it.
//!
//! Grammar: `labels.Parse` of `k8s.io/apimachinery/pkg/labels/selector.go`, without `>` and `<`.

use std::str::FromStr;

use thiserror::Error;

/// Requirements that a pod's labels must all meet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    /// Whether it must not be met.
    negated: bool,
    /// The values of which the label must have one; `None` if any will do.
    values: Option<Vec<String>>,
}

/// Why a selector is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "\"{requirement}\" is no requirement of labels: {why}; write app=web, app!=web, \
     app in (web, api), app notin (web), app or !app, with commas between"
)]
pub struct SelectorError {
    requirement: String,
    why: String,
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let requirements = parts(text).map(requirement).collect::<Result<_, _>>()?;
        Ok(Self { requirements })
    }
}

impl Selector {
    /// The requirements as conditions of rules about what pods do.
    pub fn conditions(&self) -> Vec<String> {
        let requirements = self.requirements.iter();
        requirements.map(Requirement::condition).collect()
    }
}

impl Requirement {
    fn condition(&self) -> String {
        let field = format!("k8s.pod.label[{}]", self.key);
        let not = if self.negated { "not " } else { "" };
        match self.values.as_deref() {
            None => format!("{not}{field} exists"),
            Some(values) => {
                // Names and values have no character that means something in a condition.
                let values: Vec<String> = values.iter().map(|v| format!("\"{v}\"")).collect();
                format!("{not}{field} in ({})", values.join(", "))
            }
        }
    }
}

/// What stands between commas that are in no parentheses.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
}

fn requirement(text: &str) -> Result<Requirement, SelectorError> {
    let error = |why: String| SelectorError {
        requirement: text.to_owned(),
        why,
    };
    let (key, negated, values) = if let Some((key, value)) = text.split_once("!=") {
        (key, true, Some(vec![value]))
    } else if let Some((key, value)) = text.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        (key, false, Some(vec![value]))
    } else if let Some(key) = text.strip_prefix('!') {
        (key, true, None)
    } else if let Some((before, list)) = text.split_once('(') {
        let list = list.strip_suffix(')');
        let list = list.ok_or_else(|| error("the list does not end with )".to_owned()))?;
        let (key, operator) = before.trim_end().rsplit_once(' ').unwrap_or((before, ""));
        let negated = match operator {
            "in" => false,
            "notin" => true,
            _ => return Err(error("before a list stands in or notin".to_owned())),
        };
        (key, negated, Some(list.split(',').collect()))
    } else {
        (text, false, None)
    };
    let key = key.trim();
    if !is_key(key) {
        return Err(error(format!("\"{key}\" is no name of a label")));
    }
    let values: Option<Vec<String>> =
        values.map(|values| values.into_iter().map(|v| v.trim().to_owned()).collect());
    let mut all = values.iter().flatten();
    if let Some(bad) = all.find(|value| !value.is_empty() && !is_name(value)) {
        return Err(error(format!("\"{bad}\" is no value of a label")));
    }
    Ok(Requirement {
        key: key.to_owned(),
        negated,
        values,
    })
}

/// A name, with or without a domain before it.
fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        None => is_name(text),
        Some((domain, name)) => {
            let is_part =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
            !domain.is_empty()
                && domain.len() <= 253
                && domain.chars().all(is_part)
                && is_name(name)
        }
    }
}

/// At most 63 letters, digits and `-_.`, of which the first and last is none of these.
fn is_name(text: &str) -> bool {
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.len() <= 63
        && is_end(text.chars().next())
        && is_end(text.chars().next_back())
        && text.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(text: &str) -> Result<String, SelectorError> {
        let selector: Selector = text.parse()?;
        Ok(selector.conditions().join(" and "))
    }

    #[test]
    fn every_form_of_kubectl_becomes_a_condition() {
        for (text, expected) in [
            ("app=web", r#"k8s.pod.label[app] in ("web")"#),
            ("app == web", r#"k8s.pod.label[app] in ("web")"#),
            ("app=", r#"k8s.pod.label[app] in ("")"#),
            ("app!=web", r#"not k8s.pod.label[app] in ("web")"#),
            (
                "app in (web, api)",
                r#"k8s.pod.label[app] in ("web", "api")"#,
            ),
            (
                "app.kubernetes.io/name notin (web),tier",
                r#"not k8s.pod.label[app.kubernetes.io/name] in ("web") and k8s.pod.label[tier] exists"#,
            ),
            ("!app", "not k8s.pod.label[app] exists"),
        ] {
            assert_eq!(conditions(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_an_error() {
        for text in [
            "",
            ",",
            "app=web,",
            "app=we b",
            "a b",
            "app in web",
            "app in (web",
            "app of (web)",
            "app>1",
            "a/b/c=d",
            "/b=c",
            "app=\"web\"",
            "app=web]",
            "a[b]=c",
            "-a=b",
            &format!("{}=b", "a".repeat(64)),
        ] {
            assert!(conditions(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a-z=!,() ./\"]{0,30}") {
            let _ = conditions(&text);
        }
    }
}
