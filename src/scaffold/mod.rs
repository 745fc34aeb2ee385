//! From a skeleton to files: reads its manifest, takes the answers, renders everything in memory, then writes
//! all of it or nothing.
//!
//! A skeleton is a folder with `skeleton.toml` and `files/`. Nothing in it is ever run: the steps after the
//! files are written are data ([`PostStep`]), and `ops` does them. In reading order: [`source`](Skeleton)
//! finds and reads the skeleton, [`Manifest`] describes what it asks, [`resolve`] finds the answers,
//! [`render`] makes the files in memory, and [`Plan`] compares them with what exists and writes them. This
//! module does not ask or print anything itself.

mod answers;
mod condition;
pub(crate) mod location;
mod manifest;
mod names;
mod plan;
mod render;
mod rooted_dir;
mod source;
mod template;
mod values;

pub use answers::{Answer, AnswerSource, Answers, ProvidedAnswers, Question, resolve};
pub use manifest::{About, Case, FileRule, Kind, Manifest, PostAction, PostStep, Reload, Serve, Var};
pub use names::{crate_name, plain_component};
pub use plan::{Action, Plan, Step, Written};
pub use render::{Rendered, render};
pub use source::{Skeleton, SkeletonFile, built_in_names};
