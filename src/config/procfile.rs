//! `Procfile`: the programs of a project, one per line.
//!
//! # Source
//! Heroku, "The Procfile", and foreman's reading of it: <https://devcenter.heroku.com/articles/procfile>.

use std::collections::BTreeSet;

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

    /// The command as the words of a program: a shell that runs it, and that the program replaces if it is a simple
    /// command.
    pub fn words(&self) -> [String; 3] {
        let simple = !self.command.contains(['|', '&', ';', '<', '>', '(', ')', '{', '`', '\n']);
        let is_assignment = |word: &str| word.contains('=');
        let starts_program = self.command.split_whitespace().next().is_some_and(|word| !is_assignment(word));
        let is_builtin = self.command.starts_with("cd ") || self.command.starts_with("exec ");
        let exec = if simple && starts_program && !is_builtin { "exec " } else { "" };
        ["/bin/sh".to_owned(), "-c".to_owned(), format!("{exec}{}", self.command)]
    }
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
    fn a_shell_runs_the_command_and_a_simple_one_replaces_it() {
        let check = |command: &str, expected: &str| {
            let procfile = Procfile::parse(&format!("web: {command}"));
            assert_eq!(procfile.entries[0].words(), ["/bin/sh", "-c", expected], "{command}");
        };
        check("node server.js $PORT", "exec node server.js $PORT");
        check("RAILS_ENV=test puma", "RAILS_ENV=test puma");
        check("cd site && node .", "cd site && node .");
        check("cd site", "cd site");
        check("exec puma", "exec puma");
        check("a | b", "a | b");
    }
}
