//! A kubeconfig, as kubectl reads it (`clientcmd/api/v1/types.go` of client-go): of its current
//! context the cluster and the user. What would need a weaker connection is refused, not left out.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::config::{self, Access, ConfigError, Token};
use super::exec::{Exec, Program, Server};
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

#[derive(Clone, Debug, Default, Deserialize)]
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

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct User {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<String>,
    exec: Option<Program>,
    auth_provider: Option<serde_yaml::Value>,
    username: Option<String>,
}

/// The files of a kubeconfig: what several have, the first says.
struct Files<'a>(Vec<(&'a Path, File)>);

impl Files<'_> {
    /// The first that is found in a file, and the file.
    fn find<'s, T>(
        &'s self,
        in_file: impl Fn(&'s File) -> Option<&'s T>,
    ) -> Option<(&'s Path, &'s T)> {
        let mut files = self.0.iter();
        files.find_map(|(path, file)| Some((*path, in_file(file)?)))
    }
}

/// Reads the files, and of them this context, or the current one.
pub(super) fn read(
    paths: &[PathBuf],
    context: Option<&str>,
    exec: Exec,
) -> Result<Access, ConfigError> {
    let all = paths.first().map_or(Path::new(""), |path| path);
    let wrong_in = |path: &Path, what: String| ConfigError::Kubeconfig {
        path: path.to_owned(),
        what,
    };
    let mut files = Vec::new();
    for path in paths {
        let text = config::read(path)?;
        let file: File = serde_yaml::from_slice(&text)
            .map_err(|why| wrong_in(path, format!("no kubeconfig: {why}")))?;
        files.push((&**path, file));
    }
    let files = Files(files);
    let current = files.find(|file| Some(&file.current_context).filter(|name| !name.is_empty()));
    let name = match (context, current) {
        (Some(name), _) => name,
        (None, Some((_, name))) => name,
        (None, None) => {
            let what = "has no current-context: kubectl config use-context NAME sets it";
            return Err(wrong_in(all, what.to_owned()));
        }
    };
    let missing = |kind: &str, name: &str| wrong_in(all, format!("has no {kind} \"{name}\""));
    let (_, context) = files
        .find(|file| file.contexts.iter().find(|context| context.name == name))
        .ok_or_else(|| missing("context", name))?;
    let context = &context.context;
    let (of_cluster, cluster) = files
        .find(|file| file.clusters.iter().find(|one| one.name == context.cluster))
        .ok_or_else(|| missing("cluster", &context.cluster))?;
    let cluster = cluster.cluster.clone();
    let (of_user, user) = match context.user.is_empty() {
        true => (of_cluster, User::default()),
        false => {
            let (path, user) = files
                .find(|file| file.users.iter().find(|user| user.name == context.user))
                .ok_or_else(|| missing("user", &context.user))?;
            (path, user.user.clone())
        }
    };
    for (is_there, path, what) in [
        (
            user.exec.is_some() && exec == Exec::Refused,
            of_user,
            "the user needs another program (exec), which an agent does not run: use a token, \
             tokenFile or client-certificate",
        ),
        (
            user.auth_provider.is_some(),
            of_user,
            "the user has an auth-provider, which kubectl no longer knows: use exec, a token, \
             tokenFile or client-certificate",
        ),
        (
            user.username.is_some(),
            of_user,
            "the user has a name and password, which API servers no longer take: use a token, \
             tokenFile or client-certificate",
        ),
        (
            cluster.insecure_skip_tls_verify,
            of_cluster,
            "insecure-skip-tls-verify is not taken: name the server's certificate-authority",
        ),
        (
            cluster.tls_server_name.is_some() || cluster.proxy_url.is_some(),
            of_cluster,
            "tls-server-name and proxy-url are not supported",
        ),
    ] {
        if is_there {
            return Err(wrong_in(path, what.to_owned()));
        }
    }
    access(cluster, of_cluster, user, of_user)
}

