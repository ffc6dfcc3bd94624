//! The page of `--report html` in a real browser: the matrix, the filters, what is behind a cell.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use serde_json::Value;

const POLICY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/golden/all-fields.psp.yaml"
);
const WORKLOADS: usize = 500;
/// Does what a user would, and leaves what came of it in the document.
const PROBE: &str = r#"<script>
const start = performance.now();
document.body.getBoundingClientRect();
const laid_out_in = performance.now() - start;
const shown = () => rows.filter(row => !row.hidden).map(row => row.dataset.name);
const all = shown().length;
name.value = " POD-49";
name.dispatchEvent(new Event("input"));
const by_name = shown();
state.value = "fine";
state.dispatchEvent(new Event("change"));
const by_both = shown().length;
state.value = "";
state.dispatchEvent(new Event("change"));
document.querySelector('[aria-label="default/Pod/pod-49, privileged: denied"]').click();
document.body.dataset.probe = JSON.stringify({
  all, by_name, by_both,
  count: document.getElementById("count").textContent,
  detail: document.getElementById("detail").innerText,
  focus: document.activeElement.id,
  columns: document.querySelectorAll("thead th.control").length,
  requests: performance.getEntriesByType("resource").length,
  ready_in: performance.now(), laid_out_in,
});
</script>"#;

fn is_there() -> bool {
    if Command::new("chromium").arg("--version").output().is_ok() {
        return true;
    }
    let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!ci, "needs chromium, and in CI nothing is skipped");
    println!("skipped: needs chromium");
    false
}

#[test]
fn a_browser_shows_and_filters_it() {
    if !is_there() {
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
    let output = Command::new(env!("CARGO_BIN_EXE_falco-psp"))
        .args(["check", "--psp", POLICY, "--format", "json"])
        .arg(&manifest)
        .args(["--report", &format!("html:{}", page.display())])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let text = fs::read_to_string(&page).unwrap();
    fs::write(&page, text.replace("</body>", &format!("{PROBE}</body>"))).unwrap();
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
        ])
        .args(["--no-first-run", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let probe = dom.split_once("data-probe=\"");
    let probe = probe.and_then(|(_, rest)| rest.split_once('"'));
    let (probe, _) = probe.expect("a result of the probe in the page");
    let probe = probe.replace("&quot;", "\"").replace("&amp;", "&");
    let probe: Value = serde_json::from_str(&probe).unwrap();
    println!(
        "{WORKLOADS} workloads: ready in {} ms, laid out in {} ms",
        probe["ready_in"], probe["laid_out_in"]
    );
    assert_eq!(probe["all"], WORKLOADS);
    // pod-49 and pod-490 to pod-499
    assert_eq!(probe["by_name"].as_array().unwrap().len(), 11, "{probe}");
    assert_eq!(probe["by_both"], 0);
    assert_eq!(probe["count"], "11 of 500 workloads");
    let detail = probe["detail"].as_str().unwrap();
    assert!(detail.contains("declared: denied"), "{detail}");
    assert!(detail.contains("privileged containers c"), "{detail}");
    assert_eq!(probe["focus"], "detail");
    assert_eq!(probe["columns"], 22);
    assert_eq!(probe["requests"], 0);
}
