//! A kubeconfig, as kubectl reads it (`clientcmd/api/v1/types.go` of client-go): of its current
//! context the cluster and the user. What would need another program or a weaker connection is
//! refused, not left out.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::config::{self, Config, ConfigError, Token};
use super::tls::{Source, Tls};
use crate::outputs::Url;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct File {
    current_context: String,
    contexts: Vec<NamedContext>,
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct User {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<String>,
    exec: Option<serde::de::IgnoredAny>,
    auth_provider: Option<serde::de::IgnoredAny>,
    username: Option<String>,
}

/// Reads the file.
pub(super) fn read(path: &Path, node: String) -> Result<Config, ConfigError> {
    let wrong = |what: String| ConfigError::Kubeconfig {
        path: path.to_owned(),
        what,
    };
    let text = config::read(path)?;
    let file: File =
        serde_yaml::from_slice(&text).map_err(|why| wrong(format!("no kubeconfig: {why}")))?;
    let File {
        current_context,
        contexts,
        clusters,
        users,
    } = file;
    if current_context.is_empty() {
        return Err(wrong(
            "has no current-context: kubectl config use-context NAME sets it".to_owned(),
        ));
    }
    let missing = |kind: &str, name: &str| wrong(format!("has no {kind} \"{name}\""));
    let mut contexts = contexts.into_iter();
    let context = contexts
        .find(|context| context.name == current_context)
        .ok_or_else(|| missing("context", &current_context))?
        .context;
    let mut clusters = clusters.into_iter();
    let cluster = clusters
        .find(|cluster| cluster.name == context.cluster)
        .ok_or_else(|| missing("cluster", &context.cluster))?
        .cluster;
    let mut users = users.into_iter();
    let user = match context.user.is_empty() {
        true => User::default(),
        false => {
            users
                .find(|user| user.name == context.user)
                .ok_or_else(|| missing("user", &context.user))?
                .user
        }
    };
    for (is_there, what) in [
        (
            user.exec.is_some() || user.auth_provider.is_some(),
            "the user needs another program (exec or auth-provider), which an agent does not run: \
             use a token, tokenFile or client-certificate",
        ),
        (
            user.username.is_some(),
            "the user has a name and password, which API servers no longer take: use a token, \
             tokenFile or client-certificate",
        ),
        (
            cluster.insecure_skip_tls_verify,
            "insecure-skip-tls-verify is not taken: name the server's certificate-authority",
        ),
        (
            cluster.tls_server_name.is_some() || cluster.proxy_url.is_some(),
            "tls-server-name and proxy-url are not supported",
        ),
    ] {
        if is_there {
            return Err(wrong(what.to_owned()));
        }
    }
    let server = Url::parse(cluster.server.trim_end_matches('/'))
        .map_err(|_| wrong(format!("the server \"{}\" is no URL", cluster.server)))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let part = |data: Option<String>, file: Option<String>, name: &str| match (data, file) {
        (Some(data), _) => STANDARD
            .decode(data.trim())
            .map(|data| Some(Source::Data(data)))
            .map_err(|why| wrong(format!("{name}-data is no base64: {why}"))),
        // Relative to the file that names it.
        (None, Some(file)) => Ok(Some(Source::File(folder.join(file)))),
        (None, None) => Ok(None),
    };
    let ca = part(
        cluster.certificate_authority_data,
        cluster.certificate_authority,
        "certificate-authority",
    )?;
    let chain = part(
        user.client_certificate_data,
        user.client_certificate,
        "client-certificate",
    )?;
    let key = part(user.client_key_data, user.client_key, "client-key")?;
    let identity = match (chain, key) {
        (Some(chain), Some(key)) => Some((chain, key)),
        (None, None) => None,
        _ => {
            return Err(wrong(
                "a client-certificate needs a client-key, and the other way round".to_owned(),
            ));
        }
    };
    let tls = server.tls.then_some(Tls { ca, identity });
    if let Some(tls) = &tls {
        tls.client().map_err(wrong)?;
    }
    let token = match (user.token, user.token_file) {
        (_, Some(file)) => Some(Token::File(folder.join(file))),
        (Some(token), None) => Some(Token::Text(token)),
        (None, None) => None,
    };
    Ok(Config {
        node,
        server,
        tls,
        token,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read_text(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("t"), "from-file\n").unwrap();
        let path = folder.path().join("config");
        fs::write(&path, text).unwrap();
        let config = read(&path, "n".to_owned()).map_err(|error| error.to_string())?;
        if let Some(token) = &config.token {
            token.text().map_err(|error| error.to_string())?;
        }
        Ok(config)
    }

    fn file(cluster: &str, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\npreferences: {{}}\n\
             contexts: [{{name: other, context: {{cluster: x, user: y}}}}, \
             {{name: c, context: {{cluster: k, user: u, namespace: d}}}}]\n\
             clusters: [{{name: k, cluster: {{{cluster}}}}}]\n\
             users: [{{name: u, user: {{{user}}}}}]\n"
        )
    }

    #[test]
    fn the_current_context_says_whom_to_ask() {
        let config = read_text(&file("server: 'http://localhost:8001/'", "token: abc")).unwrap();
        assert_eq!((config.server.port, config.server.tls), (8001, false));
        let Some(Token::Text(token)) = config.token else {
            panic!("{:?}", config.token)
        };
        assert_eq!(token, "abc");
        // A file goes before, as it is renewed.
        let both = read_text(&file("server: 'http://h'", "token: abc, tokenFile: t")).unwrap();
        assert!(matches!(both.token, Some(Token::File(_))));
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let server = "server: 'https://h:6443'";
        for (text, expected) in [
            (file(server, "exec: {command: aws}"), "does not run"),
            (file(server, "username: u, password: p"), "no longer take"),
            (
                file(&format!("{server}, insecure-skip-tls-verify: true"), ""),
                "certificate-authority",
            ),
            (file(&format!("{server}, proxy-url: x"), ""), "proxy-url"),
            (file("server: 'not a url'", ""), "is no URL"),
            (
                file(&format!("{server}, certificate-authority-data: '%'"), ""),
                "no base64",
            ),
            (
                file(&format!("{server}, certificate-authority-data: aGk="), ""),
                "no certificate in PEM",
            ),
            (
                file(&format!("{server}, certificate-authority: none"), ""),
                "cannot read",
            ),
            (
                file("server: 'http://h'", "client-key-data: aGk="),
                "needs a client-key",
            ),
            (file("server: 'http://h'", "tokenFile: none"), "cannot read"),
            ("kind: Config\n".to_owned(), "no current-context"),
            ("current-context: z\n".to_owned(), "no context \"z\""),
            ("- 1\n".to_owned(), "no kubeconfig"),
            ("a: b: c\n".to_owned(), "no kubeconfig"),
        ] {
            let error = read_text(&text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
