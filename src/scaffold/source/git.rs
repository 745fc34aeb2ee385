//! Skeletons in git repositories. The files are read from git's objects: nothing is checked out, so no hook, filter
//! or link of the repository has an effect.

use std::path::Path;
use std::process::{Command, Stdio};

use super::archive;
use super::tree::{PARTS, SkeletonTree};
use crate::error::{Error, Result};

/// What was found: the files of the folder, and the commit.
pub(super) struct Checkout {
    pub(super) tree: SkeletonTree,
    pub(super) commit: String,
}

/// Fetches `revision` (a branch, a tag or a commit; by default the remote's default branch) of the repository at
/// `url`, and reads `folder`.
/// # Errors
/// What git reports.
pub(super) fn fetch(url: &str, revision: Option<&str>, folder: &str) -> Result<Checkout> {
    let wanted = revision.unwrap_or("HEAD");
    if [url, wanted].iter().any(|word| word.starts_with('-') || word.contains(char::is_control)) {
        return Err(
            Error::usage(format!("`{}` is not the address of a git repository", url.escape_debug())).into()
        );
    }
    let place = tempfile::tempdir()
        .map_err(|error| Error::new("cannot make a temporary folder for a git repository").because(error))?;
    let place = place.path();
    run(place, &["init", "--quiet", "--bare", "--template=", "."]).map_err(|why| failed(url, &why))?;
    // A server may refuse to send a single commit, and an abbreviated one is not a name there.
    let one = run(place, &["fetch", "--quiet", "--depth=1", "--no-tags", "--", url, wanted]);
    let name = match one {
        Ok(_) => "FETCH_HEAD",
        Err(why) if revision.is_none() => return Err(failed(url, &why)),
        Err(_) => {
            run(place, &["fetch", "--quiet", "--", url, "+refs/*:refs/*"])
                .map_err(|why| failed(url, &why))?;
            wanted
        }
    };
    let commit =
        run(place, &["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{name}^{{commit}}")])
            .map_err(|_| Error::new(format!("`{url}` has no branch, tag or commit `{wanted}`")))?;
    let commit = String::from_utf8_lossy(&commit).trim().to_owned();
    let tree = if folder.is_empty() { commit.clone() } else { format!("{commit}:{folder}") };
    let names = run(place, &["ls-tree", "--name-only", "-z", &tree])
        .map_err(|_| Error::usage(format!("`{url}` has no folder `{folder}`")))?;
    let names = String::from_utf8_lossy(&names);
    // What else is in the repository may contain links.
    let parts: Vec<_> =
        PARTS.into_iter().filter(|part| names.split('\0').any(|name| name == *part)).collect();
    if parts.is_empty() {
        return Ok(Checkout { tree: SkeletonTree::default(), commit });
    }
    let args = [&["archive", "--format=tar", &tree, "--"], parts.as_slice()].concat();
    let tar = run(place, &args).map_err(|why| failed(url, &why))?;
    let tree = archive::tar(tar.as_slice())
        .map_err(|error| Error::new(format!("cannot read the skeleton in `{url}`")).because(error))?;
    Ok(Checkout { tree, commit })
}

fn failed(url: &str, why: &str) -> crate::error::Errors {
    let error = Error::new(format!("cannot fetch `{url}`")).because(why.to_owned());
    error.help("paster never asks for a password here: use an SSH agent, or git's credential helper").into()
}

/// Runs git in `folder` and returns its output. Nothing of the user's or the repository's config runs a program,
/// except the credential helper and ssh.
fn run(folder: &Path, args: &[&str]) -> Result<Vec<u8>, String> {
    let mut git = Command::new("git");
    git.args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "tar.umask=0022"]);
    git.args(args).current_dir(folder).stdin(Stdio::null());
    for name in
        ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ASKPASS", "SSH_ASKPASS"]
    {
        git.env_remove(name);
    }
    // Protocols such as `ext::` run programs.
    git.env("GIT_ALLOW_PROTOCOL", "https:http:ssh:git:file").env("GIT_TERMINAL_PROMPT", "0");
    if std::env::var_os("GIT_SSH_COMMAND").is_none() {
        git.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes");
    }
    let output = git.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "git is not installed".to_owned(),
        _ => error.to_string(),
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let printed = String::from_utf8_lossy(&output.stderr);
    Err(printed.lines().next().unwrap_or("git failed").trim_start_matches("fatal: ").to_owned())
}
