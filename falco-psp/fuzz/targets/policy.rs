//! Policies: whatever is accepted becomes rules that load, ours and Falco's.

#![no_main]

use falco_psp::convert::{self, falco_rules};
use falco_psp::{psp, rules};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok((policy, _)) = psp::parse(&"p".into(), text) else {
        return;
    };
    // Control characters cannot be said in a rule.
    let Ok(ours) = convert::rules_text(&policy) else {
        return;
    };
    if let Err(errors) = rules::load(&"r".into(), &ours.text) {
        panic!("{}\n{}", errors[0], ours.text);
    }
    match falco_rules(&"r".into(), &ours.text) {
        Err(errors) => panic!("{}\n{}", errors[0], ours.text),
        Ok(falco) => {
            if let Err(errors) = rules::load(&"f".into(), &falco.text) {
                panic!("{}\n{}", errors[0], falco.text);
            }
        }
    }
});
