//! The address of a skeleton: what a user writes after `--template`.

use std::path::Path;

use super::archive::is_archive;
use crate::error::{Error, Result};

/// Where a skeleton is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SkeletonAddress {
    /// Built into paster, if there is one of that name; otherwise a folder or an archive.
    Local { path: String, folder: String },
    /// A git repository: `URL[#FOLDER][@REVISION]`.
    Git { url: String, folder: String, revision: Option<String> },
    /// A package from cargo's registry: `crate:NAME[#SKELETON][@VERSION]`.
    Package { name: String, folder: String, version: Option<String> },
}

impl SkeletonAddress {
    /// Parses what the user wrote.
    /// # Errors
    /// If the folder leads out of the source, or if paster does not support the protocol.
    pub(super) fn parse(text: &str) -> Result<SkeletonAddress> {
        if text.contains("::") && !text.starts_with("git::") {
            return Err(Error::usage(format!("`{}`: this protocol is not supported", text.escape_debug()))
                .help("use a URL that starts with `https://` or `ssh://`")
                .into());
        }
        let package = text.strip_prefix("crate:");
        let forced = text.strip_prefix("git+").or_else(|| text.strip_prefix("git::"));
        let rest = package.or(forced).unwrap_or(text);
        let remote = package.is_some() || forced.is_some() || looks_like_git(rest);
        let (source, folder, revision) = if remote { split(rest) } else { split_folder(rest) };
        let leads_out = |part: &str| part == ".." || part.starts_with('-');
        if folder.split('/').any(leads_out) || folder.starts_with('/') || folder.contains(['\\', '\0', '\n'])
        {
            return Err(Error::usage(format!(
                "`{}` leads out of the skeleton's source",
                folder.escape_debug()
            ))
            .into());
        }
        let folder = folder.trim_matches('/').to_owned();
        let (source, revision) = (source.to_owned(), revision.map(str::to_owned));
        Ok(if package.is_some() {
            SkeletonAddress::Package { name: source, folder, version: revision }
        } else if remote {
            SkeletonAddress::Git { url: source, folder, revision }
        } else {
            SkeletonAddress::Local { path: source, folder }
        })
    }
}

/// Whether `text` names a remote repository.
fn looks_like_git(text: &str) -> bool {
    let (before, _, _) = split(text);
    before.contains("://") || before.ends_with(".git") || (before.starts_with("git@") && before.contains(':'))
}

/// Splits `SOURCE[#FOLDER][@REVISION]`. Without a folder, an `@` in the last part of the address starts the revision, so
/// that `git@host:name` and `https://user@host/name` have none.
fn split(text: &str) -> (&str, &str, Option<&str>) {
    if let Some((source, rest)) = text.split_once('#') {
        return match rest.split_once('@') {
            Some((folder, revision)) => (source, folder, Some(revision)),
            None => (source, rest, None),
        };
    }
    let last = text.rfind(['/', ':']).map_or(0, |at| at + 1);
    match text[last..].rfind('@') {
        Some(at) => (&text[..last + at], "", Some(&text[last + at + 1..])),
        None => (text, "", None),
    }
}

/// Splits `PATH[#FOLDER]`. A path that exists is not split.
fn split_folder(text: &str) -> (&str, &str, Option<&str>) {
    match text.rsplit_once('#') {
        Some((path, folder))
            if !Path::new(text).exists() && (is_archive(path) || Path::new(path).exists()) =>
        {
            (path, folder, None)
        }
        _ => (text, "", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_folders_and_revisions() {
        let check = |text: &str| match SkeletonAddress::parse(text) {
            Ok(SkeletonAddress::Local { path, folder }) => format!("local {path} [{folder}]"),
            Ok(SkeletonAddress::Git { url, folder, revision }) => {
                format!("git {url} [{folder}] {revision:?}")
            }
            Ok(SkeletonAddress::Package { name, folder, version }) => {
                format!("package {name} [{folder}] {version:?}")
            }
            Err(errors) => format!("error {errors}"),
        };
        insta::assert_snapshot!([
            "axum",
            "./mine",
            "a.tar.gz#sub",
            "https://example.org/team/skeletons",
            "https://user@example.org/team/skeletons.git",
            "https://example.org/team/skeletons@v1.2",
            "https://example.org/team/skeletons.git#web/site@feature/x",
            "git@example.org:team/skeletons.git",
            "git@example.org:skeletons.git@main",
            "git+../skeletons#site",
            "file:///srv/skeletons.git",
            "crate:made",
            "crate:made#site@1.2",
            "ext::sh -c evil",
            "https://example.org/x.git#../..",
            "https://example.org/x.git#/etc",
            "https://example.org/x.git#-x",
        ].map(check).join("\n"), @r#"
        local axum []
        local ./mine []
        local a.tar.gz [sub]
        git https://example.org/team/skeletons [] None
        git https://user@example.org/team/skeletons.git [] None
        git https://example.org/team/skeletons [] Some("v1.2")
        git https://example.org/team/skeletons.git [web/site] Some("feature/x")
        git git@example.org:team/skeletons.git [] None
        git git@example.org:skeletons.git [] Some("main")
        git ../skeletons [site] None
        git file:///srv/skeletons.git [] None
        package made [] None
        package made [site] Some("1.2")
        error `ext::sh -c evil`: this protocol is not supported
        error `../..` leads out of the skeleton's source
        error `/etc` leads out of the skeleton's source
        error `-x` leads out of the skeleton's source
        "#);
    }
}
