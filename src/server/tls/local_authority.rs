//! A certificate authority of this user on this machine, for development: made once, kept in the user's data
//! directory. Browsers that trust it show no warnings for the certificates that it signs.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use sha2::{Digest, Sha256};

use super::self_signed::{DAY, LIFE, is_due, keep, user_directory};
use crate::error::Error;

/// The validity of the authority.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The authority, which may not be made yet.
#[derive(Debug, Clone)]
pub struct LocalAuthority {
    folder: PathBuf,
}

impl LocalAuthority {
    /// That of this user; `None` without a data directory (`XDG_DATA_HOME` or `HOME`).
    pub fn of_user() -> Option<LocalAuthority> {
        let folder = user_directory("XDG_DATA_HOME", ".local/share")?;
        Some(LocalAuthority { folder: folder.join("paster/authority") })
    }

    /// Its certificate, which clients must trust.
    pub fn certificate_file(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    fn key_file(&self) -> PathBuf {
        self.folder.join("authority.key")
    }

    /// Makes it, unless it exists.
    /// # Errors
    /// If its files cannot be written.
    pub fn ensure(&self) -> Result<(), Error> {
        if self.certificate_file().exists() && self.key_file().exists() {
            return Ok(());
        }
        let cannot = |cause: rcgen::Error| Error::new("cannot create a certificate authority").because(cause);
        // Another process may make one at the same time: the first key stays.
        let key = KeyPair::generate().map_err(cannot)?;
        keep(&self.key_file(), &key.serialize_pem()).map_err(|cause| failed(&self.key_file(), cause))?;
        let key = self.key()?;
        let certificate = parameters(&key).and_then(|params| params.self_signed(&key)).map_err(cannot)?;
        let file = self.certificate_file();
        keep(&file, &certificate.pem()).map_err(|cause| failed(&file, cause))?;
        tracing::info!(file = %file.display(), "created a certificate authority for development");
        Ok(())
    }

    fn key(&self) -> Result<KeyPair, Error> {
        let file = self.key_file();
        let text = std::fs::read_to_string(&file).map_err(|cause| failed(&file, cause))?;
        // The parser's message may quote the file, so it is left out.
        KeyPair::from_pem(&text).map_err(|_| {
            let message = format!("`{}` is not the key of the local authority", file.display());
            Error::new(message).help("remove its directory to create a new authority")
        })
    }

    /// The file of the certificate for `names`, with its key. It lies with the authority that has signed it.
    pub(super) fn leaf(&self, names: &[String]) -> PathBuf {
        let digest = Sha256::digest(names.join("\n"));
        let name: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join("certificates").join(format!("{name}.pem"))
    }

    /// Makes the certificate for `names`, unless there is one that does not expire soon.
    /// # Errors
    /// If a file cannot be written.
    pub(super) fn ensure_leaf(&self, names: &[String]) -> Result<(), Error> {
        self.ensure()?;
        let file = self.leaf(names);
        if !is_due(&file) {
            return Ok(());
        }
        let key = self.key()?;
        let cannot = |cause: rcgen::Error| Error::new("cannot create a certificate").because(cause);
        let issuer = Issuer::new(parameters(&key).map_err(cannot)?, key);
        let text = sign(names, &issuer).map_err(cannot)?;
        keep(&file, &text).map_err(|cause| failed(&file, cause))?;
        tracing::info!(file = %file.display(), "created a certificate; `paster tls trust` shows how to trust it");
        Ok(())
    }
}

fn failed(file: &Path, cause: io::Error) -> Error {
    Error::new(format!("cannot access `{}` of the local authority", file.display())).because(cause)
}

/// The authority's certificate, apart from its dates. It depends only on the key, so that the subject is always the same.
fn parameters(key: &KeyPair) -> Result<CertificateParams, rcgen::Error> {
    let digest = Sha256::digest(key.der_bytes());
    let short: String = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::OrganizationName, "paster, for development");
    params.distinguished_name.push(DnType::CommonName, format!("paster local authority {short}"));
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + AUTHORITY_LIFE).into();
    Ok(params)
}

/// A certificate for `names` and its key.
fn sign(names: &[String], issuer: &Issuer<'_, KeyPair>) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, "paster, for development");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + LIFE).into();
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    Ok(certificate.pem() + &key.serialize_pem())
}
