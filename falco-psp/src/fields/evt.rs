//! `evt`: what happened.

use std::sync::LazyLock;

use falco_psp_common::capability;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Field, Kind, Value, errno};
use crate::event::{Activity, Event};

/// The fields.
pub(super) static FIELDS: [Field; 16] = [
    Field::text(
        "evt.type",
        "what happened: the name of the system call, \"container\" for a container that was \
         found or has started",
        |event, _, give| give(event.activity.event_type().into()),
    ),
    Field::text(
        "evt.dir",
        "always \"<\": events are seen when the call has returned",
        |_, _, give| give("<".into()),
    ),
    Field::any(
        "evt.num",
        Kind::Int,
        "the number of the event in this run, from 1",
        |event, give| give(event.number().into()),
    ),
    Field::any(
        "evt.time",
        Kind::String,
        "when it happened: local time with nanoseconds; among the fields of JSON output \
         nanoseconds since the Unix epoch",
        |event, give| give_time(event, TimeZone::system(), "%H:%M:%S.%9f", give),
    ),
    Field::any(
        "evt.time.s",
        Kind::String,
        "when it happened: local time without nanoseconds",
        |event, give| give_time(event, TimeZone::system(), "%H:%M:%S", give),
    ),
    Field::any(
        "evt.time.iso8601",
        Kind::String,
        "when it happened: 2019-06-27T00:06:56.540876032+0000, in UTC",
        |event, give| give_time(event, TimeZone::UTC, "%Y-%m-%dT%H:%M:%S.%9f%z", give),
    ),
    Field::any(
        "evt.datetime",
        Kind::String,
        "when it happened: local date and time with nanoseconds",
        |event, give| give_time(event, TimeZone::system(), "%Y-%m-%d %H:%M:%S.%9f", give),
    ),
    Field::any(
        "evt.datetime.s",
        Kind::String,
        "when it happened: local date and time without nanoseconds",
        |event, give| give_time(event, TimeZone::system(), "%Y-%m-%d %H:%M:%S", give),
    ),
    Field::any(
        "evt.source",
        Kind::String,
        "the source of the event: syscall or k8s_audit",
        |event, give| give(event.source().name().into()),
    ),
    Field::any(
        "evt.hostname",
        Kind::String,
        "the name of this machine",
        |_, give| give(HOSTNAME.as_str().into()),
    ),
    Field::any(
        "evt.rawtime",
        Kind::Int,
        "when it happened: nanoseconds since the Unix epoch",
        |event, give| give(event.time_ns().into()),
    ),
    Field::text(
        "evt.res",
        "what the call returned: SUCCESS, or the name of the error, such as EPERM. Of an event of the \
         type capable: SUCCESS if the process has the capability, else EPERM",
        |event, _, give| match event.activity.result() {
            Some(0..) => give("SUCCESS".into()),
            Some(error) => match errno::name(error.unsigned_abs()) {
                Some(name) => give(name.into()),
                None => give(error.to_string().into()),
            },
            None => {}
        },
    ),
    Field::int(
        "evt.rawres",
        "what the call returned, as a number: negative for an error",
        |event, _, give| {
            if let Some(result) = event.activity.result() {
                give(result.into());
            }
        },
    ),
    Field::bool(
        "evt.failed",
        "whether the call returned an error. Of an event of the type capable: whether the process does \
         not have the capability",
        |event, _, give| {
            if let Some(result) = event.activity.result() {
                give((result < 0).into());
            }
        },
    ),
    Field::text(
        "evt.arg",
        "an argument of a call of the mount family: dev (the source), dir (the target), type \
         (the file system); a hint, for a program can change it while the call runs. Of an event of \
         the type capable, call: the system call that asked for the capability, and cap: which it is, \
         whether the process has it or not. Of an event of the type \
         root_write, call: the system call, and path: what it changed. Of volume_write, which comes \
         once for each mount of a container, call, and dir: where the mount is",
        |event, argument, give| {
            let text = match (&event.activity, argument) {
                (Activity::Mount { source, .. }, Some("dev")) => source,
                (Activity::Mount { target, .. }, Some("dir")) => target,
                (Activity::Mount { fs_type, .. }, Some("type")) => fs_type,
                (Activity::Capability { call, .. }, Some("call")) => call,
                (Activity::Capability { capability, .. }, Some("cap")) => {
                    return give((*capability).into());
                }
                (Activity::RootWrite { path, .. }, Some("path")) => path,
                (Activity::VolumeWrite { mount_point, .. }, Some("dir")) => mount_point,
                (
                    Activity::RootWrite { call, .. } | Activity::VolumeWrite { call, .. },
                    Some("call"),
                ) => return give((*call).into()),
                _ => return,
            };
            if !text.is_empty() {
                give(text.as_str().into());
            }
        },
    )
    .one_of(&["dev", "dir", "type", "call", "path", "cap"]),
    Field::text(
        "evt.caps",
        "the capabilities that the call has used, without CAP_: what the kernel asked for and found, of \
         an event of the type capable; SYS_ADMIN for a mount that succeeded",
        |event, _, give| {
            // mount(2), umount(2), pivot_root(2), move_mount(2), fsmount(2), mount_setattr(2): all
            // of them need CAP_SYS_ADMIN. open_tree(2) needs it only to clone or to change attributes.
            if event.process.nested_user_namespace {
                return;
            }
            match event.activity {
                Activity::Mount { call, result, .. } if result >= 0 && !call.starts_with("open_tree") => {
                    give(capability::NAMES[capability::SYS_ADMIN as usize].into());
                }
                Activity::Capability {
                    capability, result, ..
                } if result >= 0 => give(capability.into()),
                _ => {}
            }
        },
    )
    .list()
    .ours(),
];

/// The event's time in a zone and form of `strftime`.
fn give_time<'e>(event: &'e Event, zone: TimeZone, form: &str, give: &mut dyn FnMut(Value<'e>)) {
    if let Ok(time) = Timestamp::from_nanosecond(event.time_ns().into()) {
        give(
            time.to_zoned_datetime(zone)
                .strftime(form)
                .to_string()
                .into(),
        );
    }
}

static HOSTNAME: LazyLock<String> = LazyLock::new(|| {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
});
