//! `Procfile`: the programs of a project, one per line.
//!
//! # Source
//! Heroku, "The Procfile", and foreman's reading of it: <https://devcenter.heroku.com/articles/procfile>.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

/// The programs of a `Procfile`, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Procfile {
    /// The programs.
    pub entries: Vec<ProcfileEntry>,
    /// The lines that name no program, and why. Other tools skip them silently.
    pub skipped: Vec<SkippedLine>,
}

/// One program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcfileEntry {
    /// Its name: `web`, `worker`.
    pub name: String,
    /// Its command, for a shell.
    pub command: String,
    /// The line, from 1.
    pub line: usize,
}

/// What a program of a `Procfile` is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcfileRole {
    /// `web`: it serves requests, at the port in `PORT`.
    Web,
    /// `release`: it runs once, before the others.
    Release,
    /// Any other name: it runs beside `web`, and serves nothing.
    Worker,
}

/// A line that names no program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedLine {
    /// The line, from 1.
    pub line: usize,
    /// Why: lower case, no full stop.
    pub reason: String,
}

impl ProcfileEntry {
    /// What the program is for.
    pub fn role(&self) -> ProcfileRole {
        match &*self.name {
            "web" => ProcfileRole::Web,
            "release" => ProcfileRole::Release,
            _ => ProcfileRole::Worker,
        }
    }

    /// The command as the words of a program, with `{port}` for the variable `PORT` in the one of `web`. A command that only
    /// a shell understands is an argument of `/bin/sh`.
    pub fn words(&self) -> Vec<String> {
        static PORT: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"\$PORT\b|\$\{PORT\}").expect("it is valid"));
        let with_port = match self.role() {
            ProcfileRole::Web => PORT.replace_all(&self.command, "{port}"),
            _ => self.command.as_str().into(),
        };
        let shell = || ["/bin/sh", "-c", &self.command].map(str::to_owned).to_vec();
        simple_words(&with_port).unwrap_or_else(shell)
    }
}

/// The words of a command that means the same without a shell: no variables, patterns, operators or commands of the
/// shell itself. `{port}` is allowed.
pub fn simple_words(command: &str) -> Option<Vec<String>> {
    const SPECIAL: &str = "$`|&;<>(){}*?[]~#!\n";
    const OF_SHELL: [&str; 16] = [
        "cd", "exec", "export", "set", "source", ".", "eval", "trap", "ulimit", "umask", "if", "for",
        "while", "until", "case", "time",
    ];
    let is_special = |c: char| SPECIAL.contains(c);
    let words = shlex::split(command).filter(|_| !command.replace("{port}", "").contains(is_special))?;
    let program = words.first()?;
    (!program.contains('=') && !OF_SHELL.contains(&program.as_str())).then_some(words)
}

impl Procfile {
    /// Reads a `Procfile`: lines `name: command`, and comments, which begin with `#`. The first line of a name counts.
    pub fn parse(text: &str) -> Procfile {
        let mut procfile = Procfile::default();
        let mut names = BTreeSet::new();
        for (index, whole) in text.lines().enumerate() {
            let (line, text) = (index + 1, whole.trim());
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let mut skip = |reason: String| procfile.skipped.push(SkippedLine { line, reason });
            let Some((name, command)) = text.split_once(':') else {
                skip("it is not of the form `name: command`".to_owned());
                continue;
            };
            let (name, command) = (name.trim_end(), command.trim());
            let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            if name.is_empty() || !name.chars().all(valid) {
                skip(format!("`{name}` is not a name: use letters, digits, `-` and `_`"));
            } else if command.is_empty() {
                skip(format!("`{name}` has no command"));
            } else if !names.insert(name) {
                skip(format!("`{name}` is named twice"));
            } else {
                let (name, command) = (name.to_owned(), command.to_owned());
                procfile.entries.push(ProcfileEntry { name, command, line });
            }
        }
        procfile
    }

    /// The entry of this name.
    pub fn entry(&self, name: &str) -> Option<&ProcfileEntry> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_lines_that_name_none() {
        let procfile = Procfile::parse(
            "# the site\nweb: node server.js --port $PORT\n\nworker : rake jobs:work\r\n  clock:\ttick\nbroken\nweb: again\nbad name: x\nempty:\nrelease: ./migrate && ./seed\n",
        );
        let entries: Vec<_> = procfile
            .entries
            .iter()
            .map(|entry| (entry.line, &*entry.name, &*entry.command, entry.role()))
            .collect();
        assert_eq!(
            entries,
            [
                (2, "web", "node server.js --port $PORT", ProcfileRole::Web),
                (4, "worker", "rake jobs:work", ProcfileRole::Worker),
                (5, "clock", "tick", ProcfileRole::Worker),
                (10, "release", "./migrate && ./seed", ProcfileRole::Release),
            ]
        );
        let skipped: Vec<_> = procfile.skipped.iter().map(|one| (one.line, &*one.reason)).collect();
        assert_eq!(
            skipped,
            [
                (6, "it is not of the form `name: command`"),
                (7, "`web` is named twice"),
                (8, "`bad name` is not a name: use letters, digits, `-` and `_`"),
                (9, "`empty` has no command"),
            ]
        );
        assert_eq!(procfile.entry("clock").map(|entry| entry.line), Some(5));
    }

    #[test]
    fn a_shell_runs_only_what_needs_one() {
        let words = |line: &str| Procfile::parse(line).entries[0].words();
        assert_eq!(words("web: node server.js 'a b'"), ["node", "server.js", "a b"]);
        assert_eq!(words("web: puma -p $PORT"), ["puma", "-p", "{port}"]);
        assert_eq!(words("web: puma -b \"tcp://0.0.0.0:${PORT}\""), ["puma", "-b", "tcp://0.0.0.0:{port}"]);
        for command in [
            "puma -p ${PORT:-3000}",
            "puma -p $PORTS",
            "RAILS_ENV=test puma",
            "cd site && node .",
            "cd site",
            "exec puma",
            "a | b",
            "ls *.rb",
            "echo 'not closed",
        ] {
            assert_eq!(words(&format!("web: {command}")), ["/bin/sh", "-c", command]);
        }
        // Only `web` has a port.
        assert_eq!(words("worker: rake $PORT"), ["/bin/sh", "-c", "rake $PORT"]);
    }
}
