//! The computational notebook as a paster plugin: Jupyter's protocols, and documents that live on the server.

pub mod access;
pub mod accounts;
pub mod auth;
mod clock;
pub mod documents;
pub mod export;
pub mod files;
pub mod format;
pub mod http;
pub mod identity;
pub mod kernel;
mod plugin;
pub mod protocol;
pub mod sessions;
pub mod settings;
pub mod state;
pub mod store;
