//! Paths as clients write them: relative to the served folder, with `/` between names.

use std::fmt;

use super::FileError;

/// What the name of a copy begins with that a schedule runs.
const SCHEDULED: &str = ".scheduled-";

/// A path below the served folder, without empty, hidden, `.` or `..` parts. The empty path is the folder
/// itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelativePath(String);

impl RelativePath {
    /// Parses a decoded path. Slashes at both ends are ignored.
    /// # Errors
    /// [`FileError::NotFound`] for hidden parts and for parts that lead elsewhere; [`FileError::Unfit`] for
    /// control characters.
    pub fn parse(text: &str) -> Result<RelativePath, FileError> {
        let text = text.trim_matches('/');
        if text.chars().any(|c| c.is_control()) || text.len() > 4096 {
            return Err(FileError::Unfit("the path is too long or contains control characters".to_owned()));
        }
        if !text.is_empty() && text.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
            return Err(FileError::NotFound(text.to_owned()));
        }
        Ok(RelativePath(text.to_owned()))
    }

    /// Parses a path that may have hidden parts. Clients cannot name it.
    /// # Errors
    /// [`FileError::NotFound`] for parts that lead elsewhere; [`FileError::Unfit`] for control characters.
    pub(crate) fn parse_hidden(text: &str) -> Result<RelativePath, FileError> {
        if text.chars().any(char::is_control) || text.len() > 4096 {
            return Err(FileError::Unfit("the path is too long or has control characters".to_owned()));
        }
        if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(FileError::NotFound(text.to_owned()));
        }
        Ok(RelativePath(text.to_owned()))
    }

    /// `self/name`.
    /// # Errors
    /// Same as [`RelativePath::parse`]; also a `name` with a slash.
    pub fn join(&self, name: &str) -> Result<RelativePath, FileError> {
        if name.is_empty() || name.contains('/') {
            return Err(FileError::Unfit(format!("`{name}` is not a valid file name")));
        }
        RelativePath::parse(&if self.0.is_empty() { name.to_owned() } else { format!("{}/{name}", self.0) })
    }

    pub(super) fn join_hidden(&self, name: &str) -> Result<RelativePath, FileError> {
        Ok(RelativePath(if self.0.is_empty() { name.to_owned() } else { format!("{}/{name}", self.0) }))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the served folder itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Its last part.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Its parent folder; `None` for the served folder.
    pub fn parent(&self) -> Option<RelativePath> {
        if self.is_root() {
            return None;
        }
        Some(RelativePath(self.0.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned()))
    }

    /// Whether it is below `folder`.
    pub fn is_below(&self, folder: &RelativePath) -> bool {
        self.0.strip_prefix(&folder.0).is_some_and(|rest| folder.is_root() || rest.starts_with('/'))
    }

    /// The path after `from` was renamed to `to`, if it is `from` or below it.
    pub fn moved(&self, from: &RelativePath, to: &RelativePath) -> Option<RelativePath> {
        if self == from {
            return Some(to.clone());
        }
        self.is_below(from).then(|| RelativePath(format!("{}{}", to.0, &self.0[from.0.len()..])))
    }

    /// Whether it has a notebook's name.
    pub fn is_notebook(&self) -> bool {
        self.0.ends_with(".ipynb")
    }

    /// The name and the extension (with its dot) of the last part.
    pub fn split_name(&self) -> (&str, &str) {
        let name = self.name();
        match name.rfind('.') {
            Some(dot) if dot > 0 => name.split_at(dot),
            _ => (name, ""),
        }
    }

    /// Where a copy of a notebook is while a schedule runs it: hidden, in the folder of the notebook.
    pub(crate) fn scheduled_copy(&self, run: &str) -> Option<RelativePath> {
        self.parent()?.join_hidden(&format!("{SCHEDULED}{run}.ipynb")).ok()
    }

    /// Parses a path that may be one of [`RelativePath::scheduled_copy`].
    pub(crate) fn parse_internal(text: &str) -> Result<RelativePath, FileError> {
        let (folder, name) = text.rsplit_once('/').unwrap_or(("", text));
        let plain =
            |rest: &str| rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        match name.strip_prefix(SCHEDULED).filter(|rest| plain(rest)) {
            Some(_) => RelativePath::parse(folder)?.join_hidden(name),
            None => RelativePath::parse(text),
        }
    }

    /// The path of its checkpoint, as Jupyter names it: `.ipynb_checkpoints/NAME-checkpoint.EXT`.
    pub fn checkpoint(&self) -> Option<RelativePath> {
        let (stem, ext) = self.split_name();
        let folder = self.parent()?.join_hidden(".ipynb_checkpoints").ok()?;
        folder.join_hidden(&format!("{stem}-checkpoint{ext}")).ok()
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for bad in ["..", "a/../b", "a//b", ".hidden", "a/.git/config", "./a", "a/.", "a\0b", "a\nb"] {
            assert!(RelativePath::parse(bad).is_err(), "{bad:?}");
        }
        for (good, text) in [("", ""), ("/", ""), ("/a/b.ipynb/", "a/b.ipynb"), ("é è", "é è")] {
            assert_eq!(RelativePath::parse(good).unwrap().as_str(), text);
        }
    }

    #[test]
    fn parts() {
        let path = RelativePath::parse("a/b.tar.gz").unwrap();
        assert_eq!((path.name(), path.split_name()), ("b.tar.gz", ("b.tar", ".gz")));
        assert_eq!(path.parent().unwrap().as_str(), "a");
        let copy = path.scheduled_copy("a1-b2").unwrap();
        assert_eq!(RelativePath::parse_internal(copy.as_str()).unwrap(), copy);
        assert!(RelativePath::parse(copy.as_str()).is_err() && RelativePath::parse_internal("a/.x").is_err());
        assert_eq!(path.checkpoint().unwrap().as_str(), "a/.ipynb_checkpoints/b.tar-checkpoint.gz");
        let (a, z) = (RelativePath::parse("a").unwrap(), RelativePath::parse("z/y").unwrap());
        assert_eq!(path.moved(&a, &z).unwrap().as_str(), "z/y/b.tar.gz");
        assert!(!RelativePath::parse("ab").unwrap().is_below(&a));
    }
}
