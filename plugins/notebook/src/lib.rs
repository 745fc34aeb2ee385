//! The computational notebook as a paster plugin: Jupyter's protocols, and documents that live on the server.

pub mod access;
mod account_removal;
pub mod accounts;
pub mod auth;
mod clock;
pub mod commands;
pub mod documents;
pub mod export;
pub mod files;
pub mod format;
pub mod http;
pub mod identity;
pub mod import;
pub mod kernel;
pub mod library;
pub mod mail;
mod plugin;
pub mod protocol;
pub mod quota;
pub mod second_factor;
pub mod sessions;
pub mod settings;
pub mod state;
pub mod store;