/// The server, and who one is there, with what the files that say so name.
fn access(
    cluster: Cluster,
    of_cluster: &Path,
    user: User,
    of_user: &Path,
) -> Result<Access, ConfigError> {
    let wrong_in = |path: &Path, what: String| ConfigError::Kubeconfig {
        path: path.to_owned(),
        what,
    };
    let server = Url::parse(cluster.server.trim_end_matches('/')).map_err(|_| {
        let what = format!("the server \"{}\" is no URL", cluster.server);
        wrong_in(of_cluster, what)
    })?;
    let part =
        |path: &Path, data: Option<String>, file: Option<String>, name: &str| match (data, file) {
            (Some(data), _) => STANDARD
                .decode(data.trim())
                .map(|data| Some(Source::Data(data)))
                .map_err(|why| wrong_in(path, format!("{name}-data is no base64: {why}"))),
            (None, Some(file)) => Ok(Some(Source::File(beside(path, &file)))),
            (None, None) => Ok(None),
        };
    let ca = part(
        of_cluster,
        cluster.certificate_authority_data,
        cluster.certificate_authority,
        "certificate-authority",
    )?;
    let chain = part(
        of_user,
        user.client_certificate_data,
        user.client_certificate,
        "client-certificate",
    )?;
    let key = part(of_user, user.client_key_data, user.client_key, "client-key")?;
    let mut identity = match (chain, key) {
        (Some(chain), Some(key)) => Some((chain, key)),
        (None, None) => None,
        _ => {
            let what = "a client-certificate needs a client-key, and the other way round";
            return Err(wrong_in(of_user, what.to_owned()));
        }
    };
    let mut token = match (user.token, user.token_file) {
        (_, Some(file)) => Some(Token::File(beside(of_user, &file))),
        (Some(token), None) => Some(Token::Text(token)),
        (None, None) => None,
    };
    // As client-go does: who has a token already needs no program.
    if let (Some(program), None) = (user.exec, &token) {
        let told = match program.wants_cluster() {
            true => Some(Server {
                server: cluster.server,
                certificate_authority_data: ca
                    .as_ref()
                    .map(|ca| ca.read().map(|pem| STANDARD.encode(pem)))
                    .transpose()
                    .map_err(|why| wrong_in(of_cluster, why))?,
            }),
            false => None,
        };
        let folder = of_user.parent().unwrap_or(Path::new("."));
        let proof = program.ask(folder, told);
        let proof = proof.map_err(|why| wrong_in(of_user, why))?;
        token = proof.token.map(Token::Text);
        identity = proof.identity.or(identity);
    }
    let tls = server.tls.then_some(Tls { ca, identity });
    if let Some(tls) = &tls {
        tls.client().map_err(|why| wrong_in(of_cluster, why))?;
    }
    Ok(Access { server, tls, token })
}

/// A file that a kubeconfig names: relative to itself.
fn beside(path: &Path, file: &str) -> PathBuf {
    path.parent().unwrap_or(Path::new(".")).join(file)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read_text(text: &str) -> Result<Access, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("t"), "from-file\n").unwrap();
        let path = folder.path().join("config");
        fs::write(&path, text).unwrap();
        let config = read(&[path], None, Exec::Refused).map_err(|error| error.to_string())?;
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
    fn of_several_files_the_first_says() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b/c"].map(|name| folder.path().join(name));
        fs::create_dir(folder.path().join("b")).unwrap();
        fs::write(folder.path().join("b/t"), "beside").unwrap();
        fs::write(
            &paths[0],
            "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n\
             users: [{name: other, user: {}}]\n",
        )
        .unwrap();
        fs::write(
            &paths[1],
            "current-context: d\ncontexts: [{name: d, context: {cluster: l, user: u}}]\n\
             clusters: [{name: k, cluster: {server: 'http://k'}}, \
             {name: l, cluster: {server: 'http://l'}}]\n\
             users: [{name: u, user: {tokenFile: t}}]\n",
        )
        .unwrap();
        let access = read(&paths, None, Exec::Run).unwrap();
        assert_eq!(access.server.host, "k");
        assert_eq!(access.token.unwrap().text().unwrap(), "beside");
        let other = read(&paths, Some("d"), Exec::Run).unwrap();
        assert_eq!(other.server.host, "l");
        let error = read(&paths, Some("e"), Exec::Run).unwrap_err();
        assert!(error.to_string().contains("no context \"e\""), "{error}");
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let server = "server: 'https://h:6443'";
        for (text, expected) in [
            (file(server, "exec: {command: aws}"), "does not run"),
            (
                file(server, "auth-provider: {name: gcp}"),
                "no longer knows",
            ),
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
