//! TLS below HTTP: certificates chosen by name, client certificates, resumption, renewal.
//!
//! - `options`: the table of the config; `settings`: the same, checked, and the content of its `files`;
//! - `certificate`: PEM files, and the choice among certificates;
//! - `terminator`: the handshake; `watch`: reloads changed files (`look` detects changes);
//! - `tickets`: session tickets that every worker and generation accepts;
//! - `self_signed`, `local_authority`: a certificate for development; `acme`: certificates from an authority.
//!
//! Keys are read here and never printed.

mod acme;
mod certificate;
mod files;
pub mod local_authority;
mod look;
mod options;
mod self_signed;
mod settings;
mod subject;
mod terminator;
pub mod tickets;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use self::acme::AcmeSettings;
use self::files::CertificateFiles;
use self::local_authority::LocalAuthority;
pub(super) use self::options::Options;
use self::options::{ClientCertificates, Pair};
use self::settings::{LoadedFiles, TlsSettings};
pub(super) use self::terminator::{Handshake, Terminator};
use crate::config::{Table, item};
use crate::error::{Error, Errors, Result};

/// A checked `[server.NAME.tls]`.
#[derive(Debug)]
pub(super) struct ServerTls {
    settings: TlsSettings,
    loaded: LoadedFiles,
    /// The hosts of the server, as its config names them.
    hosts: Vec<String>,
}

impl ServerTls {
    /// Checks the options and reads the files; `hosts` are the server's.
    /// # Errors
    /// Every fault of the options and the files, each at its place in the config.
    pub(super) fn build(table: &Table, options: &Options, hosts: &[String]) -> Result<ServerTls> {
        let mut errors = Vec::new();
        let mut files: Vec<CertificateFiles> = options.certificates.iter().enumerate().map(listed).collect();
        let acme = options.acme.as_ref().and_then(|options| {
            AcmeSettings::build(table, options).map_err(|found| errors.extend(found)).ok()
        });
        files.extend(acme.as_ref().map(|acme| made(acme.certificate_file(), "tls.acme")));
        let self_signed = options.self_signed.then(|| self_signed::names(hosts));
        if let Some(names) = &self_signed {
            match self_signed::file(names) {
                Some(file) => files.push(made(file, "tls.self_signed")),
                None => errors.push(
                    table
                        .error("tls.self_signed", "there is no directory to store the certificate in")
                        .help("set HOME or XDG_CACHE_HOME"),
                ),
            }
        }
        let local = options.local_authority.then(LocalAuthority::of_user);
        let local = local.and_then(|authority| match authority {
            Some(authority) => Some((authority, self_signed::names(hosts))),
            None => {
                let error =
                    table.error("tls.local_authority", "there is no directory to store the authority in");
                errors.push(error.help("set HOME or XDG_DATA_HOME"));
                None
            }
        });
        files.extend(
            local.iter().map(|(authority, names)| made(authority.leaf(names), "tls.local_authority")),
        );
        check(table, options, &mut errors);
        let settings = TlsSettings {
            files,
            min_version: options.min_version,
            client_certificates: options.client_certificates,
            client_ca: options.client_ca_file.as_ref().map(|file| file.to_path_buf()),
            strict_sni_host: options
                .strict_sni_host
                .unwrap_or(options.client_certificates != ClientCertificates::None),
            handshake_time: Duration::from_secs(options.handshake_timeout_secs.get().into()),
            self_signed,
            local,
            acme,
            opener: table.files().clone(),
        };
        let loaded = settings.load().unwrap_or_else(|faults| {
            errors.extend(faults.into_iter().map(|fault| fault.error.at(table.origin(&fault.place))));
            LoadedFiles { certificates: Vec::new(), roots: None, looks: Vec::new() }
        });
        Errors::check(errors)?;
        Ok(ServerTls { settings, loaded, hosts: hosts.to_vec() })
    }

    /// Problems that stop clients but not the server: certificates that have expired, are not valid yet, or
    /// expire soon, and hosts without a certificate.
    pub(super) fn warnings(&self) -> Vec<String> {
        let now = SystemTime::now();
        let dates = self.loaded.certificates.iter().filter_map(|certificate| certificate.warning(now));
        dates.chain(self.hosts_without_certificate()).collect()
    }

    /// The hosts that no certificate is for. Those of `acme` and `self_signed` may be made later.
    fn hosts_without_certificate(&self) -> Vec<String> {
        if self.settings.acme.is_some() || self.settings.self_signed.is_some() {
            return Vec::new();
        }
        let names = self.hosts.iter().map(|host| host.rsplit_once(':').map_or(&**host, |(name, _)| name));
        // A wildcard among the hosts is more than a certificate's wildcard.
        let names =
            names.filter(|name| !name.starts_with(['*', '[']) && name.parse::<std::net::IpAddr>().is_err());
        let missing = names.filter(|name| {
            let name = name.to_ascii_lowercase();
            !self.loaded.certificates.iter().any(|certificate| certificate.covers(&name))
        });
        missing.map(|name| format!("there is no certificate for the host `{name}`")).collect()
    }

    /// Starts: makes a certificate for development if configured, watches the files, and orders certificates by
    /// ACME. These tasks end when the last reference to the terminator is dropped.
    /// # Errors
    /// If the certificate for development cannot be made or stored.
    pub(super) fn start(self, server: &str, secret: &tickets::Secret) -> Result<Arc<Terminator>, Error> {
        let ServerTls { settings, mut loaded, .. } = self;
        if let Some(names) = &settings.self_signed {
            self_signed::ensure(names)?;
        }
        if let Some((authority, names)) = &settings.local {
            authority.ensure_leaf(names)?;
        }
        if settings.self_signed.is_some() || settings.local.is_some() {
            loaded = settings.load().map_err(|mut faults| match faults.pop() {
                Some(fault) => fault.error,
                None => Error::new("cannot read the development certificate"),
            })?;
        }
        let looks = loaded.looks.clone();
        let terminator = Arc::new(Terminator::new(settings, loaded, server, secret)?);
        let settings = terminator.settings();
        tokio::spawn(watch::watch(Arc::downgrade(&terminator), settings.watched(), looks));
        if let Some(acme) = &settings.acme {
            tokio::spawn(acme::keep_fresh(acme.clone(), Arc::downgrade(&terminator)));
        }
        Ok(terminator)
    }
}

/// The files that `certificates` lists at this index.
fn listed((index, pair): (usize, &Pair)) -> CertificateFiles {
    CertificateFiles {
        certificate: pair.certificate_file.to_path_buf(),
        key: pair.key_file.to_path_buf(),
        place: item("tls.certificates", index),
        later: false,
    }
}

/// A file that paster makes, with a certificate and its key.
fn made(file: PathBuf, place: &str) -> CertificateFiles {
    CertificateFiles { certificate: file.clone(), key: file, place: place.into(), later: true }
}

/// Checks that there is a certificate, and that the options for clients fit together.
fn check(table: &Table, options: &Options, errors: &mut Vec<Error>) {
    let made = options.self_signed || options.local_authority;
    if options.certificates.is_empty() && options.acme.is_none() && !made {
        errors.push(table.error("tls", "`tls` has no certificate").help(
            "list some in `certificates`, request one with `[server.NAME.tls.acme]`, or, for development, \
             set `local_authority = true`",
        ));
    }
    let wanted = options.client_certificates != ClientCertificates::None;
    if wanted && options.client_ca_file.is_none() {
        errors.push(
            table
                .error("tls.client_certificates", "there is no authority to verify client certificates")
                .help("set the authority's PEM file: `client_ca_file = \"clients.pem\"`"),
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
}
