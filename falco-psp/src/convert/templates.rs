//! The templates, which are part of the program, and how they are rendered.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior};

use super::context::Context;
use super::text;
use crate::control::Control;

/// The template that includes the others.
pub(super) const MAIN: &str = "policy.yaml.j2";

macro_rules! templates {
    ($($control:ident = $name:literal),* $(,)?) => {
        const PARTIALS: &[(Control, &str, &str)] = &[
            $((
                Control::$control,
                concat!($name, ".yaml.j2"),
                include_str!(concat!("../../../templates/", $name, ".yaml.j2")),
            )),*
        ];
    };
}

templates! {
    Privileged = "privileged",
    HostPid = "hostPID",
    HostIpc = "hostIPC",
    HostNetwork = "hostNetwork",
    HostPorts = "hostPorts",
    Volumes = "volumes",
    AllowedHostPaths = "allowedHostPaths",
    AllowedFlexVolumes = "allowedFlexVolumes",
    AllowedCsiDrivers = "allowedCSIDrivers",
    FsGroup = "fsGroup",
    RunAsUser = "runAsUser",
    RunAsGroup = "runAsGroup",
    SupplementalGroups = "supplementalGroups",
    SeLinux = "seLinux",
    ReadOnlyRootFilesystem = "readOnlyRootFilesystem",
    AllowPrivilegeEscalation = "allowPrivilegeEscalation",
    Capabilities = "capabilities",
    Sysctls = "sysctls",
    AllowedProcMountTypes = "allowedProcMountTypes",
    RuntimeClass = "runtimeClass",
    Seccomp = "seccomp",
    AppArmor = "apparmor",
}

/// Whether the control has a rule about what pods do. A node knows the handler of a pod, not the
/// runtime class that it names.
pub(super) fn observes(control: Control) -> bool {
    control != Control::RuntimeClass
}

/// Renders the rules file.
pub(super) fn render(context: &Context) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.keep_trailing_newline(true).build()?);
    environment.add_filter("yaml", text::yaml);
    environment.add_filter("wrap", text::wrap);
    environment.add_template(
        "audit.yaml.j2",
        include_str!("../../../templates/audit.yaml.j2"),
    )?;
    environment.add_template(
        "activity.yaml.j2",
        include_str!("../../../templates/activity.yaml.j2"),
    )?;
    environment.add_template(MAIN, include_str!("../../../templates/policy.yaml.j2"))?;
    for (_, name, source) in PARTIALS {
        environment.add_template(name, source)?;
    }
    environment.get_template(MAIN)?.render(Serde(context))
}
