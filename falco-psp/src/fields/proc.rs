//! `proc`: the process.

use super::Field;
use crate::event::{CommandLine, Process};

/// The fields.
pub(super) static FIELDS: [Field; 11] = [
    Field::int(
        "proc.pid",
        "the process id on the host",
        |event, _, give| give(event.process.pid.into()),
    ),
    Field::int(
        "proc.vpid",
        "the process id in the innermost pid namespace",
        |event, _, give| give(event.process.virtual_pid.into()),
    ),
    Field::int(
        "proc.ppid",
        "the parent's process id on the host",
        |event, _, give| give(event.process.parent_pid.into()),
    ),
    Field::text(
        "proc.name",
        "the kernel's short name of the program, at most 15 bytes",
        |event, _, give| give(event.process.name.as_str().into()),
    ),
    Field::text(
        "proc.exe",
        "the first argument (argv[0])",
        |event, _, give| {
            if let Some(first) = event
                .process
                .arguments
                .as_ref()
                .and_then(CommandLine::first)
            {
                give(first.into());
            }
        },
    ),
    Field::text(
        "proc.exepath",
        "the path of the executed program",
        |event, _, give| {
            if let Some(path) = &event.process.executable {
                give(path.as_str().into());
            }
        },
    ),
    Field::text(
        "proc.args",
        "the arguments after the first, joined by blanks",
        |event, _, give| {
            if let Some(arguments) = &event.process.arguments {
                give(arguments.rest().into());
            }
        },
    ),
    Field::text(
        "proc.cmdline",
        "all arguments joined by blanks; the program's name if they are not known",
        |event, _, give| give(command_line(&event.process).into()),
    ),
    Field::bool(
        "proc.no_new_privs",
        "whether no_new_privs is set, so that no exec can gain privileges",
        |event, _, give| {
            event
                .process
                .no_new_privs
                .into_iter()
                .for_each(|set| give(set.into()))
        },
    )
    .ours(),
    Field::int(
        "proc.seccomp_mode",
        "the seccomp mode: 0 off, 1 strict, 2 filter",
        |event, _, give| give(event.process.seccomp_mode.into()),
    )
    .ours(),
    Field::bool(
        "proc.gained_privileges",
        "whether the executed program gave privileges which the process did not have: a setuid \
         or setgid program, or one with file capabilities",
        |event, _, give| give(event.process.gained_privileges.into()),
    )
    .ours(),
];

fn command_line(process: &Process) -> &str {
    match &process.arguments {
        Some(line) if line.first().is_some() => line.text(),
        _ => &process.name,
    }
}
