//! Where skeletons come from: built into the program, a folder, an archive, a git repository, a Rust package.

mod address;
mod archive;
mod extend;
mod git;
mod package;
mod tree;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use self::address::SkeletonAddress;
use self::archive::is_archive;
use self::tree::SkeletonTree;
use super::manifest::{Manifest, extends};
use super::rooted_dir::Dir;
use crate::error::{Error, Result};
use crate::registry::nearest;

/// One embedded file: its path in the skeleton, whether it is executable, its bytes.
type EmbeddedFile = (&'static str, bool, &'static [u8]);

/// The folders of `skeletons/`, listed by the build script. Those of `skeletons/add` are named `add/NAME`.
static BUILT_IN: &[(&str, &[EmbeddedFile])] = include!(concat!(env!("OUT_DIR"), "/skeletons.rs"));

/// What the names of built-in skeletons for `paster add` start with.
const ADD: &str = "add/";

/// How many skeletons may extend each other, one after the other.
const DEEPEST: usize = 8;

/// A skeleton, read completely.
#[derive(Debug, Clone)]
pub struct Skeleton {
    /// `skeleton.toml`.
    pub manifest: Manifest,
    /// The content of `files/`, and of those that it extends.
    pub files: Vec<SkeletonFile>,
    /// Files of skeletons that it extends, into which its own ones are merged: the most general one first.
    pub(super) below: Vec<SkeletonFile>,
    /// Where it came from.
    pub source: SkeletonSource,
    /// The content of `partials/`: what templates include, by name.
    pub(super) partials: BTreeMap<String, String>,
    /// The folder, which errors name.
    folder: String,
}

/// Where a skeleton came from, as the lock of a project records it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SkeletonSource {
    /// What finds it again, without a password.
    pub address: String,
    /// The commit of a git repository, or the version of a package.
    pub revision: Option<String>,
    /// SHA-256 of all its files.
    pub digest: String,
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
    BUILT_IN.iter().map(|(name, _)| *name).filter(|name| !name.starts_with(ADD))
}

/// Names of the built-in skeletons that only `paster add` uses, in alphabetical order.
pub fn addition_names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().filter_map(|(name, _)| name.strip_prefix(ADD))
}

impl Skeleton {
    /// Finds the skeleton that `source` names: a built-in one by its name, a folder or an archive by its path, a git
    /// repository by its URL, a Rust package as `crate:NAME`.
    /// # Errors
    /// An unknown skeleton, with the nearest name (a command-line error); errors in the skeleton, and from git and
    /// cargo.
    pub fn open(source: &str) -> Result<Skeleton> {
        Skeleton::read(find(source)?, &mut Vec::new())
    }

    /// Finds the skeleton for `paster add`: first one that is built in for that.
    /// # Errors
    /// As [`Skeleton::open`]; a skeleton that cannot be added to a project.
    pub fn open_addition(source: &str) -> Result<Skeleton> {
        let own = format!("{ADD}{source}");
        let skeleton = match BUILT_IN.iter().find(|(name, _)| *name == own) {
            Some((name, files)) => return Skeleton::read(embedded(name, files)?, &mut Vec::new()),
            None => Skeleton::open(source)?,
        };
        if skeleton.manifest.about.adds {
            return Ok(skeleton);
        }
        let name = &skeleton.manifest.about.name;
        let names: Vec<_> = addition_names().map(|name| format!("`{name}`")).collect();
        Err(Error::usage(format!("the skeleton `{name}` creates projects: it cannot be added to one"))
            .help(format!("create one with `paster create NAME --template {source}`"))
            .help(format!("built-in skeletons to add are {}", names.join(", ")))
            .into())
    }

