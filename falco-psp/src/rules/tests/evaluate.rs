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
            "evt.arg exists",
            "evt.arg needs an argument, one of: dev dir type",
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

#[test]
fn functions_make_values_of_values() {
    let event = &event();
    for (condition, answer) in [
        ("toupper(proc.name) = NGINX", true),
        ("tolower(toupper(proc.name)) = nginx", true),
        ("basename(proc.exepath) = nginx", true),
        ("b64(proc.name) exists", false),
        ("len(proc.name) = 5", true),
        ("len(proc.name) > 5", false),
        ("len(container.volumes.type) = 2", true),
        (
            "join(\"|\", container.volumes.type) = \"hostPath|configMap\"",
            true,
        ),
        (
            "concat(\"/x/\", proc.name, \":\", container.name) = \"/x/nginx:web\"",
            true,
        ),
        (
            "toupper(container.volumes.type) in (HOSTPATH, CONFIGMAP)",
            true,
        ),
        ("toupper(container.volumes.type) intersects (SECRET)", false),
        // Compared with each other.
        ("proc.name = val(proc.name)", true),
        ("proc.name != val(container.name)", true),
        ("proc.exepath endswith val(proc.name)", true),
        ("proc.exepath startswith val(proc.name)", false),
        ("basename(proc.exepath) = tolower(proc.name)", true),
        ("proc.pid > val(proc.ppid)", true),
        ("proc.pid < val(proc.ppid)", false),
        ("len(proc.name) >= len(container.name)", true),
        ("user.uids in val(user.uids)", true),
        ("user.uid in val(user.uids)", true),
        ("user.uids intersects val(group.gid)", false),
        // As many of a list.
        ("proc.name startswith anyof (x, ng)", true),
        ("proc.name startswith allof (n, ng)", true),
        ("proc.name startswith allof (n, x)", false),
        ("proc.name startswith oneof (n, ng)", false),
        ("proc.name startswith oneof (n, x)", true),
        ("proc.name startswith anyof ()", false),
    ] {
        assert_eq!(holds(condition, event), answer, "{condition}");
    }
    // What is not known makes nothing, and nothing is true of it.
    for condition in [
        "tolower(container.name) exists",
        "len(container.volumes.type) = 0",
        "join(\",\", container.volumes.type) exists",
        "concat(\"a\", container.name) exists",
        "getopt(container.volumes.type, \"a\") exists",
        "proc.name = val(container.name)",
        "proc.name != val(container.name)",
        "container.name != allof (x)",
    ] {
        assert!(!holds(condition, &unknown()), "{condition}");
    }
}

#[test]
fn functions_have_types() {
    for (condition, message) in [
        (
            "tolower(proc.pid) = 1",
            "tolower() takes text, and proc.pid is a whole number",
        ),
        (
            "len(proc.pid) = 1",
            "len() takes text, and proc.pid is a whole number",
        ),
        ("len(proc.name) = x", "\"x\" is not a whole number"),
        ("join(proc.name) = x", "join() takes a separator and a list"),
        (
            "join(\",\", user.uids) = x",
            "join() joins a list of texts, and user.uids is none",
        ),
        (
            "join(\",\", proc.name) = x",
            "join() joins a list of texts, and proc.name is none",
        ),
        (
            "getopt(proc.args, \"a\") exists",
            "getopt() takes a list of texts, and proc.args is none",
        ),
        (
            "getopt(container.volumes.type) exists",
            "getopt() takes a list and options",
        ),
        (
            "getopt(container.volumes.type, \"a\")[ab] = x",
            "in brackets after getopt() stands one letter",
        ),
        (
            "tolower(proc.name)[a] = x",
            "tolower() takes nothing in brackets after it",
        ),
        ("concat(proc.name) = x", "concat() takes two or more texts"),
        (
            "concat(proc.name, container.volumes.type) = x",
            "concat() takes texts, and container.volumes.type is not one text",
        ),
        (
            "proc.name = val(proc.pid)",
            "proc.name is text and proc.pid is a whole number: they cannot be compared",
        ),
        (
            "proc.name regex val(container.name)",
            "regex cannot have a field on its right",
        ),
        (
            "proc.name = val(container.volumes.type)",
            "= cannot have container.volumes.type on its right, which is a list",
        ),
        (
            "container.volumes.type = tolower(proc.name)",
            "= cannot have container.volumes.type on its left, which is a list",
        ),
        (
            "proc.name pmatch val(container.name)",
            "pmatch cannot have a field on its right",
        ),
        (
            "tolower(container.volumes.type) = x",
            "= cannot be used on tolower(container.volumes.type), which is a list",
        ),
        ("tolower(proc.nme) = x", "unknown field \"proc.nme\""),
        ("tolower(ka.verb) = x", "events of syscall have no ka.verb"),
        (
            "proc.pid startswith anyof (1)",
            "startswith cannot be used on proc.pid",
        ),
    ] {
        let errors = errors(&file(condition));
        assert!(errors[0].contains(message), "{condition}: {errors:?}");
    }
}
