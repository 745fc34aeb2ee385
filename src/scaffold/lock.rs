//! What a project remembers about its skeletons, in `.paster`: `skeleton.lock` contains their origin, the answers and the
//! written files; `skeleton.base` has these files as they were rendered, for the next merge.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::names::plain_component;
use super::render::{Rendered, STATE_FOLDER};
use super::rooted_dir::Dir;
use super::sha256;
use crate::error::{Error, Result};

/// Names in `.paster`.
pub(super) const LOCK: &str = "skeleton.lock";
pub(super) const BASE: &str = "skeleton.base";

/// The version of the format.
const FORMAT: u32 = 1;

/// The most bytes of one of these files, packed or unpacked.
const BYTES: u64 = 256 << 20;

const HEADER: &str = "\
# Written by paster: what this project was created from. `paster update` needs it; keep it in version control.
";

/// `.paster/skeleton.lock`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The version of the format.
    format: u32,
    /// The project's name.
    pub project: String,
    /// The skeletons, in the order in which they were applied.
    #[serde(default, rename = "skeleton")]
    pub skeletons: Vec<LockedSkeleton>,
    /// The files that they wrote, in order of path.
    #[serde(default, rename = "file")]
    pub files: Vec<LockedFile>,
}

/// One skeleton.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedSkeleton {
    /// Its name.
    pub name: String,
    /// What finds it again.
    pub source: String,
    /// Its own version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The commit of a git repository, or the version of a package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// SHA-256 of the skeleton.
    pub sha256: String,
    /// Whether it was added to an existing project.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub added: bool,
    /// The answers, without secrets.
    #[serde(default)]
    pub answers: Map<String, Value>,
    /// What the config was when the skeleton was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<Map<String, Value>>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedFile {
    /// Its path in the project.
    pub path: String,
    /// The skeleton's name and the file's path in it.
    pub source: String,
    /// SHA-256 of what was rendered; none for a file with a secret in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// What the skeletons rendered, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base(pub BTreeMap<String, Vec<u8>>);

impl Lock {
    /// What a project with these skeletons and files remembers.
    pub fn new(project: &str, skeletons: Vec<LockedSkeleton>, files: &[Rendered]) -> Lock {
        let files = files.iter().map(|file| LockedFile {
            path: file.path.clone(),
            source: file.source.clone(),
            sha256: (!file.secret).then(|| sha256(&file.bytes)),
        });
        Lock { format: FORMAT, project: project.to_owned(), skeletons, files: files.collect() }
    }

    /// Reads the lock of the project in `target`, and its base; `None` if it has no lock.
    /// # Errors
    /// A lock that is damaged, or from a newer paster.
    pub fn read(target: &Path) -> Result<Option<(Lock, Base)>> {
        let shown = target.join(STATE_FOLDER).join(LOCK).display().to_string();
        let fault = |error: std::io::Error| Error::new(format!("cannot read `{shown}`")).because(error);
        let Some(bytes) = read_state(target, LOCK).map_err(fault)? else { return Ok(None) };
        let text = String::from_utf8(bytes).map_err(|error| fault(std::io::Error::other(error)))?;
        let lock: Lock = toml_edit::de::from_str(&text).map_err(|error| {
            Error::new(format!("`{shown}` is damaged")).because(error.to_string().trim_end().to_owned())
        })?;
        if lock.format != FORMAT {
            return Err(Error::new(format!("`{shown}` was written by a newer paster: update paster")).into());
        }
        // It may come from someone else, with the rest of the project.
        for file in &lock.files {
            check_path(&file.path).map_err(|why| Error::new(format!("`{shown}` is damaged: {why}")))?;
        }
        let base = Base::read(target)?;
        let damaged = |file: &&LockedFile| match (&file.sha256, base.0.get(&file.path)) {
            (Some(digest), Some(bytes)) => sha256(bytes) != *digest,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if let Some(file) = lock.files.iter().find(damaged) {
            let path = target.join(STATE_FOLDER).join(BASE);
            return Err(Error::new(format!(
                "`{}` does not match `{shown}`: `{}` differs",
                path.display(),
                file.path
            ))
            .help("restore both files from version control")
            .into());
        }
        Ok(Some((lock, base)))
    }

    /// Its text.
    /// # Errors
    /// Never for a lock that paster made.
    pub(super) fn text(&self) -> Result<String> {
        let text =
            toml::to_string(self).map_err(|error| Error::new("cannot write the lock").because(error))?;
        Ok(format!("{HEADER}{text}"))
    }
}

/// Checks a path that was read from the project.
pub(super) fn check_path(path: &str) -> Result<(), String> {
    let mut names = path.split('/').peekable();
    if names.peek().is_some_and(|name| name.eq_ignore_ascii_case(STATE_FOLDER)) {
        return Err(format!("`{}` belongs to paster", path.escape_debug()));
    }
    for name in names {
        plain_component(name).map_err(|why| format!("the path `{}` {why}", path.escape_debug()))?;
    }
    Ok(())
}

impl Base {
    /// The base of these files. A file with a secret in it is left out.
    pub fn of(files: &[Rendered]) -> Base {
        let plain = files.iter().filter(|file| !file.secret);
        Base(plain.map(|file| (file.path.clone(), file.bytes.clone())).collect())
    }

    fn read(target: &Path) -> Result<Base> {
        let shown = target.join(STATE_FOLDER).join(BASE);
        let fault =
            |error: std::io::Error| Error::new(format!("cannot read `{}`", shown.display())).because(error);
        let Some(bytes) = read_state(target, BASE).map_err(fault)? else { return Ok(Base::default()) };
        Ok(Base(unpack(&bytes).map_err(fault)?))
    }

    /// The archive. The same files give the same bytes.
    pub(super) fn packed(&self) -> std::io::Result<Vec<u8>> {
        pack(&self.0)
    }
}

/// The file `name` of the project's state, if it exists. Symlinks are not followed.
pub(super) fn read_state(target: &Path, name: &str) -> std::io::Result<Option<Vec<u8>>> {
    let missing = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(None),
        _ => Err(error),
    };
    let folder = match Dir::open(target).and_then(|root| root.child(STATE_FOLDER)) {
        Ok(folder) => folder,
        Err(error) => return missing(error),
    };
    match folder.read(name, BYTES) {
        Ok(found) => Ok(Some(found.bytes)),
        Err(error) => missing(error),
    }
}

/// A `.tar.gz` without times and owners.
pub(super) fn pack(files: &BTreeMap<String, Vec<u8>>) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, bytes.as_slice())?;
    }
    archive.into_inner()?.finish()
}

/// The files of such an archive.
pub(super) fn unpack(bytes: &[u8]) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut left = BYTES;
    for entry in tar::Archive::new(GzDecoder::new(bytes)).entries()? {
        let entry = entry?;
        let path = String::from_utf8(entry.path_bytes().into_owned()).map_err(std::io::Error::other)?;
        let mut bytes = Vec::new();
        entry.take(left + 1).read_to_end(&mut bytes)?;
        left = left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| std::io::Error::other("larger than 256 MiB"))?;
        files.insert(path, bytes);
    }
    Ok(files)
}
