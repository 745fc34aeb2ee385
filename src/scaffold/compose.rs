//! Puts the files of several skeletons together.

use std::collections::BTreeMap;

use super::merge::{Merged, Versions, merge};
use super::render::{Rendered, claim};
use crate::error::{Error, Errors, Result};

/// Puts the files of `layers` together, the most general layer first. A file in two layers is merged according to the rule of
/// the later layer.
/// # Errors
/// Files that cannot be merged, and paths that are the same on some systems.
pub fn compose(layers: Vec<Vec<Rendered>>) -> Result<Vec<Rendered>> {
    let mut files = BTreeMap::<String, Rendered>::new();
    let mut seen = BTreeMap::new();
    let mut faults = Vec::new();
    for file in layers.into_iter().flatten() {
        if let Some(before) = files.get_mut(&file.path) {
            match combined(before, &file) {
                Ok(bytes) => {
                    before.bytes = bytes;
                    before.secret |= file.secret;
                    before.merge = file.merge;
                    before.replaced.extend(file.replaced);
                }
                Err(error) => faults.push(error),
            }
        } else if let Err(other) = claim(&mut seen, &file.path) {
            let path = &file.path;
            faults.push(Error::new(format!("two skeletons have `{path}` and `{other}`, which conflict")));
        } else {
            files.insert(file.path.clone(), file);
        }
    }
    Errors::check(faults)?;
    Ok(files.into_values().collect())
}

fn combined(before: &Rendered, file: &Rendered) -> Result<Vec<u8>, Error> {
    if before.bytes == file.bytes {
        return Ok(file.bytes.clone());
    }
    let path = &file.path;
    let fault = |why: String| Error::new(format!("two skeletons have `{path}`: {why}"));
    let text =
        |file: &Rendered| String::from_utf8(file.bytes.clone()).map_err(|_| fault("it is not text".into()));
    let (ours, theirs) = (text(before)?, text(file)?);
    let versions = Versions { base: "", ours: &ours, theirs: &theirs };
    match merge(file.merge, versions, &file.replaced, "").map_err(&fault)? {
        Merged::Clean(text) => Ok(text.into_bytes()),
        Merged::Conflict { keys, .. } if keys.is_empty() => {
            Err(fault("the later one does not set how to merge it (`merge` in `[[file]]`)".into()))
        }
        Merged::Conflict { keys, .. } => Err(fault(format!("both set `{}`", keys.join("`, `")))),
    }
}
