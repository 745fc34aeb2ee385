//! From a skeleton to files: its manifest, the answers, everything rendered in memory, then written whole.
//!
//! A skeleton is a folder with `skeleton.toml` and `files/`. Nothing in it is ever run: what happens after the
//! files are written is data ([`PostStep`]) and done by `ops`. The order of reading: [`source`](Skeleton) finds and
//! reads it, [`Manifest`] says what it asks, [`resolve`] answers, [`render`] makes the files in memory,
//! [`Plan`] compares them with what exists and writes. Asks nothing itself and prints nothing.

mod answers;
mod condition;
mod location;
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
