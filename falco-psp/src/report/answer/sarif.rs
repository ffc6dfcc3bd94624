//! The answer as SARIF 2.1.0, which code scanning and editors show: a rule for each control, a
//! result for each cell that is not fine, the worst first.

use std::cmp::Reverse;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{Answer, Cell, State, Workload};
use crate::control::Control;
use crate::rules::escape;

const SCHEMA: &str = "https://raw.githubusercontent.com/oasis-tcs/sarif-spec/master/Schemata/sarif-schema-2.1.0.json";
/// How many places a result has at most.
const MAX_PLACES: usize = 10;

/// See [`Answer::sarif`].
pub(super) fn sarif(answer: &Answer) -> Result<String, serde_json::Error> {
    let cells = answer.workloads.iter().flat_map(|workload| {
        let cells = workload.cells.iter();
        cells.map(move |cell| (workload, cell))
    });
    let mut cells: Vec<(&Workload, &Cell)> = cells
        .filter(|(_, cell)| cell.state != State::Fine)
        .collect();
    // Who takes only so many takes the first.
    cells.sort_by_key(|(_, cell)| Reverse(cell.state));
    let weaknesses = answer.weaknesses.iter().map(|text| ("warning", text));
    let notes = answer.notes.iter().map(|text| ("note", text));
    let notifications = weaknesses
        .chain(notes)
        .map(|(level, text)| json!({"level": level, "message": message(text)}));
    let run = Run {
        tool: json!({"driver": {
            "name": "falco-psp",
            "version": env!("CARGO_PKG_VERSION"),
            "semanticVersion": env!("CARGO_PKG_VERSION"),
            "informationUri": env!("CARGO_PKG_REPOSITORY"),
            "rules": answer.controls.iter().copied().map(rule).collect::<Value>(),
        }}),
        automation_details: json!({
            // The slash at the end: no number of this run follows.
            "id": format!("falco-psp/{}/", escape(&answer.policies.join("+"))),
            "description": message(&answer.headline()),
        }),
        invocations: json!([{
            "executionSuccessful": true,
            "toolExecutionNotifications": notifications.collect::<Value>(),
        }]),
        properties: json!({
            "policies": answer.policies.iter().map(|name| escape(name)).collect::<Value>(),
            "verdict": answer.verdict,
            "breaking": answer.breaking,
            "basis": answer.basis(),
        }),
        results: Results { answer, cells },
    };
    let log = Log {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [run],
    };
    serde_json::to_string_pretty(&log).map(|text| text + "\n")
}

/// A `sarifLog`.
#[derive(Serialize)]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    tool: Value,
    automation_details: Value,
    invocations: Value,
    properties: Value,
    results: Results<'a>,
}

/// Results, made as they are written: of a large cluster they are many.
struct Results<'a> {
    answer: &'a Answer,
    cells: Vec<(&'a Workload, &'a Cell)>,
}

impl Serialize for Results<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.cells.iter().map(|(workload, cell)| {
            let mut controls = self.answer.controls.iter();
            let index = controls.position(|of| *of == cell.control);
            result(workload, cell, index)
        }))
    }
}

fn rule(control: Control) -> Value {
    let text = description(control);
    let help = "A PodSecurityPolicy restricts this field. Change the workload so that it does \
                without, or the policy so that it allows it.";
    json!({
        "id": control.name(),
        "shortDescription": message(text),
        "fullDescription": message(text),
        "help": message(help),
        "properties": {"tags": ["security", "PodSecurityPolicy"]},
    })
}

