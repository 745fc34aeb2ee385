//! Certificates from an authority that supports ACME (RFC 8555).
//!
//! The state is in one private directory: the account, the certificate with its key, and the responses to
//! challenges while an order is open. One process at a time places orders, the one that holds the directory's
//! lock. Every other worker and generation answers challenges from the same files, and reloads the
//! certificate like any changed file.

mod challenge;
mod client;
mod dns;
mod lookup;
mod order;
mod settings;
mod store;

use std::sync::Weak;
use std::time::{Duration, SystemTime};

use self::settings::FIRST_PAUSE;
pub(super) use self::settings::{AcmeSettings, Options};
use super::files::shown;

/// Time between two checks whether a new certificate is due.
const INTERVAL: Duration = Duration::from_secs(5);

/// Renews the certificate until `server` is gone.
pub(super) async fn keep_fresh<T>(settings: AcmeSettings, server: Weak<T>) {
    if let Err(error) = store::make_folder(&settings.folder) {
        let folder = shown(&settings.folder);
        tracing::error!(%error, "cannot store certificates in {folder}: no certificate is requested");
        return;
    }
    while server.strong_count() > 0 {
        if settings.is_due(SystemTime::now()) && !settings.must_wait(SystemTime::now()) {
            turn(&settings).await;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Orders a certificate, unless another process does.
async fn turn(settings: &AcmeSettings) {
    // Held until the end of the order; the kernel releases it if the process dies.
    let Ok(_lock) = store::lock(&settings.folder) else { return };
    let now = SystemTime::now();
    if !settings.is_due(now) || settings.must_wait(now) {
        return; // the previous holder has done it
    }
    let names = settings.domains.join(", ");
    tracing::info!(names, directory = settings.directory, "requesting a certificate");
    match order::order(settings).await {
        Ok(pem) => match store::keep(&settings.certificate_file(), pem.as_bytes()) {
            Ok(()) => {
                let _ = std::fs::remove_file(settings.failures_file()); // usually there is none
                tracing::info!(names, "a certificate was issued");
            }
            Err(error) => tracing::error!(%error, names, "cannot store the certificate"),
        },
        Err(error) => {
            let causes = error.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
            tracing::error!(names, error = format!("{error}{causes}"), "cannot get a certificate");
            if let Err(error) = settings.failed(now) {
                tracing::warn!(%error, "cannot record the failed request");
                // Without a record, at least this process does not send orders too often.
                tokio::time::sleep(FIRST_PAUSE).await;
            }
        }
    }
}
