//! What may be secret does not get into a recording:
//!
//! - values of environment variables and of HTTP headers in pods. Those of processes are never
//!   read;
//! - in command lines, observed and declared, what follows an option or a variable whose name
//!   tells of a secret (`--password`, `API_TOKEN=`), passwords in URLs, and `Authorization`;
//! - contents of Secrets, ConfigMaps and tokens in audit events, and the annotation in which
//!   kubectl keeps a copy of the whole object.
//!
//! No PodSecurityPolicy asks for any of these.

use std::borrow::Cow;

use regex::Regex;
use serde_json::{Map, Value as Json};

use crate::event::CommandLine;

/// What stands where something was left out.
pub const LEFT_OUT: &str = "[redacted]";

/// kubectl's copy of the object.
const COPY: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Resources of which only the request is recorded.
const SECRET: [&str; 3] = ["secrets", "configmaps", "tokenreviews"];

/// Leaves out what may be secret.
#[derive(Debug)]
pub struct Redactor {
    /// Each with the text that takes the place of what it finds.
    patterns: Vec<(Regex, &'static str)>,
    /// The whole of an argument after which a secret follows as the next one.
    option: Regex,
}

impl Redactor {
    /// One that also leaves out, in command lines, what these patterns find.
    ///
    /// # Errors
    /// The built-in patterns do not compile, which a test excludes.
    pub fn new(more: &[Regex]) -> Result<Self, regex::Error> {
        const NAME: &str = r"[\w.-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential)[\w.-]*";
        let mut patterns = vec![
            (
                Regex::new(&format!(r"(?i)({NAME}[=:]\s*|--?{NAME}\s+)\S+"))?,
                "${1}[redacted]",
            ),
            (
                Regex::new(r"(?i)(authorization:\s*(?:[a-z]+\s+)?)\S+")?,
                "${1}[redacted]",
            ),
            (
                Regex::new(r"([a-zA-Z][\w+.-]*://[^/\s:@]*:)[^/\s@]+@")?,
                "${1}[redacted]@",
            ),
        ];
        patterns.extend(more.iter().map(|more| (more.clone(), LEFT_OUT)));
        Ok(Self {
            patterns,
            option: Regex::new(&format!("(?i)^--?{NAME}$"))?,
        })
    }

    /// A text without what may be secret.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for (pattern, instead) in &self.patterns {
            if let Cow::Owned(changed) = pattern.replace_all(&text, *instead) {
                text = Cow::Owned(changed);
            }
        }
        text
    }

    /// A command line without what may be secret; `None` if there is nothing to leave out.
    pub fn command_line(&self, line: &CommandLine) -> Option<CommandLine> {
        match self.text(line.rest()) {
            Cow::Borrowed(_) => None,
            Cow::Owned(rest) => {
                let mut redacted: CommandLine = line.first().into_iter().collect();
                redacted.push(&rest);
                Some(redacted)
            }
        }
    }

    /// Leaves out of an audit event what may be secret.
    pub fn audit_event(&self, event: &mut Json) {
        let of = |name: &str| event["objectRef"][name].as_str().unwrap_or_default();
        if SECRET.contains(&of("resource")) || of("subresource") == "token" {
            if let Some(event) = event.as_object_mut() {
                event.remove("requestObject");
                event.remove("responseObject");
            }
            return;
        }
        for name in ["requestURI", "userAgent"] {
            if let Some(Json::String(text)) = event.get_mut(name) {
                *text = self.text(text).into_owned();
            }
        }
        for name in ["requestObject", "responseObject"] {
            if let Some(object) = event.get_mut(name) {
                self.object(object);
            }
        }
    }

    fn object(&self, value: &mut Json) {
        match value {
            Json::Object(entries) => {
                patch_operation(entries);
                for (name, value) in entries {
                    match (&**name, value) {
                        ("env" | "httpHeaders", Json::Array(items)) => {
                            items.iter_mut().for_each(leave_out_value);
                        }
                        ("command" | "args", Json::Array(items)) => self.arguments(items),
                        (COPY, copy) => *copy = LEFT_OUT.into(),
                        (_, value) => self.object(value),
                    }
                }
            }
            Json::Array(items) => items.iter_mut().for_each(|item| self.object(item)),
            _ => {}
        }
    }

    fn arguments(&self, arguments: &mut [Json]) {
        let mut is_secret = false;
        for argument in arguments {
            let Json::String(text) = argument else {
                continue;
            };
            let is_option = self.option.is_match(text);
            *text = match is_secret {
                true => LEFT_OUT.to_owned(),
                false => self.text(text).into_owned(),
            };
            is_secret = is_option;
        }
    }
}

