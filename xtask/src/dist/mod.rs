//! `cargo xtask dist`: builds paster and the plugins that come with it, and packs them as an archive, as a Debian
//! package and as a Python wheel, with a bill of materials and checksums.
//!
//! All come from one tree: `bin/paster`, `lib/paster/lib*.so`, manual pages, completions, a systemd unit, docs and
//! licences. The same sources give the same packages: entries are sorted, belong to root, and have the time of the commit.

mod contents;
mod deb;
mod notices;
mod sbom;
mod wheel;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::setup::{checked, which};
use crate::{cargo, root, target};

/// Plugins that come with paster: kinds of app in `src/app/mod.rs`.
const PLUGINS: &[&str] = &["notebook", "paster-python"];
/// The shells, and the place and name of their completions.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "share/bash-completion/completions/paster"),
    ("zsh", "share/zsh/site-functions/_paster"),
    ("fish", "share/fish/vendor_completions.d/paster.fish"),
];
/// The bill of materials among the docs.
const SBOM: &str = "sbom.cdx.json";
/// What else is copied from the repository: from, to.
const COPIED: &[(&str, &str)] = &[
    ("README.md", "share/doc/paster/README.md"),
    ("CHANGELOG.md", "share/doc/paster/CHANGELOG.md"),
    ("LICENSE-MIT", "share/doc/paster/LICENSE-MIT"),
    ("LICENSE-APACHE", "share/doc/paster/LICENSE-APACHE"),
    ("docs", "share/doc/paster/docs"),
    ("xtask/src/dist/paster@.service", "lib/systemd/system/paster@.service"),
];

/// What is packed, and where.
struct Options {
    profile: String,
    /// A directory with built files, which are packed instead of building any. The packages are compressed less.
    from: Option<PathBuf>,
    out: PathBuf,
}

impl Options {
    fn read(words: &[&str]) -> Result<Options> {
        let mut options = Options { profile: "dist".into(), from: None, out: target().join("packages") };
        for pair in words.chunks(2) {
            match *pair {
                ["--profile", name] => options.profile = name.into(),
                ["--from", folder] => options.from = Some(std::path::absolute(folder)?),
                ["--out", folder] => options.out = std::path::absolute(folder)?,
                _ => bail!(
                    "expected `--profile NAME`, `--from DIRECTORY` or `--out DIRECTORY`, not `{}`",
                    pair.join(" ")
                ),
            }
        }
        Ok(options)
    }
}

/// What the packages are called and which time their files have.
struct Release {
    version: String,
    /// `x86_64-unknown-linux-gnu`.
    target: String,
    /// In seconds since 1970: `SOURCE_DATE_EPOCH`, otherwise the time of the commit.
    time: u64,
}

impl Release {
    fn read() -> Result<Release> {
        let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml"))?.parse()?;
        let version =
            manifest["workspace"]["package"]["version"].as_str().context("the workspace has no version")?;
        let rustc = output(Command::new("rustc").arg("-vV"))?;
        let target =
            rustc.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
        let time = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(time) => time,
            Err(_) => output(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()))?,
        };
        let time = time.trim().parse().with_context(|| format!("`{time}` is not a time in seconds"))?;
        Ok(Release { version: version.into(), target: target.into(), time })
    }
}

/// Builds the packages and prints their paths.
pub(crate) fn run(words: &[&str]) -> Result<bool> {
    let options = Options::read(words)?;
    let release = Release::read()?;
    let from = match &options.from {
        Some(folder) => folder.clone(),
        None => build(&options.profile)?,
    };
    let stage = target().join("tmp").join(format!("dist-{}", std::process::id()));
    let packed = stage_and_pack(&options, &release, &from, &stage);
    fs::remove_dir_all(&stage).with_context(|| stage.display().to_string())?;
    for package in packed? {
        println!("{}", package.display());
    }
    Ok(true)
}

fn stage_and_pack(options: &Options, release: &Release, from: &Path, stage: &Path) -> Result<Vec<PathBuf>> {
    let name = format!("paster-{}-{}", release.version, release.target);
    let tree = stage.join(&name);
    fill(&tree, from, release)?;
    settle(&tree, release.time)?;
    fs::create_dir_all(&options.out)?;
    let archive = options.out.join(format!("{name}.tar.gz"));
    let level = if options.from.is_some() { 1 } else { 9 };
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--create", "--directory"])
        .arg(stage);
    checked(
        tar.arg(format!("--use-compress-program=gzip -{level}n")).arg("--file").arg(&archive).arg(&name),
    )?;
    let package = deb::pack(&tree, stage, release, &options.out, level)?;
    let wheel = wheel::pack(&tree, release, &options.out, level)?;
    let bill = options.out.join(format!("{name}.cdx.json"));
    fs::copy(tree.join("share/doc/paster").join(SBOM), &bill).with_context(|| bill.display().to_string())?;
    let mut packages: Vec<PathBuf> =
        [archive].into_iter().chain(package).chain(wheel).chain([bill]).collect();
    packages.push(checksums(&packages, &options.out)?);
    Ok(packages)
}

