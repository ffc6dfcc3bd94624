//! `--listen` and reloading, by the real program with the audit webhook as its source.

#![expect(clippy::unwrap_used, reason = "a test says best where it failed")]

mod prometheus;
mod running;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use running::{LOG, Running, ask, wait};
use rustix::process::Signal;
use serde_json::Value;

const RESTRICTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/restricted.yaml");
const PERMISSIVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/permissive.yaml");

/// What only these tests ask.
impl Running {
    fn metrics(&self) -> BTreeMap<String, f64> {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        prometheus::parse(&text)
    }

    fn policy(&self) -> Value {
        let (status, text) = self.get("/v1/policy");
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Waits for a number of reloads of this outcome.
    fn wait_for_reloads(&self, outcome: &str, count: u64) {
        wait(&format!("{count} {outcome}"), || {
            (self.policy()["reloads"][outcome] == count).then_some(())
        });
    }
}

/// A folder with the restricted policy in it.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    fs::copy(RESTRICTED, &path).unwrap();
    (folder, path)
}

#[test]
fn the_report_is_there_while_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.md");
    let report = format!("markdown:{}", path.display());
    let running = Running::start(&["--psp", RESTRICTED, "--report", &report]);
    let now = || -> Value { serde_json::from_str(&running.get("/v1/report").1).unwrap() };
    assert_eq!(now()["verdict"], "not_enough_seen");
    running.post();
    let after = wait("34 pods", || {
        Some(now()).filter(|report| report["seen"]["declared_pods"] == 34)
    });
    assert_eq!(after["verdict"], "breaks");
    running.signal(Signal::USR1);
    wait("the report", || {
        let text = fs::read_to_string(&path).ok()?;
        text.contains("workloads break").then_some(())
    });
    // The run goes on.
    assert_eq!(running.get("/healthz").0, 200);
}

#[test]
fn metrics_tell_what_became_of_the_events() {
    let running = Running::start(&["--psp", RESTRICTED]);
    assert_eq!(running.get("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(running.get("/healthz").0, 200);
    let before = running.metrics();
    assert_eq!(
        before["falco_psp_audit_events_total{reason=\"judged\"}"],
        0.0
    );
    running.post();
    let name = "falco_psp_audit_events_total{reason=\"judged\"}";
    let after = wait("34 judged", || {
        Some(running.metrics()).filter(|metrics| metrics[name] == 34.0)
    });
    let events = after
        .iter()
        .filter(|(name, _)| name.starts_with("falco_psp_audit_events_total"));
    assert_eq!(events.map(|(_, count)| count).sum::<f64>(), 184.0);
    assert_eq!(after["falco_psp_webhook_events_total"], 184.0);
    assert_eq!(
        after["falco_psp_webhook_requests_total{outcome=\"accepted\"}"],
        1.0
    );
    let alerts = "falco_psp_alerts_total{policy=\"restricted\",control=\"hostPID\",\
                  namespace=\"test\",source=\"k8s_audit\"}";
    assert!(
        after.get(alerts).is_some_and(|count| *count >= 1.0),
        "{after:#?}"
    );
    for (name, least) in [
        ("process_resident_memory_bytes", 1e6),
        ("process_start_time_seconds", 1.6e9),
        ("process_open_fds", 3.0),
        ("falco_psp_rules", f64::from(rules_of_example())),
        ("falco_psp_ready", 1.0),
    ] {
        assert!(after[name] >= least, "{name}: {}", after[name]);
    }
    assert!(after.contains_key("process_cpu_seconds_total"));
    assert!(!running.said().contains("other machines"));
}

#[test]
fn pages_are_read_only_and_few() {
    let running = Running::start(&["--psp", RESTRICTED]);
    assert_eq!(running.get("/nothing").0, 404);
    for path in ["/metrics", "/healthz", "/readyz", "/v1/policy"] {
        assert_eq!(ask(running.pages, "POST", path, "{}").0, 405, "{path}");
    }
}

#[test]
fn an_address_in_use_is_an_error_and_an_open_one_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_falco-psp"));
    let args = ["--audit-log", LOG, "--listen", &address];
    let output = command
        .args(["--psp", RESTRICTED])
        .args(args)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(&format!("cannot listen on {address} (--listen)")),
        "{text}"
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_falco-psp"));
    let args = ["--audit-log", LOG, "--listen", "0.0.0.0:0"];
    let output = command
        .args(["--psp", RESTRICTED])
        .args(args)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("other machines can read"), "{text}");
}

/// How many rules the example's policy becomes.
fn rules_of_example() -> u32 {
    let golden = include_str!("golden/restricted.rules.yaml");
    golden.matches("- rule:").count().try_into().unwrap()
}

