//! The types of options that name files, folders and addresses. The type describes how the file is used.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{KeyPath, Purpose};

/// A file path in the config: relative to the folder of the file that wrote it, absolute once read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ConfigPath(#[schemars(extend("format" = "path"))] PathBuf);

/// The same, for a file that [`Table::files`](super::Table::files) reads. Root opens it for workers that run
/// as another user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ReadPath(#[schemars(extend("format" = "path", "x-open" = "read"))] PathBuf);

/// The same, for a file that `Table::files` reads again when it changes. It needs no reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct FollowedPath(
    #[schemars(extend("format" = "path", "x-access" = "follow", "x-open" = "read"))] PathBuf,
);

/// The same, for a program that is executed on each request, as the worker's user. It needs no reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ProgramPath(#[schemars(extend("format" = "path", "x-access" = "follow"))] PathBuf);

/// The same, for a file or folder that the server writes. `serve --reload` does not watch it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct OutputPath(#[schemars(extend("format" = "path", "x-access" = "write"))] PathBuf);

/// The same, for a log, which `Table::files` opens for appending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AppendPath(
    #[schemars(extend("format" = "path", "x-access" = "write", "x-open" = "append"))] PathBuf,
);

/// The same, for a folder whose files are served unchanged. `serve --reload` refreshes open pages when one
/// changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ServedPath(#[schemars(extend("format" = "path", "x-access" = "serve"))] PathBuf);

macro_rules! deref_to_path {
    ($($name:ident),*) => {
        $(impl Deref for $name {
            type Target = Path;
            fn deref(&self) -> &Path {
                &self.0
            }
        })*
    };
}
deref_to_path!(ConfigPath, ReadPath, FollowedPath, ProgramPath, OutputPath, AppendPath, ServedPath);

impl From<PathBuf> for ServedPath {
    fn from(path: PathBuf) -> ServedPath {
        ServedPath(path)
    }
}

/// How a file or folder that a table names is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathAccess {
    /// It is read once ([`ConfigPath`], [`ReadPath`]).
    Read,
    /// It is used again when it changes ([`FollowedPath`], [`ProgramPath`]).
    Follow,
    /// It is written ([`OutputPath`], [`AppendPath`]).
    Write,
    /// Its files are served ([`ServedPath`]).
    Serve,
}

/// A path that a table names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPath {
    /// Its key in the table.
    pub key: KeyPath,
    /// The path, absolute.
    pub path: PathBuf,
    /// How it is used.
    pub access: PathAccess,
    /// What `Table::files` opens it for; `None` for a path with another use.
    pub purpose: Option<Purpose>,
}

impl NamedPath {
    /// The path at `key`, with the use that its schema states.
    pub(super) fn new(key: &KeyPath, path: &str, schema: &Value) -> NamedPath {
        let access = match schema.get("x-access").and_then(Value::as_str) {
            Some("write") => PathAccess::Write,
            Some("serve") => PathAccess::Serve,
            Some("follow") => PathAccess::Follow,
            _ => PathAccess::Read,
        };
        let purpose = schema.get("x-open").and_then(|open| Purpose::deserialize(open).ok());
        NamedPath { key: key.clone(), path: path.into(), access, purpose }
    }
}

/// An address in the config. The path of a Unix socket (`unix:PATH`, `http://unix:PATH`) is relative to the
/// folder of the file that wrote it, and absolute once read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ConfigAddress(#[schemars(extend("format" = "address"))] String);

impl Deref for ConfigAddress {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ConfigAddress {
    fn from(text: &str) -> ConfigAddress {
        ConfigAddress(text.to_owned())
    }
}
