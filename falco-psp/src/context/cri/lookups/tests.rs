//! The look-ups beside a runtime that is there, down, silent, restarted, or replies nonsense: a
//! real server on a real socket.

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use http::Response;
use prost::Message;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::super::messages::{
    ContainerStatus, ContainerStatusResponse, ListedContainer, PodSandboxMetadata, PodSandboxStatus,
};
use super::*;
use crate::container::Container;

/// What the runtime adds to a sandbox's status if it is asked for more.
const SANDBOX_INFO: &str = r#"{"config": {"linux": {"sysctls": {"kernel.msgmax": "65536"}}}}"#;

/// How the runtime behaves.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    /// Answers, with the sandbox in the verbose part.
    Well,
    /// Answers without a verbose part, as cri-dockerd.
    Plain,
    /// Accepts and says nothing.
    Silent,
    /// Speaks no HTTP/2.
    Nonsense,
    /// Answers something that is no message of the interface.
    Garbled,
    /// Refuses.
    Refusing,
}

struct Runtime {
    task: JoinHandle<()>,
}

impl Runtime {
    fn start(socket: &Path, mood: Mood) -> Self {
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, mood));
            }
        });
        Self { task }
    }

    /// Stops with all its connections.
    async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn serve(mut stream: UnixStream, mood: Mood) {
    match mood {
        Mood::Silent => std::future::pending().await,
        Mood::Nonsense => {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            std::future::pending().await
        }
        _ => {}
    }
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    let mut calls = JoinSet::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        calls.spawn(async move {
            let method = request.uri().path().to_owned();
            let mut body = request.into_body();
            let question = body.data().await.unwrap().unwrap();
            let answer = match mood {
                Mood::Refusing => Err("14"),
                Mood::Garbled => Ok(b"\xff\xff\xff".to_vec()),
                _ => answer(&method, &question[5..], mood).ok_or("5"),
            };
            let status = Response::builder().header("content-type", "application/grpc");
            let (status, answer) = match answer {
                Ok(answer) => (status, answer),
                Err(code) => {
                    let response = status.header("grpc-status", code).body(()).unwrap();
                    let _ = respond.send_response(response, true);
                    return;
                }
            };
            let mut stream = respond
                .send_response(status.body(()).unwrap(), false)
                .unwrap();
            let mut framed = vec![0];
            framed.extend(u32::try_from(answer.len()).unwrap().to_be_bytes());
            framed.extend(answer);
            stream.send_data(Bytes::from(framed), false).unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            stream.send_trailers(trailers).unwrap();
        });
    }
}

/// What a runtime says that knows the container `c1` of the sandbox `s1`.
fn answer(method: &str, question: &[u8], mood: Mood) -> Option<Vec<u8>> {
    match method {
        CONTAINER_STATUS => {
            let question = ContainerStatusRequest::decode(question).unwrap();
            let info = r#"{"sandboxID": "s1"}"#.to_owned();
            let info = (mood == Mood::Well).then(|| ("info".to_owned(), info));
            let answer = ContainerStatusResponse {
                status: Some(ContainerStatus {
                    id: question.container_id.clone(),
                    ..ContainerStatus::default()
                }),
                info: info.into_iter().collect(),
            };
            (question.container_id.starts_with('c')).then(|| answer.encode_to_vec())
        }
        LIST_CONTAINERS => Some(
            ListContainersResponse {
                containers: vec![ListedContainer {
                    id: "c1".into(),
                    pod_sandbox_id: "s1".into(),
                }],
            }
            .encode_to_vec(),
        ),
        POD_SANDBOX_STATUS => {
            let question = PodSandboxStatusRequest::decode(question).unwrap();
            let labels = HashMap::from([("app".to_owned(), "web".to_owned())]);
            let answer = PodSandboxStatusResponse {
                status: Some(PodSandboxStatus {
                    id: question.pod_sandbox_id.clone(),
                    metadata: Some(PodSandboxMetadata {
                        name: "web".into(),
                        uid: "u1".into(),
                        namespace: "shop".into(),
                    }),
                    network: None,
                    labels,
                }),
                info: question
                    .verbose
                    .then(|| ("info".to_owned(), SANDBOX_INFO.to_owned()))
                    .into_iter()
                    .collect(),
            };
            (question.pod_sandbox_id == "s1").then(|| answer.encode_to_vec())
        }
        _ => None,
    }
}

