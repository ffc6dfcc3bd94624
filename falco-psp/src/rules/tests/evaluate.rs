//! What conditions say of events.

use super::*;

#[test]
fn numbers_compare_by_size() {
    for condition in [
        "user.uid = 1000",
        "user.uid == 0x3e8",
        "user.uid != 0",
        "user.uid > 999",
        "user.uid >= 1000",
        "user.uid < 1001",
        "user.uid <= 1000",
        "user.uid > -1",
        "user.uid in (1000)",
        "user.uid in (1, 1000, 2)",
        "user.uid intersects (900:1100)",
        "user.uid in (5000:6000, 900:1100)",
        "user.uid in (900:1100, 1000:1001, 1:5000)",
    ] {
        assert!(holds(condition, &event()), "{condition}");
        assert!(!holds(&format!("not {condition}"), &event()), "{condition}");
    }
    for condition in [
        "user.uid = 100",
        "user.uid != 1000",
        "user.uid > 1000",
        "user.uid < 1000",
        "user.uid in ()",
        "user.uid in (1:999, 1001:2000)",
    ] {
        assert!(!holds(condition, &event()), "{condition}");
    }
}

#[test]
fn truth_values_compare() {
    assert!(holds("container.host_pid = true", &event()));
    assert!(holds("container.host_pid != false", &event()));
    assert!(holds("container.privileged = false", &event()));
    assert!(holds("container.privileged in (false)", &event()));
    assert!(holds(
        "container.privileged intersects (true, false)",
        &event()
    ));
    assert!(!holds("container.privileged in (true)", &event()));
    assert!(!holds("container.privileged in ()", &event()));
}

#[test]
fn text_compares_by_bytes() {
    for condition in [
        "proc.exepath = /usr/sbin/nginx",
        "proc.exepath != /usr/sbin",
        "proc.exepath contains sbin",
        "proc.exepath contains ''",
        "proc.exepath icontains SBIN",
        "proc.exepath icontains ''",
        "proc.exepath bcontains 7362696e",
        "proc.exepath startswith /usr",
        "proc.exepath bstartswith 2F75",
        "proc.exepath endswith nginx",
        "proc.exepath glob /usr/*x",
        "proc.exepath glob *",
        "proc.exepath glob /usr/sbin/ngin?",
        "proc.exepath glob /usr/sbin/[a-n]ginx",
        "proc.exepath iglob *NGINX",
        "proc.exepath regex /usr/.*",
        "proc.exepath regex '.*/(nginx|httpd)'",
        "proc.exepath in (a, /usr/sbin/nginx)",
        "proc.exepath intersects (a, /usr/sbin/nginx)",
        "proc.exepath pmatch (/bin, /usr)",
        "proc.name > 0",
        "proc.exepath < 0x9",
    ] {
        assert!(holds(condition, &event()), "{condition}");
    }
    for condition in [
        "proc.exepath = /usr",
        "proc.exepath contains SBIN",
        "proc.exepath icontains SBINX",
        "proc.exepath startswith sbin",
        "proc.exepath glob /usr",
        "proc.exepath glob *NGINX",
        "proc.exepath regex /usr",
        "proc.exepath regex nginx",
        "proc.exepath in ()",
        "proc.exepath pmatch (/usr/sb)",
        "proc.exepath pmatch ()",
    ] {
        assert!(!holds(condition, &event()), "{condition}");
    }
}

#[test]
fn paths_match_by_components() {
    for (path, prefix, below) in [
        ("/foo", "/foo", true),
        ("/foo/", "/foo", true),
        ("/foo", "/foo//", true),
        ("//foo//bar", "/foo/bar/", true),
        ("/foo/bar", "/foo", true),
        ("/foobar", "/foo", false),
        ("/fo", "/foo", false),
        ("/", "/foo", false),
        ("/foo", "/", true),
        ("/a/b/c", "/a/*/c", true),
        ("/a/b/d", "/a/*/c", false),
        ("/a/bc", "/a/b?", true),
        ("/a/b/c", "/a/b?", false),
        ("/a/b7/c", "/a/b[0-9]", true),
        ("/a", "/a/*", false),
    ] {
        let mut event = event();
        let container = Arc::make_mut(&mut event.container);
        container.volumes = Some(vec![volume("hostPath", path, true)]);
        let condition = format!("container.volumes.host_path pmatch (/never, '{prefix}')");
        assert_eq!(holds(&condition, &event), below, "{path} {prefix}");
    }
}

