use super::*;

pub(super) fn cell(control: Control, state: State, text: &str) -> Cell {
    Cell {
        control,
        state,
        declared: Some(DeclaredCell {
            state: State::Fine,
            messages: Vec::new(),
        }),
        observed: Some(ObservedCell {
            state,
            unknown: Vec::new(),
            evidence: vec![Evidence {
                policy: "p".to_owned(),
                rule: "r".to_owned(),
                count: 3,
                first: "2026-01-01T00:00:00.000Z".to_owned(),
                last: "2026-01-01T00:00:01.000Z".to_owned(),
                examples: vec![text.to_owned()],
            }],
        }),
        proposals: Vec::new(),
    }
}

pub(super) fn of(name: &str, text: &str) -> Answer {
    Answer {
        version: VERSION,
        policies: vec!["p".to_owned()],
        verdict: Verdict::Breaks,
        breaking: 1,
        seen: Seen::default(),
        weaknesses: Vec::new(),
        notes: Vec::new(),
        controls: vec![Control::Capabilities],
        allowances: Vec::new(),
        workloads: vec![Workload {
            needs: Needs::default(),
            namespace: "n".to_owned(),
            kind: "Pod".to_owned(),
            name: name.to_owned(),
            state: State::Breaks,
            declared_pods: 0,
            containers: 1,
            places: Vec::new(),
            cells: vec![cell(Control::Capabilities, State::Breaks, text)],
        }],
    }
}

/// The answer of no reports at all.
pub(super) fn nothing() -> Answer {
    merge(&[]).unwrap()
}

/// What a workload names its programs is not to be trusted by whoever reads the report.
#[test]
fn nothing_that_a_workload_says_becomes_markup() {
    let answer = of(
        "a|b`c",
        "PSP p Violation (capabilities) </script><script>alert(1)</script>\u{1b}[31m `x` | y",
    );
    let html = answer.html().unwrap();
    assert_eq!(html.matches("<script").count(), 2, "{html}");
    assert!(!html.contains("data-events"), "{html}");
    assert_eq!(html.matches("</script>").count(), 2, "{html}");
    assert!(html.contains("\\u003c/script>"), "{html}");
    let markdown = answer.markdown();
    let row = markdown.lines().find(|line| line.starts_with("| breaks"));
    assert_eq!(
        row,
        Some("| breaks | `n/Pod/a\\|b'c` | 1 container | breaks: capabilities |")
    );
    assert!(!markdown.contains('\u{1b}'), "{markdown}");
    let junit = answer.junit();
    assert!(
        !junit.contains("<script") && !junit.contains('\u{1b}'),
        "{junit}"
    );
    assert!(
        junit.contains("name=\"n/Pod/a|b`c\" tests=\"1\" failures=\"1\""),
        "{junit}"
    );
    let text = answer.text(false);
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(answer.text(true).contains("\u{1b}[31mbreaks "));
}

/// What a browser would not run, were it changed on its way into the page.
#[test]
fn only_the_pages_own_script_and_style_are_allowed() {
    let page = of("web", "x").html().unwrap();
    for (open, close, of) in [
        ("<style>", "</style>", "style-src"),
        ("<script>", "</script>", "script-src"),
    ] {
        let inside = page
            .split_once(open)
            .and_then(|(_, rest)| rest.split_once(close));
        let hash = ring::digest::digest(&ring::digest::SHA256, inside.unwrap().0.as_bytes());
        let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, hash);
        let policy = security_policy(false);
        assert!(
            policy.contains(&format!("{of} 'sha256-{hash}';")),
            "{policy}"
        );
        assert!(
            !policy.contains("unsafe") && !policy.contains("connect"),
            "{policy}"
        );
    }
    let live = of("web", "x").live_html("v1/events").unwrap();
    assert!(
        live.contains("<body data-events=\"v1&#x2f;events\">"),
        "{live}"
    );
    assert!(security_policy(true).ends_with("; connect-src 'self'"));
}

#[test]
fn text_fits_a_terminal() {
    let answer = of(
        "web",
        &format!("PSP p Violation (capabilities) {}", "x".repeat(200)),
    );
    let text = answer.text(false);
    assert!(
        text.contains("  breaks  capabilities              seen 3×\n"),
        "{text}"
    );
    assert!(text.contains("          xxx"), "{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn reports_are_asked_for_by_form_and_file() {
    let request: Request = "html:a:b.html".parse().unwrap();
    assert_eq!(request.format, Format::Html);
    assert_eq!(request.path.unwrap().to_str(), Some("a:b.html"));
    assert_eq!("text".parse::<Request>().unwrap().path, None);
    for bad in ["", "pdf", "json:", ":x", "JSON", "sarif:", "policy-report"] {
        assert!(bad.parse::<Request>().is_err(), "{bad}");
    }
}
