//! Which API server to ask, as whom, and, for the agent, for which node's pods.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::exec::Exec;
use super::kubeconfig;
use super::tls::{Source, Tls};
use crate::outputs::Url;

/// Where a pod finds what it is to the API server.
const IN_CLUSTER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How the API server is asked for the pods of a node.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node whose pods are watched.
    pub node: String,
    pub(super) access: Access,
}

/// Which API server is asked, and as whom.
#[derive(Clone, Debug)]
pub struct Access {
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
    /// There is no kubeconfig.
    #[error(
        "no kubeconfig, which says where the cluster is ({0} is not there): give --kubeconfig FILE, \
         or set KUBECONFIG"
    )]
    NoKubeconfig(String),
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
            (Some(path), Some(node)) => {
                let access = kubeconfig::read(&[path.to_owned()], None, Exec::Refused)?;
                Ok(Some(Self { node, access }))
            }
            (Some(_), None) => Err(ConfigError::NoNode),
            (None, Some(node)) => {
                let access = Access::of_pod()?;
                Ok(access.map(|access| Self { node, access }))
            }
            (None, None) => Ok(None),
        }
    }
}

impl Access {
    /// As kubectl finds it: this kubeconfig, else those of `KUBECONFIG`, else `~/.kube/config`, else,
    /// in a pod, its service account. `context` is one of the kubeconfig's other than its current one.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn of_kubectl(
        kubeconfig: Option<&Path>,
        context: Option<&str>,
    ) -> Result<Self, ConfigError> {
        let paths = match kubeconfig {
            Some(path) => vec![path.to_owned()],
            None => kubeconfigs(),
        };
        // As kubectl does, those of a list that are not there are passed over.
        let there: Vec<PathBuf> = match kubeconfig {
            Some(_) => paths.clone(),
            None => paths.iter().filter(|path| path.exists()).cloned().collect(),
        };
        if !there.is_empty() {
            return kubeconfig::read(&there, context, Exec::Run);
        }
        let of_pod = match context {
            Some(_) => None,
            None => Self::of_pod()?,
        };
        of_pod.ok_or_else(|| {
            let looked: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
            ConfigError::NoKubeconfig(looked.join(", "))
        })
    }

    /// The server's host and port.
    pub(crate) fn authority(&self) -> &str {
        &self.server.authority
    }

    fn of_pod() -> Result<Option<Self>, ConfigError> {
        match (
            env_text("KUBERNETES_SERVICE_HOST"),
            env_text("KUBERNETES_SERVICE_PORT"),
        ) {
            (Some(host), Some(port)) => Self::in_cluster(Path::new(IN_CLUSTER), &host, &port),
            _ => Ok(None),
        }
    }

    /// As client-go's `rest.InClusterConfig` does.
    pub(super) fn in_cluster(
        folder: &Path,
        host: &str,
        port: &str,
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

/// Where kubectl looks for kubeconfigs.
fn kubeconfigs() -> Vec<PathBuf> {
    match env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty()) {
        Some(paths) => env::split_paths(&paths)
            .filter(|path| !path.as_os_str().is_empty())
            .collect(),
        None => {
            let home = env::home_dir().unwrap_or_default();
            vec![home.join(".kube/config")]
        }
    }
}

fn env_text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|text| !text.is_empty())
}
