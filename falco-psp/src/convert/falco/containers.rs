//! What every container says, or some container does not.
//!
//! Falco's list fields have a value for each container that says something, so their length tells
//! whether all do. For what has no such field the containers are asked one by one.

use super::atoms::{Said, quoted};
use super::facts::{UNKNOWN, Which, Why};
use super::json::SECTIONS;

/// As many containers of a kind are asked one by one. In a pod with more of a kind, what those
/// after them lack is not seen.
pub(super) const ASKED: usize = 10;

/// The lists of containers as the plugin's fields name them.
const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Whether some container has no value for this field of the plugin's. All have an image.
pub(super) fn some_lacks(field: &str) -> Said {
    Said::any(LISTS.map(|list| {
        let list = format!("ka.req.pod.{list}");
        Said::all([
            Said::Is(format!("{list}.image exists")),
            Said::Is(format!("not len({list}.{field}) = len({list}.image)")),
        ])
    }))
}

/// Whether some container's security context has none of these keys.
pub(super) fn some_has_none_of(keys: &[&str]) -> Said {
    some_container(|container| {
        let lacks = keys.iter().map(|key| {
            Said::Is(format!(
                "not jevt.value[{container}/securityContext/{key}] exists"
            ))
        });
        Said::all(lacks)
    })
}

/// Whether every container has one and the same of the capabilities in one of these lists.
pub(super) fn every_one_lists(lists: &[&str], which: Which<'_>) -> Result<Said, Why> {
    let Which::In(capabilities) = which else {
        return Err(UNKNOWN);
    };
    let mut each = Vec::new();
    for capability in capabilities {
        // Its own quotes around it: no part of another name.
        if which.texts().is_err() {
            return Err(super::facts::ODD_TEXT);
        }
        let name = quoted(&format!("\"{capability}\""));
        let lacking = some_container(|container| {
            let lacks = lists.iter().map(|list| {
                let list = format!("{container}/securityContext/capabilities/{list}");
                Said::Is(format!("not jevt.value[{list}] contains {name}"))
            });
            Said::all(lacks)
        });
        each.push(lacking.not());
    }
    Ok(Said::any(each))
}

fn some_container(is_so: impl Fn(&str) -> Said) -> Said {
    let all = SECTIONS
        .into_iter()
        .flat_map(|section| (0..ASKED).map(move |index| format!("{section}/{index}")));
    Said::any(all.map(|container| {
        let exists = Said::Is(format!("jevt.value[{container}] exists"));
        Said::all([exists, is_so(&container)])
    }))
}
