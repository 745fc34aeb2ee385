//! Certificates from an authority that supports ACME (RFC 8555).
//!
//! The state is in one private directory: the account, the certificate with its key, and the responses to
//! challenges while an order is open. One process at a time places orders, the one that holds the directory's
//! lock. Every other worker and generation answers challenges from the same files, and reloads the
//! certificate like any changed file.

mod challenge;
mod client;
mod order;

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::ClientHello;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::shown;
use super::terminator::Terminator;
use crate::codec::host_name::to_ascii;
use crate::config::{Files, OutputPath, ReadPath, Table, item};
use crate::error::{Errors, Result};

/// The default authority.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Time between two checks whether a new certificate is due.
const INTERVAL: Duration = Duration::from_secs(5);
/// First pause after a failed order; each further one is four times as long, up to [`LONGEST_PAUSE`]. (Let's
/// Encrypt allows five failed validations of a name per hour.)
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 60 * 60);

/// The table `[server.NAME.tls.acme]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct Options {
    /// Names of the certificate: `["example.org", "www.example.org"]`. They must resolve to this server: the
    /// authority connects to port 443 (`tls-alpn-01`) and, if that fails, to port 80 if `redirect_http`
    /// listens there (`http-01`).
    pub domains: Vec<String>,
    /// Directory for the account, keys and certificates, accessible to the server's user only. Keep it:
    /// authorities limit how many certificates they issue.
    pub cache: OutputPath,
    /// Whether you agree to the authority's terms of service (for Let's Encrypt: <https://letsencrypt.org/repository>).
    pub terms_of_service_agreed: bool,
    /// Contacts for the authority: `["mailto:admin@example.org"]`.
    #[serde(default)]
    pub contact: Vec<String>,
    /// URL of the authority's directory. For tests, use
    /// `https://acme-staging-v02.api.letsencrypt.org/directory`.
    #[serde(default = "lets_encrypt")]
    pub directory: String,
    /// PEM file with the authorities to verify the directory's own certificate against, for a private
    /// authority.
    #[serde(default)]
    pub directory_ca_file: Option<ReadPath>,
}

fn lets_encrypt() -> String {
    LETS_ENCRYPT.to_owned()
}

/// Checked options.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    domains: Vec<String>,
    contact: Vec<String>,
    folder: PathBuf,
    directory: String,
    directory_ca: Option<PathBuf>,
    opener: Files,
    /// Whether `redirect_http` also answers challenges.
    plain: bool,
    /// Name of the certificate's files: the first domain, and a digest that tells it from others in the same
    /// directory.
    name: String,
}

/// How many orders have failed since the last success; kept across generations and restarts.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Failures {
    count: u32,
    /// Time of the last failure, in seconds since 1970.
    at: u64,
}

