//! Audit events as a client of the webhook can send them.

#![no_main]

mod judge;

use falco_psp::sources::k8s_audit::{body, decode::decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(event) = decode(data.to_vec().into(), 1) {
        judge::judge(event);
    }
    for span in body::split(data).unwrap_or_default() {
        if let Ok(event) = decode(data[span.start..span.end].to_vec().into(), span.number) {
            judge::judge(event);
        }
    }
});
