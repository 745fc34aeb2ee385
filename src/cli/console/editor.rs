//! Reads lines from a terminal, with history and with completion of commands, methods, paths and header field
//! names.

use std::io;
use std::path::{Path, PathBuf};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use crate::config::is_secret_field;
use crate::error::{Error, Result};

/// The commands, without their colon.
pub(super) const COMMANDS: [&str; 10] =
    ["app", "cookies", "follow", "forget", "head", "headers", "help", "quit", "reload", "trace"];
const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];
const FIELDS: [&str; 14] = [
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Authorization",
    "Content-Type",
    "Cookie",
    "Host",
    "If-Modified-Since",
    "If-None-Match",
    "Origin",
    "Range",
    "Referer",
    "User-Agent",
    "X-Forwarded-For",
];
/// Maximum length of the history, in lines.
const MOST: usize = 1000;

/// Reads lines from the terminal.
pub(super) struct Editor {
    editor: rustyline::Editor<CompletionWords, DefaultHistory>,
    history: Option<PathBuf>,
}

impl Editor {
    /// Opens the terminal and loads the history of earlier sessions, if there is a place for one.
    /// # Errors
    /// When the terminal cannot be used.
    pub(super) fn open() -> Result<Editor> {
        let failed = |cause: ReadlineError| Error::new("cannot use the terminal").because(cause);
        let config = rustyline::Config::builder().max_history_size(MOST).map_err(failed)?;
        let config = config.completion_type(rustyline::CompletionType::List).auto_add_history(false).build();
        let mut editor = rustyline::Editor::with_config(config).map_err(failed)?;
        editor.set_helper(Some(CompletionWords::default()));
        let history = place();
        if let Some(path) = &history {
            let _ = editor.load_history(path); // the first session has none
        }
        Ok(Editor { editor, history })
    }

    /// Sets the paths that completion offers.
    pub(super) fn knows(&mut self, paths: Vec<String>) {
        if let Some(words) = self.editor.helper_mut() {
            words.paths = paths;
        }
    }

    /// The next line; `None` at the end of input. Ctrl-C discards the current line.
    /// # Errors
    /// When the terminal cannot be read.
    pub(super) fn line(&mut self, prompt: &str) -> Result<Option<String>> {
        loop {
            match self.editor.readline(prompt) {
                Ok(line) => {
                    self.remember(&line);
                    return Ok(Some(line));
                }
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => return Ok(None),
                Err(cause) => return Err(Error::new("cannot read the terminal").because(cause).into()),
            }
        }
    }

    /// Adds the line to the history and its file, unless it looks like it contains a secret.
    fn remember(&mut self, line: &str) {
        if line.trim().is_empty() || is_secret(line) {
            return;
        }
        // A history that cannot be written must not make a request fail.
        let _ = self.editor.add_history_entry(line);
        if let Some(path) = &self.history
            && private(path).is_ok()
        {
            let _ = self.editor.append_history(path);
        }
    }
}

/// Splits `Name: value`, if the line has this form.
pub(super) fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_name.then_some((name, value.trim()))
}

/// Whether a line has a header field, a parameter or a body key that is secret.
fn is_secret(line: &str) -> bool {
    if line.trim_start().starts_with(':') {
        return false; // a command of the session
    }
    if field(line).is_some_and(|(name, _)| is_secret_field(name)) {
        return true;
    }
    let words = line.split(|c: char| !(c.is_alphanumeric() || "-_".contains(c)));
    let named = line.contains(['=', ':', '{']);
    named && words.into_iter().any(|word| !word.is_empty() && is_secret_field(word))
}

/// The history file, in the state directory of the XDG base directory specification.
fn place() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let states = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(states.join("paster/console_history"))
}

/// Creates the file if needed and makes it accessible to its owner only.
fn private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
}

/// What completion offers.
#[derive(Default)]
struct CompletionWords {
    paths: Vec<String>,
}

impl Completer for CompletionWords {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let before = &line[..pos];
        let start = before.rfind(char::is_whitespace).map_or(0, |space| space + 1);
        let word = &before[start..];
        let begins = |all: &[&str], after: &str| -> Vec<String> {
            all.iter().filter(|one| one.starts_with(word)).map(|one| format!("{one}{after}")).collect()
        };
        let found = if let Some(command) = before.strip_prefix(':') {
            match command.split_once(' ') {
                None => {
                    return Ok((
                        1,
                        COMMANDS
                            .iter()
                            .filter(|one| one.starts_with(command))
                            .map(|one| (*one).into())
                            .collect(),
                    ));
                }
                Some(("trace" | "head" | "follow", _)) => begins(&["off", "on"], ""),
                Some(_) => Vec::new(),
            }
        } else if word.starts_with('/') {
            self.paths.iter().filter(|path| path.starts_with(word)).cloned().collect()
        } else if start == 0 {
            let mut found = begins(&METHODS, " ");
            let lower = word.to_ascii_lowercase();
            let fields =
                FIELDS.iter().filter(|one| !word.is_empty() && one.to_ascii_lowercase().starts_with(&lower));
            found.extend(fields.map(|one| format!("{one}: ")));
            found
        } else {
            Vec::new()
        };
        Ok((start, found))
    }
}

impl Hinter for CompletionWords {
    type Hint = String;
}

impl Highlighter for CompletionWords {}

impl Validator for CompletionWords {}

impl Helper for CompletionWords {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_remembered() {
        for line in [
            "Authorization: Bearer x",
            "cookie: a=b",
            "GET /?token=x",
            "POST /login {\"password\":\"x\"}",
            "X-Api-Key: 1",
        ] {
            assert!(is_secret(line), "{line}");
        }
        for line in ["GET /cookies", "Accept: text/html", ":cookies", "POST / {\"name\":1}", "/a?page=2"] {
            assert!(!is_secret(line), "{line}");
        }
    }

    #[test]
    fn words_are_completed_where_they_stand() {
        let words = CompletionWords { paths: vec!["/".into(), "/api".into(), "/about".into()] };
        let history = DefaultHistory::new();
        let complete = |line: &str| words.complete(line, line.len(), &Context::new(&history)).unwrap();
        assert_eq!(complete("PO"), (0, vec!["POST ".to_owned()]));
        assert_eq!(complete("GET /a"), (4, vec!["/api".to_owned(), "/about".to_owned()]));
        assert_eq!(complete("acc").1.len(), 3);
        assert_eq!(complete(":re"), (1, vec!["reload".to_owned()]));
        assert_eq!(complete(":trace o"), (7, vec!["off".to_owned(), "on".to_owned()]));
    }
}
