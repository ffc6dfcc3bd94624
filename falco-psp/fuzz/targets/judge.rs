//! Judging what was read, by a policy that restricts everything.

use std::sync::LazyLock;

use falco_psp::event::{AuditEvent, Event};
use falco_psp::rules::{self, RuleSet};
use falco_psp::{convert, psp};

static RULES: LazyLock<RuleSet> = LazyLock::new(|| {
    let policy = include_str!("../../tests/golden/all-fields.psp.yaml");
    let (policy, _) = psp::parse(&"p".into(), policy).expect("a policy");
    let text = convert::rules_text(&policy).expect("rules").text;
    rules::load(&"r".into(), &text).expect("rules that load").0
});

/// Evaluates all rules and writes what they say.
pub fn judge(event: AuditEvent) {
    let event = Event::from(event);
    for (_, rule) in RULES.matching(&event) {
        assert!(!rule.output.render(&event).contains('\n'));
        rule.output.fields(&event);
    }
}
