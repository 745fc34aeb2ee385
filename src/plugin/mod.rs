//! The host's side of the plugin border: loads a library, creates an app or a middleware from it, and calls it.
//!
//! All `unsafe` code of `src/` is in this module.

mod body;
mod call;
mod callback;
mod facts;
mod file;
mod host;
mod instance;
mod library;
mod next;
pub mod python;
mod table;
mod upgrade;

pub use call::CallError;
pub use file::{copy_by_hash, is_loadable};
pub use instance::{Instance, MIDDLEWARE_PREFIX, TaskName};
pub use library::{Info, Library};
pub use table::{FoundLibrary, Offer, PluginLibrary, PluginSource, PluginTable};
