//! The host's side of the plugin border: load a library, make an app of it, call it.
//!
//! All `unsafe` of `src/` stands below this module.

mod body;
mod call;
mod callback;
mod file;
mod host;
mod instance;
mod library;
mod upgrade;

pub use call::CallError;
pub use file::{copy_by_hash, is_loadable};
pub use instance::{Instance, TaskName};
pub use library::{Info, Library};
