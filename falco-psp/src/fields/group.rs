//! `group`: the group ids, as the host sees them.

use super::Field;

/// The fields.
pub(super) static FIELDS: [Field; 4] = [
    Field::int("group.gid", "the real group id", |event, _, give| {
        give(event.process.groups.real.into());
    }),
    Field::int("group.egid", "the effective group id", |event, _, give| {
        give(event.process.groups.effective.into());
    })
    .ours(),
    Field::int(
        "group.gids",
        "the real, effective, saved and file system group ids, each once",
        |event, _, give| {
            let ids = event.process.groups;
            ids.distinct().for_each(|id| give(id.into()));
        },
    )
    .list()
    .ours(),
    Field::int(
        "group.supplementary",
        "the supplementary groups that are not among group.gids: a runtime adds the primary \
         group to them without being asked",
        |event, _, give| {
            let process = &event.process;
            process
                .supplementary_groups
                .iter()
                .filter(|group| process.groups.distinct().all(|own| own != **group))
                .for_each(|group| give((*group).into()));
        },
    )
    .list()
    .ours(),
];
