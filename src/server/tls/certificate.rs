//! Certificates from PEM files: their names, their validity, and the choice among them.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::files::{CertificateFiles, TlsFault, shown};
use super::subject;
use crate::config::{self, join};
use crate::environ::ClientCertificate;
use crate::error::Error;

/// Warn about a certificate that expires sooner than this.
const SOON: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// One certificate with its key.
#[derive(Debug)]
pub(super) struct ServerCertificate {
    pub(super) key: Arc<CertifiedKey>,
    /// Lower case; `*.example.org` covers one label.
    pub(super) names: Vec<String>,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    file: String,
}

impl ServerCertificate {
    /// A problem with its dates.
    pub(super) fn warning(&self, now: SystemTime) -> Option<String> {
        let ServerCertificate { file, not_before, not_after, .. } = self;
        if now > *not_after {
            Some(format!("the certificate {file} expired on {}", date(*not_after)))
        } else if now < *not_before {
            Some(format!("the certificate {file} is not valid before {}", date(*not_before)))
        } else if now + SOON > *not_after {
            Some(format!("the certificate {file} expires on {}", date(*not_after)))
        } else {
            None
        }
    }

    /// Whether it is for the host `name`, in lower case.
    pub(super) fn covers(&self, name: &str) -> bool {
        self.names.iter().any(|own| match own.strip_prefix('*') {
            // RFC 6125 section 6.4.3: the star stands for the whole leftmost label.
            Some(rest) => name.find('.').is_some_and(|dot| dot > 0 && name[dot..] == *rest),
            None => own == name,
        })
    }
}

/// `2026-01-31`.
fn date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().chars().take(10).collect()
}

fn time(seconds: i64) -> SystemTime {
    let after = Duration::from_secs(seconds.unsigned_abs());
    let moved = match seconds {
        0.. => SystemTime::UNIX_EPOCH.checked_add(after),
        _ => SystemTime::UNIX_EPOCH.checked_sub(after),
    };
    moved.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Reads a pair of files. `None`: they do not exist yet, and may be created later.
pub(super) fn load(
    files: &CertificateFiles,
    opener: &config::Files,
) -> Result<Option<ServerCertificate>, TlsFault> {
    let at = |key: &str, error: Error| TlsFault {
        place: if files.later { files.place.clone() } else { join(&files.place, key) },
        error,
    };
    let text = match opener.read_text(&files.certificate) {
        Ok(text) => text,
        Err(error) if files.later && error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(at("certificate_file", unreadable("certificate", &files.certificate, error)));
        }
    };
    let chain: Vec<CertificateDer> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| at("certificate_file", no_pem("certificate", &files.certificate, &error)))?;
    let Some(leaf) = chain.first() else {
        let error = Error::config(format!("{} contains no certificate", shown(&files.certificate)));
        let help = "a PEM file has lines `-----BEGIN CERTIFICATE-----`";
        return Err(at("certificate_file", error.help(help)));
    };
    let (_, read) = X509Certificate::from_der(leaf).map_err(|error| {
        let message = format!("the certificate {} cannot be parsed", shown(&files.certificate));
        at("certificate_file", Error::config(message).because(error.to_string()))
    })?;
    let names = names(&read);
    let (not_before, not_after) = (read.validity().not_before, read.validity().not_after);
    let key =
        opener.read_text(&files.key).map_err(|error| at("key_file", unreadable("key", &files.key, error)))?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|error| at("key_file", no_pem("private key", &files.key, &error)))?;
    let key = CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider());
    let key = key.map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => at(
            "key_file",
            Error::config(format!(
                "the key {} does not belong to the certificate {}",
                shown(&files.key),
                shown(&files.certificate)
            ))
            .help("the certificate file must begin with the server's own certificate"),
        ),
        error => {
            let message = format!("the key {} cannot be used", shown(&files.key));
            at("key_file", Error::config(message).because(error))
        }
    })?;
    Ok(Some(ServerCertificate {
        key: Arc::new(key),
        names,
        not_before: time(not_before.timestamp()),
        not_after: time(not_after.timestamp()),
        file: shown(&files.certificate),
    }))
}

/// The DNS names of a certificate; the common name if it has none, as in old certificates.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let mut names: Vec<String> = Vec::new();
    if let Some(alternative) = alternative {
        for name in &alternative.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push(name.to_ascii_lowercase());
            }
        }
    } else if let Some(name) = common_name(certificate) {
        names.push(name.to_ascii_lowercase());
    }
    names
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let name = certificate.subject().iter_common_name().next()?;
    name.as_str().ok().map(str::to_owned)
}

fn unreadable(what: &str, file: &Path, cause: io::Error) -> Error {
    let error = Error::config(format!("cannot read the {what} {}", shown(file)));
    let error = match cause.kind() {
        io::ErrorKind::PermissionDenied => error.help(config::help_for_denied()),
        _ => error,
    };
    error.because(cause)
}

/// The parser's message may quote the file, so it is left out.
fn no_pem(what: &str, file: &Path, error: &PemError) -> Error {
    let message = match error {
        PemError::NoItemsFound => format!("{} contains no {what}", shown(file)),
        _ => format!("{} is not a valid PEM file", shown(file)),
    };
    let error = Error::config(message);
    match what {
        "private key" => error.help("an encrypted key must be decrypted first: `openssl pkey -in … -out …`"),
        _ => error,
    }
}

/// The data of the client's verified certificate.
pub(super) fn client(certificate: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let (_, read) = X509Certificate::from_der(certificate).ok()?;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Some(ClientCertificate {
        common_name: subject::common_name(read.subject()),
        subject: subject::distinguished_name(read.subject()),
        serial: Some(hex(read.raw_serial()).to_uppercase()),
        sha256: Some(hex(&Sha256::digest(certificate))),
        names: subject::alternative_names(&read),
        der: Some(bytes::Bytes::copy_from_slice(certificate)),
    })
}

/// Chooses by the client's server name, then by what the client can verify.
#[derive(Debug)]
pub(super) struct Choice(pub(super) Vec<ServerCertificate>);

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |one: &&ServerCertificate| one.key.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = hello.server_name().map(str::to_ascii_lowercase);
        let named = named.as_deref().map(|name| name.trim_end_matches('.'));
        let of_name = || self.0.iter().filter(|one| named.is_some_and(|name| one.covers(name)));
        let chosen = of_name().find(fits).or_else(|| of_name().next());
        // A client that requests an unknown name gets the first certificate, and can warn its user.
        let chosen = chosen.or_else(|| self.0.iter().find(fits)).or(self.0.first());
        chosen.map(|one| one.key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], asked: &str, expected: bool) {
        let key = rcgen::generate_simple_self_signed(vec!["x".into()]).unwrap();
        let der = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let certificate = ServerCertificate {
            key: Arc::new(CertifiedKey::from_der(vec![key.cert.der().clone()], der, &provider).unwrap()),
            names: names.iter().map(ToString::to_string).collect(),
            not_before: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::UNIX_EPOCH,
            file: "`a.pem`".into(),
        };
        assert_eq!(certificate.covers(asked), expected, "{names:?} {asked}");
        assert_eq!(
            certificate.warning(SystemTime::now()).unwrap(),
            "the certificate `a.pem` expired on 1970-01-01"
        );
    }

    #[test]
    fn a_star_is_one_whole_label() {
        check(&["example.org"], "example.org", true);
        check(&["example.org"], "www.example.org", false);
        check(&["*.example.org"], "www.example.org", true);
        check(&["*.example.org"], "example.org", false);
        check(&["*.example.org"], ".example.org", false);
        check(&["*.example.org"], "a.b.example.org", false);
    }
}
