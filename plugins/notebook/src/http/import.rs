//! `/api/import`: converts files of other programs to notebooks, and unpacks archives. `/api/export/PATH`: converts notebooks
//! to other formats.

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{ApiError, Result, blocking, object};
use super::kernels::optional_text;
use super::percent::encode;
use crate::access::Level;
use crate::files::{Expect, FileError, Files, RelativePath};
use crate::format::{self, NotebookFile};
use crate::identity::Principal;
use crate::import::{self, ExportFormat, ImportError, Imported, ImportedFile};
use crate::state::Shared;

impl From<ImportError> for ApiError {
    fn from(error: ImportError) -> ApiError {
        ApiError::bad(error.to_string())
    }
}

/// Converts the file at `path` to a notebook beside it, or unpacks a `.zip` into a folder beside it. Keeps the file.
pub(super) async fn import(
    State(notebook): State<Shared>,
    principal: Principal,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Value>)> {
    let body = object(body)?;
    let path = optional_text(&body, "path")?.ok_or_else(|| ApiError::bad("`path` is missing"))?;
    let path = RelativePath::parse(path)?;
    let folder = path.parent().unwrap_or_default();
    notebook.may(&principal, Level::View, &path)?;
    notebook.may(&principal, Level::Edit, &folder)?;
    let (files, limit, quota) =
        (notebook.files.clone(), notebook.settings.limits.body_bytes, notebook.quota.clone());
    let created = blocking(move || {
        let (bytes, _) = files.read(&path, limit)?;
        let admit = |made: u64| match &quota {
            Some(quota) => quota
                .admit_bytes(&path, made)
                .map_err(|message| ApiError::new(StatusCode::INSUFFICIENT_STORAGE, message)),
            None => Ok(()),
        };
        let extension = path.split_name().1.to_ascii_lowercase();
        if extension == ".zip" {
            let unpacked = import::unpack(&bytes)?;
            admit(unpacked.iter().map(|file| file.content.len() as u64).sum())?;
            return unpack(&files, &path, unpacked);
        }
        let imported = import::import(&extension, &bytes)?;
        admit(bytes.len() as u64 + imported.files.iter().map(|file| file.content.len() as u64).sum::<u64>())?;
        Ok(vec![write(&files, &folder, path.split_name().0, imported)?])
    })
    .await?;
    let created: Vec<&str> = created.iter().map(RelativePath::as_str).collect();
    Ok((StatusCode::CREATED, Json(json!({"created": created}))))
}

/// Writes an imported notebook and its data files. Nothing is overwritten.
fn write(files: &Files, folder: &RelativePath, stem: &str, imported: Imported) -> Result<RelativePath> {
    let Imported { title, notebook, files: data } = imported;
    // A title may contain characters that are not allowed in file names.
    let title = title.map(|title| {
        title.replace(['/', '\\'], "-").chars().filter(|c| !c.is_control()).take(100).collect::<String>()
    });
    let name = title
        .filter(|title| folder.join(&format!("{title}.ipynb")).is_ok())
        .unwrap_or_else(|| stem.to_owned());
    let path = free(files, folder, &name, ".ipynb")?;
    files.write_expecting(&path, &notebook.to_bytes(), Expect::Absent)?;
    if !data.is_empty() {
        let beside = free(files, folder, &format!("{name} data"), "")?;
        files.make_dir(&beside)?;
        for ImportedFile { path, content } in data {
            let Ok(path) = beside.join(&path) else { continue };
            files.write_expecting(&path, &content, Expect::Absent)?;
        }
    }
    Ok(path)
}

fn free(
    files: &Files,
    folder: &RelativePath,
    name: &str,
    extension: &str,
) -> Result<RelativePath, FileError> {
    files.free_path(folder, |number| match number {
        0 => format!("{name}{extension}"),
        number => format!("{name} ({number}){extension}"),
    })
}

/// Writes the files of an archive into a new folder. Worksheets of other programs become notebooks.
fn unpack(files: &Files, archive: &RelativePath, unpacked: Vec<ImportedFile>) -> Result<Vec<RelativePath>> {
    let target = free(files, &archive.parent().unwrap_or_default(), archive.split_name().0, "")?;
    files.make_dir(&target)?;
    let mut created = vec![target.clone()];
    for ImportedFile { path, content } in unpacked {
        let Ok(path) = RelativePath::parse(&format!("{target}/{path}")) else { continue };
        let folder = path.parent().unwrap_or_default();
        files.make_dirs(&folder)?;
        let (stem, extension) = path.split_name();
        let is_worksheet = matches!(extension, ".sws" | ".sagews");
        match is_worksheet.then(|| import::import(extension, &content)) {
            Some(Ok(imported)) => created.push(write(files, &folder, stem, imported)?),
            // A file that cannot be read remains unchanged.
            Some(Err(_)) | None => match files.write_expecting(&path, &content, Expect::Absent) {
                Ok(_) => created.push(path),
                // Two names in the archive can be the same name here.
                Err(FileError::Exists(_)) => {}
                Err(error) => return Err(error.into()),
            },
        }
    }
    Ok(created)
}

