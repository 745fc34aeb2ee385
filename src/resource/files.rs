//! `files`: keeps each value in a file of a folder.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Resource;
use super::folder::Folder;
use crate::config::{OutputPath, Table};
use crate::context::Context;
use crate::error::Result;

/// Options of a `[resource.NAME]` table with `use = "files"`.
///
/// All workers, and other servers on the machine, can share the folder. Values survive restarts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// The folder. It is created when the first value is stored, readable only by the user of the workers.
    folder: OutputPath,
    /// Maximum number of values. They are counted about once a minute.
    #[serde(default = "a_million")]
    max_values: u64,
}

fn a_million() -> u64 {
    1_000_000
}

pub(super) fn build(options: Options, _: &Table, _: &Context) -> Result<Resource> {
    let store = Folder::new(&options.folder, options.max_values, "a folder of files");
    Ok(Resource { store: Arc::new(store), url: Some(format!("file://{}", options.folder.display())) })
}
