//! Opens a document: takes its lease, reads its file, and applies the operations that the file lacks.

use crate::documents::context::DocumentContext;
use crate::documents::disk::Disk;
use crate::documents::error::OpenError;
use crate::documents::model::Model;
use crate::documents::operations::OperationLog;
use crate::files::RelativePath;

/// Takes the lease, if several servers share the database, and reads the document.
pub(super) async fn read(
    context: &DocumentContext,
    path: &RelativePath,
) -> Result<(Disk, Model, OperationLog), OpenError> {
    let lease = context.store.take_lease(path, &context.address).await;
    lease.map_err(|error| OpenError::Busy(format!("`{path}` cannot be opened: {error}")))?;
    let read = read_file(context, path).await;
    if read.is_err() {
        // If this fails, the lease expires later.
        let _ = context.store.end_lease(path).await;
    }
    read
}

async fn read_file(
    context: &DocumentContext,
    path: &RelativePath,
) -> Result<(Disk, Model, OperationLog), OpenError> {
    let (files, pulled) = (context.files.clone(), path.clone());
    // The server that had the lease before may have written it.
    let pulled = tokio::task::spawn_blocking(move || files.pull_file(&pulled)).await;
    pulled.map_err(|error| OpenError::Busy(error.to_string()))??;
    let (mut disk, mut model) =
        Disk::open(context.files.clone(), path.clone(), context.limits.body_bytes).await?;
    let store = context.store.clone();
    let (operations, changed) = OperationLog::open(store, path, disk.hash(), &mut model)
        .await
        .map_err(|error| OpenError::Busy(error.to_string()))?;
    if changed {
        tracing::info!(document = %path, "recovered changes that were not in the file");
        disk.touch();
    }
    Ok((disk, model, operations))
}
