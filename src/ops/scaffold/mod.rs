//! Skeletons and the projects that come from them: `paster create`, `add`, `update`, `undo` and `skeleton`.

pub mod add;
pub mod create;
mod existing;
mod layer;
pub mod plan_file;
mod programs;
pub mod skeleton;
pub mod undo;
pub mod update;

pub use layer::{Ask, SkeletonLayer};
pub use programs::shown;