#[test]
fn list_fields_compare_as_sets() {
    // E = {hostPath, configMap}
    for (condition, answer) in [
        (
            "container.volumes.type in (hostPath, configMap, secret)",
            true,
        ),
        ("container.volumes.type in (hostPath)", false),
        ("container.volumes.type in ()", false),
        ("container.volumes.type intersects (secret, hostPath)", true),
        ("container.volumes.type intersects (secret)", false),
        ("container.volumes.type intersects ()", false),
        ("container.volumes.type exists", true),
        ("container.volumes.host_path pmatch (/etc, /var/log)", true),
        ("container.volumes.host_path pmatch (/etc)", false),
        ("container.volumes.host_path pmatch ()", false),
        ("container.volumes.host_path.writable pmatch (/var)", true),
        ("user.uids in (0, 1000)", true),
        ("user.uids in (1:2000)", false),
        ("user.uids intersects (0:0)", true),
        ("group.supplementary in (30:60)", true),
    ] {
        assert_eq!(holds(condition, &event()), answer, "{condition}");
    }
}

/// The table in the documentation of `evaluate`, for fields without a value.
#[test]
fn without_a_value_every_comparison_is_false() {
    let empty = {
        let mut event = event();
        Arc::make_mut(&mut event.container).volumes = Some(Vec::new());
        event
    };
    for (field, literal) in [
        ("container.name", "x"),
        ("container.privileged", "true"),
        ("evt.rawres", "0"),
        ("container.volumes.type", "x"),
        ("container.volumes.fs_group", "0"),
    ] {
        for operator in [
            "=",
            "!=",
            "<",
            "<=",
            ">",
            ">=",
            "contains",
            "icontains",
            "bcontains",
            "startswith",
            "bstartswith",
            "endswith",
            "glob",
            "iglob",
            "regex",
            "in",
            "intersects",
            "pmatch",
        ] {
            let literal = match operator {
                "bcontains" | "bstartswith" => "00",
                "<" | "<=" | ">" | ">=" => "0",
                _ => literal,
            };
            let condition = match operator {
                "in" | "intersects" | "pmatch" => format!("{field} {operator} ({literal})"),
                _ => format!("{field} {operator} {literal}"),
            };
            // What the type does not allow does not load: tested below.
            let Ok((rules, _)) = try_load(&file(&condition)) else {
                continue;
            };
            let absent = SyscallEvent {
                activity: Activity::Container,
                ..unknown()
            };
            assert!(fired(&rules, &absent).is_empty(), "{condition}");
            if field.starts_with("container.volumes") {
                assert!(fired(&rules, &empty).is_empty(), "{condition}");
            }
        }
        let absent = with(Activity::Container);
        let absent = SyscallEvent {
            container: Arc::new(Container::default()),
            ..absent
        };
        assert!(!holds(&format!("{field} exists"), &absent));
        assert!(holds(&format!("not {field} exists"), &absent));
        assert!(holds(&format!("not {field} in ({literal})"), &absent));
        assert!(!holds(&format!("{field} in ()"), &absent));
    }
    assert!(!holds("container.volumes.type exists", &empty));
    assert!(holds("not container.volumes.type in (a)", &empty));
}

