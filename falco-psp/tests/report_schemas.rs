//! Reports of real runs against the schemas of their forms. See `schemas/README.md` for whose those
//! are. Each schema is shown to refuse a wrong document, too.

#![expect(clippy::unwrap_used, reason = "a test says best where it failed")]

use std::fs;
use std::path::Path;
use std::process::Command;

use falco_psp::control::Control;
use jsonschema::Validator;
use serde::Deserialize as _;
use serde_json::{Value, json};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const SCHEMAS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemas");
const POLICY: &str = "examples/restricted.yaml";
/// Restricts every control.
const ALL: &str = "falco-psp/tests/golden/all-fields.psp.yaml";
const MANIFESTS: &str = "examples/workloads.yaml";
const LOG: &str = "falco-psp/tests/audit/audit_nopsp.log";
const RECORDING: &str = "falco-psp/tests/recording/v1.recording";

/// Real runs: of manifests, of an audit log, and of a recording with both kinds of events.
const RUNS: [&[&str]; 6] = [
    &["check", "--psp", POLICY, MANIFESTS],
    &["check", "--psp", ALL, "--psp", POLICY, MANIFESTS],
    &["check", "--psp", POLICY, "falco-psp/tests/no_pods.yaml"],
    &["--psp", POLICY, "--audit-log", LOG],
    &["--psp", POLICY, "--replay", RECORDING],
    &["--psp", ALL, "--replay", RECORDING],
];

/// SARIF's schema has a bracket too many in a pattern (of languages, which no report has). In strict
/// regular expressions that is an error.
const STRAY: (&str, &str) = ("-[a-zA-Z]{2}]?$", "-[a-zA-Z]{2}$");

/// The report of a run in a form.
fn report(arguments: &[&str], form: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report");
    let output = Command::new(env!("CARGO_BIN_EXE_falco-psp"))
        .current_dir(ROOT)
        .args(arguments)
        .args(["--report", &format!("{form}:{}", path.display())])
        .output()
        .unwrap();
    let text = fs::read_to_string(path).unwrap();
    // Alerts are long, and there are thousands.
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!text.is_empty(), "{arguments:?} {form}: {errors:.2000}");
    text
}

/// Reads a schema, which must be one itself.
fn schema(path: &str) -> (Value, Validator) {
    let text = fs::read_to_string(path).unwrap();
    let text = text.replace(STRAY.0, STRAY.1);
    let schema: Value = serde_json::from_str(&text).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    let options = jsonschema::options().should_validate_formats(true);
    let validator = options.build(&schema).unwrap();
    (schema, validator)
}

/// What is wrong with a document.
fn errors(validator: &Validator, document: &Value) -> Vec<String> {
    let errors = validator.iter_errors(document);
    errors
        .map(|error| format!("{}: {:.300}", error.instance_path(), error.to_string()))
        .collect()
}

fn assert_valid(validator: &Validator, document: &Value, of: &[&str]) {
    let found = errors(validator, document);
    assert!(found.is_empty(), "{of:?}: {found:#?}");
}

/// Each change of a document must be found wrong.
fn assert_refused(validator: &Validator, document: &Value, changes: &[(&str, Value)]) {
    for (place, value) in changes {
        let mut wrong = document.clone();
        let (parent, key) = place.rsplit_once('/').unwrap();
        let fields = wrong.pointer_mut(parent).and_then(Value::as_object_mut);
        fields.unwrap().insert(key.to_owned(), value.clone());
        let found = errors(validator, &wrong);
        assert!(!found.is_empty(), "{place} = {value} is taken");
    }
}

