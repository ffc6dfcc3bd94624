//! The hooks: one file a family.

mod calls;
mod capable;
mod exec;
mod files;