struct Node {
    folder: tempfile::TempDir,
    lookups: Lookups,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let choice = Choice::Socket(folder.path().join("cri.sock"));
        let lookups = Lookups::start(Some(choice)).unwrap().unwrap();
        Self { folder, lookups }
    }

    fn runtime(&self, mood: Mood) -> Runtime {
        Runtime::start(&self.folder.path().join("cri.sock"), mood)
    }

    /// The next answer about a container.
    async fn next(&mut self, id: &str) -> Outcome {
        loop {
            let answer = timeout(Duration::from_secs(15), self.lookups.next());
            let answer = answer.await.expect("in time").unwrap();
            if answer.id == id {
                return answer.outcome;
            }
        }
    }

    /// The answer that has facts in it, however many fail before.
    async fn facts(&mut self, id: &str) -> Box<RuntimeFacts> {
        loop {
            if let Ok(facts) = self.next(id).await {
                return facts;
            }
        }
    }

    async fn gap(&mut self, id: &str) -> Option<Gap> {
        self.lookups.ask(id);
        self.next(id).await.err()
    }
}

fn namespace_and_label(facts: &RuntimeFacts) -> (String, String) {
    let mut container = Container::default();
    facts.add_to(&mut container);
    let pod = container.pod.unwrap();
    (pod.namespace.unwrap(), pod.labels.unwrap()["app"].clone())
}

#[tokio::test]
async fn a_container_and_its_pod_are_looked_up() {
    for mood in [Mood::Well, Mood::Plain] {
        let mut node = Node::new();
        let _runtime = node.runtime(mood);
        node.lookups.ask("c1");
        let facts = node.next("c1").await.unwrap();
        assert!(!facts.is_sandbox);
        let expected = ("shop".to_owned(), "web".to_owned());
        assert_eq!(namespace_and_label(&facts), expected);
        let mut container = Container::default();
        facts.add_to(&mut container);
        assert_eq!(container.posture.sysctls.found, ["kernel.msgmax"]);
        node.lookups.ask("s1");
        assert!(node.next("s1").await.unwrap().is_sandbox);
        // It is asked for again, and then taken as it is.
        assert_eq!(node.gap("other").await, Some(Gap::UnknownToRuntime));
        for _ in 1..MAX_UNKNOWN {
            let outcome = node.next("other").await;
            assert_eq!(outcome.err(), Some(Gap::UnknownToRuntime));
        }
        let more = timeout(LONGEST_RETRY / 5, node.next("other")).await;
        assert!(more.is_err(), "asked for ever");
    }
}

#[tokio::test]
async fn a_runtime_that_fails_is_told_why_and_asked_again() {
    for (mood, gap) in [
        (None, Gap::RuntimeDown),
        (Some(Mood::Silent), Gap::RuntimeSilent),
        (Some(Mood::Nonsense), Gap::BadAnswer),
        (Some(Mood::Garbled), Gap::BadAnswer),
        (Some(Mood::Refusing), Gap::BadAnswer),
    ] {
        let mut node = Node::new();
        let runtime = mood.map(|mood| node.runtime(mood));
        assert_eq!(node.gap("c1").await, Some(gap));
        if let Some(runtime) = runtime {
            runtime.stop().await;
        }
        let _runtime = node.runtime(Mood::Well);
        let facts = node.facts("c1").await;
        assert_eq!(namespace_and_label(&facts).0, "shop");
    }
}

#[tokio::test]
async fn a_restart_costs_no_answer() {
    let mut node = Node::new();
    let runtime = node.runtime(Mood::Well);
    node.lookups.ask("c1");
    node.next("c1").await.unwrap();
    runtime.stop().await;
    let _runtime = node.runtime(Mood::Well);
    node.lookups.ask("c2");
    assert!(node.next("c2").await.is_ok());
}

#[tokio::test]
async fn those_that_hang_do_not_hold_up_the_others_for_long() {
    let mut node = Node::new();
    let runtime = node.runtime(Mood::Silent);
    let hundred: Vec<String> = (0..100).map(|n| format!("c{n}")).collect();
    hundred.iter().for_each(|id| node.lookups.ask(id));
    assert_eq!(node.next("c0").await.err(), Some(Gap::RuntimeSilent));
    runtime.stop().await;
    let _runtime = node.runtime(Mood::Well);
    for id in &hundred {
        node.lookups.ask(id);
        node.facts(id).await;
        node.lookups.forget(id);
    }
}

#[tokio::test]
async fn what_is_forgotten_is_not_asked_for() {
    let mut node = Node::new();
    assert_eq!(node.gap("c1").await, Some(Gap::RuntimeDown));
    node.lookups.forget("c1");
    let _runtime = node.runtime(Mood::Well);
    let more = timeout(LONGEST_RETRY / 5, node.next("c1")).await;
    assert!(more.is_err());
}

#[test]
fn without_a_runtime_nobody_is_asked() {
    assert!(Lookups::start(Some(Choice::None)).unwrap().is_none());
}
