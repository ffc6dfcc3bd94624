//! Which agents are asked, and how: the options of `report collect` and of `kubectl falco-psp`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::duration;
use crate::report::answer::Request as ReportRequest;

/// Which agents are asked, and how. The defaults are those of `deploy`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The form of the result: text, json, markdown, html, junit, sarif or policyreport, to
    /// standard output or to a file (html:report.html); may be given several times [default: text]
    #[arg(long, value_name = "FORMAT[:PATH]")]
    pub report: Vec<ReportRequest>,
    /// The namespace of the agents' pods, whatever namespace the kubeconfig prefers
    #[arg(short, long, value_name = "NAME", default_value = "falco-psp")]
    pub namespace: String,
    /// The labels of the agents' pods
    #[arg(
        short = 'l',
        long,
        value_name = "LABELS",
        default_value = "app.kubernetes.io/name=falco-psp,app.kubernetes.io/component=agent"
    )]
    pub selector: String,
    /// The port of the agents' --listen
    #[arg(long, value_name = "PORT", default_value_t = 9376, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// The kubeconfig's context [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig [default: those of KUBECONFIG, else ~/.kube/config, else, in a pod, its service
    /// account]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// How long the API server, or an agent, may take to answer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub request_timeout: Duration,
}
