//! The Debian package, from the tree of the archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Release, copy, output, settle, write};
use crate::setup::{checked, which};

/// Where Debian has something else than `/usr/local` does: from, to.
const MOVED: &[(&str, &str)] = &[("share/zsh/site-functions", "share/zsh/vendor-completions")];
/// The short licence that Debian's policy asks for (section 12.5).
const COPYRIGHT: &str = "paster is licensed under MIT or Apache-2.0, at your option.
The Apache License 2.0 is in /usr/share/common-licenses/Apache-2.0.
The licences of the libraries in its programs are in /usr/share/doc/paster/THIRD-PARTY-LICENSES.

";

/// Packs `tree` into `out`, with `stage` as working directory. `None`, with a note, on systems without Debian's tools.
pub(super) fn pack(
    tree: &Path,
    stage: &Path,
    release: &Release,
    out: &Path,
    level: u8,
) -> Result<Option<PathBuf>> {
    if which("dpkg-deb").is_none() || which("dpkg-shlibdeps").is_none() {
        eprintln!(
            "note: no Debian package: `dpkg-deb` or `dpkg-shlibdeps` is missing (apt-get install dpkg-dev)"
        );
        return Ok(None);
    }
    let package = stage.join("deb");
    let usr = package.join("usr");
    copy(tree, &usr)?;
    for (from, to) in MOVED {
        fs::create_dir_all(usr.join(to).parent().unwrap_or(&usr))?;
        fs::rename(usr.join(from), usr.join(to))?;
    }
    let docs = usr.join("share/doc/paster");
    let licence = fs::read_to_string(docs.join("LICENSE-MIT"))?;
    write(&docs.join("copyright"), format!("{COPYRIGHT}{licence}").as_bytes())?;
    fs::rename(docs.join("CHANGELOG.md"), docs.join("changelog"))?;
    for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
        fs::remove_file(docs.join(file))?;
    }
    let pages = fs::read_dir(usr.join("share/man/man1"))?.map(|page| Ok(page?.path()));
    let long = pages.collect::<Result<Vec<_>>>()?;
    checked(Command::new("gzip").arg("-9n").args(long).arg(docs.join("changelog")))?;
    let architecture = output(Command::new("dpkg").arg("--print-architecture"))?;
    let architecture = architecture.trim();
    let control = control(&package, stage, release, architecture)?;
    write(&package.join("DEBIAN/control"), control.as_bytes())?;
    let sums = "cd \"$0\" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum > DEBIAN/md5sums";
    checked(Command::new("sh").args(["-c", sums]).arg(&package))?;
    settle(&package, release.time)?;
    let file = out.join(format!("paster_{}_{architecture}.deb", release.version));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "--build"]).env("SOURCE_DATE_EPOCH", release.time.to_string());
    if level < 9 {
        build.args(["-Zgzip", &format!("-z{level}")]);
    }
    build.arg(&package).arg(&file).stdout(std::io::stderr());
    checked(&mut build)?;
    Ok(Some(file))
}

/// The control file. The libraries that it depends on are those that the programs are linked with.
fn control(package: &Path, stage: &Path, release: &Release, architecture: &str) -> Result<String> {
    // dpkg-shlibdeps reads a source package.
    write(&stage.join("debian/control"), b"Source: paster\n\nPackage: paster\nArchitecture: any\n")?;
    let mut shlibdeps = Command::new("dpkg-shlibdeps");
    shlibdeps.arg("-O").current_dir(stage);
    shlibdeps.arg(format!("-e{}", package.join("usr/bin/paster").display()));
    for library in fs::read_dir(package.join("usr/lib/paster"))? {
        shlibdeps.arg(format!("-e{}", library?.path().display()));
    }
    let depends = output(&mut shlibdeps)?;
    let depends =
        depends.trim().strip_prefix("shlibs:Depends=").context("dpkg-shlibdeps names no libraries")?;
    let size = output(Command::new("du").args(["--apparent-size", "-sk"]).arg(package.join("usr")))?;
    let size = size.split_whitespace().next().unwrap_or_default();
    let version = &release.version;
    Ok(format!(
        "Package: paster
Version: {version}
Architecture: {architecture}
Maintainer: paster-rs <paster-rs@users.noreply.github.com>
Installed-Size: {size}
Depends: {depends}
Suggests: python3, cargo
Section: httpd
Priority: optional
Homepage: https://github.com/paster-rs/paster
Description: web server, application launcher and scaffolder
 paster connects servers, middleware and applications from one config file,
 reloads them without losing a request, and creates new applications. It
 serves HTTP/1.1, HTTP/2, SCGI, FastCGI and CGI, with TLS and ACME.
 .
 The package contains the notebook, which runs code, text and plots in the
 browser on Jupyter's protocols.
"
    ))
}
