//! A PHP site: maps a path to a script or a plain file.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use crate::body::App;

/// The directory of a site.
pub(super) struct Site {
    pub(super) root: PathBuf,
    /// Name of the index script of a directory.
    pub(super) index: String,
    /// File name endings of scripts, lower case: `.php`.
    pub(super) endings: Vec<String>,
    /// Script for paths that match no file: `/index.php`.
    pub(super) fallback: Option<String>,
    /// Serves the files that are not scripts.
    pub(super) files: App,
}

/// What a path means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SitePath {
    /// A script, and the path after it. Both are decoded, and begin with a slash or are empty.
    Script { name: String, info: String },
    /// A file that is not a script, or a directory without an index script.
    File,
    /// Something that does not exist or may not be served.
    Nothing,
}

impl Site {
    /// Finds the meaning of `path`: a request path, normalized by the gate, below the mount.
    ///
    /// A script is a regular file whose name has one of the endings. It must exist before a FastCGI server gets its name,
    /// because otherwise some servers use a directory part of the path as the script.
    /// Directories may have any name. Files with such an ending in the middle of their name
    /// (`config.php.bak`) and hidden names are never served.
    pub(super) fn find(&self, path: &str) -> SitePath {
        let Some(names) = names(path) else { return SitePath::Nothing };
        for (index, name) in names.iter().enumerate() {
            let lower = name.to_ascii_lowercase();
            if !self.endings.iter().any(|ending| lower.contains(ending)) {
                continue;
            }
            if self.below(&names[..=index].join("/")).is_dir() {
                continue; // `jquery.php/`: the path is inside a directory
            }
            if self.endings.iter().any(|ending| lower.ends_with(ending)) {
                let script = format!("/{}", names[..=index].join("/"));
                let rest: String = names[index + 1..].iter().map(|name| format!("/{name}")).collect();
                let slash = if path.ends_with('/') { "/" } else { "" };
                return match self.is_file(&script) {
                    true => SitePath::Script { name: script, info: rest + slash },
                    false => self.fallback(),
                };
            }
            return SitePath::Nothing;
        }
        let below = names.join("/");
        match self.below(&below).metadata() {
            Ok(found) if found.is_dir() => {
                let script = if below.is_empty() { String::new() } else { format!("/{below}") };
                let script = format!("{script}/{}", self.index);
                match path.ends_with('/') && self.is_file(&script) {
                    true => SitePath::Script { name: script, info: String::new() },
                    // The files' app adds the slash, or has an index page.
                    false => SitePath::File,
                }
            }
            Ok(found) if found.is_file() && !path.ends_with('/') => SitePath::File,
            _ => self.fallback(),
        }
    }

    fn fallback(&self) -> SitePath {
        match &self.fallback {
            Some(script) if self.is_file(script) => {
                SitePath::Script { name: script.clone(), info: String::new() }
            }
            _ => SitePath::Nothing,
        }
    }

    fn is_file(&self, script: &str) -> bool {
        self.below(script).metadata().is_ok_and(|found| found.is_file())
    }

    fn below(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The path of a script's file.
    pub(super) fn file(&self, script: &str) -> PathBuf {
        self.below(script)
    }

    /// The directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}

/// The decoded names of a path; `None` if one may not be served: hidden, or with a slash or control
/// character.
fn names(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(Vec::new());
    }
    let mut names = Vec::new();
    for (depth, segment) in path.split('/').enumerate() {
        let name = OsString::from_vec(percent_decode_str(segment).collect()).into_string().ok()?;
        let hidden = name.starts_with('.') && (depth > 0 || name != ".well-known");
        if name.is_empty() || hidden || name.contains(['/', '\\']) || name.chars().any(char::is_control) {
            return None;
        }
        names.push(name);
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Response;

    #[test]
    fn meanings() {
        let folder = tempfile::tempdir().unwrap();
        for file in
            ["index.php", "a b.php", "style.css", "blog/index.php", "docs/index.html", "old.php.bak", ".env"]
        {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        for file in ["dir.php/style.css", "dir.php/index.php", "dir.php/a.php.bak", "lib.php.d/x.js"] {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let site = |fallback: Option<&str>| Site {
            root: folder.path().to_owned(),
            index: "index.php".to_owned(),
            endings: vec![".php".to_owned()],
            fallback: fallback.map(str::to_owned),
            files: App::from_fn(|_| async { Response::default() }),
        };
        let script =
            |name: &str, info: &str| SitePath::Script { name: name.to_owned(), info: info.to_owned() };
        let bare = site(None);
        for (path, expected) in [
            ("/", script("/index.php", "")),
            ("/index.php", script("/index.php", "")),
            ("/index.php/a/b%20c", script("/index.php", "/a/b c")),
            ("/index.php/a/", script("/index.php", "/a/")),
            ("/a%20b.php", script("/a b.php", "")),
            ("/blog/", script("/blog/index.php", "")),
            ("/blog", SitePath::File),
            ("/docs/", SitePath::File),
            ("/style.css", SitePath::File),
            ("/style.css/x.php", SitePath::Nothing),
            ("/style.css/", SitePath::Nothing),
            ("/missing.php", SitePath::Nothing),
            ("/dir.php", SitePath::File),
            ("/dir.php/", script("/dir.php/index.php", "")),
            ("/dir.php/style.css", SitePath::File),
            ("/dir.php/index.php/info", script("/dir.php/index.php", "/info")),
            ("/dir.php/a.php.bak", SitePath::Nothing),
            ("/dir.php/missing", SitePath::Nothing),
            ("/dir.php/missing.php", SitePath::Nothing),
            ("/lib.php.d/x.js", SitePath::File),
            ("/INDEX.PHP", SitePath::Nothing),
            ("/old.php.bak", SitePath::Nothing),
            ("/.env", SitePath::Nothing),
            ("/.git/index.php", SitePath::Nothing),
            ("/missing", SitePath::Nothing),
            ("//index.php", SitePath::Nothing),
        ] {
            assert_eq!(bare.find(path), expected, "{path}");
        }
        let framework = site(Some("/index.php"));
        assert_eq!(framework.find("/posts/1"), script("/index.php", ""));
        assert_eq!(framework.find("/missing.php"), script("/index.php", ""));
        assert_eq!(framework.find("/style.css"), SitePath::File);
        assert_eq!(framework.find("/.env"), SitePath::Nothing);
    }
}