impl Settings {
    /// Checks the options.
    /// # Errors
    /// Every fault, at its place.
    pub(super) fn build(table: &Table, options: &Options) -> Result<Settings> {
        let mut errors = Vec::new();
        if options.domains.is_empty() {
            errors.push(table.error("tls.acme.domains", "`domains` is empty"));
        }
        for (index, domain) in options.domains.iter().enumerate() {
            let place = item("tls.acme.domains", index);
            if domain.starts_with("*.") {
                errors.push(
                    table
                        .error(
                            &place,
                            format!("`{domain}` cannot be ordered: authorities require a DNS record for it"),
                        )
                        .help("name each host; or get the certificate by another program and list its files"),
                );
            } else if !to_ascii(domain).is_some_and(|name| is_name(&name)) {
                errors.push(table.error(&place, format!("`{domain}` is not a DNS name")));
            }
        }
        for (index, contact) in options.contact.iter().enumerate() {
            if !contact.starts_with("mailto:") {
                let place = item("tls.acme.contact", index);
                let error = table.error(&place, format!("`{contact}` is not a contact URL"));
                errors.push(error.help(format!("write `mailto:{contact}`")));
            }
        }
        if !options.terms_of_service_agreed {
            errors.push(
                table
                    .error("tls.acme.terms_of_service_agreed", "the authority's terms are not agreed to")
                    .help("read them, and set `terms_of_service_agreed = true`"),
            );
        }
        if !options.directory.starts_with("https://") || options.directory.parse::<http::Uri>().is_err() {
            let error =
                table.error("tls.acme.directory", format!("`{}` is not an https URL", options.directory));
            errors.push(error);
        }
        if let Some(file) = &options.directory_ca_file
            && let Err(error) = super::certificate::roots(file, table.files())
        {
            errors.push(error.at(table.origin("tls.acme.directory_ca_file")));
        }
        Errors::check(errors)?;
        let ascii = |name: &String| to_ascii(name).unwrap_or(name.into()).to_ascii_lowercase();
        let domains: Vec<String> = options.domains.iter().map(ascii).collect();
        let digest = Sha256::digest(format!("{}\n{}", options.directory, domains.join("\n")));
        let digest: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Settings {
            name: format!("{}-{digest}", domains.first().map_or("", String::as_str)),
            domains,
            contact: options.contact.clone(),
            folder: options.cache.to_path_buf(),
            directory: options.directory.clone(),
            directory_ca: options.directory_ca_file.as_ref().map(|file| file.to_path_buf()),
            opener: table.files().clone(),
            plain: table.value().get("redirect_http").is_some_and(|value| value != false),
        })
    }

    /// The file of the certificate and its key.
    pub(super) fn certificate_file(&self) -> PathBuf {
        self.folder.join(format!("{}.pem", self.name))
    }

    fn failures_file(&self) -> PathBuf {
        self.folder.join(format!("{}.failed", self.name))
    }

    /// The response to the authority's request over plain HTTP.
    pub(super) fn http_challenge(&self, token: &str) -> Option<String> {
        challenge::http(&self.folder, token)
    }

    /// The response to the authority's own handshake.
    pub(super) fn tls_challenge(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        challenge::tls(&self.folder, hello)
    }

    /// Whether to order a new certificate: there is none, or a third of its validity is left.
    fn is_due(&self, now: SystemTime) -> bool {
        let Ok(text) = std::fs::read(self.certificate_file()) else { return true };
        let Ok(leaf) = CertificateDer::from_pem_slice(&text) else { return true };
        let Ok((_, read)) = X509Certificate::from_der(&leaf) else { return true };
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let (from, to) = (read.validity().not_before.timestamp(), read.validity().not_after.timestamp());
        i64::try_from(now).unwrap_or(i64::MAX) > to - (to - from) / 3
    }

    /// Whether failed orders forbid another one for now.
    fn must_wait(&self, now: SystemTime) -> bool {
        let failures = self.failures();
        if failures.count == 0 {
            return false;
        }
        let pause = FIRST_PAUSE.saturating_mul(4u32.saturating_pow(failures.count - 1)).min(LONGEST_PAUSE);
        let last = SystemTime::UNIX_EPOCH + Duration::from_secs(failures.at);
        // A clock that was set back must not delay an order for years.
        now.duration_since(last).is_ok_and(|passed| passed < pause)
    }

    fn failures(&self) -> Failures {
        let text = std::fs::read(self.failures_file()).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn failed(&self, now: SystemTime) -> io::Result<()> {
        let at = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let failures = Failures { count: self.failures().count + 1, at };
        keep(&self.failures_file(), serde_json::to_string(&failures)?.as_bytes())
    }
}

/// Letters, digits and hyphens in labels, at least two labels (RFC 1123 section 2.1).
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        let fits = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        fits && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.contains('.') && name.split('.').all(label)
}

