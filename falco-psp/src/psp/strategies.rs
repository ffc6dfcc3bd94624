//! The strategies of a policy: runAsUser and its kin, seLinux, runtimeClass.

use super::model::{
    AllowedNames, GroupStrategy, IdRange, RunAsUser, RuntimeClass, SeLinux, SeLinuxOptions,
};
use super::names::subdomain_error;
use super::reader::{Field, Object, Reader};
use crate::diagnostic::Position;

const UNUSABLE: &str = "the API server accepts this, but admission then cannot use the policy";

pub(super) fn run_as_user(reader: &mut Reader, spec: &Object<'_>) -> Option<RunAsUser> {
    let rules = ["MustRunAs", "MustRunAsNonRoot", "RunAsAny"];
    let (object, rule, at) = strategy(reader, spec, "runAsUser", &rules, "ranges")?;
    let ranges = ranges(reader, &object);
    match rule {
        "MustRunAs" => {
            warn_without(reader, !has_ranges(&object), at, "runAsUser", "ranges");
            Some(RunAsUser::MustRunAs(ranges))
        }
        "MustRunAsNonRoot" => {
            warn_ignored(reader, &object, "MustRunAsNonRoot");
            Some(RunAsUser::MustRunAsNonRoot)
        }
        _ => {
            warn_ignored(reader, &object, "RunAsAny");
            Some(RunAsUser::RunAsAny)
        }
    }
}

/// `fsGroup` or `supplementalGroups`.
pub(super) fn groups(reader: &mut Reader, spec: &Object<'_>, name: &str) -> Option<GroupStrategy> {
    let rules = ["MustRunAs", "MayRunAs", "RunAsAny"];
    let (object, rule, at) = strategy(reader, spec, name, &rules, "ranges")?;
    let ranges = ranges(reader, &object);
    if rule == "RunAsAny" {
        warn_ignored(reader, &object, rule);
    } else {
        warn_without(reader, !has_ranges(&object), at, name, "ranges");
    }
    Some(group_strategy(rule, ranges))
}

pub(super) fn run_as_group(reader: &mut Reader, spec: &Object<'_>) -> Option<GroupStrategy> {
    if spec.field("runAsGroup").is_none() {
        return Some(GroupStrategy::RunAsAny);
    }
    let rules = ["MustRunAs", "MayRunAs", "RunAsAny"];
    let (object, rule, at) = strategy(reader, spec, "runAsGroup", &rules, "ranges")?;
    let ranges = ranges(reader, &object);
    if rule == "RunAsAny" && has_ranges(&object) {
        let message = "spec.runAsGroup.ranges must be empty with RunAsAny";
        reader.error(at, message);
    }
    if rule != "RunAsAny" && !has_ranges(&object) {
        let message = format!("spec.runAsGroup: {rule} must have at least one range");
        reader.error(at, message);
    }
    Some(group_strategy(rule, ranges))
}

fn group_strategy(rule: &str, ranges: Vec<IdRange>) -> GroupStrategy {
    match rule {
        "MustRunAs" => GroupStrategy::MustRunAs(ranges),
        "MayRunAs" => GroupStrategy::MayRunAs(ranges),
        _ => GroupStrategy::RunAsAny,
    }
}

pub(super) fn se_linux(reader: &mut Reader, spec: &Object<'_>) -> Option<SeLinux> {
    let rules = ["MustRunAs", "RunAsAny"];
    let (object, rule, at) = strategy(reader, spec, "seLinux", &rules, "seLinuxOptions")?;
    let options = object
        .field("seLinuxOptions")
        .and_then(|field| reader.object(&field, &["user", "role", "type", "level"]))
        .map(|options| {
            let mut part = |name| {
                let text = options.field(name).and_then(|field| reader.string(&field));
                text.unwrap_or_default().to_owned()
            };
            SeLinuxOptions {
                user: part("user"),
                role: part("role"),
                type_: part("type"),
                level: part("level"),
            }
        });
    if rule == "RunAsAny" {
        return Some(SeLinux::RunAsAny);
    }
    warn_without(reader, options.is_none(), at, "seLinux", "seLinuxOptions");
    Some(SeLinux::MustRunAs(options))
}

