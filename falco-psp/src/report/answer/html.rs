//! The answer as one page: a file that loads nothing, or served by a run that tells it what is new.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind};
use ring::digest::{SHA256, digest};
use serde::Serialize;

use super::{Answer, Verdict, Workload};

const PAGE: &str = include_str!("page.html.j2");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What a page is made of.
#[derive(Serialize)]
struct Page<'a> {
    policy: String,
    style: &'static str,
    script: &'static str,
    /// Where the page is told what is new.
    events: Option<&'a str>,
    headline: String,
    basis: String,
    verdict: Verdict,
    weaknesses: &'a [String],
    notes: &'a [String],
    /// For whoever has no scripts.
    broken: Vec<Broken>,
    /// All as JSON, for the page's script. Within a script nothing ends it but a `<`.
    json: String,
}

/// A workload that breaks.
#[derive(Serialize)]
struct Broken {
    id: String,
    /// Its cells that do.
    cells: Vec<String>,
}

/// What the page's script shows: the answer, with what it says in words.
#[derive(Serialize)]
struct Shown<'a> {
    headline: String,
    basis: String,
    /// What stands below the workloads: the policies' clauses that nobody uses, for example.
    lists: Vec<(String, Vec<String>)>,
    #[serde(flatten)]
    answer: &'a Answer,
}

/// See [`Answer::html`] and [`Answer::live_html`].
pub(super) fn html(answer: &Answer, events: Option<&str>) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.keep_trailing_newline(true).build()?);
    environment.add_template("page.html", PAGE)?;
    let json =
        shown(answer).map_err(|why| Error::new(ErrorKind::BadSerialization, why.to_string()))?;
    let broken = answer.workloads.iter().filter(|w| w.state.is_broken());
    environment.get_template("page.html")?.render(Serde(Page {
        policy: security_policy(events.is_some()),
        style: STYLE,
        script: SCRIPT,
        events,
        headline: answer.headline(),
        basis: answer.basis(),
        verdict: answer.verdict,
        weaknesses: &answer.weaknesses,
        notes: &answer.notes,
        broken: broken.map(Broken::of).collect(),
        json: json.replace('<', "\\u003c"),
    }))
}

/// See [`Answer::shown`].
pub(super) fn shown(answer: &Answer) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Shown {
        headline: answer.headline(),
        basis: answer.basis(),
        lists: answer.lists(),
        answer,
    })
}

/// What a browser lets the page do: its own script and style, and nothing else. One that is told
/// what is new may also ask the server that it comes from.
pub(crate) fn security_policy(is_live: bool) -> String {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    let connect = match is_live {
        true => "; connect-src 'self'",
        false => "",
    };
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'{connect}",
        hash(STYLE),
        hash(SCRIPT)
    )
}

impl Broken {
    fn of(workload: &Workload) -> Self {
        let cells = workload.cells.iter().filter(|cell| cell.state.is_broken());
        Self {
            id: workload.id(),
            cells: cells
                .map(|cell| format!("{} ({})", cell.control, cell.state.name()))
                .collect(),
        }
    }
}
