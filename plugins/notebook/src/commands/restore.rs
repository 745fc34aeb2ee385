//! `restore DIRECTORY`: a new notebook gets the database and the files of a backup.

use std::io;
use std::path::PathBuf;

use serde_json::json;

use super::backup::{DATABASE, FILES, OBJECTS, copy_content};
use super::words::Words;
use super::{CommandError, Printed, Result, fail};
use crate::state::Notebook;

/// The notebook must be new, because nothing is replaced. The files come first, so that a failure leaves the database
/// unchanged.
pub(super) async fn run(notebook: &Notebook, words: &mut Words) -> Result<Printed> {
    let only_database = words.flag("database");
    let source = PathBuf::from(words.need("DIRECTORY")?);
    words.end()?;
    if !source.is_absolute() {
        return fail(format!("`{}` must be an absolute path, because the server reads it", source.display()));
    }
    let failed = |error: io::Error| CommandError(format!("cannot restore `{}`: {error}", source.display()));
    if let Some(path) = notebook.documents.open_paths().first() {
        return fail(format!("the notebook `{path}` is open: close the pages that show it, and try again"));
    }
    let data = notebook.files.path().to_owned();
    let files = source.join(FILES);
    if !only_database {
        let is_empty = std::fs::read_dir(&data).map_err(failed)?.next().is_none();
        if !is_empty {
            return fail(format!(
                "`{}` is not empty: restore into an empty `data_dir`, or only the database with `--database`",
                data.display()
            ));
        }
        if !files.is_dir() {
            return fail(format!("`{}` does not exist", files.display()));
        }
    }
    if notebook.store.in_use()? {
        return fail("this notebook has accounts or edits: restore into a new `database` or `state_dir`");
    }
    let mut count = 0;
    if !only_database {
        let copied = tokio::task::spawn_blocking(move || copy_content(&files, &data)).await;
        count = copied.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)?;
    }
    if !notebook.store.restore(&source.join(DATABASE), &source.join(OBJECTS)).await? {
        return fail("this notebook was used in the meantime: its database was not changed");
    }
    notebook.audit_command("restore", &source.display().to_string()).await?;
    let text = match only_database {
        true => format!("the database of {} is restored", source.display()),
        false => format!("{count} files and the database of {} are restored", source.display()),
    };
    Ok(Printed::new(text, json!({"directory": source, "files": count})))
}
