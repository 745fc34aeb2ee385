//! Makes this system trust the local authority, or reverts that.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::server::tls::local_authority::LocalAuthority;

/// Where Debian and its relatives keep the certificates that an administrator adds.
pub const DEBIAN: &str = "/usr/local/share/ca-certificates/paster-local-authority.crt";
/// The command that makes all programs see them.
const UPDATE: &str = "update-ca-certificates";

/// The authority's certificate; makes the authority if there is none.
/// # Errors
/// If it cannot be made.
pub fn authority() -> Result<PathBuf> {
    let authority = LocalAuthority::of_user().ok_or_else(|| {
        Error::new("there is no directory for the local authority").help("set HOME or XDG_DATA_HOME")
    })?;
    authority.ensure()?;
    Ok(authority.certificate_file())
}

/// Adds the certificate to those that this system trusts. Asks for rights with `sudo` if it needs them.
/// # Errors
/// On a system that is not Debian or a relative, and if a command fails.
pub fn install(certificate: &Path) -> Result<()> {
    let file = certificate.display().to_string();
    as_root(&["install", "-D", "-m", "0644", &file, DEBIAN])?;
    as_root(&[UPDATE])
}

/// Removes it again. Returns whether it was there.
/// # Errors
/// As [`install`].
pub fn uninstall() -> Result<bool> {
    if !Path::new(DEBIAN).exists() {
        return Ok(false);
    }
    as_root(&["rm", DEBIAN])?;
    as_root(&[UPDATE, "--fresh"])?;
    Ok(true)
}

fn as_root(words: &[&str]) -> Result<()> {
    let is_root = nix::unistd::geteuid().is_root();
    let words = if is_root { words.to_vec() } else { [&["sudo"], words].concat() };
    let shown = words.join(" ");
    let status = Command::new(words[0]).args(&words[1..]).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::new(format!("`{shown}` failed: {status}")).into()),
        Err(cause) if cause.kind() == ErrorKind::NotFound => {
            let error = Error::new(format!("there is no `{}`: this system is not supported", words[0]));
            Err(error.help("add the certificate manually, as `paster tls trust` shows").into())
        }
        Err(cause) => Err(Error::new(format!("cannot run `{shown}`")).because(cause).into()),
    }
}
