//! Output formats.

use serde_json::json;

use super::*;
use crate::fields::Source;
use crate::rules::escape;
use crate::rules::output::Output;

fn render(format: &str, event: &SyscallEvent) -> String {
    match Output::new(format, Source::Syscall) {
        Ok(output) => output.render(&event.clone().into()),
        Err(errors) => panic!("{format}: {errors:?}"),
    }
}

#[test]
fn fields_are_replaced_by_their_values() {
    for (format, line) in [
        ("plain", "plain"),
        ("%proc.name", "nginx"),
        ("*%proc.name\n", "nginx"),
        ("a %proc.name. b", "a nginx. b"),
        ("(%user.uid:%group.gid)", "(1000:30)"),
        ("%user.uids", "(1000,0)"),
        ("%container.volumes.fs_group", "2000"),
        ("%container.host_ipc|%evt.failed", "<NA>|false"),
        ("%proc.no_new_privs", "true"),
        ("%8proc.name|%3proc.name|", "nginx   |ngi|"),
        ("x%container.info", "x"),
        ("größe %proc.pid", "größe 4711"),
    ] {
        assert_eq!(render(format, &event()), line, "{format}");
    }
    let mount = with(Activity::Mount {
        call: "mount",
        result: 0,
        source: "/dev/sda1".to_owned(),
        target: "/mnt".to_owned(),
        fs_type: String::new(),
    });
    assert_eq!(
        render("%evt.arg.dev %evt.arg[dir] %evt.arg.type", &mount),
        "/dev/sda1 /mnt <NA>"
    );
}

#[test]
fn a_process_cannot_forge_a_line() {
    let mut event = event();
    let process = Arc::make_mut(&mut event.process);
    process.name = "x\n12:00:00: Notice y\r\x1b[2J".to_owned();
    process.arguments = Some(CommandLine::from_iter(["\u{202e}\u{9b}", "\u{2028}\t"]));
    assert_eq!(
        render("%proc.name", &event),
        "x\\n12:00:00: Notice y\\r\\x1b[2J"
    );
    assert_eq!(
        render("%proc.cmdline", &event),
        "\\u{202e}\\x9b \\u{2028}\\t"
    );
    assert_eq!(escape("größe \\ 漢"), "größe \\ 漢");
    assert_eq!(escape("\0\u{7f}"), "\\x00\\x7f");
}

#[test]
fn json_fields_keep_their_types() {
    let output = Output::new(
        "%proc.name %user.uid %container.host_pid %container.host_ipc %user.uids \
         %container.volumes.fs_group %evt.arg.dev %evt.time",
        Source::Syscall,
    )
    .unwrap();
    assert_eq!(
        serde_json::Value::Object(output.fields(&event().into())),
        json!({
            "proc.name": "nginx",
            "user.uid": 1000,
            "container.host_pid": true,
            "container.host_ipc": null,
            "user.uids": [1000, 0],
            "container.volumes.fs_group": [2000],
            "evt.arg.dev": null,
            "evt.time": 1_561_593_996_540_876_032_u64,
        })
    );
    let plain = Output::new("plain", Source::Syscall)
        .unwrap()
        .fields(&event().into());
    assert_eq!(plain.len(), 1);
}

#[test]
fn bad_formats_are_named_with_their_places() {
    let errors = |format: &str| -> Vec<(usize, String)> {
        let errors = Output::new(format, Source::Syscall).unwrap_err();
        errors.into_iter().map(|e| (e.offset, e.message)).collect()
    };
    let one = |offset: usize, message: &str| vec![(offset, message.to_owned())];
    assert_eq!(errors("a %"), one(2, "expected a field after \"%\""));
    assert_eq!(errors(" 100%% "), {
        let message = "expected a field after \"%\"".to_owned();
        vec![(4, message.clone()), (5, message)]
    });
    assert_eq!(
        errors("%proc.nme and %x.y"),
        [
            (0, "unknown field \"proc.nme\"".to_owned()),
            (14, "unknown field \"x.y\"".to_owned())
        ]
    );
    assert_eq!(
        errors("%proc.name by %ka.user.name of %tolower(ka.verb)"),
        [
            (14, "events of syscall have no ka.user.name".to_owned()),
            (31, "events of syscall have no ka.verb".to_owned())
        ]
    );
    assert_eq!(
        errors("%lower(proc.name)"),
        one(0, "unknown function \"lower\"")
    );
    assert_eq!(
        errors("%tolower(proc.pid)"),
        one(0, "tolower() takes text, and proc.pid is a whole number")
    );
    assert_eq!(
        errors("%tolower(proc.nme)"),
        one(0, "unknown field \"proc.nme\"")
    );
    assert_eq!(
        errors("%evt.arg[dev"),
        one(0, "expected \"]\" after the argument of evt.arg")
    );
    assert_eq!(errors("%proc.pid[1]"), one(0, "proc.pid takes no argument"));
    assert_eq!(errors("%é"), one(0, "expected a field after \"%\""));
}