#[test]
fn json_is_of_its_published_schema() {
    let (schema, validator) = schema(&format!("{ROOT}/docs/report.schema.json"));
    let names: Vec<&str> = Control::ALL.iter().map(|control| control.name()).collect();
    assert_eq!(schema["$defs"]["control"]["enum"], json!(names));
    for run in RUNS {
        let document: Value = serde_json::from_str(&report(run, "json")).unwrap();
        assert_valid(&validator, &document, run);
    }
    let document: Value = serde_json::from_str(&report(RUNS[4], "json")).unwrap();
    assert_refused(
        &validator,
        &document,
        &[
            ("/version", json!(2)),
            ("/verdict", json!("perhaps")),
            ("/breaking", json!(-1)),
            ("/extra", json!(0)),
            ("/seen/extra", json!(0)),
            ("/workloads/0/state", json!("worse")),
            ("/workloads/0/places", json!(["web.yaml"])),
            ("/workloads/0/cells/0/control", json!("hostPid")),
            (
                "/workloads/0/cells/0/declared",
                json!({"state": "breaks", "messages": []}),
            ),
            ("/workloads/0/cells/0/observed", json!({"state": "denied"})),
        ],
    );
}

/// A field that is new is new in the schema, too.
#[test]
fn the_published_schema_leaves_nothing_open() {
    let (schema, _) = schema(&format!("{ROOT}/docs/report.schema.json"));
    let mut left = vec![&schema];
    let mut objects = 0;
    while let Some(part) = left.pop() {
        if part["type"] == "object" {
            // Of a map the keys are free, and the values are not.
            let is_map = part["properties"].is_null() && part["additionalProperties"].is_object();
            assert!(is_map || part["additionalProperties"] == false, "{part:#}");
            objects += 1;
        }
        match part {
            Value::Object(fields) => left.extend(fields.values()),
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    assert_eq!(objects, 19);
}

#[test]
fn a_merged_report_is_of_the_schema() {
    let (_, validator) = schema(&format!("{ROOT}/docs/report.schema.json"));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (first, second) = (path("1.json"), path("2.json"));
    fs::write(&first, report(RUNS[4], "json")).unwrap();
    fs::write(&second, report(RUNS[0], "json")).unwrap();
    let document = report(&["report", "merge", &first, &second], "json");
    assert_valid(
        &validator,
        &serde_json::from_str(&document).unwrap(),
        RUNS[4],
    );
}

#[test]
fn sarif_is_of_the_standards_schema() {
    let (_, validator) = schema(&format!("{SCHEMAS}/sarif-schema-2.1.0.json"));
    for run in RUNS {
        let document: Value = serde_json::from_str(&report(run, "sarif")).unwrap();
        assert_valid(&validator, &document, run);
        // What the standard says beside its schema.
        for result in document["runs"][0]["results"].as_array().unwrap() {
            assert_eq!(
                result["kind"] == "fail",
                result["level"] != "none",
                "{result:#}"
            );
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            let rule = &document["runs"][0]["tool"]["driver"]["rules"][index];
            assert_eq!(rule["id"], result["ruleId"]);
        }
    }
    let document: Value = serde_json::from_str(&report(RUNS[0], "sarif")).unwrap();
    let first = &document["runs"][0]["results"][0];
    let place = &first["locations"][0]["physicalLocation"];
    assert_eq!(
        *place,
        json!({"artifactLocation": {"uri": MANIFESTS}, "region": {"startLine": 3}})
    );
    assert_refused(
        &validator,
        &document,
        &[
            ("/version", json!("2.0.0")),
            ("/runs/0/results/0/level", json!("fatal")),
            ("/runs/0/results/0/kind", json!("unknown")),
            ("/runs/0/results/0/message", json!({})),
            ("/runs/0/results/0/occurrenceCount", json!(0)),
            ("/runs/0/results/0/extra", json!(0)),
            ("/runs/0/tool/driver/rules", json!([{}])),
        ],
    );
}

#[test]
fn policy_reports_are_of_the_crds_schema() {
    let (_, validator) = schema(&format!("{SCHEMAS}/policyreport-v1alpha2.schema.json"));
    let objects = |run: &[&str]| -> Vec<Value> {
        let text = report(run, "policyreport");
        let documents = serde_yaml::Deserializer::from_str(&text);
        let values = documents.map(|document| serde_yaml::Value::deserialize(document).unwrap());
        values
            .map(|value| serde_json::to_value(value).unwrap())
            .collect()
    };
    for run in RUNS {
        let objects = objects(run);
        assert!(!objects.is_empty());
        for object in &objects {
            assert_valid(&validator, object, run);
            let results = object["results"].as_array().unwrap();
            for outcome in ["fail", "warn", "skip"] {
                let count = results.iter().filter(|result| result["result"] == outcome);
                assert_eq!(
                    object["summary"][outcome],
                    count.count(),
                    "{run:?} {outcome}"
                );
            }
        }
    }
    let objects = objects(RUNS[0]);
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0]["metadata"]["namespace"], "shop");
    assert_eq!(objects[0]["summary"]["fail"], 3);
    assert_refused(
        &validator,
        &objects[0],
        &[
            ("/kind", json!("ClusterPolicyReport")),
            ("/metadata/name", json!("falco_psp")),
            ("/results/0/result", json!("denied")),
            ("/results/0/severity", json!("worst")),
            ("/results/0/properties/count", json!(3)),
            ("/results/0/timestamp/nanos", json!(-1)),
            ("/results/0/extra", json!(0)),
            ("/summary/fail", json!("3")),
        ],
    );
}

