//! `backup DIRECTORY`: a consistent copy of the database and of all files, while the server runs.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::words::Words;
use super::{CommandError, Printed, Result, fail};
use crate::files::RelativePath;
use crate::state::Notebook;

/// The names in a backup.
pub(super) const FILES: &str = "files";
pub(super) const DATABASE: &str = "notebook.db";
pub(super) const OBJECTS: &str = "objects";

/// Copies all files first. Then it copies the database and the files of the open notebooks, while nothing can change. So each
/// notebook is as it would be if the server had been killed at that moment: when it is opened, it gets what its file lacks.
pub(super) async fn run(notebook: &Notebook, words: &mut Words) -> Result<Printed> {
    let target = PathBuf::from(words.need("DIRECTORY")?);
    words.end()?;
    if !target.is_absolute() {
        return fail(format!(
            "`{}` must be an absolute path, because the server makes the backup",
            target.display()
        ));
    }
    if target.starts_with(notebook.files.path()) {
        return fail(format!("`{}` must be outside `data_dir`", target.display()));
    }
    let failed =
        |error: io::Error| CommandError(format!("cannot make the backup in `{}`: {error}", target.display()));
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(&target).map_err(failed)?;
    notebook.files.catch_up().await.map_err(|error| failed(io::Error::other(error)))?;
    let (from, to) = (notebook.files.path().to_owned(), target.join(FILES));
    let copied = tokio::task::spawn_blocking(move || copy_dir(&from, &to)).await;
    let count = copied.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)?;
    let open: Vec<RelativePath> = notebook.documents.open_paths();
    let (files, to) = (notebook.files.clone(), target.join(FILES));
    let copy_open = move || {
        for path in &open {
            copy_file(&files.absolute(path), &to.join(path.as_str()))?;
        }
        Ok(())
    };
    notebook.store.backup(target.join(DATABASE), copy_open).await?;
    let objects = notebook.store.backup_objects(&target.join(DATABASE), &target.join(OBJECTS)).await?;
    notebook.audit_command("backup", &target.display().to_string()).await?;
    let with_objects = if objects > 0 { format!(", {objects} objects") } else { String::new() };
    let text = format!("{count} files{with_objects} and the database are in {}", target.display());
    Ok(Printed::new(text, json!({"directory": target, "files": count, "objects": objects})))
}

/// Copies a folder and its contents. Links are copied as links.
fn copy_dir(from: &Path, to: &Path) -> io::Result<usize> {
    std::fs::create_dir(to)?;
    copy_content(from, to)
}

/// The same to a folder that exists.
pub(super) fn copy_content(from: &Path, to: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            count += copy_dir(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, target)?;
        } else if kind.is_file() {
            count += usize::from(copy_file(&entry.path(), &target)?);
        }
    }
    Ok(count)
}

/// Copies a file. Returns false if it no longer exists.
fn copy_file(from: &Path, to: &Path) -> io::Result<bool> {
    match std::fs::copy(from, to) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
