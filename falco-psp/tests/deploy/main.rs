//! What is in `deploy`: every overlay renders, every object is what its API takes, and all parts
//! fit each other and the program.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test says best where it failed"
)]

mod kustomize;
mod metrics;
mod pods;
mod schema;

use std::fs;

use serde_json::json;

use kustomize::{OVERLAYS, deploy, documents, render};

#[test]
fn every_overlay_renders_to_objects_that_the_api_takes() {
    if !kustomize::available() {
        return;
    }
    let mut folders: Vec<String> = fs::read_dir(deploy().join("overlays"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort_unstable();
    assert_eq!(folders, OVERLAYS);
    for overlay in OVERLAYS {
        let objects = render(overlay);
        assert!(objects.len() >= 4, "{overlay}");
        for object in &objects {
            if let Err(why) = schema::check(object) {
                panic!(
                    "{overlay}: {} {}: {why}",
                    object["kind"], object["metadata"]["name"]
                );
            }
        }
    }
}

#[test]
fn the_files_for_the_api_server_are_what_it_takes() {
    let folder = deploy().join("overlays/audit-webhook/api-server");
    for name in ["policy.yaml", "webhook.yaml"] {
        let objects = documents(&fs::read_to_string(folder.join(name)).unwrap());
        assert_eq!(objects.len(), 1, "{name}");
        if let Err(why) = schema::check(&objects[0]) {
            panic!("{name}: {why}");
        }
        if name == "webhook.yaml" {
            let server = objects[0]["clusters"][0]["cluster"]["server"]
                .as_str()
                .unwrap();
            let path = falco_psp::sources::k8s_audit::webhook::PATH;
            assert!(server.ends_with(&format!(":443{path}")), "{server}");
        }
    }
}

#[test]
fn a_misspelt_field_is_found() {
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "s" },
        "spec": { "ports": [{ "port": 80, "targetPort": "http" }] },
    });
    assert_eq!(schema::check(&object), Ok(()));
    object["spec"]["ports"][0]["targetport"] = json!(80);
    let why = schema::check(&object).unwrap_err();
    assert_eq!(why, "not in the API: .spec.ports[0].targetport");
    object["spec"]["ports"] = json!("http");
    assert!(schema::check(&object).is_err());
}
