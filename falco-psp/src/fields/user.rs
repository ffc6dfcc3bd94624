//! `user`: the user ids, as the host sees them.

use super::Field;

/// The fields.
pub(super) static FIELDS: [Field; 3] = [
    Field::int("user.uid", "the real user id", |event, _, give| {
        give(event.process.users.real.into());
    }),
    Field::int("user.euid", "the effective user id", |event, _, give| {
        give(event.process.users.effective.into());
    })
    .ours(),
    Field::int(
        "user.uids",
        "the real, effective, saved and file system user ids, each once",
        |event, _, give| {
            let ids = event.process.users;
            ids.distinct().for_each(|id| give(id.into()));
        },
    )
    .list()
    .ours(),
];
