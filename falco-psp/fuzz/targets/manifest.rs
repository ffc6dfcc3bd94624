//! Manifests, in YAML and JSON.

#![no_main]

mod judge;

use falco_psp::sources::manifest::Manifests;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut manifests = Manifests::default();
    manifests.add_text(&"m.yaml".into(), text, "default");
    for declared in &manifests.declared {
        if let Ok(event) = declared.event(1, 0) {
            judge::judge(event);
        }
    }
});
