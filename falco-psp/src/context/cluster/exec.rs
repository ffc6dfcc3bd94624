//! A user of a kubeconfig whom another program vouches for (`exec`), as clouds' kubeconfigs have it:
//! the protocol of `client.authentication.k8s.io`.

use std::env;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::tls::Source;

/// The versions of the protocol; what matters here is the same in both.
const VERSIONS: [&str; 2] = [
    "client.authentication.k8s.io/v1",
    "client.authentication.k8s.io/v1beta1",
];
/// What the program may say.
const MAX_OUTPUT: u64 = 1 << 20;

/// Whether such programs are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exec {
    /// For someone who runs them with kubectl as well.
    Run,
    /// Not by an agent, which has the node's rights.
    Refused,
}

/// The program, as a kubeconfig says it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Program {
    api_version: String,
    command: String,
    args: Option<Vec<String>>,
    env: Option<Vec<Variable>>,
    install_hint: Option<String>,
    interactive_mode: Option<String>,
    provide_cluster_info: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct Variable {
    name: String,
    value: String,
}

/// What the program is told, and what it answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credential {
    api_version: String,
    kind: String,
    #[serde(skip_deserializing)]
    spec: Spec,
    #[serde(skip_serializing)]
    status: Option<Status>,
}

#[derive(Debug, Default, Serialize)]
struct Spec {
    interactive: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<Server>,
}

/// The cluster that it is about.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Server {
    pub(super) server: String,
    /// In base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) certificate_authority_data: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// Who the program says that one is.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) token: Option<String>,
    /// A certificate chain, and its key.
    pub(super) identity: Option<(Source, Source)>,
}

impl Program {
    /// Whether it wants to know the cluster.
    pub(super) fn wants_cluster(&self) -> bool {
        self.provide_cluster_info
    }

    /// Runs it. It may ask the user, so nobody knows how long it takes.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub(super) fn ask(&self, folder: &Path, cluster: Option<Server>) -> Result<Proof, String> {
        let of_program = |why: &dyn std::fmt::Display| {
            format!("the user's program (exec) \"{}\": {why}", self.command)
        };
        if !VERSIONS.contains(&&*self.api_version) {
            return Err(of_program(&format!(
                "apiVersion \"{}\" is not {}",
                self.api_version,
                VERSIONS.join(" or ")
            )));
        }
        let may_ask =
            self.interactive_mode.as_deref() != Some("Never") && io::stdin().is_terminal();
        if self.interactive_mode.as_deref() == Some("Always") && !may_ask {
            return Err(of_program(&"it asks questions, and there is no terminal"));
        }
        let told = Credential {
            api_version: self.api_version.clone(),
            kind: "ExecCredential".to_owned(),
            spec: Spec {
                interactive: may_ask,
                cluster,
            },
            status: None,
        };
        let told = serde_json::to_string(&told).map_err(|why| of_program(&why))?;
        let output = self.run(folder, may_ask, &told).map_err(|why| {
            let hint = self.install_hint.as_deref().unwrap_or_default().trim();
            let hint = match (why.kind(), hint) {
                (io::ErrorKind::NotFound, hint) if !hint.is_empty() => format!("; {hint}"),
                _ => String::new(),
            };
            of_program(&format!("cannot run it: {why}{hint}"))
        })?;
        let answer: Credential = serde_json::from_slice(&output)
            .map_err(|why| of_program(&format!("it said no ExecCredential: {why}")))?;
        if answer.api_version != self.api_version || answer.kind != "ExecCredential" {
            let other = format!(
                "it said {} {} instead of {} ExecCredential",
                answer.api_version, answer.kind, self.api_version
            );
            return Err(of_program(&other));
        }
        let proof = answer.status.and_then(|status| {
            let chain = status.client_certificate_data;
            let identity = chain.zip(status.client_key_data);
            let pem = |text: String| Source::Data(text.into_bytes());
            let identity = identity.map(|(chain, key)| (pem(chain), pem(key)));
            let token = status.token.filter(|token| !token.is_empty());
            (token.is_some() || identity.is_some()).then_some(Proof { token, identity })
        });
        proof.ok_or_else(|| of_program(&"it gave neither a token nor a certificate with its key"))
    }

    fn run(&self, folder: &Path, may_ask: bool, told: &str) -> io::Result<Vec<u8>> {
        // A name is looked up in PATH; a path is relative to the file that names it.
        let command = match self.command.contains('/') {
            true => env::current_dir()?.join(folder).join(&self.command),
            false => self.command.clone().into(),
        };
        let own = self.env.iter().flatten();
        let mut child = Command::new(command)
            .args(self.args.iter().flatten())
            .env("KUBERNETES_EXEC_INFO", told)
            .envs(own.map(|variable| (&variable.name, &variable.value)))
            .stdin(match may_ask {
                true => Stdio::inherit(),
                false => Stdio::null(),
            })
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            // Closed at the bound, so that the program ends.
            stdout.take(MAX_OUTPUT).read_to_end(&mut output)?;
        }
        let status = child.wait()?;
        match status.success() {
            true => Ok(output),
            false => Err(io::Error::other(format!("it ended with {status}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(script: &str) -> Program {
        let text = format!(
            "apiVersion: client.authentication.k8s.io/v1\ncommand: sh\nargs: [-c, '{script}']\n\
             env: [{{name: WHO, value: me}}]\nprovideClusterInfo: true\n"
        );
        serde_yaml::from_str(&text).unwrap()
    }

    fn ask(program: &Program) -> Result<Proof, String> {
        let cluster = Server {
            server: "https://h:6443".to_owned(),
            certificate_authority_data: Some("aGk=".to_owned()),
        };
        program.ask(Path::new("."), Some(cluster))
    }

    fn says(status: &str) -> Program {
        program(&format!(
            r#"echo "{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{status}}}""#
        ))
    }

    #[test]
    fn it_is_told_the_cluster_and_gives_a_token() {
        let proof = ask(&says(r#"{\"token\":\"of-$WHO\"}"#)).unwrap();
        assert_eq!(proof.token.as_deref(), Some("of-me"));
        let tells = program(
            "case $KUBERNETES_EXEC_INFO in \
             *https://h:6443*aGk=*) exit 7;; esac",
        );
        let error = ask(&tells).unwrap_err();
        assert!(error.contains("exit status: 7"), "{error}");
        let both = r#"{\"clientCertificateData\":\"c\",\"clientKeyData\":\"k\"}"#;
        assert!(ask(&says(both)).unwrap().identity.is_some());
    }

    #[test]
    fn what_it_does_wrong_is_said() {
        let mut unknown = program("true");
        unknown.api_version = "client.authentication.k8s.io/v1alpha1".to_owned();
        let mut missing = program("true");
        missing.command = "no-such-program-here".to_owned();
        missing.install_hint = Some("get it at example.com\n".to_owned());
        let mut asks = program("true");
        asks.interactive_mode = Some("Always".to_owned());
        let mut cases = vec![
            (unknown, "v1alpha1"),
            (missing, "get it at example.com"),
            (program("echo no"), "no ExecCredential"),
            (program("head -c 9999999 /dev/zero"), ""),
            (says("{}"), "neither a token"),
            (
                program(r#"echo "{\"apiVersion\":\"v1\",\"kind\":\"List\"}""#),
                "instead of",
            ),
        ];
        // Where tests run in a terminal, it could ask.
        if !io::stdin().is_terminal() {
            cases.push((asks, "no terminal"));
        }
        for (program, expected) in cases {
            let error = ask(&program).unwrap_err();
            assert!(error.contains(expected), "{program:?}: {error}");
        }
    }
}