/// Renews the certificate until the server is gone.
pub(super) async fn keep_fresh(settings: Settings, terminator: Weak<Terminator>) {
    if let Err(error) = make_folder(&settings.folder) {
        let folder = shown(&settings.folder);
        tracing::error!(%error, "cannot store certificates in {folder}: no certificate is ordered");
        return;
    }
    while terminator.strong_count() > 0 {
        if settings.is_due(SystemTime::now()) && !settings.must_wait(SystemTime::now()) {
            turn(&settings).await;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Orders a certificate, unless another process does.
async fn turn(settings: &Settings) {
    // Held until the end of the order; the kernel releases it if the process dies.
    let Ok(_lock) = lock(&settings.folder) else { return };
    let now = SystemTime::now();
    if !settings.is_due(now) || settings.must_wait(now) {
        return; // the previous holder has done it
    }
    let names = settings.domains.join(", ");
    tracing::info!(names, directory = settings.directory, "ordering a certificate");
    match order::order(settings).await {
        Ok(pem) => match keep(&settings.certificate_file(), pem.as_bytes()) {
            Ok(()) => {
                let _ = std::fs::remove_file(settings.failures_file()); // usually there is none
                tracing::info!(names, "a certificate was issued");
            }
            Err(error) => tracing::error!(%error, names, "cannot store the certificate"),
        },
        Err(error) => {
            let causes = error.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
            tracing::error!(names, error = format!("{error}{causes}"), "no certificate could be ordered");
            if let Err(error) = settings.failed(now) {
                tracing::warn!(%error, "cannot record the failed order");
                // Without a record, at least this process does not send orders too often.
                tokio::time::sleep(FIRST_PAUSE).await;
            }
        }
    }
}

fn lock(folder: &Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(folder.join("lock"))?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join(challenge::FOLDER))
}

/// Writes a private file completely or not at all.
fn keep(file: &Path, content: &[u8]) -> io::Result<()> {
    let draft = file.with_file_name(format!(".{}.draft", uuid::Uuid::new_v4()));
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = out.write_all(content).and_then(|()| out.sync_all());
    written.and_then(|()| std::fs::rename(&draft, file)).inspect_err(|_| {
        let _ = std::fs::remove_file(&draft); // the first error is the one to report
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path) -> Settings {
        Settings {
            domains: vec!["example.org".into()],
            contact: Vec::new(),
            folder: folder.into(),
            directory: LETS_ENCRYPT.into(),
            directory_ca: None,
            opener: Files::default(),
            plain: false,
            name: "example.org-1".into(),
        }
    }

    #[test]
    fn a_failed_order_waits_longer_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let start = SystemTime::now();
        let after = |secs: u64| start + Duration::from_secs(secs);
        assert!(!settings.must_wait(start));
        settings.failed(start).unwrap();
        assert!(settings.must_wait(after(50)) && !settings.must_wait(after(61)));
        settings.failed(start).unwrap();
        assert!(settings.must_wait(after(230)) && !settings.must_wait(after(241)));
        (0..20).for_each(|_| settings.failed(start).unwrap());
        assert!(settings.must_wait(after(6 * 3600 - 9)) && !settings.must_wait(after(6 * 3600 + 1)));
    }

    #[test]
    fn a_certificate_is_due_when_a_third_of_its_life_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let now = SystemTime::now();
        assert!(settings.is_due(now), "there is none");
        let mut params = rcgen::CertificateParams::new(["example.org".to_owned()]).unwrap();
        let day = Duration::from_secs(24 * 3600);
        params.not_before = now.into();
        params.not_after = (now + day * 90).into();
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        keep(&settings.certificate_file(), pem.as_bytes()).unwrap();
        assert!(!settings.is_due(now + day * 59));
        assert!(settings.is_due(now + day * 61));
    }

    #[test]
    fn one_process_orders() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path()).unwrap();
        assert!(lock(folder.path()).is_err());
        drop(first);
        lock(folder.path()).unwrap();
    }

    #[test]
    fn names() {
        for good in ["example.org", "a-b.example.org", "xn--bcher-kva.example"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "localhost", "a..b", "-a.org", "a_b.org", "a/b.org", "example.org.", "bücher.org"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
