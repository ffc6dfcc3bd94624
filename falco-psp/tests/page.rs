//! The page of `--report html` in a real browser: the matrix, the filters, what is behind a cell, and
//! when it was seen.

#![expect(clippy::unwrap_used, reason = "a test says best where it failed")]

mod browser;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use browser::Browser;
use serde_json::{Value, json};

const POLICY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/golden/all-fields.psp.yaml"
);
const WORKLOADS: usize = 500;
/// The names of the rows that there are.
const NAMES: &str = "[...document.querySelectorAll('tbody th')].map(name => name.textContent)";
/// What the focus is on, in words.
const FOCUS: &str = "(focus => focus.ariaLabel || focus.closest('tr')?.cells[0].textContent + ' ' \
                     + focus.dataset.control)(document.activeElement)";

fn write_report(args: &[&str], page: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_falco-psp"))
        .args(args)
        .args(["--report", &format!("html:{}", page.display())])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

fn open(page: &Path) -> Browser {
    let mut browser = Browser::open(&format!("file://{}", page.display()));
    let entry = "performance.getEntriesByType('navigation')[0]";
    let ready = browser.eval(&format!(
        "document.body.getBoundingClientRect(); {entry}.domContentLoadedEventEnd"
    ));
    let laid_out = browser.eval(
        "(start => { document.body.style.width = '90%'; document.body.getBoundingClientRect();
           document.body.style.width = ''; return performance.now() - start })(performance.now())",
    );
    println!("{WORKLOADS} workloads: ready in {ready} ms, laid out anew in {laid_out} ms");
    // More than a browser takes that has nothing else to do, less than a person waits for.
    assert!(ready.as_f64().unwrap() < 5_000.0, "{ready}");
    browser
}

/// Not even one that the browser would refuse.
fn assert_no_request(browser: &mut Browser) {
    let entries = browser.eval("performance.getEntriesByType('resource').length");
    assert_eq!(entries, 0);
    let others = browser
        .requests
        .iter()
        .filter(|url| !url.starts_with("file://"));
    assert_eq!(others.count(), 0, "{:?}", browser.requests);
    assert_eq!(browser.requests.len(), 1, "{:?}", browser.requests);
}

#[test]
fn a_browser_shows_and_filters_it() {
    if !browser::is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut manifests = String::new();
    for n in 0..WORKLOADS {
        let privileged = n % 2 == 1;
        writeln!(
            manifests,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: pod-{n}}}\nspec:\n  \
             containers: [{{name: c, image: nginx, securityContext: {{privileged: {privileged}}}}}]"
        )
        .unwrap();
    }
    let (manifest, page) = (folder.path().join("m.yaml"), folder.path().join("p.html"));
    fs::write(&manifest, manifests).unwrap();
    let manifest = manifest.display().to_string();
    write_report(
        &["check", "--psp", POLICY, "--format", "json", &manifest],
        &page,
    );
    let mut browser = open(&page);
    let mut count = || browser.eval("document.getElementById('count').textContent");
    assert_eq!(count(), "500 of 500 workloads");
    assert_eq!(
        browser.eval("document.querySelectorAll('thead th.control').length"),
        22
    );
    // Nothing was watched, so there is nothing to draw.
    assert_eq!(
        browser.eval("document.getElementById('timeline').hidden"),
        true
    );
    // Rows come when they are scrolled to, and the others when the page is printed.
    let rows = |browser: &mut Browser| browser.eval(NAMES).as_array().unwrap().len();
    let first = rows(&mut browser);
    assert!(first < WORKLOADS, "{first}");
    browser.eval("document.querySelector('.matrix').scrollTop = 1e6");
    browser.wait_for(&format!(
        "document.querySelectorAll('tbody th').length > {first}"
    ));
    browser.eval("dispatchEvent(new Event('beforeprint'))");
    assert_eq!(rows(&mut browser), WORKLOADS);

    browser.eval("document.getElementById('part').focus()");
    browser.type_text(" POD-49");
    // pod-49 and pod-490 to pod-499
    assert_eq!(rows(&mut browser), 11);
    let choose = |state: &str| {
        format!(
            "(state => {{ state.value = '{state}'; state.dispatchEvent(new Event('change')) }})(
             document.getElementById('state'))"
        )
    };
    browser.eval(&choose("fine"));
    assert_eq!(rows(&mut browser), 0);
    browser.eval(&choose(""));
    assert_eq!(
        browser.eval("document.getElementById('count').textContent"),
        "11 of 500 workloads"
    );
    browser.eval("document.querySelector('td[data-control=privileged]').click()");
    let detail = browser.eval("document.getElementById('detail').innerText");
    let detail = detail.as_str().unwrap();
    assert!(
        detail.starts_with("default/Pod/pod-49, privileged: denied"),
        "{detail}"
    );
    assert!(detail.contains("declared: denied"), "{detail}");
    assert!(detail.contains("privileged containers c"), "{detail}");
    let mend = "a change of policy all.fields would mend it: spec.privileged: true";
    assert!(detail.contains(mend), "{detail}");
    assert_eq!(browser.eval("document.activeElement.id"), "detail");
    assert_no_request(&mut browser);
}