    /// Reads what was found, and what it extends. `open` has the skeletons that extend this one.
    fn read(found: FoundSkeleton, open: &mut Vec<String>) -> Result<Skeleton> {
        let (folder, tree, mut source) = (&found.folder, &found.tree, found.source.clone());
        let place = format!("{folder}/skeleton.toml");
        let Some(manifest) = tree.file("skeleton.toml") else {
            return Err(
                Error::usage(format!("`{folder}` is not a skeleton: it has no `skeleton.toml`")).into()
            );
        };
        let text = utf8(&place, &manifest.bytes)?;
        let names = extends(&place, &text)?;
        if !names.is_empty() && (open.contains(&source.address) || open.len() >= DEEPEST) {
            let why = format!("skeletons extend each other too deeply, or in a circle: {}", open.join(", "));
            return Err(Error::new(format!("`{place}`")).because(why).into());
        }
        open.push(source.address.clone());
        let bases: Vec<Skeleton> =
            names.iter().map(|name| Skeleton::read(found.base(name)?, open)).collect::<Result<_>>()?;
        open.pop();
        let manifests: Vec<_> = bases.iter().map(|base| &base.manifest).collect();
        let manifest = Manifest::parse_on(&place, &text, &manifests)?;
        let mut partials = BTreeMap::new();
        for (path, file) in tree.files("partials") {
            let name = path.strip_suffix(".hbs").unwrap_or(path).to_owned();
            partials.insert(name, utf8(&format!("{folder}/partials/{path}"), &file.bytes)?);
        }
        let files = tree.files("files").map(|(path, file)| SkeletonFile {
            path: path.to_owned(),
            executable: file.executable,
            bytes: file.bytes.clone(),
        });
        source.digest = digest(tree);
        let files = files.collect();
        let mut skeleton =
            Skeleton { manifest, files, below: Vec::new(), source, partials, folder: folder.clone() };
        bases.into_iter().rev().for_each(|base| skeleton.extend(base));
        if skeleton.files.is_empty() {
            return Err(
                Error::new(format!("cannot read `files` of the skeleton `{folder}`: it has none")).into()
            );
        }
        Ok(skeleton)
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
        in_vars
            || self.partials.values().any(|partial| partial.contains(text))
            || self
                .files
                .iter()
                .chain(&self.below)
                .any(|file| file.path.ends_with(".hbs") && in_bytes(&file.bytes))
    }

    /// The name of the skeleton's file `path` in errors.
    pub(super) fn place(&self, path: &str) -> String {
        format!("{}/{path}", self.folder)
    }
}

/// What is read of a skeleton before it is parsed.
struct FoundSkeleton {
    /// The folder, which errors name.
    folder: String,
    tree: SkeletonTree,
    source: SkeletonSource,
    /// The folder on this machine, from which paths in `extends` start.
    near: Option<PathBuf>,
}

impl FoundSkeleton {
    fn new(folder: String, tree: SkeletonTree, address: String, revision: Option<String>) -> FoundSkeleton {
        let source = SkeletonSource { address, revision, digest: String::new() };
        FoundSkeleton { folder, tree, source, near: None }
    }

    /// The skeleton that this one names in `extends`.
    fn base(&self, name: &str) -> Result<FoundSkeleton> {
        if BUILT_IN.iter().any(|(built_in, _)| *built_in == name) {
            return find(name);
        }
        match (SkeletonAddress::parse(name)?, &self.near) {
            (SkeletonAddress::Local { path, folder }, Some(near)) => {
                let path = near.join(path).display().to_string();
                find(&if folder.is_empty() { path } else { format!("{path}#{folder}") })
            }
            // What comes from elsewhere must not choose which files of this machine are read.
            (SkeletonAddress::Local { .. }, None) => {
                Err(Error::new(format!("`{}` cannot extend `{name}`", self.folder))
                    .because("only a skeleton in a directory can extend another one by path")
                    .help("use a built-in skeleton, or the URL of a repository")
                    .into())
            }
            _ => find(name),
        }
    }
}

fn find(source: &str) -> Result<FoundSkeleton> {
    if let Some((name, files)) = BUILT_IN.iter().find(|(name, _)| *name == source) {
        return embedded(name, files);
    }
    match SkeletonAddress::parse(source)? {
        SkeletonAddress::Local { path, folder } => local(source, &path, &folder),
        SkeletonAddress::Git { url, folder, revision } => git(source, &url, &folder, revision.as_deref()),
        SkeletonAddress::Package { name, folder, version } => {
            let package = package::find(&name, version.as_deref())?;
            let (shown, tree) = in_folder(&package.folder, &folder, source)?;
            Ok(FoundSkeleton::new(shown, tree, source.to_owned(), Some(package.version)))
        }
    }
}