/// Reads a strategy that must be there: its mapping, its rule, and the rule's place.
fn strategy<'a>(
    reader: &mut Reader,
    spec: &Object<'a>,
    name: &str,
    rules: &[&str],
    details: &str,
) -> Option<(Object<'a>, &'a str, Position)> {
    let help = |reader: &mut Reader| reader.help(format!("known are {}", rules.join(", ")));
    let Some(field) = spec.field(name) else {
        reader.error(
            spec.position,
            format!("{}.rule is missing", spec.path(name)),
        );
        help(reader);
        return None;
    };
    let object = reader.object(&field, &["rule", details])?;
    let Some(rule) = object.field("rule") else {
        reader.error(
            object.position,
            format!("{} is missing", object.path("rule")),
        );
        help(reader);
        return None;
    };
    let text = reader.string(&rule)?;
    if !rules.contains(&text) {
        let message = format!("{}: unknown strategy \"{text}\"", rule.path);
        reader.unknown(rule.position(), message, text, rules.iter().copied());
        return None;
    }
    Some((object, text, rule.position()))
}

fn warn_without(reader: &mut Reader, without: bool, at: Position, name: &str, what: &str) {
    if without {
        reader.warning(at, format!("spec.{name}: this strategy has no {what}"));
        reader.help(UNUSABLE);
    }
}

fn warn_ignored(reader: &mut Reader, strategy: &Object<'_>, rule: &str) {
    if let Some(field) = strategy.field("ranges").filter(|_| has_ranges(strategy)) {
        let message = format!("{} mean nothing with {rule}", field.path);
        reader.warning(field.position(), message);
    }
}

/// Whether ranges are written, be they right or wrong.
fn has_ranges(strategy: &Object<'_>) -> bool {
    let field = strategy.field("ranges");
    field.is_some_and(|field| field.node.as_sequence().is_none_or(|list| !list.is_empty()))
}

fn ranges(reader: &mut Reader, strategy: &Object<'_>) -> Vec<IdRange> {
    let items = reader.list(strategy, "ranges").into_iter();
    items.filter_map(|item| range(reader, &item)).collect()
}

fn range(reader: &mut Reader, item: &Field<'_>) -> Option<IdRange> {
    let (min, max) = min_and_max(reader, item)?;
    let mut unsigned = |name: &str, value: i64| match u64::try_from(value) {
        Ok(value) => Some(value),
        Err(_) => {
            let message = format!("{}.{name} is negative: {value}", item.path);
            reader.error(item.position(), message);
            None
        }
    };
    let (min, max) = (unsigned("min", min), unsigned("max", max));
    let range = IdRange {
        min: min?,
        max: max?,
    };
    if range.min > range.max {
        let (path, IdRange { min, max }) = (&item.path, range);
        let message = format!("{path}: min {min} is greater than max {max}");
        reader.error(item.position(), message);
        return None;
    }
    Some(range)
}

/// The two ends of a range, as they are written.
pub(super) fn min_and_max(reader: &mut Reader, item: &Field<'_>) -> Option<(i64, i64)> {
    let object = reader.object(item, &["min", "max"])?;
    let min = reader.integer(&object, "min");
    let max = reader.integer(&object, "max");
    Some((min?, max?))
}

pub(super) fn runtime_class(reader: &mut Reader, spec: &Object<'_>) -> Option<RuntimeClass> {
    let fields = ["allowedRuntimeClassNames", "defaultRuntimeClassName"];
    let object = reader.object(&spec.field("runtimeClass")?, &fields)?;
    let names = reader.strings(&object, "allowedRuntimeClassNames");
    let mut seen = Vec::new();
    for (item, name) in &names {
        if let Some(reason) = subdomain_error(name).filter(|_| *name != "*") {
            let message = format!("{}: \"{name}\" is no name: {reason}", item.path);
            reader.error(item.position(), message);
        }
        if seen.contains(name) {
            let message = format!("{}: \"{name}\" is in the list twice", item.path);
            reader.error(item.position(), message);
        } else if !seen.is_empty() && (*name == "*" || seen.contains(&"*")) {
            let message = format!("{}: beside \"*\" there must be no other names", item.path);
            reader.error(item.position(), message);
        }
        seen.push(name);
    }
    let any = seen.contains(&"*");
    let default = object.field("defaultRuntimeClassName");
    let default = default.and_then(|field| Some((reader.string(&field)?, field)));
    if let Some((name, field)) = &default {
        if let Some(reason) = subdomain_error(name) {
            let message = format!("{}: \"{name}\" is no name: {reason}", field.path);
            reader.error(field.position(), message);
        }
        if !any && !seen.contains(name) {
            let message = format!("{}: allowedRuntimeClassNames lacks \"{name}\"", field.path);
            reader.error(field.position(), message);
        }
    }
    let owned = seen.iter().map(|name| (*name).to_owned());
    Some(RuntimeClass {
        allowed: if any {
            AllowedNames::Any
        } else {
            AllowedNames::Only(owned.collect())
        },
        default: default.map(|(name, _)| name.to_owned()),
    })
}