fn result(workload: &Workload, cell: &Cell, rule: Option<usize>) -> Value {
    // What has not failed has no level but `none`, by the standard.
    let (kind, level) = match cell.state {
        State::Denied | State::Breaks => ("fail", "error"),
        State::Changed => ("fail", "note"),
        State::Unknown => ("open", "none"),
        State::Fine => ("pass", "none"),
    };
    let id = workload.id();
    let id = escape(&id);
    let mut result = json!({
        "ruleId": cell.control.name(),
        "ruleIndex": rule.and_then(|index| i64::try_from(index).ok()).unwrap_or(-1),
        "kind": kind,
        "level": level,
        "message": message(&cell.message()),
        "locations": locations(workload),
        "partialFingerprints": {"workloadAndControl/v1": format!("{id}:{}", cell.control)},
        "properties": {"state": cell.state.name()},
    });
    if let Some((count, first, last)) = cell.times() {
        result["occurrenceCount"] = count.max(1).into();
        result["properties"]["count"] = count.into();
        result["properties"]["first"] = escape(first).into();
        result["properties"]["last"] = escape(last).into();
    }
    result
}

/// Where the workload is declared, or only what it is called.
fn locations(workload: &Workload) -> Value {
    let id = workload.id();
    let logical = json!([{
        "name": escape(&workload.name),
        "fullyQualifiedName": escape(&id),
        "kind": escape(&workload.kind),
    }]);
    let places = workload.places.iter().filter_map(|place| physical(place));
    let locations: Vec<Value> = places
        .take(MAX_PLACES)
        .map(|place| json!({"physicalLocation": place, "logicalLocations": logical}))
        .collect();
    match locations.is_empty() {
        true => json!([{"logicalLocations": logical}]),
        false => locations.into(),
    }
}

/// A place of the form `web.yaml:12`.
fn physical(place: &str) -> Option<Value> {
    let (file, line) = place.rsplit_once(':')?;
    let line: u32 = line.parse().ok().filter(|line| *line > 0)?;
    // Standard input is no place to go to.
    if file.is_empty() || file == "-" {
        return None;
    }
    Some(json!({
        "artifactLocation": {"uri": uri(file)},
        "region": {"startLine": line},
    }))
}

/// The address of a file: relative to where the program was started, unless the path is absolute.
fn uri(file: &str) -> String {
    let mut uri = String::new();
    if file.starts_with('/') {
        uri += "file://";
    }
    for byte in file.trim_start_matches("./").bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => uri.push(byte.into()),
            byte if byte.is_ascii_alphanumeric() => uri.push(byte.into()),
            // A colon too: before it would be a scheme.
            byte => uri += &format!("%{byte:02X}"),
        }
    }
    uri
}

/// Text that is only text. Braces would be places to fill in, brackets before parentheses a link to
/// wherever a workload says.
fn message(text: &str) -> Value {
    let text = escape(text);
    let text = text.replace('{', "{{").replace('}', "}}");
    json!({"text": text.replace("](", "] (")})
}

