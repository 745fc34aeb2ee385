//! Where skeletons come from: built into the program, or a folder.

use std::borrow::Cow;
use std::path::Path;

use super::manifest::Manifest;
use super::rooted_dir::{Dir, DirEntry};
use crate::error::{Error, Result};
use crate::registry::nearest;

/// The most files that a skeleton may have.
const FILES: usize = 10_000;
/// The most bytes that a skeleton may have, because all of it is held in memory.
const BYTES: u64 = 256 << 20;

/// One embedded file: its path in the skeleton, whether it is executable, its bytes.
type Embedded = (&'static str, bool, &'static [u8]);

/// The folders of `skeletons/`, listed by the build script.
static BUILT_IN: &[(&str, &[Embedded])] = include!(concat!(env!("OUT_DIR"), "/skeletons.rs"));

/// A skeleton, read completely.
#[derive(Debug, Clone)]
pub struct Skeleton {
    /// `skeleton.toml`.
    pub manifest: Manifest,
    /// The content of `files/`.
    pub files: Vec<SkeletonFile>,
    /// The folder, which errors name.
    folder: String,
}

/// One file of a skeleton.
#[derive(Debug, Clone)]
pub struct SkeletonFile {
    /// Path below `files/`, with `/`, before rendering.
    pub path: String,
    /// Whether its owner may execute it.
    pub executable: bool,
    /// Its bytes.
    pub bytes: Cow<'static, [u8]>,
}

impl SkeletonFile {
    /// Path in the skeleton, as `[[file]] path` names it.
    pub fn source_path(&self) -> String {
        format!("files/{}", self.path)
    }
}

/// Names of the built-in skeletons, in alphabetical order.
pub fn built_in_names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

impl Skeleton {
    /// Finds the skeleton that `source` names: a built-in one by its name, or a folder by its path.
    /// # Errors
    /// An unknown skeleton, with the nearest name (a command-line error); errors in the skeleton.
    pub fn open(source: &str) -> Result<Skeleton> {
        if let Some((name, files)) = BUILT_IN.iter().find(|(name, _)| *name == source) {
            return Skeleton::embedded(name, files);
        }
        if source.contains("://") || source.starts_with("git@") || source.ends_with(".git") {
            return Err(Error::usage(format!(
                "`{source}`: skeletons from the network are not supported yet"
            ))
            .help("clone it, and name the folder: `--template ./FOLDER`")
            .into());
        }
        let path = Path::new(source);
        if path.is_dir() {
            return Skeleton::folder(path);
        }
        let looks_like_path = source.contains(std::path::MAIN_SEPARATOR) || source.starts_with('.');
        if path.exists() {
            return Err(Error::usage(format!(
                "`{source}` is a file; a skeleton is a folder with `skeleton.toml`"
            ))
            .into());
        }
        if looks_like_path {
            return Err(Error::usage(format!("there is no folder `{source}`")).into());
        }
        let error = Error::usage(format!("unknown skeleton `{source}`"));
        Err(match nearest(source, built_in_names()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error,
        }
        .help("`paster create --list-templates` lists them; a folder is named by its path: `./FOLDER`")
        .into())
    }

    fn embedded(name: &str, files: &'static [Embedded]) -> Result<Skeleton> {
        let folder = format!("skeletons/{name}");
        let manifest =
            files.iter().find(|(path, ..)| *path == "skeleton.toml").map_or(&[][..], |file| file.2);
        let files = files.iter().filter_map(|(path, executable, bytes)| {
            let path = path.strip_prefix("files/")?.to_owned();
            Some(SkeletonFile { path, executable: *executable, bytes: Cow::Borrowed(*bytes) })
        });
        Skeleton::new(folder, manifest, files.collect())
    }

    fn folder(path: &Path) -> Result<Skeleton> {
        let folder = path.display().to_string();
        let fault = |what: &str, error: std::io::Error| {
            Error::new(format!("cannot read `{what}` of the skeleton `{folder}`")).because(error)
        };
        let root = Dir::open(path).map_err(|error| fault(".", error))?;
        let manifest = match root.read("skeleton.toml", BYTES) {
            Ok(found) => found.bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(
                    Error::usage(format!("`{folder}` is not a skeleton: it has no `skeleton.toml`")).into()
                );
            }
            Err(error) => return Err(fault("skeleton.toml", error).into()),
        };
        let mut files = Vec::new();
        match root.child("files") {
            Ok(dir) => read_tree(&dir, "", &mut files, &mut 0)
                .map_err(|(path, error)| fault(&format!("files/{path}"), error))?,
            Err(error) => return Err(fault("files", error).into()),
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Skeleton::new(folder, &manifest, files)
    }

    fn new(folder: String, manifest: &[u8], files: Vec<SkeletonFile>) -> Result<Skeleton> {
        let place = format!("{folder}/skeleton.toml");
        let text = std::str::from_utf8(manifest)
            .map_err(|error| Error::new(format!("`{place}` is not UTF-8")).because(error))?;
        Ok(Skeleton { manifest: Manifest::parse(&place, text)?, files, folder })
    }

    /// Whether a template, of a file or a variable, contains `text`.
    pub fn mentions(&self, text: &str) -> bool {
        let in_vars = self.manifest.vars.iter().any(|var| {
            [&var.default, &var.value]
                .into_iter()
                .flatten()
                .any(|value| value.as_str().is_some_and(|v| v.contains(text)))
        });
        let in_bytes = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        in_vars || self.files.iter().any(|file| file.path.ends_with(".hbs") && in_bytes(&file.bytes))
    }

    /// The name of the skeleton's file `path` in errors.
    pub(super) fn place(&self, path: &str) -> String {
        format!("{}/{path}", self.folder)
    }
}

/// Reads all files below `dir`. Refuses symlinks and special files, because they may lead out of the
/// skeleton.
fn read_tree(
    dir: &Dir,
    prefix: &str,
    files: &mut Vec<SkeletonFile>,
    bytes: &mut u64,
) -> Result<(), (String, std::io::Error)> {
    let other = |message: &str| std::io::Error::other(message.to_owned());
    for (name, entry) in dir.entries().map_err(|error| (prefix.to_owned(), error))? {
        let path = format!("{prefix}{name}");
        let fail = |error| (path.clone(), error);
        match entry {
            DirEntry::Folder => {
                let child = dir.child(&name).map_err(fail)?;
                if path.matches('/').count() > 50 {
                    return Err(fail(other("folders are nested more than 50 levels deep")));
                }
                read_tree(&child, &format!("{path}/"), files, bytes)?;
            }
            DirEntry::File => {
                let found = dir.read(&name, BYTES - *bytes).map_err(fail)?;
                *bytes += found.bytes.len() as u64;
                files.push(SkeletonFile {
                    path: path.clone(),
                    executable: found.mode & 0o100 != 0,
                    bytes: found.bytes.into(),
                });
                if files.len() > FILES {
                    return Err(fail(other("the skeleton has more than 10,000 files")));
                }
            }
            DirEntry::Symlink => {
                return Err(fail(other("a symlink: skeletons hold plain files and folders only")));
            }
            DirEntry::Other => return Err(fail(other("neither a file nor a folder"))),
        }
    }
    Ok(())
}
