//! TLS below HTTP: certificates chosen by name, client certificates, resumption, renewal.
//!
//! - `certificate`: PEM files, and the choice among certificates;
//! - `terminator`: the handshake; `watch`: reloads changed files;
//! - `tickets`: session tickets that every worker and generation accepts;
//! - `self_signed`: a certificate for development; `acme`: certificates from an authority.
//!
//! Keys are read here and never printed.

mod acme;
mod certificate;
mod self_signed;
mod subject;
mod terminator;
pub mod tickets;
mod watch;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{self, FollowedPath, KeyPath, ReadPath, Table, item};
use crate::error::{Error, Errors, Result};
use certificate::{Certificate, Roots};
pub(super) use terminator::{Outcome, Terminator};

/// The table `[server.NAME.tls]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Certificates with their keys, chosen by the server name that the client asks for (`*.example.org`
    /// covers one label). The first is used for unknown names. Changed files are loaded without a reload.
    pub certificates: Vec<Pair>,
    /// Generate a self-signed certificate for `localhost` and the server's `hosts`, for development. Clients
    /// do not trust it by default.
    pub self_signed: bool,
    /// Minimum TLS version.
    pub min_version: MinVersion,
    /// Close a connection if its handshake takes longer.
    pub handshake_timeout_secs: NonZeroU32,
    /// Whether to ask clients for a certificate. Certificates are verified against `client_ca_file` before an
    /// application sees them.
    pub client_certificates: ClientCertificates,
    /// PEM file with the certificate authorities for client certificates.
    pub client_ca_file: Option<ReadPath>,
    /// Certificates from an authority that speaks ACME (RFC 8555), such as Let's Encrypt.
    pub acme: Option<acme::Options>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            certificates: Vec::new(),
            self_signed: false,
            min_version: MinVersion::default(),
            handshake_timeout_secs: NonZeroU32::MIN.saturating_add(9),
            client_certificates: ClientCertificates::default(),
            client_ca_file: None,
            acme: None,
        }
    }
}

/// One certificate and its key.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pair {
    /// PEM file: the server's certificate first, then those up to the root.
    pub certificate_file: FollowedPath,
    /// PEM file of its private key (PKCS #8, PKCS #1 or SEC 1), not encrypted.
    pub key_file: FollowedPath,
}

/// Oldest version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub(super) enum MinVersion {
    /// TLS 1.2 (RFC 5246) with forward secrecy.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    Tls13,
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClientCertificates {
    /// Do not ask.
    #[default]
    None,
    /// Ask. Clients without a certificate are served too; those with an invalid one are not.
    Optional,
    /// Refuse clients without a valid certificate.
    Required,
}

/// A certificate's files.
#[derive(Debug, Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// Its key in the config, from the server's table on.
    place: KeyPath,
    /// They may be missing: they are made at the start, or by an authority later.
    later: bool,
}

/// What a running server needs to read its files again.
#[derive(Debug, Clone)]
struct Settings {
    files: Vec<Files>,
    min_version: MinVersion,
    client_certificates: ClientCertificates,
    client_ca: Option<PathBuf>,
    handshake_time: Duration,
    /// Names for the self-signed certificate, if there is one.
    self_signed: Option<Vec<String>>,
    acme: Option<acme::Settings>,
    opener: config::Files,
}

/// The content of the files.
#[derive(Debug)]
struct Loaded {
    certificates: Vec<Certificate>,
    roots: Option<Roots>,
    /// The state of the files before they were read, in the order of [`Settings::watched`].
    looks: Vec<watch::Look>,
}

/// A fault in one file: message, help and cause, and the config key that names the file.
#[derive(Debug)]
struct Fault {
    place: KeyPath,
    error: Error,
}

impl Settings {
    /// Reads every file; returns the faults of all of them.
    fn load(&self) -> Result<Loaded, Vec<Fault>> {
        let looks = watch::looks(&self.watched(), &self.opener);
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
            match certificate::roots(file, &self.opener) {
                Ok(found) => roots = Some(found),
                Err(error) => faults.push(Fault { place: "tls.client_ca_file".into(), error }),
            }
        }
        if faults.is_empty() { Ok(Loaded { certificates, roots, looks }) } else { Err(faults) }
    }

    /// Every file that is watched.
    fn watched(&self) -> Vec<PathBuf> {
        let pairs = self.files.iter().flat_map(|files| [&files.certificate, &files.key]);
        pairs.chain(&self.client_ca).cloned().collect()
    }
}

