//! `paster config import`: the config of another server as a `server.toml`.
//!
//! Each source is one file and one line in [`SOURCES`]. It reads an [`ImportInput`] into a `Draft`: the tables of the config, and
//! what could not be carried over. Nothing of the other config is run.

mod caddy;
mod draft;
mod gunicorn;
mod nginx;
mod paste;
mod procfile;
mod python_settings;
mod sites;
mod uvicorn;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::draft::Draft;
use crate::error::{Error, Origin, Result, Source};

/// The longest file that is read, in bytes.
const LONGEST: u64 = 4 << 20;

/// A kind of config that can be imported.
pub struct ImportSource {
    /// What `--from` calls it.
    pub name: &'static str,
    /// Whether a file is one, by its name and content.
    recognizes: fn(&ImportInput) -> bool,
    read: fn(&ImportInput) -> Result<Draft>,
}

/// Every kind. The first one that recognizes a file reads it.
pub static SOURCES: [ImportSource; 6] = [
    ImportSource { name: "procfile", recognizes: procfile::recognizes, read: procfile::read },
    ImportSource { name: "paste", recognizes: paste::recognizes, read: paste::read },
    ImportSource { name: "uvicorn", recognizes: uvicorn::recognizes, read: uvicorn::read },
    ImportSource { name: "gunicorn", recognizes: gunicorn::recognizes, read: gunicorn::read },
    ImportSource { name: "caddy", recognizes: caddy::recognizes, read: caddy::read },
    ImportSource { name: "nginx", recognizes: nginx::recognizes, read: nginx::read },
];

/// What is imported: a file, or the arguments of a command.
#[derive(Debug, Default)]
pub struct ImportInput {
    /// The file; empty for arguments.
    path: PathBuf,
    text: String,
    arguments: Vec<String>,
    /// Where the command would run, for arguments that come from a file.
    working_dir: PathBuf,
}

/// The result of an import.
#[derive(Debug)]
pub struct Imported {
    /// The text of the config file.
    pub text: String,
    /// What is not in it.
    pub lost: Vec<Lost>,
}

/// Something that was not carried over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The file, as messages show it; empty for arguments.
    pub file: String,
    /// The line, from 1; 0 if it has none.
    pub line: usize,
    /// What it is, and why.
    pub what: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.is_empty(), self.line) {
            (true, _) => write!(f, "not converted: {}", self.what),
            (false, 0) => write!(f, "{}: not converted: {}", self.file, self.what),
            (false, line) => write!(f, "{}:{line}: not converted: {}", self.file, self.what),
        }
    }
}

impl ImportInput {
    /// Reads a file.
    /// # Errors
    /// If it cannot be read, is not UTF-8, or is too long.
    pub fn read(path: &Path) -> Result<ImportInput> {
        let failed = || Error::usage(format!("cannot read `{}`", path.display()));
        let length = path.metadata().map_err(|cause| failed().because(cause))?.len();
        if length > LONGEST {
            return Err(failed().because("it is longer than 4 MiB").into());
        }
        let text = std::fs::read_to_string(path).map_err(|cause| failed().because(cause))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
        Ok(ImportInput { path: path.to_owned(), text, ..ImportInput::default() })
    }

    /// The arguments of a command.
    pub fn of_arguments(arguments: Vec<String>) -> ImportInput {
        ImportInput { arguments, ..ImportInput::default() }
    }

    /// The same, for a command that runs in `folder`.
    fn in_folder(mut self, folder: &Path) -> ImportInput {
        self.working_dir = folder.to_owned();
        self
    }

    /// The name of the file, without its directory.
    fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// A part of the directory of the file.
    fn folder(&self) -> &Path {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// An error about a line.
    fn error(&self, line: usize, message: impl Into<String>) -> Error {
        let text: Arc<str> =
            self.text.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim_end().into();
        let width = u32::try_from(text.trim_start().chars().count()).unwrap_or(1).max(1);
        let indent = u32::try_from(text.chars().count()).unwrap_or(0).saturating_sub(width);
        let origin = Origin {
            source: Source::File(self.path.clone()),
            line: u32::try_from(line).unwrap_or(0),
            column: indent + 1,
            width,
            mark: indent,
            text,
        };
        Error::config(message).at(origin)
    }
}

/// Reads `input` in the format `from`, or in the format detected from its name and content.
/// # Errors
/// If it is not recognized, or not valid.
pub fn import(input: &ImportInput, from: Option<&str>) -> Result<Imported> {
    let named = from.and_then(|name| SOURCES.iter().find(|source| source.name == name));
    let found = named.or_else(|| SOURCES.iter().find(|source| (source.recognizes)(input)));
    let Some(source) = found else {
        let names: Vec<_> = SOURCES.iter().map(|source| format!("`{}`", source.name)).collect();
        let what = if input.arguments.is_empty() { "this file" } else { "these arguments" };
        return Err(Error::usage(format!("cannot tell what {what} belongs to"))
            .help(format!("set it with `--from`: {}", names.join(", ")))
            .into());
    };
    let mut draft = (source.read)(input)?;
    draft.complete();
    let text = draft.text(source.name, input);
    Ok(Imported { text, lost: draft.lost })
}