#[test]
fn v1_policy_has_the_hash_that_sha256sum_tells() {
    let (folder, path) = folder();
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/rules.yaml");
    let running = Running::start(&["--psp", path.to_str().unwrap(), "--rules", rules]);
    let document = running.policy();
    let sum = |path: &Path| {
        let output = Command::new("sha256sum").arg(path).output().unwrap();
        String::from_utf8(output.stdout).unwrap()[..64].to_owned()
    };
    let policy = &document["policies"][0];
    assert_eq!(policy["name"], "restricted");
    assert_eq!(policy["file"], path.to_str().unwrap());
    assert_eq!(policy["sha256"], sum(&path));
    assert_eq!(policy["rules"], rules_of_example());
    assert!(policy["since"].as_str().unwrap().ends_with('Z'));
    assert_eq!(document["rules_files"][0]["sha256"], sum(Path::new(rules)));
    assert_eq!(document["reloads"]["error"], Value::Null);
    drop(folder);
}

#[test]
fn a_changed_policy_comes_in_force_and_a_bad_one_does_not() {
    let (folder, path) = folder();
    let running = Running::start(&["--psp", path.to_str().unwrap()]);
    running.post();
    let first = running.policy();
    // Written in place, and broken.
    let good = fs::read_to_string(RESTRICTED).unwrap();
    fs::write(&path, good.replace("hostPID", "hostPid")).unwrap();
    running.wait_for_reloads("failed", 1);
    let failed = running.policy();
    assert_eq!(failed["policies"], first["policies"]);
    let message = failed["reloads"]["error"]["message"].as_str().unwrap();
    assert!(message.contains("did you mean \"hostPID\"?"), "{message}");
    assert!(running.said().contains(message), "{}", running.said());
    let metrics = running.metrics();
    assert_eq!(metrics["falco_psp_reloads_total{outcome=\"failed\"}"], 1.0);
    assert_eq!(metrics["falco_psp_last_reload_successful"], 0.0);
    // Renamed over it: another policy.
    let new = folder.path().join(".new");
    fs::copy(PERMISSIVE, &new).unwrap();
    fs::rename(&new, &path).unwrap();
    running.wait_for_reloads("succeeded", 1);
    let second = running.policy();
    assert_ne!(
        second["policies"][0]["sha256"],
        first["policies"][0]["sha256"]
    );
    assert_eq!(second["policies"][0]["name"], "permissive");
    assert_eq!(second["reloads"]["error"], Value::Null);
    // What the old one found is told; the new one finds nothing.
    let said = running.said();
    let (before, _) = said.split_once("reloaded: policy permissive").unwrap();
    assert!(!before.contains("denied"), "{before}");
    running.post();
    wait("68 judged", || {
        let metrics = running.metrics();
        (metrics["falco_psp_audit_events_total{reason=\"judged\"}"] == 68.0).then_some(())
    });
    assert!(!running.get("/metrics").1.contains("policy=\"restricted\""));
    running.signal(Signal::TERM);
    wait("the summary", || {
        running.said().contains("webhook: accepted 2").then_some(())
    });
    let said = running.said();
    let (_, after) = said.split_once("reloaded: policy permissive").unwrap();
    assert!(after.contains("denied   test/Pod/priv"), "{after}");
    assert!(after.contains("fine     test/Pod/priv"), "{after}");
    assert!(after.contains("68 pods judged"), "{after}");
}

#[test]
fn a_config_map_that_is_swapped_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // As the kubelet writes a volume.
    for (version, policy) in [("..1", RESTRICTED), ("..2", PERMISSIVE)] {
        fs::create_dir(at(version)).unwrap();
        fs::copy(policy, at(version).join("policy.yaml")).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/policy.yaml", at("policy.yaml")).unwrap();
    let running = Running::start(&["--psp", at("policy.yaml").to_str().unwrap()]);
    assert_eq!(running.policy()["policies"][0]["name"], "restricted");
    symlink("..2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    fs::remove_dir_all(at("..1")).unwrap();
    running.wait_for_reloads("succeeded", 1);
    assert_eq!(running.policy()["policies"][0]["name"], "permissive");
}

#[test]
fn events_go_on_being_judged_while_policies_are_swapped() {
    let (_folder, path) = folder();
    let running = Running::start(&["--psp", path.to_str().unwrap()]);
    for round in 1..=6 {
        let policy = if round % 2 == 0 {
            RESTRICTED
        } else {
            PERMISSIVE
        };
        fs::copy(policy, &path).unwrap();
        running.signal(Signal::HUP);
        running.post();
        running.wait_for_reloads("succeeded", round);
    }
    let events = |metrics: &BTreeMap<String, f64>| -> f64 {
        let of = |name: &&String| name.starts_with("falco_psp_audit_events_total");
        metrics
            .iter()
            .filter(|(name, _)| of(name))
            .map(|(_, count)| count)
            .sum()
    };
    wait("all events", || {
        (events(&running.metrics()) == 6.0 * 184.0).then_some(())
    });
}

#[test]
fn a_hangup_without_a_change_leaves_all_as_it_is() {
    let (_folder, path) = folder();
    let running = Running::start(&["--psp", path.to_str().unwrap()]);
    let before = running.policy();
    running.signal(Signal::HUP);
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(running.policy(), before);
    // A changed rules file is loaded at once.
    fs::write(&path, fs::read_to_string(RESTRICTED).unwrap() + "# same\n").unwrap();
    running.signal(Signal::HUP);
    running.wait_for_reloads("succeeded", 1);
    assert_ne!(running.policy()["policies"], before["policies"]);
}