fn local(source: &str, path: &str, folder: &str) -> Result<FoundSkeleton> {
    let place = Path::new(path);
    if place.is_dir() {
        let (shown, tree) = in_folder(place, folder, path)?;
        let found = FoundSkeleton::new(shown, tree, address_of(place, folder), None);
        return Ok(FoundSkeleton { near: Some(place.join(folder)), ..found });
    }
    if place.is_file() && is_archive(path) {
        let tree = archive::read(place).map_err(|error| {
            Error::new(format!("cannot read the skeleton in the archive `{path}`")).because(error)
        })?;
        return Ok(FoundSkeleton::new(
            source.to_owned(),
            tree.below(folder),
            address_of(place, folder),
            None,
        ));
    }
    if place.exists() {
        return Err(Error::usage(format!(
            "`{source}` is a file; a skeleton is a folder with `skeleton.toml`, or an archive (.tar.gz, .zip)"
        ))
        .into());
    }
    if source.contains(std::path::MAIN_SEPARATOR) || source.starts_with('.') {
        return Err(Error::usage(format!("there is no folder `{source}`")).into());
    }
    let error = Error::usage(format!("unknown skeleton `{source}`"));
    Err(match nearest(source, built_in_names().chain(addition_names())) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error,
    }
    .help("`paster create --list-templates` lists them; for a folder, write its path: `./FOLDER`")
    .into())
}

fn git(source: &str, url: &str, folder: &str, revision: Option<&str>) -> Result<FoundSkeleton> {
    // git runs in another folder.
    let local = Path::new(url).exists().then(|| std::path::absolute(url).ok()).flatten();
    let local = local.map(|path| path.display().to_string());
    let found = git::fetch(local.as_deref().unwrap_or(url), revision, folder)?;
    let address = match local {
        Some(path) => source.replacen(url, &path, 1),
        None => without_password(source),
    };
    Ok(FoundSkeleton::new(without_password(source), found.tree, address, Some(found.commit)))
}

/// The files of a folder, and the name that errors give it.
fn in_folder(path: &Path, folder: &str, named: &str) -> Result<(String, SkeletonTree)> {
    let fault = |what: &str, error: std::io::Error| {
        Error::new(format!("cannot read `{what}` of the skeleton `{named}`")).because(error)
    };
    let mut root = Dir::open(path).map_err(|error| fault(".", error))?;
    for name in folder.split('/').filter(|name| !name.is_empty()) {
        root = root.child(name).map_err(|error| fault(folder, error))?;
    }
    let shown = if folder.is_empty() { named.to_owned() } else { format!("{named}/{folder}") };
    Ok((shown, SkeletonTree::folder(&root).map_err(|(path, error)| fault(&path, error))?))
}

fn embedded(name: &str, files: &'static [EmbeddedFile]) -> Result<FoundSkeleton> {
    let mut tree = SkeletonTree::default();
    for (path, executable, bytes) in files {
        tree.add(path, *executable, Cow::Borrowed(*bytes))
            .map_err(|error| Error::new(format!("the built-in skeleton `{name}`")).because(error))?;
    }
    Ok(FoundSkeleton::new(format!("skeletons/{name}"), tree, name.to_owned(), None))
}

fn utf8(place: &str, bytes: &[u8]) -> Result<String, Error> {
    String::from_utf8(bytes.to_vec())
        .map_err(|error| Error::new(format!("`{place}` is not UTF-8")).because(error))
}

/// The absolute address of something on this machine.
fn address_of(path: &Path, folder: &str) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    if folder.is_empty() { path } else { format!("{path}#{folder}") }
}

/// `address` without `user:password@`.
fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let host = rest.split('/').next().unwrap_or_default();
    match host.rsplit_once('@') {
        Some((user, host_alone)) if user.contains(':') => {
            format!("{scheme}://{host_alone}{}", &rest[host.len()..])
        }
        _ => address.to_owned(),
    }
}

/// SHA-256 of everything that makes the result, in hexadecimal.
fn digest(tree: &SkeletonTree) -> String {
    let mut digest = Sha256::new();
    for (path, file) in tree.all() {
        digest.update(path);
        digest.update([0, u8::from(file.executable)]);
        digest.update((file.bytes.len() as u64).to_le_bytes());
        digest.update(&file.bytes);
    }
    super::hex(&digest.finalize())
}
