//! `paster undo`: takes the last `create`, `add` or `update` of a project back.

use std::path::Path;

use crate::error::{Error, Result};
use crate::scaffold::Undo;

/// Reads what can be taken back in `target`. Writes nothing.
/// # Errors
/// If there is nothing, or the record is damaged.
pub fn prepare(target: &Path) -> Result<Undo> {
    Undo::read(target)?.ok_or_else(|| {
        Error::new(format!("there is nothing to undo in `{}`", target.display()))
            .help("only the last `paster create`, `add` or `update` can be undone")
            .into()
    })
}
