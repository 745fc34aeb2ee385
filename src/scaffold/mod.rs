//! From a skeleton to files: reads its manifest, takes the answers, renders everything in memory, then writes
//! all of it or nothing.
//!
//! A skeleton is a folder with `skeleton.toml` and `files/`. Nothing in it is ever run: the steps after the
//! files are written are data ([`PostStep`]), and `ops` does them. In reading order: [`source`](Skeleton)
//! finds and reads the skeleton, [`Manifest`] describes what it asks, [`resolve`] finds the answers,
//! [`render`] makes the files in memory, [`compose`] puts those of several skeletons together, and [`Plan`] compares
//! them with what exists and writes them. A project remembers all this in `.paster` ([`Lock`], [`Base`]), so that
//! [`update`](Plan::update) merges a newer skeleton into it, and [`Undo`] takes the last change back. This
//! module does not ask or print anything itself.

mod answers;
mod compose;
mod condition;
mod lint;
pub(crate) mod location;
mod lock;
mod manifest;
mod merge;
mod names;
mod plan;
mod render;
mod rooted_dir;
mod source;
mod template;
mod undo;
mod values;

pub use answers::{Answer, AnswerSource, Answers, ProvidedAnswers, Question, resolve};
pub use compose::compose;
pub use lint::{Finding, lint};
pub use lock::{Base, Lock, LockedFile, LockedSkeleton};
pub use manifest::{About, Case, FileRule, Manifest, PostAction, PostStep, Reload, Serve, Var, VariableKind};
pub use merge::MergeKind;
pub use names::{crate_name, plain_component};
pub use plan::{Action, Plan, PlanStep, WrittenFiles};
pub use render::{Rendered, render};
pub use source::{Skeleton, SkeletonFile, SkeletonSource, addition_names, built_in_names};
pub use undo::{Undo, UndoAction, Undone};

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 in hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    hex(&Sha256::digest(bytes))
}
