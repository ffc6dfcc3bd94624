//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use regex::Regex;

use crate::collect;
use crate::context::cri::Choice;
use crate::fields::Source;
use crate::outputs::options::OutputOptions;
use crate::report::answer::Request as ReportRequest;
use crate::selector::Selector;
use crate::sources::syscall::hooks;
use crate::sources::syscall::load::KERNEL_BTF;

/// Shows what a Kubernetes PodSecurityPolicy would break before anyone enforces it.
///
/// Reads the policy, turns it into Falco rules, and judges by them what the containers of this
/// node do. It never blocks anything and never installs a policy.
///
/// Exit code of a run with --duration or of an --audit-log: 0 nothing found, 2 violations found or rules fired, 1 an error.
#[derive(Debug, Parser)]
#[command(name = "falco-psp", version, args_conflicts_with_subcommands = true)]
#[command(subcommand_negates_reqs = true)]
pub struct Cli {
    /// What to do other than watching.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to watch.
    #[command(flatten)]
    pub watch: Watch,
}

/// What can be done besides watching.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Prints the Falco rules that a policy becomes
    Convert {
        /// The policy
        policy: PathBuf,
        /// For whom: falco-psp, or real Falco, with what it cannot say left out and named
        #[arg(long, value_enum, default_value_t)]
        format: RulesFormat,
    },
    /// Tells what admission would say of the pods that manifests declare
    ///
    /// Exit code: 0 all would be admitted, 2 some would be denied or a rule fired, 1 an error.
    Check {
        /// The policy; with several, a pod is denied if none admits it
        #[arg(long, value_name = "FILE", required_unless_present = "rules")]
        psp: Vec<PathBuf>,
        /// Judge also by the rules of this file or folder; may be given several times
        #[arg(short, long, value_name = "FILE")]
        rules: Vec<PathBuf>,
        /// Print alerts as JSON, one object a line, with Falco's keys
        #[arg(long)]
        json: bool,
        /// text: alerts, then a table. json: the whole result as one JSON document
        #[arg(long, value_enum, default_value_t, conflicts_with = "json")]
        format: CheckFormat,
        /// Which workload breaks on which control, also as text, json, markdown, html, junit, sarif
        /// or policyreport, to standard output or to a file (html:report.html); may be given several
        /// times
        #[arg(long, value_name = "FORMAT[:PATH]", requires = "psp")]
        report: Vec<ReportRequest>,
        /// Leave this namespace out, such as kube-system; may be given several times
        #[arg(long, visible_alias = "exclude-namespace", value_name = "NAME")]
        exempt_namespace: Vec<String>,
        /// The namespace of manifests that name none
        #[arg(long, value_name = "NAME", default_value = "default")]
        namespace: String,
        /// Manifests: files, folders, or - for standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Tells which workloads break under which of several policies, and what each step from one to the
    /// next would break
    ///
    /// Exit code: 0 no step breaks anything, 2 some step does, 1 an error.
    Compare {
        /// The policies, each for itself, in the order of the steps
        #[arg(long, value_name = "FILE", required = true)]
        psp: Vec<PathBuf>,
        /// Compare by what `falco-psp record` has recorded
        #[arg(long, value_name = "FILE", conflicts_with_all = ["audit_log", "files"])]
        replay: Option<PathBuf>,
        /// Compare by the Kubernetes audit events of this log; - is standard input
        #[arg(long, value_name = "FILE", conflicts_with = "files")]
        audit_log: Option<PathBuf>,
        /// Leave this namespace out, such as kube-system; may be given several times
        #[arg(long, visible_alias = "exclude-namespace", value_name = "NAME")]
        exempt_namespace: Vec<String>,
        /// The namespace of manifests that name none
        #[arg(long, value_name = "NAME", default_value = "default")]
        namespace: String,
        /// Print the result as one JSON document
        #[arg(long)]
        json: bool,
        /// Manifests: files, folders, or - for standard input
        #[arg(value_name = "FILE", required_unless_present_any = ["replay", "audit_log"])]
        files: Vec<PathBuf>,
    },
    /// Proposes changes of manifests, or of the policy, with which nothing breaks: as a diff
    ///
    /// Exit code: 0 nothing would break with the changes, 2 something would still, 1 an error.
    Mend {
        /// The candidate policy
        #[arg(long, value_name = "FILE")]
        psp: PathBuf,
        /// Change the policy, not the manifests
        #[arg(long)]
        policy: bool,
        /// Change the files themselves, too
        #[arg(long)]
        write: bool,
        /// What `falco-psp record` has recorded of the workloads: without it nobody knows what they need
        #[arg(long, value_name = "FILE")]
        replay: Option<PathBuf>,
        /// Leave this namespace out, such as kube-system; may be given several times
        #[arg(long, visible_alias = "exclude-namespace", value_name = "NAME")]
        exempt_namespace: Vec<String>,
        /// The namespace of manifests that name none
        #[arg(long, value_name = "NAME", default_value = "default")]
        namespace: String,
        /// Manifests: files or folders
        #[arg(value_name = "FILE", required_unless_present_all = ["replay", "policy"])]
        files: Vec<PathBuf>,
    },
    /// Makes one report of several, as of all nodes of a cluster
    Report {
        /// What to do with reports.
        #[command(subcommand)]
        command: ReportCommand,
    },
    /// Records what pods do and declare, to be judged later with --replay; needs no policy
    ///
    /// Takes the options of a run; with --psp it judges as well. Environments are never recorded,
    /// and what looks like a secret in a command line is left out.
    Record(Box<Record>),
    /// Tells whether rules files are right, and what is wrong with them
    ///
    /// Exit code: 0 all load, 1 something is wrong.
    Validate {
        /// Rules files or folders; later ones can change what is in earlier ones
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Print the result as one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Tells why rules fire for an event, or do not
    Explain {
        /// The policy whose rules are asked
        #[arg(long, value_name = "FILE", required_unless_present = "rules")]
        psp: Vec<PathBuf>,
        /// Rules files or folders whose rules are asked
        #[arg(short, long, value_name = "FILE")]
        rules: Vec<PathBuf>,
        /// The event, as JSON: a Kubernetes audit event, or an alert (--json) of falco-psp or
        /// Falco; - is standard input
        #[arg(long, value_name = "FILE")]
        event: PathBuf,
        /// Only the rule of this name
        #[arg(long, value_name = "NAME")]
        rule: Option<String>,
    },
    /// Lists the fields that rules can ask for
    Fields {
        /// Only those of events of this source
        #[arg(long, value_parser = source)]
        source: Option<Source>,
        /// As a table in Markdown
        #[arg(long)]
        markdown: bool,
        /// Only these, and those whose names go on after a dot: proc, ka.req.pod
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Tells what this machine can observe, by which hook, and what is missing
    Doctor,
    /// Prints what lets a shell complete this command line
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Prints the manual page, for man(1): of falco-psp, or of one of its commands
    Man {
        /// The command
        command: Option<String>,
    },
}

/// What can be done with reports.
#[derive(Debug, Subcommand)]
pub enum ReportCommand {
    /// Makes one report of several
    ///
    /// Exit code: 0 no workload breaks, 2 some do, 1 an error.
    Merge {
        /// The form of the result: text, json, markdown, html, junit, sarif or policyreport, to
        /// standard output or to a file (html:report.html); may be given several times [default: text]
        #[arg(long, value_name = "FORMAT[:PATH]")]
        report: Vec<ReportRequest>,
        /// Reports in JSON (--report json:FILE, /v1/report) about the same policies
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Asks each agent of a cluster for its report, through the API server, and makes one of them
    ///
    /// The same as kubectl falco-psp. A pod that gives no report is named as what was not seen. Needs
    /// list of pods and get of pods/proxy in the agents' namespace.
    ///
    /// Exit code: 0 no workload breaks, 2 some do, 1 an error.
    Collect(Box<collect::Options>),
}

/// Whose rules language it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RulesFormat {
    /// Ours: what the agent judges by.
    #[default]
    FalcoPsp,
    /// That of Falco 0.44 and newer.
    Falco,
}

/// How `check` gives its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// Alerts, then a table.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// What is recorded, and how.
#[derive(Clone, Debug, Args)]
#[command(mut_arg("psp", |arg| arg.required_unless_present("recording")))]
#[command(mut_arg("replay", |arg| arg.hide(true).conflicts_with("recording")))]
#[command(mut_arg("config", |arg| arg.hide(true).conflicts_with("recording")))]
#[command(mut_arg("print_config", |arg| arg.hide(true).conflicts_with("recording")))]
pub struct Record {
    /// The recording: a new file
    #[arg(id = "recording", value_name = "FILE")]
    pub file: PathBuf,
    /// Leave out of command lines what this regular expression finds; may be given several times
    #[arg(long, value_name = "REGEX")]
    pub redact: Vec<Regex>,
    /// The run.
    #[command(flatten)]
    pub watch: Watch,
}

/// How to watch.
#[derive(Clone, Debug, Args)]
pub struct Watch {
    /// The candidate policy: a PodSecurityPolicy in YAML or JSON. With several, a declared pod is
    /// denied if none admits it
    #[arg(long, value_name = "FILE", required_unless_present = "rules")]
    pub psp: Vec<PathBuf>,
    /// Judge also by the rules of this file or folder, beside a policy or instead of one; may be
    /// given several times, and later ones can change what is in earlier ones
    #[arg(short, long, value_name = "FILE")]
    pub rules: Vec<PathBuf>,
    /// Judge only pods of this namespace; may be given several times
    #[arg(long, value_name = "NAME")]
    pub namespace: Vec<String>,
    /// Leave this namespace out, such as kube-system; may be given several times
    #[arg(long, visible_alias = "exclude-namespace", value_name = "NAME")]
    pub exempt_namespace: Vec<String>,
    /// Judge only what pods with these labels do: app=web, tier!=front, app in (web, api), app, !app
    #[arg(long, value_name = "LABELS", conflicts_with_all = ["audit_log", "audit_listen"])]
    pub selector: Option<Selector>,
    /// The container runtime's socket (CRI), which is asked for what it knows of containers; none
    /// asks nobody [default: where containerd, CRI-O, k3s and cri-dockerd have theirs]
    #[arg(long, value_name = "SOCKET")]
    pub cri: Option<Choice>,
    /// The name of this node: the API server is asked for its pods' labels and owners [default: the
    /// environment's NODE_NAME]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// How to reach the API server [default: as the pod's service account, where there is one]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Judge the Kubernetes audit events of this log instead of watching the node; - is standard
    /// input, and gzip is fine
    #[arg(long, value_name = "FILE")]
    pub audit_log: Option<PathBuf>,
    /// Go on at the end of the audit log, as it grows and is rotated
    #[arg(long, requires = "audit_log")]
    pub follow: bool,
    /// Judge the audit events that the API server posts to http(s)://ADDR/k8s-audit
    #[arg(long, value_name = "ADDR")]
    pub audit_listen: Option<SocketAddr>,
    /// The webhook's certificate, and its key, in PEM: HTTPS instead of HTTP
    #[arg(long, value_name = "FILE", requires_all = ["audit_listen", "audit_tls_key"])]
    pub audit_tls_cert: Option<PathBuf>,
    /// The key of the certificate
    #[arg(long, value_name = "FILE", requires = "audit_tls_cert")]
    pub audit_tls_key: Option<PathBuf>,
    /// Take events only from clients with a certificate of one of these CAs
    #[arg(long, value_name = "FILE", requires = "audit_tls_cert")]
    pub audit_client_ca: Option<PathBuf>,
    /// Listen without TLS where other machines can reach the webhook
    #[arg(long, requires = "audit_listen")]
    pub audit_insecure_http: bool,
    /// Watch this node's containers as well, beside audit events
    #[arg(long)]
    pub syscalls: bool,
    /// Judge what `falco-psp record` has recorded instead of watching
    #[arg(long, value_name = "FILE", conflicts_with_all = ["audit_log", "audit_listen", "syscalls", "cri", "node_name", "kubeconfig", "listen", "duration"])]
    pub replay: Option<PathBuf>,
    /// Serve the report as a page that goes on with the run, /metrics (for Prometheus), /healthz,
    /// /readyz, /v1/policy, /v1/report and /v1/events at http://ADDR
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Also write the rules that the policy becomes to this file
    #[arg(long, alias = "psp_save", value_name = "FILE", requires = "psp")]
    pub psp_save: Option<PathBuf>,
    /// For whom the rules are written: falco-psp, or real Falco, with what it cannot say left out
    /// and named
    #[arg(
        long,
        alias = "psp_save_format",
        value_enum,
        default_value_t,
        requires = "psp_save"
    )]
    pub psp_save_format: RulesFormat,
    /// Print alerts as JSON, one object a line, with Falco's keys
    #[arg(long)]
    pub json: bool,
    /// Where alerts go.
    #[command(flatten)]
    pub outputs: OutputOptions,
    /// Which workloads break on which control: text, json, markdown, html, junit, sarif or
    /// policyreport, at the end and on SIGUSR1, to standard output or to a file (html:report.html);
    /// may be given several times
    #[arg(long, value_name = "FORMAT[:PATH]", requires = "psp")]
    pub report: Vec<ReportRequest>,
    /// Stop after this time: 10s, 5m, 1h30m [default: run until Ctrl-C]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Print every violation, not only the first of its kind
    #[arg(long)]
    pub all: bool,
    /// Where the kernel's types are described, as BTF
    #[arg(long, value_name = "FILE", default_value = KERNEL_BTF)]
    pub btf: PathBuf,
    /// Size of the ring between kernel and agent in KiB; a power of two
    #[arg(long, value_name = "KIB", default_value_t = 1024, value_parser = ring_size)]
    pub ring_size: u32,
    /// Leave out this hook, where a kernel has trouble with it: of those that tell the same, the next is
    /// taken. May be given several times
    #[arg(long, value_name = "NAME", value_parser = hooks::optional)]
    pub without_hook: Vec<String>,
    /// Take options that are not given here from this file: YAML, with their names as keys
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the options in force as such a file, and end
    #[arg(long)]
    pub print_config: bool,
    /// Tell more of what happens; -vv tells most
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl Watch {
    /// The sources that a run takes events from; none where it judges a recording.
    pub fn sources(&self) -> Vec<Source> {
        let audit = self.audit_log.is_some() || self.audit_listen.is_some();
        let is_live = self.replay.is_none();
        let wanted = [
            (Source::Syscall, is_live && (self.syscalls || !audit)),
            (Source::K8sAudit, audit),
        ];
        let wanted = wanted.into_iter().filter(|(_, wanted)| *wanted);
        wanted.map(|(source, _)| source).collect()
    }
}

fn source(name: &str) -> Result<Source, String> {
    let names = Source::ALL.map(Source::name).join(" or ");
    Source::parse(name).ok_or_else(|| format!("sources are {names}"))
}

/// A time span as people write it: `10s`, `5m`, `1h30m`, or a number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let advice = || format!("\"{text}\" is no time span; write it like 10s, 5m or 1h30m");
    if let Ok(seconds) = text.parse::<u32>() {
        return positive(Duration::from_secs(seconds.into()), advice);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let unit = after.len() - after.trim_start_matches(|c: char| c.is_alphabetic()).len();
        let (unit, after) = after.split_at(unit);
        let number: u32 = number.parse().map_err(|_| advice())?;
        let scale = match unit {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return Err(advice()),
        };
        let part = scale.checked_mul(number).ok_or_else(advice)?;
        total = total.checked_add(part).ok_or_else(advice)?;
        rest = after;
    }
    positive(total, advice)
}

