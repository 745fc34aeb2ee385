//! The options of ACME, and when to order a certificate.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::ClientHello;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::dns::{DnsOptions, DnsSettings};
use super::{challenge, store};
use crate::codec::host_name::{is_dns_name, to_ascii};
use crate::config::{Files, OutputPath, ReadPath, Table, item};
use crate::error::{Errors, Result};
use crate::tls_client::Roots;

/// The default authority.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// First pause after a failed order; each further one is four times as long, up to [`LONGEST_PAUSE`]. (Let's
/// Encrypt allows five failed validations of a name per hour.)
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 60 * 60);

/// The table `[server.NAME.tls.acme]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct Options {
    /// Names of the certificate: `["example.org", "www.example.org"]`. They must resolve to this server. The authority
    /// connects to port 443 (`tls-alpn-01`) and, if that fails, to port 80 if `redirect_http` listens there (`http-01`). With
    /// `dns`, the authority reads a DNS record instead, and `*.example.org` is allowed.
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
    /// PEM file with the authorities that verify the directory's own certificate, for a private authority.
    #[serde(default)]
    pub directory_ca_file: Option<ReadPath>,
    /// Prove with DNS records that the names are yours (`dns-01`), set by a command.
    #[serde(default)]
    pub dns: Option<DnsOptions>,
}

fn lets_encrypt() -> String {
    LETS_ENCRYPT.to_owned()
}

/// Checked options.
#[derive(Debug, Clone)]
pub(in crate::server::tls) struct AcmeSettings {
    pub(super) domains: Vec<String>,
    pub(super) contact: Vec<String>,
    pub(super) folder: PathBuf,
    pub(super) directory: String,
    pub(super) directory_ca: Option<PathBuf>,
    pub(super) opener: Files,
    /// How DNS records are set, if they are the proof.
    pub(super) dns: Option<DnsSettings>,
    /// Whether `redirect_http` also answers challenges.
    pub(super) plain: bool,
    /// Name of the certificate's files: the first domain, and a digest that distinguishes it from others in the same directory.
    name: String,
}

/// A name without the star of a wildcard.
fn bare(name: &str) -> &str {
    name.strip_prefix("*.").unwrap_or(name)
}

/// How many orders have failed since the last success; kept across generations and restarts.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Failures {
    pub(super) count: u32,
    /// Time of the last failure, in seconds since 1970.
    at: u64,
}

impl AcmeSettings {
    /// Checks the options.
    /// # Errors
    /// Every fault, at its place.
    pub(in crate::server::tls) fn build(table: &Table, options: &Options) -> Result<AcmeSettings> {
        let mut errors = Vec::new();
        if options.domains.is_empty() {
            errors.push(table.error("tls.acme.domains", "`domains` is empty"));
        }
        for (index, domain) in options.domains.iter().enumerate() {
            let place = item("tls.acme.domains", index);
            if domain.starts_with("*.") && options.dns.is_none() {
                errors.push(
                    table
                        .error(
                            &place,
                            format!("there is no certificate for `{domain}` without DNS: authorities require a DNS record for it"),
                        )
                        .help(
                            "list each host, or let a command set DNS records: `[server.NAME.tls.acme.dns]`",
                        ),
                );
            } else if !to_ascii(bare(domain)).is_some_and(|name| is_dns_name(&name)) {
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
            && let Err(error) = Roots::read(file, table.files())
        {
            errors.push(error.at(table.origin("tls.acme.directory_ca_file")));
        }
        let dns = options.dns.as_ref().map(|dns| DnsSettings::build(table, dns, &mut errors));
        Errors::check(errors)?;
        let ascii = |name: &String| {
            let star = if name.starts_with("*.") { "*." } else { "" };
            format!("{star}{}", to_ascii(bare(name)).unwrap_or(name.into()).to_ascii_lowercase())
        };
        let domains: Vec<String> = options.domains.iter().map(ascii).collect();
        let digest = Sha256::digest(format!("{}\n{}", options.directory, domains.join("\n")));
        let digest: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(AcmeSettings {
            name: format!("{}-{digest}", domains.first().map_or("", |name| bare(name))),
            dns,
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
    pub(in crate::server::tls) fn certificate_file(&self) -> PathBuf {
        self.folder.join(format!("{}.pem", self.name))
    }

    pub(super) fn failures_file(&self) -> PathBuf {
        self.folder.join(format!("{}.failed", self.name))
    }

    /// The response to the authority's request over plain HTTP.
    pub(in crate::server::tls) fn http_challenge(&self, token: &str) -> Option<String> {
        challenge::http(&self.folder, token)
    }

    /// The response to the authority's own handshake.
    pub(in crate::server::tls) fn tls_challenge(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        challenge::tls(&self.folder, hello)
    }

    /// Whether to order a new certificate: there is none, or a third of its validity is left.
    pub(super) fn is_due(&self, now: SystemTime) -> bool {
        let Ok(text) = std::fs::read(self.certificate_file()) else { return true };
        let Ok(leaf) = CertificateDer::from_pem_slice(&text) else { return true };
        let Ok((_, read)) = X509Certificate::from_der(&leaf) else { return true };
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let (from, to) = (read.validity().not_before.timestamp(), read.validity().not_after.timestamp());
        i64::try_from(now).unwrap_or(i64::MAX) > to - (to - from) / 3
    }

    /// Whether failed orders forbid another one for now.
    pub(super) fn must_wait(&self, now: SystemTime) -> bool {
        let failures = self.failures();
        if failures.count == 0 {
            return false;
        }
        let pause = FIRST_PAUSE.saturating_mul(4u32.saturating_pow(failures.count - 1)).min(LONGEST_PAUSE);
        let last = SystemTime::UNIX_EPOCH + Duration::from_secs(failures.at);
        // A clock that was set back must not delay an order for years.
        now.duration_since(last).is_ok_and(|passed| passed < pause)
    }

    pub(super) fn failures(&self) -> Failures {
        let text = std::fs::read(self.failures_file()).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub(super) fn failed(&self, now: SystemTime) -> io::Result<()> {
        let at = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let failures = Failures { count: self.failures().count + 1, at };
        store::keep(&self.failures_file(), serde_json::to_string(&failures)?.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn settings(folder: &Path) -> AcmeSettings {
        AcmeSettings {
            domains: vec!["example.org".into()],
            contact: Vec::new(),
            folder: folder.into(),
            directory: LETS_ENCRYPT.into(),
            directory_ca: None,
            opener: Files::default(),
            dns: None,
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
        store::keep(&settings.certificate_file(), pem.as_bytes()).unwrap();
        assert!(!settings.is_due(now + day * 59));
        assert!(settings.is_due(now + day * 61));
    }
}
