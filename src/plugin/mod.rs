//! The host's side of the plugin border: loads a library, creates an app from it, and calls it.
//!
//! This module has all the `unsafe` code of `src/`.

mod body;
mod call;
mod callback;
mod file;
mod host;
mod instance;
mod library;
pub mod python;
mod upgrade;

pub use call::CallError;
pub use file::{copy_by_hash, is_loadable};
pub use instance::{Instance, TaskName};
pub use library::{Info, Library};
