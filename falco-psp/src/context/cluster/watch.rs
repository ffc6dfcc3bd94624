//! Listing and watching, as the API's conventions want it
//! (kubernetes.io/docs/reference/using-api/api-concepts, "Efficient detection of changes"): a list
//! in pages, then the changes since; all anew where the server no longer knows them.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};

use super::Table;
use super::client::{AskError, Status, escaped, get};
use super::config::Config;
use super::pods::{PodList, PodObject};

/// Pods of one page.
const PAGE: u16 = 250;
/// How long the server is to keep a watch; then it is asked anew.
const WATCH_SECONDS: u64 = 300;
/// A watch that is silent for so long is taken for broken: the server sends bookmarks every minute.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS + 30);
/// The time between attempts: doubled from the first to the last, give or take half of it.
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 500 });
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// A watch that held for so long is a good one.
const GOOD_WATCH: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 5_000 });
/// After so many refusals to go on, all is listed anew: something may be wrong with the version.
const REFUSALS: u32 = 3;
/// What a list may have: far more than a node has pods (the kubelet's default is 110, and those that
/// have ended are few), so that a server that makes no sense costs no memory without end.
const LIST_TIME: Duration = Duration::from_secs(300);
const MAX_PAGES: usize = 200;
const MAX_PODS: usize = MAX_PAGES * PAGE as usize;
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

impl End {
    /// The version from which it goes on, if all need not be listed anew.
    fn version(self) -> Option<String> {
        match self {
            Self::Over(version) => Some(version),
            Self::Gone => None,
        }
    }
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
            None => timeout(LIST_TIME, list(config, table))
                .await
                .unwrap_or(Err(AskError::Silent))
                .map(Some),
            Some(from) => match changes(config, table, &from, &mut course).await {
                Ok(end) => {
                    course.ended(start.elapsed()).await;
                    Ok(end.version())
                }
                Err(error) if is_gone(&error) => {
                    course.ended(start.elapsed()).await;
                    Ok(None)
                }
                Err(error) => {
                    // What was known stays, and it goes on where it was.
                    let is_refusal =
                        matches!(error, AskError::Refused { .. } | AskError::Nonsense(_));
                    version = (!is_refusal || course.failures < REFUSALS).then_some(from);
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

/// Lists all pods of the node; the version from which changes are to be watched.
async fn list(config: &Config, table: &Table) -> Result<String, AskError> {
    let first = format!("{}&limit={PAGE}", path(config));
    let mut question = first.clone();
    let mut pods = Vec::new();
    for _ in 0..MAX_PAGES {
        let answer = match get(&config.access, &question).await {
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
        // A Status, or the answer of something that is no API server, is not an empty list.
        if page.kind != "PodList" || page.metadata.resource_version.is_empty() {
            return Err(AskError::Nonsense(format!(
                "no list of pods, but kind \"{}\" with version \"{}\"",
                page.kind, page.metadata.resource_version
            )));
        }
        if pods.len() + page.items.len() > MAX_PODS {
            break;
        }
        pods.extend(page.items.into_iter().filter_map(PodObject::facts));
        if page.metadata.more.is_empty() {
            table.replace(pods);
            return Ok(page.metadata.resource_version);
        }
        let next = format!("{first}&continue={}", escaped(&page.metadata.more));
        if next == question {
            return Err(AskError::Nonsense(
                "a page of the list names itself as the next".to_owned(),
            ));
        }
        question = next;
    }
    Err(AskError::Nonsense(format!(
        "a list of more than {MAX_PAGES} pages or {MAX_PODS} pods"
    )))
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
    let start = Instant::now();
    let mut answer = get(&config.access, &question).await?;
    let mut version = version.to_owned();
    loop {
        // Only a watch that holds shows that all is well again.
        let good_in = GOOD_WATCH.saturating_sub(start.elapsed());
        if good_in.is_zero() {
            course.is_well();
        }
        let patience = match course.failures {
            0 => SILENCE,
            _ => good_in,
        };
        let line = match timeout(patience, answer.line()).await {
            Err(_) if course.failures > 0 => continue,
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
    fn is_well(&mut self) {
        self.failures = 0;
        if self.told.take().is_some() {
            say!("the API server tells the pods of this node again");
        }
    }

    /// A watch ended after this time. A server that ends each at once, or does not know the version that
    /// it has just told, is not asked all the time.
    async fn ended(&mut self, after: Duration) {
        if after < GOOD_WATCH {
            self.failures += 1;
            sleep(self.pause()).await;
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
            config.access.server.authority
        );
        if self.told.as_ref() != Some(&text) {
            say!("{text}");
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