fn positive(span: Duration, advice: impl Fn() -> String) -> Result<Duration, String> {
    if span.is_zero() {
        return Err(advice());
    }
    Ok(span)
}

fn ring_size(text: &str) -> Result<u32, String> {
    let kib: u32 = text.parse().map_err(|_| "not a number".to_owned())?;
    // The kernel wants a power of two of at least a page; the upper bound is the kernel's for
    // rings that are mapped twice.
    if !kib.is_power_of_two() || !(64..=1_048_576).contains(&kib) {
        return Err("not a power of two from 64 to 1048576".to_owned());
    }
    Ok(kib)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn time_spans() {
        let seconds = |text| duration(text).map(|span| span.as_secs_f64());
        assert_eq!(seconds("10s"), Ok(10.0));
        assert_eq!(seconds("90"), Ok(90.0));
        assert_eq!(seconds("1h30m"), Ok(5400.0));
        assert_eq!(seconds("500ms"), Ok(0.5));
        for bad in [
            "",
            "0",
            "0s",
            "s",
            "10x",
            "10 s",
            "-5s",
            "1h30",
            "99999999999h",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn both_spellings_of_psp_save() {
        for flag in ["--psp-save", "--psp_save"] {
            let cli = Cli::try_parse_from(["falco-psp", "--psp", "p.yaml", flag, "r.yaml"]);
            assert_eq!(cli.unwrap().watch.psp_save, Some(PathBuf::from("r.yaml")));
        }
    }

    #[test]
    fn ring_sizes() {
        assert_eq!(ring_size("4096"), Ok(4096));
        for bad in ["0", "3", "1000", "99999999999", "x"] {
            assert!(ring_size(bad).is_err(), "{bad}");
        }
    }
}
