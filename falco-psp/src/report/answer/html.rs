//! The answer as one page that loads nothing.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind};
use serde::Serialize;

use super::{Answer, Workload};

const PAGE: &str = include_str!("page.html.j2");

/// What the page is made of.
#[derive(Serialize)]
struct Page<'a> {
    answer: &'a Answer,
    /// The same as JSON, for the page's script. Within a script nothing ends it but a `<`.
    json: String,
    headline: String,
    basis: String,
    /// The workloads' names.
    ids: Vec<String>,
    /// What the policies allow and nobody uses.
    unused: Vec<(String, Vec<String>)>,
}

/// See [`Answer::html`].
pub(super) fn html(answer: &Answer) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.keep_trailing_newline(true).build()?);
    environment.add_template("page.html", PAGE)?;
    let json = serde_json::to_string(answer)
        .map_err(|why| Error::new(ErrorKind::BadSerialization, why.to_string()))?;
    environment.get_template("page.html")?.render(Serde(Page {
        answer,
        json: json.replace('<', "\\u003c"),
        headline: answer.headline(),
        basis: answer.basis(),
        unused: answer.unused(),
        ids: answer.workloads.iter().map(Workload::id).collect(),
    }))
}
