//! A self-signed certificate for development, made once and kept in the user's cache directory.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, KeyPair};
use sha2::{Digest, Sha256};

use super::files::shown;
use crate::codec::host_name::to_ascii;
use crate::error::Error;

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Browsers refuse certificates with a longer validity.
pub(super) const LIFE: Duration = Duration::from_secs(396 * 24 * 60 * 60);

/// Its names: those of this machine, and the server's hosts without their ports.
pub(super) fn names(hosts: &[String]) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    for host in hosts {
        let bare = host.split_once(']').map_or(host.split(':').next().unwrap_or(host), |(inner, _)| inner);
        let bare = bare.trim_start_matches('[');
        let bare = to_ascii(bare).unwrap_or(bare.into()).into_owned();
        if !names.contains(&bare) {
            names.push(bare);
        }
    }
    names
}

/// The file of the certificate for `names`.
pub(super) fn file(names: &[String]) -> Option<PathBuf> {
    let caches = user_directory("XDG_CACHE_HOME", ".cache")?;
    let digest = Sha256::digest(names.join("\n"));
    let name: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    Some(caches.join("paster/certificates").join(format!("{name}.pem")))
}

/// A directory of the user: the value of a variable, or `default` in the home directory.
pub(super) fn user_directory(variable: &str, default: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(variable).or_else(|| Some(set("HOME")?.join(default)))
}

/// Whether the certificate in `file` must be made: there is none, or it expires soon, and then it is removed.
pub(super) fn is_due(file: &Path) -> bool {
    let made = std::fs::metadata(file).and_then(|found| found.modified()).ok();
    match made.map(|made| made.elapsed().unwrap_or_default()) {
        Some(age) if age + 7 * DAY < LIFE => false,
        Some(_) => {
            drop(std::fs::remove_file(file));
            true
        }
        None => true,
    }
}

/// Makes the certificate for `names` unless it exists.
pub(super) fn ensure(names: &[String]) -> Result<(), Error> {
    let Some(file) = file(names) else { return Ok(()) };
    if !is_due(&file) {
        return Ok(());
    }
    let failed = |cause: io::Error| {
        Error::new(format!("cannot store the self-signed certificate {}", shown(&file))).because(cause)
    };
    let text = make(names).map_err(|cause| Error::new("cannot create a certificate").because(cause))?;
    keep(&file, &text).map_err(failed)?;
    tracing::info!(file = %file.display(), "created a self-signed certificate");
    Ok(())
}

fn make(names: &[String]) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, "paster, for development");
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + LIFE).into();
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(certificate.pem() + &key.serialize_pem())
}

/// Writes a private file completely or not at all. If another process created it in the meantime, that file
/// stays.
pub(super) fn keep(file: &Path, text: &str) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let draft = folder.join(format!(".{}.draft", uuid::Uuid::new_v4()));
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = out.write_all(text.as_bytes()).and_then(|()| std::fs::hard_link(&draft, file));
    std::fs::remove_file(&draft)?;
    match written {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn hosts_lose_their_ports() {
        let hosts = ["example.org:8443", "bücher.example:1", "*.example.org", "[::1]:1", "localhost"]
            .map(str::to_owned);
        let names = super::names(&hosts);
        assert_eq!(
            names,
            ["localhost", "127.0.0.1", "::1", "example.org", "xn--bcher-kva.example", "*.example.org"]
        );
    }
}
