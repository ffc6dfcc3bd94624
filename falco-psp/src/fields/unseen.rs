//! Fields of Falco's that no source of ours gives: rules that ask for them load, so that files
//! written for Falco can be used here, and are named instead of being judged.
//!
//! Names and types: libs `userspace/libsinsp/sinsp_filtercheck_*.cpp` and the container plugin.

use super::{Argument, Extract, Field, Kind};

const fn unseen(name: &'static str, kind: Kind) -> Field {
    let mut field = Field::new(name, kind, "", Extract::Unseen);
    field.argument = Argument::Any;
    field
}

macro_rules! unseen {
    ($($kind:ident: $($name:literal)+;)+) => {
        &[$($(unseen($name, Kind::$kind)),+),+]
    };
}

/// The fields. `evt.arg` is here for the arguments that we do not have.
pub(super) static FIELDS: &[Field] = unseen! {
    String:
        "evt.arg" "evt.args" "evt.rawarg" "evt.info" "evt.category" "evt.syscall.type" "evt.abspath"
        "evt.buffer" "evt.io_dir" "evt.latency.human" "evt.outputtime" "evt.pluginname"
        "evt.plugininfo" "evt.asynctype"
        "proc.pexe" "proc.aexe" "proc.pexepath" "proc.aexepath" "proc.pname" "proc.aname"
        "proc.pcmdline" "proc.acmdline" "proc.exeline" "proc.env" "proc.penv" "proc.aenv" "proc.cwd"
        "proc.sname" "proc.sid.exe" "proc.sid.exepath" "proc.vpgid.name" "proc.vpgid.exe"
        "proc.vpgid.exepath" "proc.pgid.name" "proc.pgid.exe" "proc.pgid.exepath"
        "proc.stdin.type" "proc.stdout.type" "proc.stderr.type"
        "proc.stdin.name" "proc.stdout.name" "proc.stderr.name"
        "thread.cgroups" "thread.cgroup" "thread.nametid"
        "user.name" "user.homedir" "user.shell" "user.loginname" "group.name"
        "container.healthcheck" "container.liveness_probe"
        "container.readiness_probe" "container.ip" "container.cni.json"
        "k8s.pod.id" "k8s.pod.cni.json" "k8s.ns.id" "k8s.ns.label"
        "k8s.deployment.name" "k8s.deployment.id" "k8s.rs.name" "k8s.rs.id" "k8s.rc.name"
        "k8s.rc.id" "k8s.svc.name" "k8s.svc.id"
        "fd.type" "fd.typechar" "fd.name" "fd.directory" "fd.filename" "fd.ip" "fd.cip" "fd.sip"
        "fd.lip" "fd.rip" "fd.l4proto" "fd.sockfamily" "fd.uid" "fd.containername"
        "fd.containerdirectory" "fd.proto" "fd.cproto" "fd.sproto" "fd.lproto" "fd.rproto"
        "fd.net" "fd.cnet" "fd.snet" "fd.lnet" "fd.rnet" "fd.sip.name" "fd.cip.name" "fd.lip.name"
        "fd.rip.name" "fd.nameraw" "fd.types"
        "fs.path.name" "fs.path.nameraw" "fs.path.source" "fs.path.sourceraw" "fs.path.target"
        "fs.path.targetraw" "syslog.facility.str" "syslog.severity.str" "syslog.message";
    Int:
        "evt.latency" "evt.latency.s" "evt.latency.ns" "evt.latency.quantized" "evt.deltatime"
        "evt.deltatime.s" "evt.deltatime.ns" "evt.reltime" "evt.reltime.s" "evt.reltime.ns"
        "evt.rawtime.s" "evt.rawtime.ns" "evt.type.is" "evt.cpu" "evt.buflen" "evt.wait_latency"
        "evt.count" "evt.around"
        "proc.cmdnargs" "proc.cmdlenargs" "proc.loginshellid" "proc.tty" "proc.apid" "proc.pvpid"
        "proc.sid" "proc.vpgid" "proc.pgid" "proc.duration" "proc.ppid.duration" "proc.pid.ts"
        "proc.ppid.ts" "proc.exe_ino" "proc.exe_ino.ctime" "proc.exe_ino.mtime"
        "proc.exe_ino.ctime_duration_proc_start" "proc.exe_ino.ctime_duration_pidns_start"
        "proc.pidns_init_start_ts" "proc.nchilds" "proc.nthreads" "proc.fdopencount"
        "proc.fdlimit" "proc.vmsize" "proc.vmrss" "proc.vmswap"
        "thread.vtid" "thread.exectime" "thread.totexectime" "thread.pexectime"
        "user.loginuid" "container.duration"
        "fd.num" "fd.port" "fd.cport" "fd.sport" "fd.lport" "fd.rport" "fd.dev" "fd.dev.major"
        "fd.dev.minor" "fd.ino" "syslog.facility" "syslog.severity";
    Bool:
        "evt.is_async" "evt.is_io" "evt.is_io_read" "evt.is_io_write" "evt.is_wait"
        "evt.is_syslog" "evt.is_open_read" "evt.is_open_write" "evt.is_open_exec"
        "evt.is_open_create"
        "proc.is_exe_writable" "proc.is_exe_upper_layer" "proc.is_exe_lower_layer"
        "proc.is_exe_from_memfd" "proc.is_sid_leader" "proc.is_vpgid_leader"
        "proc.is_pgid_leader" "thread.ismain" "fd.is_server" "fd.connected" "fd.name_changed";
};
