//! Where the container runtime's socket is.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where runtimes listen, if nobody says otherwise.
const WELL_KNOWN: [&str; 4] = [
    "run/containerd/containerd.sock",
    "run/crio/crio.sock",
    "run/k3s/containerd/containerd.sock",
    "var/run/cri-dockerd.sock",
];

/// The wish of `--cri`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// No runtime is asked.
    None,
    /// That at this socket.
    Socket(PathBuf),
}

impl FromStr for Choice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        // As in the kubelet's configuration: unix:///run/containerd/containerd.sock
        let path = text.strip_prefix("unix://").unwrap_or(text);
        Ok(match path {
            "none" => Self::None,
            path => Self::Socket(path.into()),
        })
    }
}

/// The socket to ask at. One that was named need not be there yet.
pub fn find(choice: Option<&Choice>) -> Option<PathBuf> {
    match choice {
        Some(Choice::None) => None,
        Some(Choice::Socket(path)) => Some(path.clone()),
        None => find_below(Path::new("/")),
    }
}

fn find_below(root: &Path) -> Option<PathBuf> {
    let paths = WELL_KNOWN.iter().map(|path| root.join(path));
    paths.into_iter().find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_where_runtimes_have_theirs() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(find_below(root.path()), None);
        for path in WELL_KNOWN.iter().rev() {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            assert_eq!(find_below(root.path()), Some(path));
        }
    }

    #[test]
    fn a_choice_is_a_path_a_url_or_none() {
        let found = |text: &str| find(Some(&text.parse().unwrap()));
        assert_eq!(found("none"), None);
        assert_eq!(found("/run/x.sock"), Some("/run/x.sock".into()));
        assert_eq!(found("unix:///run/x.sock"), Some("/run/x.sock".into()));
    }
}
