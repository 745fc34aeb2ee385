//! Creates an entry in a folder, under a free name.

use http::StatusCode;
use serde_json::{Map, Value};

use super::entry::{EntryKind, model};
use crate::files::{Expect, FileError, Files, RelativePath};
use crate::http::error::{ApiError, Result};

/// Maximum size of a folder to copy, as in Jupyter Server.
const COPY_BYTES: u64 = 500 << 20;

/// Creates an empty entry, or a copy of `source`, in `folder`.
pub(super) fn make(
    files: &Files,
    folder: &RelativePath,
    source: Option<&RelativePath>,
    kind: EntryKind,
    ext: &str,
    empty_notebook: &[u8],
    limit: usize,
) -> Result<Map<String, Value>> {
    // As in Jupyter Server, a folder can be copied into one that does not exist.
    if let Some(source) = source
        && files.facts(source)?.is_dir
        && matches!(files.facts(folder), Err(FileError::NotFound(_)))
    {
        files.make_dir(folder)?;
    }
    if !files.facts(folder)?.is_dir {
        return Err(ApiError::bad(format!("`{folder}` is not a folder")));
    }
    // If the name is taken in the meantime, the next one is tried.
    for _ in 0..100 {
        let path = match source {
            Some(source) => {
                let (stem, ext) = match files.facts(source)?.is_dir {
                    true => (source.name(), ""),
                    false => source.split_name(),
                };
                // A copy of `a-Copy1` is `a-Copy2`.
                let is_copy = |at: &usize| stem[at + 5..].bytes().all(|byte| byte.is_ascii_digit());
                let stem = stem.rfind("-Copy").filter(is_copy).map_or(stem, |at| &stem[..at]);
                files.free_path(folder, |number| match number {
                    0 => format!("{stem}{ext}"),
                    number => format!("{stem}-Copy{number}{ext}"),
                })?
            }
            None => {
                let (stem, between, ext) = match kind {
                    EntryKind::Directory => ("Untitled Folder", " ", ""),
                    EntryKind::Notebook => ("Untitled", "", ".ipynb"),
                    EntryKind::File => ("untitled", "", ext),
                };
                let name = |number| {
                    if number == 0 { format!("{stem}{ext}") } else { format!("{stem}{between}{number}{ext}") }
                };
                files.free_path(folder, name)?
            }
        };
        let made = match (source, kind) {
            (Some(source), _) if files.facts(source)?.is_dir => {
                files.copy_folder(source, &path, COPY_BYTES.max(limit as u64))
            }
            (Some(source), _) => files.copy_file(source, &path).map(|_| ()),
            (None, EntryKind::Directory) => files.make_dir(&path),
            (None, EntryKind::Notebook) => {
                files.write_expecting(&path, empty_notebook, Expect::Absent).map(|_| ())
            }
            (None, EntryKind::File) => files.write_expecting(&path, b"", Expect::Absent).map(|_| ()),
        };
        match made {
            Ok(()) => {
                let facts = files.facts(&path)?;
                return Ok(model(&path, &facts, EntryKind::of(&path, &facts)));
            }
            Err(FileError::Exists(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::new(StatusCode::CONFLICT, "found no free name"))
}
