//! `paster tls`.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::output::print;
use crate::error::Result;
use crate::ops::trust::{DEBIAN, authority, install, uninstall};

/// Manages the certificate authority of this user, which signs certificates for development.
///
/// Servers with `local_authority = true` in their `tls` table use it. Keep its key on this machine: anyone with the key can
/// impersonate any site to browsers that trust the authority.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: TlsAction,
}

#[derive(Debug, clap::Subcommand)]
enum TlsAction {
    Trust(TrustArgs),
}

/// Shows how to make browsers and other clients trust the authority, or makes this system trust it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster tls trust                         print the commands
  paster tls trust --install               trust it on this system (Debian, Ubuntu)
  curl --cacert \"$(paster tls trust --path)\" https://localhost:8443/")]
struct TrustArgs {
    /// Add the authority to those that this system trusts; uses sudo if needed
    #[arg(long)]
    install: bool,
    /// Remove the authority from those that this system trusts
    #[arg(long, conflicts_with = "install")]
    uninstall: bool,
    /// Only print the path of its certificate
    #[arg(long, conflicts_with_all = ["install", "uninstall"])]
    path: bool,
    /// Print a JSON object
    #[arg(long, conflicts_with_all = ["install", "uninstall", "path"])]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.action {
            TlsAction::Trust(args) => args.run(),
        }
    }
}

impl TrustArgs {
    fn run(self) -> Result<ExitCode> {
        if self.uninstall {
            let was_there = uninstall()?;
            let text =
                if was_there { "this system no longer trusts it" } else { "this system did not trust it" };
            return print(&format!("{text}\n"));
        }
        let certificate = authority()?;
        let shown = certificate.display();
        if self.install {
            install(&certificate)?;
            return print(&format!(
                "this system now trusts {shown}\nfirefox and chromium have lists of their own: see `paster tls trust`\n"
            ));
        }
        if self.path {
            return print(&format!("{shown}\n"));
        }
        if self.json {
            let known = json!({ "certificate": certificate, "installed": is_installed(&certificate) });
            return print(&format!("{known}\n"));
        }
        print(&advice(&certificate))
    }
}

/// Whether the system has this certificate.
fn is_installed(certificate: &Path) -> bool {
    let read = |file: &Path| std::fs::read(file).ok();
    read(Path::new(DEBIAN)).is_some_and(|known| read(certificate) == Some(known))
}

fn advice(certificate: &Path) -> String {
    let shown = certificate.display();
    let installed = if is_installed(certificate) { " (done)" } else { "" };
    format!(
        "The certificate of the local authority is {shown}

Debian, Ubuntu{installed}: paster tls trust --install
  or: sudo install -D -m 0644 '{shown}' {DEBIAN} && sudo update-ca-certificates
Fedora: sudo trust anchor '{shown}'
macOS: sudo security add-trusted-cert -d -k /Library/Keychains/System.keychain '{shown}'
Chromium on Linux (package libnss3-tools):
  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n 'paster local authority' -i '{shown}'
Firefox: Settings, Privacy & Security, View Certificates, Authorities, Import
Node.js: NODE_EXTRA_CA_CERTS='{shown}'
"
    )
}