#[derive(Deserialize)]
pub(super) struct ExportQuery {
    format: String,
}

/// A notebook in another format, or a folder as `.zip`.
pub(super) async fn export(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(path): Path<String>,
    Query(query): Query<ExportQuery>,
) -> Result<Response> {
    let path = RelativePath::parse(&path)?;
    notebook.may(&principal, Level::View, &path)?;
    let (files, limit, name) =
        (notebook.files.clone(), notebook.settings.limits.body_bytes, path.split_name().0.to_owned());
    if query.format == "zip" {
        notebook.flush_everywhere(&path).await.map_err(ApiError::unavailable)?;
        let access = notebook.access.clone();
        let packed = blocking(move || {
            let mut all = Vec::new();
            collect(
                &files,
                &path,
                &path,
                &mut all,
                &mut import::UNPACKED_BYTES.min(limit as u64),
                &|entry| access.level(&principal, entry) >= Some(Level::View),
            )?;
            Ok::<_, ApiError>(import::pack(&all)?)
        })
        .await?;
        return Ok(download(&format!("{name}.zip"), "application/zip", packed));
    }
    if query.format == "sws" {
        notebook.documents.flush(&path).await;
        let access = notebook.access.clone();
        let title = name.clone();
        let packed = blocking(move || {
            let visible = |entry: &RelativePath| access.level(&principal, entry) >= Some(Level::View);
            let data = data_files(&files, &path, &title, limit, &visible)?;
            Ok::<_, ApiError>(import::sws(&parsed(&files, &path, limit)?, &title, &data)?)
        })
        .await?;
        return Ok(download(&format!("{name}.sws"), "application/x-bzip2", packed));
    }
    let Some(format) = ExportFormat::parse(&query.format) else {
        return Err(ApiError::bad(format!(
            "`format` must be txt, py, md, sws or zip, not `{}`",
            query.format
        )));
    };
    notebook.documents.flush(&path).await;
    let title = name.clone();
    let text =
        blocking(move || Ok::<_, ApiError>(import::export(&parsed(&files, &path, limit)?, &title, format)))
            .await?;
    Ok(download(&format!("{name}.{}", query.format), "text/plain; charset=utf-8", text.into_bytes()))
}

fn parsed(files: &Files, path: &RelativePath, limit: usize) -> Result<NotebookFile> {
    let (bytes, _) = files.read(path, limit)?;
    format::parse(&bytes).map_err(|error| ApiError::bad(format!("`{path}` is not a notebook: {error}")))
}

/// The files in the data folder that an import creates beside a notebook.
fn data_files(
    files: &Files,
    path: &RelativePath,
    title: &str,
    limit: usize,
    visible: &dyn Fn(&RelativePath) -> bool,
) -> Result<Vec<ImportedFile>> {
    let folder = path.parent().unwrap_or_default().join(&format!("{title} data"));
    let Ok(folder) = folder else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    if visible(&folder) && files.facts(&folder).is_ok_and(|facts| facts.is_dir) {
        let mut left = import::UNPACKED_BYTES.min(limit as u64);
        for (entry, facts) in files.list(&folder)? {
            // A worksheet's data has no folders.
            if !facts.is_dir {
                collect(files, &folder, &entry, &mut all, &mut left, visible)?;
            }
        }
    }
    Ok(all)
}

/// The visible files at and below `path`, with paths below `top`.
fn collect(
    files: &Files,
    top: &RelativePath,
    path: &RelativePath,
    all: &mut Vec<ImportedFile>,
    left: &mut u64,
    visible: &dyn Fn(&RelativePath) -> bool,
) -> Result<()> {
    if files.facts(path)?.is_dir {
        for (entry, _) in files.list(path)?.into_iter().filter(|(entry, _)| visible(entry)) {
            collect(files, top, &entry, all, left, visible)?;
        }
        return Ok(());
    }
    let too_much = |_| ApiError::bad("the folder is too large for one archive: download parts of it");
    let (content, _) = files.read(path, usize::try_from(*left).unwrap_or(usize::MAX)).map_err(too_much)?;
    *left = left.saturating_sub(content.len() as u64);
    let below = path.as_str().strip_prefix(top.as_str()).unwrap_or_default().trim_start_matches('/');
    let below = if below.is_empty() { path.name() } else { below };
    all.push(ImportedFile { path: below.to_owned(), content });
    Ok(())
}

fn download(name: &str, kind: &'static str, content: Vec<u8>) -> Response {
    let disposition = format!("attachment; filename*=UTF-8''{}", encode(name));
    ([(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)], content)
        .into_response()
}