fn description(control: Control) -> &'static str {
    match control {
        Control::Privileged => "Privileged containers",
        Control::HostPid => "The host's process namespace",
        Control::HostIpc => "The host's IPC namespace",
        Control::HostNetwork => "The host's network",
        Control::HostPorts => "Ports of the host",
        Control::Volumes => "Types of volumes",
        Control::AllowedHostPaths => "Paths of the host that volumes mount",
        Control::AllowedFlexVolumes => "Drivers of flexVolumes",
        Control::AllowedCsiDrivers => "Drivers of CSI volumes",
        Control::FsGroup => "The group that owns the pod's volumes",
        Control::RunAsUser => "User ids of processes",
        Control::RunAsGroup => "Group ids of processes",
        Control::SupplementalGroups => "Supplementary groups of processes",
        Control::SeLinux => "SELinux labels of containers",
        Control::ReadOnlyRootFilesystem => "Root file systems that are not read-only",
        Control::AllowPrivilegeEscalation => "Processes that can gain privileges",
        Control::Capabilities => "Linux capabilities",
        Control::Sysctls => "Kernel parameters (sysctls)",
        Control::AllowedProcMountTypes => "What is masked in /proc",
        Control::RuntimeClass => "Runtime classes",
        Control::Seccomp => "Seccomp profiles",
        Control::AppArmor => "AppArmor profiles",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{nothing, of};
    use super::*;

    fn read(answer: &Answer) -> Value {
        serde_json::from_str(&answer.sarif().unwrap()).unwrap()
    }

    #[test]
    fn an_answer_of_nothing_has_no_results() {
        let run = read(&nothing())["runs"][0].clone();
        assert_eq!(run["results"], json!([]));
        assert_eq!(run["tool"]["driver"]["rules"], json!([]));
        assert_eq!(run["properties"]["verdict"], "not_enough_seen");
    }

    #[test]
    fn the_worst_cells_come_first_and_what_is_unknown_is_open() {
        let mut answer = of("web", "PSP p Violation (capabilities) x");
        let workload = &mut answer.workloads[0];
        for (control, state) in [
            (Control::Seccomp, State::Unknown),
            (Control::FsGroup, State::Fine),
            (Control::RunAsUser, State::Denied),
            (Control::HostPid, State::Changed),
        ] {
            let cell = super::super::tests::cell(control, state, "");
            workload.cells.push(cell);
        }
        let run = &read(&answer)["runs"][0];
        let told: Vec<String> = run["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| {
                format!(
                    "{} {} {}",
                    result["ruleId"], result["kind"], result["level"]
                )
            })
            .collect();
        assert_eq!(
            told.join("\n").replace('"', ""),
            "runAsUser fail error\ncapabilities fail error\nhostPID fail note\nseccomp open none"
        );
        // A message may not be empty.
        assert_eq!(run["results"][0]["message"]["text"], "denied");
        let broken = &run["results"][1];
        assert_eq!(broken["message"]["text"], "x");
        assert_eq!(broken["ruleIndex"], 0);
        assert_eq!(broken["occurrenceCount"], 3);
        let properties = &broken["properties"];
        assert_eq!(properties["first"], "2026-01-01T00:00:00.000Z");
        assert_eq!(properties["last"], "2026-01-01T00:00:01.000Z");
        let logical = &broken["locations"][0]["logicalLocations"][0];
        assert_eq!(logical["fullyQualifiedName"], "n/Pod/web");
    }

    #[test]
    fn nothing_that_a_workload_says_becomes_a_link() {
        let text = "PSP p Violation (capabilities) [x](https://a) {0} \"\u{1b}\u{202e}";
        let run = &read(&of("a\"\n\u{1b}b", text))["runs"][0];
        let result = &run["results"][0];
        assert_eq!(
            result["message"]["text"],
            "[x] (https://a) {{0}} \"\\x1b\\u{{202e}}"
        );
        let logical = &result["locations"][0]["logicalLocations"][0];
        assert_eq!(logical["name"], "a\"\\n\\x1bb");
    }

    #[test]
    fn places_are_addresses() {
        let mut answer = of("web", "x");
        let places = [
            "./a b/ü.yaml:7",
            "/x:y.yaml:1",
            "c:d.yaml:2",
            "-:1",
            "no line",
            "z.yaml:0",
        ];
        answer.workloads[0].places = places.map(str::to_owned).into();
        let run = &read(&answer)["runs"][0];
        let locations = run["results"][0]["locations"].as_array().unwrap().iter();
        let found: Vec<String> = locations
            .map(|location| {
                let place = &location["physicalLocation"];
                let line = &place["region"]["startLine"];
                format!("{} {line}", place["artifactLocation"]["uri"])
            })
            .collect();
        assert_eq!(
            found,
            [
                "\"a%20b/%C3%BC.yaml\" 7",
                "\"file:///x%3Ay.yaml\" 1",
                "\"c%3Ad.yaml\" 2"
            ]
        );
        answer.workloads[0].places.truncate(0);
        let run = &read(&answer)["runs"][0];
        let locations = &run["results"][0]["locations"];
        assert_eq!(locations.as_array().unwrap().len(), 1);
        assert_eq!(locations[0]["physicalLocation"], Value::Null);
    }
}