/// A report of workloads that each break on each control, as a run with root's rights would write it.
fn observed() -> Value {
    let golden = fs::read_to_string(POLICY).unwrap();
    assert!(golden.contains("kind: PodSecurityPolicy"));
    let controls = [
        "privileged",
        "hostPID",
        "hostIPC",
        "hostNetwork",
        "hostPorts",
        "volumes",
        "allowedHostPaths",
        "allowedFlexVolumes",
        "allowedCSIDrivers",
        "fsGroup",
        "runAsUser",
        "runAsGroup",
        "supplementalGroups",
        "seLinux",
        "readOnlyRootFilesystem",
        "allowPrivilegeEscalation",
        "capabilities",
        "sysctls",
        "allowedProcMountTypes",
        "runtimeClass",
        "seccomp",
        "apparmor",
    ];
    let cell = |n: usize, at: usize, control: &str| {
        let time =
            |minute: usize| format!("2026-01-01T{:02}:{:02}:00.000Z", minute / 60, minute % 60);
        let evidence = json!([{
            "policy": "p", "rule": format!("PSP p Violation ({control})"), "count": n + 1,
            "first": time(n), "last": time(n + at), "examples": ["user=root"],
        }]);
        json!({
            "control": control, "state": "breaks", "declared": null,
            "observed": {"state": "breaks", "unknown": [], "evidence": evidence},
        })
    };
    let workload = |n: usize| {
        let cells = controls
            .iter()
            .enumerate()
            .map(|(at, control)| cell(n, at, control));
        json!({
            "namespace": "default", "kind": "Deployment", "name": format!("web-{n}"),
            "state": "breaks", "declared_pods": 0, "containers": 1,
            "cells": cells.collect::<Vec<Value>>(),
        })
    };
    json!({
        "version": 1, "policies": ["p"], "verdict": "breaks", "breaking": WORKLOADS,
        "seen": {
            "began": "2026-01-01T00:00:00.000Z", "window_seconds": 36_000.0,
            "containers": WORKLOADS, "declared_pods": null, "events_lost": 0,
        },
        "weaknesses": [], "notes": [], "controls": controls,
        "workloads": (0..WORKLOADS).map(workload).collect::<Vec<Value>>(),
    })
}

