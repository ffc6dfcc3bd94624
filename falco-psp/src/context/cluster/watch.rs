//! Listing and watching, as the API's conventions want it
//! (kubernetes.io/docs/reference/using-api/api-concepts, "Efficient detection of changes"): a list
//! in pages, then the changes since; all anew where the server no longer knows them.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};

use super::Table;
use super::client::{AskError, Status, get};
use super::config::Config;
use super::pods::{PodList, PodObject};

/// Pods of one page.
const PAGE: u32 = 250;
/// How long the server is to keep a watch; then it is asked anew.
const WATCH_SECONDS: u64 = 300;
/// A watch that is silent for so long is taken for broken: the server sends bookmarks every minute.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS + 30);
/// The time between attempts: doubled from the first to the last, give or take half of it.
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 500 });
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// A watch that held for so long was a good one.
const GOOD_WATCH: Duration = Duration::from_secs(5);
/// How often it is looked whether anybody still wants to know.
const TICK: Duration = Duration::from_secs(1);

/// One change.
#[derive(Debug, Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// How a watch ended.
enum End {
    /// As it should: it goes on from this version.
    Over(String),
    /// The server no longer knows the version.
    Gone,
}

/// Keeps the table until nobody asks any more.
pub(super) async fn watch(config: &Config, table: &Table) {
    tokio::select! {
        () = keep(config, table) => {}
        () = abandoned(table) => {}
    }
}

async fn abandoned(table: &Table) {
    while !table.is_abandoned() {
        sleep(TICK).await;
    }
}

async fn keep(config: &Config, table: &Table) {
    let mut course = Course::default();
    let mut version: Option<String> = None;
    loop {
        let start = Instant::now();
        let step = match version.take() {
            None => list(config, table).await.map(|listed| {
                course.answers();
                course.failures = 0;
                Some(listed)
            }),
            Some(from) => match changes(config, table, &from, &mut course).await {
                Ok(End::Over(to)) => {
                    if start.elapsed() < GOOD_WATCH {
                        // A server that ends each watch at once is not asked all the time.
                        course.failures += 1;
                        sleep(course.pause()).await;
                    } else {
                        course.failures = 0;
                    }
                    Ok(Some(to))
                }
                Ok(End::Gone) => Ok(None),
                Err(error) if is_gone(&error) => Ok(None),
                Err(error) => {
                    // What was known stays, and it goes on where it was.
                    version = Some(from);
                    Err(error)
                }
            },
        };
        match step {
            Ok(next) => version = next,
            Err(error) => {
                course.fails(config, &error);
                sleep(course.pause()).await;
            }
        }
    }
}

fn is_gone(error: &AskError) -> bool {
    matches!(error, AskError::Refused { status, .. } if *status == StatusCode::GONE)
}

fn path(config: &Config) -> String {
    format!(
        "/api/v1/pods?fieldSelector=spec.nodeName%3D{}",
        escaped(&config.node)
    )
}

/// A value of a query.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

/// Lists all pods of the node; the version from which changes are to be watched.
async fn list(config: &Config, table: &Table) -> Result<String, AskError> {
    let first = format!("{}&limit={PAGE}", path(config));
    let mut question = first.clone();
    let mut pods = Vec::new();
    loop {
        let answer = match get(config, &question).await {
            // The rest of a list that took too long is gone: from the beginning, on failure.
            Err(error) if is_gone(&error) && question != first => {
                return Err(AskError::Broken("the list has expired".to_owned()));
            }
            answer => answer?,
        };
        let body = timeout(SILENCE, answer.body())
            .await
            .unwrap_or(Err(AskError::Silent))?;
        let page: PodList =
            serde_json::from_slice(&body).map_err(|why| AskError::Nonsense(why.to_string()))?;
        pods.extend(page.items.into_iter().filter_map(PodObject::facts));
        if page.metadata.more.is_empty() {
            table.replace(pods);
            return Ok(page.metadata.resource_version);
        }
        question = format!("{first}&continue={}", escaped(&page.metadata.more));
    }
}

/// Watches changes since `version` until the watch ends.
async fn changes(
    config: &Config,
    table: &Table,
    version: &str,
    course: &mut Course,
) -> Result<End, AskError> {
    let question = format!(
        "{}&watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={}",
        path(config),
        escaped(version)
    );
    let mut answer = get(config, &question).await?;
    course.answers();
    let mut version = version.to_owned();
    loop {
        let line = match timeout(SILENCE, answer.line()).await {
            Err(_) | Ok(Err(AskError::Silent | AskError::Broken(_))) => {
                // What came was whole, so it goes on behind that.
                return Ok(End::Over(version));
            }
            Ok(line) => line?,
        };
        let Some(line) = line else {
            return Ok(End::Over(version));
        };
        let nonsense = |why: serde_json::Error| AskError::Nonsense(why.to_string());
        let event: Event<'_> = serde_json::from_slice(&line).map_err(nonsense)?;
        if event.kind == "ERROR" {
            let status: Status = serde_json::from_str(event.object.get()).unwrap_or_default();
            if status.code == StatusCode::GONE.as_u16() {
                return Ok(End::Gone);
            }
            return Err(AskError::Refused {
                status: StatusCode::from_u16(status.code)
                    .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                message: status.message,
            });
        }
        let object: PodObject = serde_json::from_str(event.object.get()).map_err(nonsense)?;
        let of_object = object.metadata.resource_version.clone();
        match (event.kind, object.facts()) {
            ("ADDED" | "MODIFIED", Some(pod)) => table.put(pod),
            ("DELETED", Some(pod)) => table.remove(&pod.uid),
            // A bookmark brings a version only.
            _ => {}
        }
        if !of_object.is_empty() {
            version = of_object;
        }
    }
}

/// How the asking goes.
#[derive(Default)]
struct Course {
    failures: u32,
    /// What was told last of what is wrong.
    told: Option<String>,
}

impl Course {
    fn answers(&mut self) {
        if self.told.take().is_some() {
            eprintln!("the API server tells the pods of this node again");
        }
    }

    /// Tells what is wrong, once for each thing that is.
    fn fails(&mut self, config: &Config, error: &AskError) {
        self.failures += 1;
        let advice = match error {
            AskError::Refused { status, .. } if *status == StatusCode::FORBIDDEN => {
                "; it needs list and watch of pods (RBAC)"
            }
            AskError::Refused { status, .. } if *status == StatusCode::UNAUTHORIZED => {
                "; the token or certificate is not valid there"
            }
            _ => "",
        };
        let text = format!(
            "the API server {} does not tell the pods of this node: {error}{advice}; it is asked \
             again",
            config.server.authority
        );
        if self.told.as_ref() != Some(&text) {
            eprintln!("{text}");
            self.told = Some(text);
        }
    }

    fn pause(&self) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.saturating_sub(1).min(16));
        // No two agents of a cluster come back at the same moment.
        let random = RandomState::new().hash_one(self.failures) % 1024;
        let jitter = 0.5 + random as f64 / 1024.0;
        doubled.min(LAST_PAUSE).mul_f64(jitter)
    }
}