/// A checked `[server.NAME.tls]`.
#[derive(Debug)]
pub(super) struct Tls {
    settings: Settings,
    loaded: Loaded,
}

impl Tls {
    /// Checks the options and reads the files; `hosts` are the server's.
    /// # Errors
    /// Every fault of the options and the files, each at its place in the config.
    pub(super) fn build(table: &Table, options: &Options, hosts: &[String]) -> Result<Tls> {
        let mut errors = Vec::new();
        let mut files = Vec::new();
        for (index, pair) in options.certificates.iter().enumerate() {
            files.push(Files {
                certificate: pair.certificate_file.to_path_buf(),
                key: pair.key_file.to_path_buf(),
                place: item("tls.certificates", index),
                later: false,
            });
        }
        let acme = match &options.acme {
            None => None,
            Some(options) => match acme::Settings::build(table, options) {
                Ok(settings) => {
                    files.push(Files {
                        certificate: settings.certificate_file(),
                        key: settings.certificate_file(),
                        place: "tls.acme".into(),
                        later: true,
                    });
                    Some(settings)
                }
                Err(found) => {
                    errors.extend(found);
                    None
                }
            },
        };
        let self_signed = options.self_signed.then(|| self_signed::names(hosts));
        if let Some(names) = &self_signed {
            match self_signed::file(names) {
                Some(file) => files.push(Files {
                    certificate: file.clone(),
                    key: file,
                    place: "tls.self_signed".into(),
                    later: true,
                }),
                None => errors.push(
                    table
                        .error("tls.self_signed", "there is no directory to store the certificate in")
                        .help("set HOME or XDG_CACHE_HOME"),
                ),
            }
        }
        if options.certificates.is_empty() && options.acme.is_none() && !options.self_signed {
            errors.push(table.error("tls", "`tls` has no certificate").help(
                "list some in `certificates`, have one ordered by `[server.NAME.tls.acme]`, or, for development, \
                 set `self_signed = true`",
            ));
        }
        let wanted = options.client_certificates != ClientCertificates::None;
        if wanted && options.client_ca_file.is_none() {
            errors.push(
                table
                    .error(
                        "tls.client_certificates",
                        "there is no authority to verify client certificates against",
                    )
                    .help("name the authority's PEM file: `client_ca_file = \"clients.pem\"`"),
            );
        }
        if !wanted && options.client_ca_file.is_some() {
            errors.push(
                table
                    .error(
                        "tls.client_ca_file",
                        "`client_ca_file` is not used, because clients are not asked for a certificate",
                    )
                    .help("set `client_certificates = \"required\"` or `\"optional\"`"),
            );
        }
        let settings = Settings {
            files,
            min_version: options.min_version,
            client_certificates: options.client_certificates,
            client_ca: options.client_ca_file.as_ref().map(|file| file.to_path_buf()),
            handshake_time: Duration::from_secs(options.handshake_timeout_secs.get().into()),
            self_signed,
            acme,
            opener: table.files().clone(),
        };
        let loaded = settings.load().unwrap_or_else(|faults| {
            errors.extend(faults.into_iter().map(|fault| fault.error.at(table.origin(&fault.place))));
            Loaded { certificates: Vec::new(), roots: None, looks: Vec::new() }
        });
        Errors::check(errors)?;
        Ok(Tls { settings, loaded })
    }

    /// Problems that stop clients but not the server: certificates that have expired, are not valid yet, or
    /// expire soon.
    pub(super) fn warnings(&self) -> Vec<String> {
        let now = SystemTime::now();
        self.loaded.certificates.iter().filter_map(|certificate| certificate.warning(now)).collect()
    }

    /// Starts: makes a self-signed certificate if configured, watches the files, and orders certificates by
    /// ACME. These tasks end when the last reference to the terminator is dropped.
    /// # Errors
    /// If the self-signed certificate cannot be made or stored.
    pub(super) fn start(self, server: &str, secret: &tickets::Secret) -> Result<Arc<Terminator>, Error> {
        let Tls { settings, mut loaded } = self;
        if let Some(names) = &settings.self_signed {
            self_signed::ensure(names)?;
            loaded = settings.load().map_err(|mut faults| match faults.pop() {
                Some(fault) => fault.error,
                None => Error::new("the self-signed certificate cannot be read"),
            })?;
        }
        Terminator::start(settings, loaded, server, secret)
    }
}

/// A path as shown to users.
fn shown(path: &std::path::Path) -> String {
    format!("`{}`", path.display())
}
