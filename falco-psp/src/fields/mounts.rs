//! `container.mount`: what a runtime was told to mount from the host.

use std::fmt;

use super::{Argument, Field};
use crate::container::BindMount;
use crate::event::SyscallEvent;
use crate::rules::glob::{Glob, is_glob};

/// The fields.
pub(super) static FIELDS: [Field; 7] = [
    Field::text(
        "container.mounts",
        "all mounts from the host, each as source:destination:mode:rdwr:propagation",
        |event, _, give| {
            let mounts = event.container.mounts.iter().flatten();
            let all: Vec<String> = mounts.map(|mount| Whole(mount).to_string()).collect();
            if !all.is_empty() {
                give(all.join(" ").into());
            }
        },
    ),
    mount(
        "container.mount",
        "one mount from the host, by its index, or by its source, which may be a pattern",
        |event, argument, give| {
            if let Some(mount) = by(event, argument, |mount| &mount.source) {
                give(Whole(mount).to_string().into());
            }
        },
    ),
    mount(
        "container.mount.source",
        "the source of a mount, by its index or destination",
        |event, argument, give| {
            if let Some(mount) = by(event, argument, |mount| &mount.destination) {
                give(mount.source.as_str().into());
            }
        },
    ),
    mount(
        "container.mount.dest",
        "the destination of a mount, by its index or source",
        |event, argument, give| {
            if let Some(mount) = by(event, argument, |mount| &mount.source) {
                give(mount.destination.as_str().into());
            }
        },
    ),
    mount(
        "container.mount.mode",
        "the mode of a mount, by its index or source; empty, as runtimes order none",
        |event, argument, give| {
            if by(event, argument, |mount| &mount.source).is_some() {
                give("".into());
            }
        },
    ),
    mount(
        "container.mount.rdwr",
        "whether a mount is writable (true or false), by its index or source",
        |event, argument, give| {
            if let Some(mount) = by(event, argument, |mount| &mount.source) {
                give(rdwr(mount).into());
            }
        },
    ),
    mount(
        "container.mount.propagation",
        "which way later mounts show on the other side (private, rslave, rshared), by the mount's \
         index or source",
        |event, argument, give| {
            if let Some(mount) = by(event, argument, |mount| &mount.source) {
                give(mount.propagation.into());
            }
        },
    ),
];

const fn mount(name: &'static str, help: &'static str, extract: super::ExtractSyscall) -> Field {
    let mut field = Field::text(name, help, extract);
    field.argument = Argument::Key;
    field
}

/// The mount that the argument means: an index, or the path that `path` gives, or a pattern of it.
fn by<'e>(
    event: &'e SyscallEvent,
    argument: Option<&str>,
    path: impl Fn(&BindMount) -> &str,
) -> Option<&'e BindMount> {
    let mounts = event.container.mounts.as_deref()?;
    let argument = argument?;
    if let Ok(index) = argument.parse::<usize>() {
        return mounts.get(index);
    }
    let mut mounts = mounts.iter();
    if is_glob(argument) {
        let glob = Glob::new(argument, false).ok()?;
        return mounts.find(|mount| glob.matches(path(mount)));
    }
    mounts.find(|mount| path(mount) == argument)
}

fn rdwr(mount: &BindMount) -> &'static str {
    if mount.read_only { "false" } else { "true" }
}

/// A mount as Falco shows it.
struct Whole<'a>(&'a BindMount);

impl fmt::Display for Whole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindMount {
            source,
            destination,
            read_only: _,
            propagation,
        } = self.0;
        write!(f, "{source}:{destination}::{}:{propagation}", rdwr(self.0))
    }
}