#[test]
fn a_browser_shows_when_it_was_seen_and_needs_no_mouse() {
    if !browser::is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (report, page) = (folder.path().join("r.json"), folder.path().join("p.html"));
    fs::write(&report, observed().to_string()).unwrap();
    write_report(&["report", "merge", &report.display().to_string()], &page);
    let mut browser = open(&page);

    // Of 11,000 bars only the first are drawn, and that is said.
    let bars = "[...document.querySelectorAll('#bars button')].map(bar => bar.ariaLabel)";
    let all = browser.eval(bars);
    assert_eq!(all.as_array().unwrap().len(), 100);
    let note = browser.eval("document.getElementById('timeline-note').textContent");
    assert_eq!(
        note,
        "The first 100 of 11,000; the filter shows the others."
    );
    let ends = browser.eval("document.getElementById('ends').innerText");
    let ends = ends.as_str().unwrap();
    assert!(ends.contains("2026-01-01T00:00:00.000Z"), "{ends}");
    assert!(ends.contains("2026-01-01T10:00:00.000Z"), "{ends}");
    browser.eval("document.getElementById('part').focus()");
    browser.type_text("web-300");
    let all = browser.eval(bars);
    assert_eq!(all.as_array().unwrap().len(), 22);
    assert_eq!(
        all[10],
        "default/Deployment/web-300, runAsUser: 301 times, from 2026-01-01T05:00:00.000Z to \
         2026-01-01T05:10:00.000Z"
    );
    // 300 of 600 minutes, then 10.
    let bar = browser.eval(
        "(([bar, track]) => [bar.left - track.left, bar.width].map(x => x / track.width))(
         [...document.querySelectorAll('#bars button')].slice(10, 11)
           .flatMap(button => [button.querySelector('.bar'), button.querySelector('.track')])
           .map(element => element.getBoundingClientRect()))",
    );
    let share = |at: usize| bar[at].as_f64().unwrap();
    assert!((share(0) - 0.5).abs() < 0.01, "{bar}");
    assert!((share(1) - 1.0 / 60.0).abs() < 0.01, "{bar}");

    // By keys only: past the state to the matrix, within it, and behind a cell.
    let (tab, enter, escape, right, down) = (9, 13, 27, 39, 40);
    browser.press("Tab", tab);
    browser.press("Tab", tab);
    assert_eq!(browser.eval(FOCUS), "default/Deployment/web-300 privileged");
    browser.press("ArrowRight", right);
    browser.press("ArrowRight", right);
    assert_eq!(browser.eval(FOCUS), "default/Deployment/web-300 hostIPC");
    browser.press("Enter", enter);
    assert_eq!(browser.eval("document.activeElement.id"), "detail");
    let detail = browser.eval("document.getElementById('detail').innerText");
    assert!(
        detail
            .as_str()
            .unwrap()
            .contains("301 times, 2026-01-01T05:00:00.000Z to"),
        "{detail}"
    );
    browser.press("Escape", escape);
    assert_eq!(browser.eval(FOCUS), "default/Deployment/web-300 hostIPC");
    // From there to the timeline, where the first bar can be reached, and from it the next.
    browser.press("Tab", tab);
    assert_eq!(browser.eval(FOCUS), all[0]);
    browser.press("ArrowDown", down);
    assert_eq!(browser.eval(FOCUS), all[1]);
    browser.press("Enter", enter);
    let title = browser.eval("document.querySelector('#detail h2').textContent");
    assert_eq!(title, "default/Deployment/web-300, hostPID: breaks");

    // What is told anew moves only what has another place, and keeps where one is.
    let (names, focus) = (
        format!("{NAMES}.slice(0, 4).map(name => name.split('-')[1])"),
        FOCUS,
    );
    browser.eval("part.value = ''; filter(); body.querySelectorAll('td.cell')[22 * 3 + 2].focus()");
    assert_eq!(browser.eval(&names), json!(["0", "1", "10", "100"]));
    assert_eq!(browser.eval(focus), "default/Deployment/web-100 hostIPC");
    browser.eval("for (const row of body.rows) row.isSame = true; matrix.scrollTop = 600");
    // What is looked at is to stay where it is, whatever comes or goes above it.
    let looked_at = "new Promise(done => requestAnimationFrame(() => setTimeout(() => done(
        [...body.rows].find(row => row.cells[0].textContent.endsWith('web-127'))
          .getBoundingClientRect().top.toFixed()))))";
    let place = browser.eval(looked_at);
    browser.eval(
        "(([zero, one, ten, ...others]) => {
           ten.cells[0].state = 'denied';
           report.workloads = [ten, ...others, zero];
           draw();
         })(report.workloads)",
    );
    assert_eq!(browser.eval(&names), json!(["10", "100", "101", "102"]));
    assert_eq!(browser.eval(focus), "default/Deployment/web-100 hostIPC");
    assert_eq!(browser.eval("body.rows[0].cells[2].textContent"), "denied");
    let same = browser.eval("[...body.rows].slice(0, 3).map(row => row.isSame === true)");
    assert_eq!(same, json!([false, true, true]));
    assert_eq!(browser.eval(looked_at), place);
    assert_eq!(
        browser.eval("document.getElementById('count').textContent"),
        "499 of 499 workloads"
    );
    assert_no_request(&mut browser);
}
