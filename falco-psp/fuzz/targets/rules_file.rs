//! Rules files.

#![no_main]

use falco_psp::rules;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match rules::load(&"r".into(), text) {
        Ok((rules, _)) => drop(rules),
        // The errors can be shown.
        Err(errors) => assert!(errors.iter().all(|error| !error.to_string().is_empty())),
    }
});