/// A JSON patch has its values beside the path that they are for.
fn patch_operation(entries: &mut Map<String, Json>) {
    let path = entries.get("path").and_then(Json::as_str);
    let of_secret = |path: &str| {
        let mut parts = path.split('/');
        parts.any(|part| {
            ["env", "httpHeaders", "command", "args"].contains(&part)
                || part.replace("~1", "/") == COPY
        })
    };
    if entries.contains_key("op") && path.is_some_and(of_secret) {
        entries.insert("value".to_owned(), LEFT_OUT.into());
    }
}

fn leave_out_value(entry: &mut Json) {
    if let Some(value) = entry.get_mut("value") {
        *value = LEFT_OUT.into();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn redactor() -> Redactor {
        Redactor::new(&[Regex::new("hunter[0-9]").unwrap()]).unwrap()
    }

    #[test]
    fn secrets_in_command_lines_are_left_out() {
        let redactor = redactor();
        for (line, expected) in [
            ("--password=x --user=y", "--password=[redacted] --user=y"),
            ("--db-password x -v", "--db-password [redacted] -v"),
            ("API_TOKEN=abc run", "API_TOKEN=[redacted] run"),
            ("-Dapp.secret=abc run", "-Dapp.secret=[redacted] run"),
            ("--apiKey: k", "--apiKey: [redacted]"),
            (
                "-H 'Authorization: Bearer abc' u",
                "-H 'Authorization: Bearer [redacted] u",
            ),
            (
                "psql postgres://app:pw@db/app",
                "psql postgres://app:[redacted]@db/app",
            ),
            ("say hunter2", "say [redacted]"),
            ("ls -l /tokens /etc/passwd", "ls -l /tokens /etc/passwd"),
        ] {
            assert_eq!(redactor.text(line), expected, "{line}");
        }
        let line: CommandLine = ["curl", "--token", "abc"].into_iter().collect();
        let redacted = redactor.command_line(&line).unwrap();
        assert_eq!(redacted.text(), "curl --token [redacted]");
        assert_eq!(redacted.first(), Some("curl"));
        let line: CommandLine = ["sh"].into_iter().collect();
        assert_eq!(redactor.command_line(&line), None);
    }

    #[test]
    fn secrets_in_audit_events_are_left_out() {
        let redactor = redactor();
        let mut event = json!({
            "objectRef": {"resource": "pods"},
            "requestURI": "/x?access_token=abc",
            "requestObject": {
                "metadata": {"annotations": {COPY: "{\"env\": 1}", "a": "b"}},
                "spec": {"containers": [{
                    "name": "c",
                    "env": [{"name": "A", "value": "s1"}, {"name": "B", "valueFrom": {}}],
                    "args": ["--token", "s2", "--verbose", "password=s3"],
                    "livenessProbe": {"httpGet": {"httpHeaders": [{"name": "X", "value": "s4"}]}},
                    "securityContext": {"privileged": true},
                }]},
            },
            "responseObject": [
                {"op": "add", "path": "/spec/containers/0/env/0/value", "value": "s5"},
                {"op": "add", "path": "/spec/hostPID", "value": true},
            ],
        });
        redactor.audit_event(&mut event);
        let text = event.to_string();
        for secret in ["abc", "s1", "s2", "s3", "s4", "s5", "{\\\"env"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        let container = &event["requestObject"]["spec"]["containers"][0];
        assert_eq!(container["securityContext"]["privileged"], true);
        assert_eq!(container["args"][2], "--verbose");
        assert_eq!(event["responseObject"][1]["value"], true);

        let mut secret = json!({
            "objectRef": {"resource": "secrets", "name": "n"},
            "requestObject": {"data": {"k": "s6"}},
            "responseObject": {"data": {"k": "s6"}},
        });
        redactor.audit_event(&mut secret);
        assert_eq!(
            secret,
            json!({"objectRef": {"resource": "secrets", "name": "n"}})
        );
    }
}