/// Writes the SHA-256 of each package, as `sha256sum --check` reads them.
fn checksums(packages: &[PathBuf], out: &Path) -> Result<PathBuf> {
    let mut lines = Vec::new();
    for package in packages {
        let hash = Sha256::digest(fs::read(package)?);
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let name = package.file_name().context("a package without a name")?.to_string_lossy();
        lines.push(format!("{hash}  {name}\n"));
    }
    let file = out.join("SHA256SUMS");
    fs::write(&file, lines.concat()).with_context(|| file.display().to_string())?;
    Ok(file)
}

/// Builds the pages, the program and the plugins. Returns the directory of the built files.
fn build(profile: &str) -> Result<PathBuf> {
    let web = root().join("plugins/notebook/web");
    checked(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&web))
        .context("the notebook's pages need Node.js 20 or newer")?;
    checked(Command::new("npm").args(["run", "build"]).current_dir(&web))?;
    let mut cargo = cargo();
    cargo.args([
        "build",
        "--locked",
        "--profile",
        profile,
        "--features",
        "paster/full",
        "--package",
        "paster",
    ]);
    for plugin in PLUGINS {
        cargo.args(["--package", plugin]);
    }
    checked(cargo.env("CARGO_TARGET_DIR", target()))?;
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(target().join(folder))
}

/// Writes the tree.
fn fill(tree: &Path, from: &Path, release: &Release) -> Result<()> {
    let program = tree.join("bin/paster");
    copy(&from.join("paster"), &program)?;
    for plugin in PLUGINS {
        let library = format!("lib{}.so", plugin.replace('-', "_"));
        copy(&from.join(&library), &tree.join("lib/paster").join(library))?;
    }
    for (source, place) in COPIED {
        copy(&root().join(source), &tree.join(place))?;
    }
    for (shell, place) in COMPLETIONS {
        let script = output(Command::new(&program).args(["completions", shell]))?;
        write(&tree.join(place), script.as_bytes())?;
    }
    let pages = tree.join("share/man/man1");
    fs::create_dir_all(&pages)?;
    checked(Command::new(&program).arg("__man").arg(&pages))?;
    let doc = tree.join("share/doc/paster");
    let components = contents::components(&release.target)?;
    write(&doc.join("THIRD-PARTY-LICENSES"), notices::text(&components)?.as_bytes())?;
    write(&doc.join(SBOM), sbom::text(&components, release)?.as_bytes())
}

/// Copies a file, or a directory with everything in it. Removes symbols from programs and libraries, which a profile
/// may have left.
fn copy(source: &Path, place: &Path) -> Result<()> {
    let failed = || format!("cannot copy {} to {}", source.display(), place.display());
    if source.is_dir() {
        for entry in fs::read_dir(source).with_context(failed)? {
            let entry = entry?;
            copy(&entry.path(), &place.join(entry.file_name()))?;
        }
        return Ok(());
    }
    fs::create_dir_all(place.parent().unwrap_or(place))?;
    fs::copy(source, place).with_context(failed)?;
    let is_elf = fs::read(place)?.starts_with(b"\x7fELF");
    if is_elf && let Some(strip) = which("strip") {
        checked(Command::new(strip).arg("--strip-unneeded").arg(place))?;
    }
    Ok(())
}

fn write(place: &Path, content: &[u8]) -> Result<()> {
    fs::create_dir_all(place.parent().unwrap_or(place))?;
    fs::write(place, content).with_context(|| place.display().to_string())
}

/// Gives everything in `path` the same modes and times wherever it is built.
fn settle(path: &Path, time: u64) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            settle(&entry?.path(), time)?;
        }
    }
    let is_program = path.parent().is_some_and(|folder| folder.ends_with("bin"));
    let mode = if path.is_dir() || is_program { 0o755 } else { 0o644 };
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time);
    File::open(path)?.set_modified(time).with_context(|| path.display().to_string())
}

/// Runs a command and returns its standard output.
fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