/// Which operators load for which type of field.
#[test]
fn operators_go_with_types() {
    let all = [
        "exists",
        "=",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "contains",
        "icontains",
        "bcontains",
        "startswith",
        "bstartswith",
        "endswith",
        "glob",
        "iglob",
        "regex",
        "in",
        "intersects",
        "pmatch",
    ];
    for (field, literal, allowed) in [
        ("proc.name", "00", all.as_slice()),
        (
            "proc.pid",
            "0",
            &[
                "exists",
                "=",
                "!=",
                "<",
                "<=",
                ">",
                ">=",
                "in",
                "intersects",
            ],
        ),
        (
            "proc.no_new_privs",
            "true",
            &["exists", "=", "!=", "in", "intersects"],
        ),
        (
            "container.volumes.type",
            "00",
            &["exists", "in", "intersects", "pmatch"],
        ),
        ("user.uids", "0", &["exists", "in", "intersects"]),
    ] {
        for operator in all {
            let literal = if ["<", "<=", ">", ">="].contains(&operator) {
                "0"
            } else {
                literal
            };
            let condition = match operator {
                "exists" => format!("{field} exists"),
                "in" | "intersects" | "pmatch" => format!("{field} {operator} ({literal})"),
                _ => format!("{field} {operator} {literal}"),
            };
            let loaded = try_load(&file(&condition));
            let allowed = allowed.contains(&operator);
            assert_eq!(loaded.is_ok(), allowed, "{condition}: {:?}", loaded.err());
            if let Err(errors) = loaded {
                assert!(errors[0].contains(&format!("{operator} cannot be used on {field}")));
            }
        }
    }
}

#[test]
fn wrong_values_do_not_load() {
    for (condition, message) in [
        ("proc.pid = abc", "\"abc\" is not a whole number"),
        ("proc.pid > 1.5", "\"1.5\" is not a whole number"),
        ("proc.pid = 0x", "\"0x\" is not a whole number"),
        ("proc.pid = 99999999999999999999", "is not a whole number"),
        ("proc.pid = 30:40", "write: in (30:40)"),
        (
            "proc.pid in (1, x)",
            "\"x\" is neither a whole number nor a range such as 30:40",
        ),
        (
            "proc.pid in (1:)",
            "\"1:\" is neither a whole number nor a range",
        ),
        (
            "user.uids in (40:30)",
            "the range 40:30 is empty: its minimum is greater",
        ),
        (
            "proc.no_new_privs = True",
            "\"True\" is neither true nor false",
        ),
        (
            "proc.no_new_privs in (1)",
            "\"1\" is neither true nor false",
        ),
        (
            "proc.name regex '('",
            "bad regular expression: unclosed group",
        ),
        (
            "proc.name regex 'a)(b'",
            "bad regular expression: unopened group",
        ),
        (
            "proc.name bcontains abc",
            "is not a sequence of bytes in hexadecimal",
        ),
        (
            "proc.name bcontains zz",
            "is not a sequence of bytes in hexadecimal",
        ),
        (
            "proc.name glob '[[:alpha:]]'",
            "named classes such as [:alpha:] are not supported",
        ),
        (
            "proc.name pmatch ('/[[:alpha:]]')",
            "named classes such as [:alpha:]",
        ),
        (
            "proc.nam = x",
            "unknown field \"proc.nam\"; did you mean \"proc.name\"?",
        ),
        ("proc.name[0] = x", "proc.name takes no argument"),
        (
            "evt.arg exists",
            "evt.arg needs an argument, one of: dev dir type",
        ),
        (
            "evt.arg.flags exists",
            "evt.arg has no argument \"flags\", only: dev dir type",
        ),
    ] {
        let errors = errors(&file(condition));
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains(message), "{errors:?}");
    }
}

#[test]
fn and_or_and_not_combine() {
    let (yes, no) = ("proc.name = nginx", "proc.name = x");
    for (condition, answer) in [
        (format!("{yes} and {yes}"), true),
        (format!("{yes} and {no}"), false),
        (format!("{no} or {yes}"), true),
        (format!("{no} or {no}"), false),
        (format!("{no} and {no} or {yes}"), true),
        (format!("{no} and ({no} or {yes})"), false),
        (format!("not ({no} or {no})"), true),
        (format!("not {no} and {yes}"), true),
    ] {
        assert_eq!(holds(&condition, &event()), answer, "{condition}");
    }
}
