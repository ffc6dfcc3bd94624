//! Where alerts can go, as `--output` says it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use hyper::Uri;
use thiserror::Error;

use super::syslog::{self, Address};

/// One output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// The end of a file.
    File(PathBuf),
    /// A receiver of Falco's alerts, such as falcosidekick.
    Http(Url),
    /// A syslog daemon.
    Syslog(Address),
}

/// An absolute `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether it is `https`.
    pub tls: bool,
    /// The host: a name or an address, without brackets.
    pub host: String,
    /// The port, given or the scheme's.
    pub port: u16,
    /// Host and port as they are written.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

/// What is wrong with an `--output`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TargetError {
    /// No kind of output.
    #[error(
        "no such output; use stdout, file:PATH, http://HOST:PORT/PATH, https://HOST:PORT/PATH, \
         syslog or syslog:HOST:PORT"
    )]
    Unknown,
    /// A file without a name.
    #[error("file: needs the file's path, as in file:/var/log/falco-psp.log")]
    NoPath,
    /// What is no URL.
    #[error("no URL of a receiver ({0}); write it like http://falcosidekick:2801/")]
    Url(String),
    /// A URL with a user and a password, which every listing of processes would show.
    #[error("URLs with a user or password are not taken")]
    UserInfo,
    /// No address of a syslog daemon.
    #[error("no address of a syslog daemon; use {}", syslog::FORMS)]
    Syslog,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text == "stdout" {
            return Ok(Self::Stdout);
        }
        if let Some(path) = text.strip_prefix("file:") {
            return match path {
                "" => Err(TargetError::NoPath),
                path => Ok(Self::File(path.into())),
            };
        }
        if text == "syslog" {
            return Ok(Self::Syslog(Address::default()));
        }
        if let Some(address) = text.strip_prefix("syslog:") {
            let address = Address::parse(address).ok_or(TargetError::Syslog)?;
            return Ok(Self::Syslog(address));
        }
        // Both `http://…` and, as the other outputs, `http:` with the URL.
        let url = match text.strip_prefix("http:") {
            Some(url) if url.starts_with("http://") || url.starts_with("https://") => url,
            _ => text,
        };
        if url.starts_with("http:") || url.starts_with("https:") {
            return Url::parse(url).map(Self::Http);
        }
        Err(TargetError::Unknown)
    }
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, TargetError> {
        let wrong = |why: &str| TargetError::Url(why.to_owned());
        let uri: Uri = text.parse().map_err(|why| wrong(&format!("{why}")))?;
        let authority = uri.authority().ok_or_else(|| wrong("no host"))?;
        if authority.as_str().contains('@') {
            return Err(TargetError::UserInfo);
        }
        let tls = uri.scheme_str() == Some("https");
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() {
            return Err(wrong("no host"));
        }
        let port = match authority.as_str().rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => {
                let port: Option<u16> = port.parse().ok();
                port.filter(|port| *port != 0)
                    .ok_or_else(|| wrong("no such port"))?
            }
            _ if tls => 443,
            _ => 80,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for Target {
    /// Its name. A query is left out: it may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Http(url) => {
                let scheme = if url.tls { "https" } else { "http" };
                let path = url.path.split('?').next().unwrap_or_default();
                write!(f, "{scheme}://{}{path}", url.authority)
            }
            Self::Syslog(address) if *address == Address::default() => f.write_str("syslog"),
            Self::Syslog(address) => write!(f, "syslog:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_named() {
        for (text, name) in [
            ("stdout", "stdout"),
            ("file:/var/log/a.log", "file:/var/log/a.log"),
            ("http://sidekick:2801", "http://sidekick:2801/"),
            ("http:https://[::1]:8443/a?token=b", "https://[::1]:8443/a"),
            ("https://a", "https://a/"),
            ("syslog", "syslog"),
            ("syslog:10.0.0.1", "syslog:udp://10.0.0.1:514"),
            ("syslog:[::1]:5514", "syslog:udp://[::1]:5514"),
            ("syslog:tcp://log", "syslog:tcp://log:601"),
            ("syslog:/run/log", "syslog:/run/log"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), name);
        }
    }

    #[test]
    fn a_url_keeps_its_query_and_has_the_ports_of_its_scheme() {
        let parse = |text: &str| match text.parse() {
            Ok(Target::Http(url)) => url,
            other => panic!("{other:?}"),
        };
        let url = parse("https://[::1]/a?token=b");
        assert_eq!(
            (&*url.host, url.port, &*url.path),
            ("::1", 443, "/a?token=b")
        );
        assert_eq!(parse("http://a/").port, 80);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for bad in [
            "",
            "stdin",
            "file:",
            "http:",
            "http://",
            "http:/a",
            "http://a:0",
            "http://a:99999",
            "http://u:p@a/",
            "ftp://a",
            "syslog:",
            "syslog:a:x",
            "syslog:tcp://",
            "syslog:http://a",
            "syslog:::1",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
