//! Which API server to ask, as whom, and for which node's pods.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::kubeconfig;
use super::tls::{Source, Tls};
use crate::outputs::Url;

/// Where a pod finds what it is to the API server.
const IN_CLUSTER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How the API server is asked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node whose pods are watched.
    pub node: String,
    pub(super) server: Url,
    pub(super) tls: Option<Tls>,
    pub(super) token: Option<Token>,
}

/// What tells the API server who asks.
#[derive(Clone, Debug)]
pub(super) enum Token {
    /// This.
    Text(String),
    /// What this file says: the kubelet writes a new one before the old one ends.
    File(PathBuf),
}

/// Why the API server cannot be asked.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {}: {why}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// The kubeconfig is not as it should be.
    #[error("{}: {what}", .path.display())]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// In a pod, but not as it should be.
    #[error("the pod's service account cannot be used: {0}")]
    InCluster(String),
    /// Nobody says which node this is.
    #[error(
        "--kubeconfig needs the node's name: --node-name NAME, or NODE_NAME in the environment; \
         kubectl get nodes lists them"
    )]
    NoNode,
}

impl Config {
    /// From a kubeconfig, or, in a pod with a service account, from what the kubelet put there. `None`
    /// where there is neither, or a pod was not told its node.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn find(
        kubeconfig: Option<&Path>,
        node_name: Option<&str>,
    ) -> Result<Option<Self>, ConfigError> {
        let node = node_name
            .map(str::to_owned)
            .or_else(|| env_text("NODE_NAME"));
        match (kubeconfig, node) {
            (Some(path), Some(node)) => kubeconfig::read(path, node).map(Some),
            (Some(_), None) => Err(ConfigError::NoNode),
            (None, Some(node)) => match (
                env_text("KUBERNETES_SERVICE_HOST"),
                env_text("KUBERNETES_SERVICE_PORT"),
            ) {
                (Some(host), Some(port)) => {
                    Self::in_cluster(Path::new(IN_CLUSTER), &host, &port, node)
                }
                _ => Ok(None),
            },
            (None, None) => Ok(None),
        }
    }

    /// As client-go's `rest.InClusterConfig` does.
    pub(super) fn in_cluster(
        folder: &Path,
        host: &str,
        port: &str,
        node: String,
    ) -> Result<Option<Self>, ConfigError> {
        let token = folder.join("token");
        if !token.exists() {
            return Ok(None);
        }
        let tls = Tls {
            ca: Some(Source::File(folder.join("ca.crt"))),
            identity: None,
        };
        tls.client().map_err(ConfigError::InCluster)?;
        let host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host.to_owned(),
        };
        let server = Url::parse(&format!("https://{host}:{port}"))
            .map_err(|why| ConfigError::InCluster(format!("KUBERNETES_SERVICE_HOST: {why}")))?;
        Ok(Some(Self {
            node,
            server,
            tls: Some(tls),
            token: Some(Token::File(token)),
        }))
    }
}

impl Token {
    /// Its text now.
    pub(super) fn text(&self) -> Result<String, ConfigError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => {
                let text = read(path)?;
                Ok(String::from_utf8_lossy(&text).trim().to_owned())
            }
        }
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|why| ConfigError::Read {
        path: path.to_owned(),
        why,
    })
}

fn env_text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|text| !text.is_empty())
}
