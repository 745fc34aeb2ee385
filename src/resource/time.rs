//! Points in time as stores keep them, and time limits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::store::StoreError;

/// Milliseconds since 1970.
pub(super) fn to_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The same as `i64`, for databases.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(super) fn to_signed_millis(time: SystemTime) -> i64 {
    i64::try_from(to_millis(time)).unwrap_or(i64::MAX)
}

/// The time of [`to_millis`].
pub(super) fn from_millis(millis: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH)
}

/// Waits for an operation, for at most `limit`.
/// # Errors
/// Those of the operation; when it takes longer.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(super) async fn within<T>(
    limit: Duration,
    operation: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let late = || StoreError::Unavailable(format!("no response within {} s", limit.as_secs()));
    tokio::time::timeout(limit, operation).await.map_err(|_| late())?
}

/// Runs an operation on files on a thread that may block.
/// # Errors
/// Those of the operation.
pub(super) async fn blocking<T: Send + 'static>(
    operation: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let panicked = |error: tokio::task::JoinError| Err(StoreError::Unavailable(error.to_string()));
    tokio::task::spawn_blocking(operation).await.unwrap_or_else(panicked)
}