/// Whoever names a workload cannot make a report that nobody reads.
#[test]
fn hostile_names_leave_reports_valid() {
    let folder = tempfile::tempdir().unwrap();
    let name = "\"'<b>&amp;{0}[x](y)\u{1b}\u{202e}\u{fffe}\n--- # |";
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": name, "image": name, "securityContext": {"privileged": true}}]},
    });
    let path = folder.path().join("a b.json").display().to_string();
    fs::write(&path, pod.to_string()).unwrap();
    let run = ["check", "--psp", POLICY, &path];
    for (form, schema_of) in [
        ("json", format!("{ROOT}/docs/report.schema.json")),
        ("sarif", format!("{SCHEMAS}/sarif-schema-2.1.0.json")),
        (
            "policyreport",
            format!("{SCHEMAS}/policyreport-v1alpha2.schema.json"),
        ),
    ] {
        let document: serde_yaml::Value = serde_yaml::from_str(&report(&run, form)).unwrap();
        let document = serde_json::to_value(document).unwrap();
        assert_valid(&schema(&schema_of).1, &document, &run);
    }
    if has_xmllint() {
        assert_eq!(xml_errors(folder.path(), &report(&run, "junit")), None);
    }
}

fn has_xmllint() -> bool {
    if Command::new("xmllint").arg("--version").output().is_ok() {
        return true;
    }
    let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(
        !ci,
        "needs xmllint (libxml2-utils), and in CI nothing is skipped"
    );
    println!("skipped: needs xmllint (libxml2-utils)");
    false
}

/// What is wrong with a document by the XML schema, if anything.
fn xml_errors(folder: &Path, text: &str) -> Option<String> {
    let path = folder.join("report.xml");
    fs::write(&path, text).unwrap();
    let output = Command::new("xmllint")
        .args(["--noout", "--nonet", "--schema"])
        .arg(format!("{SCHEMAS}/junit-10.xsd"))
        .arg(path)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success()).then_some(errors)
}

#[test]
fn junit_is_of_jenkins_schema() {
    if !has_xmllint() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for run in RUNS {
        let errors = xml_errors(folder.path(), &report(run, "junit"));
        assert_eq!(errors, None, "{run:?}");
    }
    let text = report(RUNS[0], "junit");
    for (from, to) in [
        ("<testsuites ", "<testsuites skipped=\"0\" "),
        (" errors=\"0\" skipped", " skipped"),
        ("<testcase ", "<test "),
        ("</testsuites>", ""),
    ] {
        assert!(text.contains(from), "{from}");
        let wrong = text.replacen(from, to, 1);
        assert!(xml_errors(folder.path(), &wrong).is_some(), "{to} is taken");
    }
}
