//! The data with which a running server reads its files again, and the result.

use std::path::PathBuf;
use std::time::Duration;

use super::acme::AcmeSettings;
use super::certificate::{self, ServerCertificate};
use super::files::{CertificateFiles, TlsFault};
use super::local_authority::LocalAuthority;
use super::look::{self, FileStamp};
use super::options::{ClientCertificates, MinVersion};
use crate::config::Files;
use crate::tls_client::Roots;

/// The data with which a running server reads its files again.
#[derive(Debug, Clone)]
pub(super) struct TlsSettings {
    pub(super) files: Vec<CertificateFiles>,
    pub(super) min_version: MinVersion,
    pub(super) client_certificates: ClientCertificates,
    pub(super) client_ca: Option<PathBuf>,
    /// Whether requests must be for the host of the handshake.
    pub(super) strict_sni_host: bool,
    pub(super) handshake_time: Duration,
    /// Names for the self-signed certificate, if there is one.
    pub(super) self_signed: Option<Vec<String>>,
    /// The local authority, and names for a certificate of it.
    pub(super) local: Option<(LocalAuthority, Vec<String>)>,
    pub(super) acme: Option<AcmeSettings>,
    pub(super) opener: Files,
}

/// The content of the files.
#[derive(Debug)]
pub(super) struct LoadedFiles {
    pub(super) certificates: Vec<ServerCertificate>,
    pub(super) roots: Option<Roots>,
    /// The state of the files before they were read, in the order of [`TlsSettings::watched`].
    pub(super) looks: Vec<FileStamp>,
}

impl TlsSettings {
    /// Reads every file; returns the faults of all of them.
    pub(super) fn load(&self) -> Result<LoadedFiles, Vec<TlsFault>> {
        let looks = look::looks(&self.watched(), &self.opener);
        let mut faults = Vec::new();
        let mut certificates = Vec::new();
        for files in &self.files {
            match certificate::load(files, &self.opener) {
                Ok(Some(certificate)) => certificates.push(certificate),
                Ok(None) => {}
                Err(fault) => faults.push(fault),
            }
        }
        let mut roots = None;
        if let (Some(file), true) = (&self.client_ca, self.client_certificates != ClientCertificates::None) {
            match Roots::read(file, &self.opener) {
                Ok(found) => roots = Some(found),
                Err(error) => faults.push(TlsFault { place: "tls.client_ca_file".into(), error }),
            }
        }
        if faults.is_empty() { Ok(LoadedFiles { certificates, roots, looks }) } else { Err(faults) }
    }

    /// Every file that is watched.
    pub(super) fn watched(&self) -> Vec<PathBuf> {
        let pairs = self.files.iter().flat_map(|files| [&files.certificate, &files.key]);
        pairs.chain(&self.client_ca).cloned().collect()
    }
}
