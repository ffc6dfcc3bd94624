//! `--report FORMAT[:PATH]`.

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

use super::Answer;

/// The forms that a report can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a terminal.
    Text,
    /// JSON.
    Json,
    /// Markdown.
    Markdown,
    /// One page of HTML.
    Html,
    /// JUnit's XML.
    Junit,
    /// SARIF 2.1.0.
    Sarif,
    /// PolicyReport objects in YAML.
    PolicyReport,
}

/// A report that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its form.
    pub format: Format,
    /// The file; standard output if `None`.
    pub path: Option<PathBuf>,
}

/// Why there is no report.
#[derive(Debug, Error)]
pub enum RequestError {
    /// No form of a report.
    #[error(
        "no such report; use text, json, markdown, html, junit, sarif or policyreport, or with a \
         file: html:report.html"
    )]
    Unknown,
    /// It cannot be written.
    #[error("cannot write the report to {place}: {why}")]
    Write {
        /// Where.
        place: String,
        /// Why not.
        why: io::Error,
    },
}

impl FromStr for Request {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let (format, path) = match text.split_once(':') {
            Some((_, "")) => return Err(RequestError::Unknown),
            Some((format, path)) => (format, Some(PathBuf::from(path))),
            None => (text, None),
        };
        let format = match format {
            "text" => Format::Text,
            "json" => Format::Json,
            "markdown" => Format::Markdown,
            "html" => Format::Html,
            "junit" => Format::Junit,
            "sarif" => Format::Sarif,
            "policyreport" => Format::PolicyReport,
            _ => return Err(RequestError::Unknown),
        };
        Ok(Self { format, path })
    }
}

/// The reports of a run.
#[derive(Clone, Debug, Default)]
pub struct Requests(Vec<Request>);

impl Requests {
    /// Those, whose files can be written: a run of days must not end with a report that has no place.
    ///
    /// # Errors
    /// One of them cannot.
    pub fn new(requests: &[Request]) -> Result<Self, RequestError> {
        for request in requests {
            if let Some(path) = &request.path {
                let file = OpenOptions::new().create(true).append(true).open(path);
                file.map_err(|why| request.failed(why))?;
            }
        }
        Ok(Self(requests.to_vec()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes them, each file anew.
    ///
    /// # Errors
    /// Not all could be written.
    pub fn write(&self, answer: &Answer) -> Result<(), RequestError> {
        let mut result = Ok(());
        for request in &self.0 {
            if let Err(why) = request.write(answer) {
                result = Err(request.failed(why));
            }
        }
        result
    }
}

impl Request {
    fn failed(&self, why: io::Error) -> RequestError {
        let place = self.path.as_ref().map(|path| path.display().to_string());
        RequestError::Write {
            place: place.unwrap_or_else(|| "standard output".to_owned()),
            why,
        }
    }

    fn write(&self, answer: &Answer) -> io::Result<()> {
        let colour = self.path.is_none() && io::stdout().is_terminal();
        let text = match self.format {
            Format::Text => answer.text(colour),
            Format::Json => answer.json()?,
            Format::Markdown => answer.markdown(),
            Format::Junit => answer.junit(),
            Format::Sarif => answer.sarif()?,
            Format::PolicyReport => answer.policy_reports().map_err(io::Error::other)?,
            Format::Html => answer.html().map_err(io::Error::other)?,
        };
        match &self.path {
            Some(path) => fs::write(path, text),
            None => {
                let mut out = io::stdout().lock();
                let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
                match written {
                    // Such as `head`, when it has enough.
                    Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                    written => written,
                }
            }
        }
    }
}
