//! The Python wheel: `pip install` puts the command `paster` into an environment, with the libraries of its plugins.
//!
//! A wheel installs `data/scripts` as the environment's `bin`, and `data/data` as its root, so the libraries are in
//! `lib/paster` beside the program as in every other package.
//!
//! # Source
//! The binary distribution format: <https://packaging.python.org/en/latest/specifications/binary-distribution-format/>, and
//! core metadata 2.4.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{Release, output};
use crate::setup::which;

/// Libraries that every system has for which the tag `manylinux` is meant (PEP 600).
const SYSTEM_LIBRARIES: &[&str] = &[
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libutil.so.1",
];
/// The module for `python -m paster`.
const INIT: &str = include_str!("wheel/__init__.py");
const MAIN: &str = include_str!("wheel/__main__.py");
/// The text on the page of the package.
const DESCRIPTION: &str = include_str!("wheel/description.md");

/// Packs `tree` into `out`. `None`, with a note, if there is no `readelf`. With `level` 1, nothing is compressed.
pub(super) fn pack(tree: &Path, release: &Release, out: &Path, level: u8) -> Result<Option<PathBuf>> {
    if which("readelf").is_none() {
        eprintln!("note: no wheel: `readelf` is missing (apt-get install binutils)");
        return Ok(None);
    }
    let files = files(tree, release)?;
    let info = format!("paster-{}.dist-info", release.version);
    let platform = platform(tree, release)?;
    let path = out.join(format!("paster-{}-py3-none-{platform}.whl", release.version));
    let mut record = String::new();
    for (name, bytes) in &files {
        writeln!(record, "{name},sha256={},{}", URL_SAFE_NO_PAD.encode(Sha256::digest(bytes)), bytes.len())?;
    }
    writeln!(record, "{info}/RECORD,,")?;
    let mut archive = ZipWriter::new(File::create(&path).with_context(|| path.display().to_string())?);
    let (method, compression) = match level {
        9 => (CompressionMethod::Deflated, Some(flate2::Compression::best().level().into())),
        _ => (CompressionMethod::Stored, None),
    };
    // The specification recommends that the metadata comes last.
    let (last, first): (Vec<_>, Vec<_>) = files.iter().partition(|(name, _)| name.starts_with(&info));
    let record = (format!("{info}/RECORD"), record.into_bytes());
    for (name, bytes) in first.into_iter().chain(last).chain([(&record.0, &record.1)]) {
        let mode = if name.contains(".data/scripts/") { 0o755 } else { 0o644 };
        // Without a separate time, so that the same files produce the same bytes.
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .compression_level(compression)
            .unix_permissions(mode);
        archive.start_file(name, options)?;
        archive.write_all(bytes)?;
    }
    archive.finish()?;
    Ok(Some(path))
}

/// The files with their names in the wheel.
fn files(tree: &Path, release: &Release) -> Result<BTreeMap<String, Vec<u8>>> {
    let version = &release.version;
    let (data, info) = (format!("paster-{version}.data"), format!("paster-{version}.dist-info"));
    let mut files = BTreeMap::new();
    let mut add = |from: PathBuf, name: String| -> Result<()> {
        files.insert(name, fs::read(&from).with_context(|| from.display().to_string())?);
        Ok(())
    };
    add(tree.join("bin/paster"), format!("{data}/scripts/paster"))?;
    for folder in ["lib/paster", "share/man/man1", "share/bash-completion", "share/zsh", "share/fish"] {
        for file in below(&tree.join(folder))? {
            let name = file.strip_prefix(tree)?.to_str().context("names are UTF-8")?.to_owned();
            add(file, format!("{data}/data/{name}"))?;
        }
    }
    for licence in ["LICENSE-MIT", "LICENSE-APACHE", "THIRD-PARTY-LICENSES"] {
        add(tree.join("share/doc/paster").join(licence), format!("{info}/licenses/{licence}"))?;
    }
    files.insert("paster/__init__.py".into(), INIT.into());
    files.insert("paster/__main__.py".into(), MAIN.into());
    files.insert(format!("{info}/METADATA"), metadata(version).into());
    let tag = format!("py3-none-{}", platform(tree, release)?);
    let wheel =
        format!("Wheel-Version: 1.0\nGenerator: paster ({version})\nRoot-Is-Purelib: false\nTag: {tag}\n");
    files.insert(format!("{info}/WHEEL"), wheel.into());
    Ok(files)
}

fn metadata(version: &str) -> String {
    format!(
        "Metadata-Version: 2.4
Name: paster
Version: {version}
Summary: Web server, application launcher and scaffolder for WSGI, ASGI and native applications
Project-URL: Repository, https://github.com/paster-rs/paster
Keywords: wsgi,asgi,web server,scaffolding,notebook
License-Expression: MIT OR Apache-2.0
License-File: LICENSE-MIT
License-File: LICENSE-APACHE
License-File: THIRD-PARTY-LICENSES
Classifier: Environment :: Web Environment
Classifier: Operating System :: POSIX :: Linux
Classifier: Programming Language :: Python :: 3
Classifier: Programming Language :: Rust
Classifier: Topic :: Internet :: WWW/HTTP :: HTTP Servers
Classifier: Topic :: Internet :: WWW/HTTP :: WSGI :: Server
Requires-Python: >=3.9
Description-Content-Type: text/markdown

{DESCRIPTION}"
    )
}

/// The platform that the programs need: `manylinux_2_34_x86_64` if they use only what every system with that version of glibc
/// has (PEP 600), otherwise `linux_x86_64`.
fn platform(tree: &Path, release: &Release) -> Result<String> {
    let architecture = release.target.split('-').next().unwrap_or_default();
    let mut programs = below(&tree.join("lib/paster"))?;
    programs.push(tree.join("bin/paster"));
    let (mut newest, mut portable) = ((2, 17), true);
    for program in &programs {
        let text =
            output(Command::new("readelf").args(["--wide", "--dynamic", "--version-info"]).arg(program))?;
        for line in text.lines() {
            if let Some((_, library)) = line.split_once("Shared library: [") {
                let library = library.trim_end().trim_end_matches(']');
                portable &= SYSTEM_LIBRARIES.contains(&library) || library.starts_with("ld-linux");
            }
            for version in line.split("GLIBC_").skip(1) {
                let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
                if let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) {
                    newest = newest.max((major, minor));
                }
            }
        }
    }
    let (major, minor): (u32, u32) = newest;
    Ok(match portable && release.target.ends_with("-gnu") {
        true => format!("manylinux_{major}_{minor}_{architecture}"),
        false => format!("linux_{architecture}"),
    })
}

/// The files below a directory, sorted.
fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            found.extend(below(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}
