//! What a program is started with: options that the kind `program` and the tables `[program.NAME]` share.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::process::{AddressKind, ProcessLimits, ProcessSpec, ResourceLimits, Restart, Uncompared};
use super::super::upstream::{Secs, check_variables, secs};
use super::settings::{ProgramSettings, Ready, StopSignal};
use crate::config::{ConfigPath, Table, item, read_env_file};
use crate::error::{Error, Errors, Result};

/// What every program has.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ProgramOptions {
    /// The program with its arguments: `["node", "server.js"]`. A string is split into words as a shell would, with quotes and
    /// backslashes, but no shell runs it. In each word, `{port}`, `{host}` and `{socket}` stand for the address.
    command: CommandWords,
    /// Working directory of the program. Default: the config's directory.
    working_dir: Option<ConfigPath>,
    /// Variables to add to the environment of the program. `{port}`, `{host}` and `{socket}` in their values stand for the
    /// address.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Files of variables, such as `.env`. paster's own environment and `env` take precedence over them, and later files over
    /// earlier ones.
    #[serde(default)]
    env_files: Vec<ConfigPath>,
    /// The user, by name or number, that runs the program. Default: `user` of `[process]`. Only root can set another one.
    user: Option<String>,
    /// Its group, by name or number. Default: the user's primary group.
    group: Option<String>,
    /// Resource limits of the program. Default: `limits` of `[process]`.
    #[serde(default)]
    limits: ResourceLimits,
    /// Whether to restart the program when it ends unexpectedly. It restarts at once, and after 5 starts within 10 s with
    /// growing pauses of up to 10 s.
    #[serde(default)]
    restart: Restart,
    /// Names of `[program.NAME]` tables and of apps with processes. This program starts when they are ready, and ends before
    /// them.
    #[serde(default)]
    after: Vec<String>,
    /// Maximum time until the program is ready.
    #[serde(default = "half_a_minute")]
    start_secs: Secs,
    /// The signal that stops the program and its child processes: `TERM`, `INT`, `QUIT`, `HUP`, `USR1` or `USR2`.
    #[serde(default)]
    stop_signal: StopSignal,
    /// Maximum time to end after the signal. After that, it is killed.
    #[serde(default = "ten_seconds")]
    stop_secs: Secs,
    /// Replace the program when its memory has grown by this many MiB since it became ready; 0 means never.
    #[serde(default)]
    max_growth_mib: u64,
    /// Files and directories whose changes replace the program, with `--reload`. Default: the program and the arguments that
    /// are files, unless they are installed outside the working directory.
    watch: Option<Vec<ConfigPath>>,
    /// Give the program a terminal, for a debugger: `paster attach`. Default: true with `--reload` in a terminal.
    terminal: Option<bool>,
}

/// A program with its arguments.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(super) enum CommandWords {
    /// The words.
    Words(Vec<String>),
    /// Words in one string.
    Text(String),
}

fn half_a_minute() -> Secs {
    secs(30)
}

fn ten_seconds() -> Secs {
    secs(10)
}

/// What the kind, or the table, adds.
pub(super) struct Serving {
    pub(super) address: AddressKind,
    pub(super) count: usize,
    pub(super) ready: Ready,
    pub(super) http2: bool,
    pub(super) stuck_secs: u64,
    pub(super) once: bool,
}

impl ProgramOptions {
    /// How the program of `table` is started. In `development`, its files are watched.
    /// # Errors
    /// Every fault of the options; a program that does not exist.
    pub(super) fn spec(self, table: &Table, serving: Serving, development: bool) -> Result<ProcessSpec> {
        let mut errors = Vec::new();
        check_variables(table, "env", &self.env, &mut errors);
        for name in
            ["PORT", "HOST", "SOCKET", "LISTEN_FDS"].iter().filter(|name| self.env.contains_key(**name))
        {
            if serving.address != AddressKind::None {
                let at = crate::config::join("env", name);
                let error = table.error(&at, format!("`{name}` is set by paster"));
                errors.push(error.help("let the program use it, or pass it on: `MY_PORT = \"{port}\"`"));
            }
        }
        let config = table.base(&"command".into()).to_path_buf();
        let folder = self.working_dir.as_deref().map_or(config, Path::to_path_buf);
        if !folder.is_dir() {
            errors.push(table.error("working_dir", format!("`{}` is not a directory", folder.display())));
        }
        let mut env = self.variables(table, &mut errors);
        let words = self.words(table, &mut errors);
        if errors.is_empty()
            && let Err(error) = find(table, &words, &folder, &env)
        {
            errors.push(error);
        }
        Errors::check(errors)?;
        let watched = match (&self.watch, development) {
            (_, false) => Vec::new(),
            (Some(paths), _) => paths.iter().map(|path| path.to_path_buf()).collect(),
            (None, _) => files_of(&words, &folder),
        };
        let terminal = self.terminal.unwrap_or(development && std::io::stderr().is_terminal());
        if terminal && !self.env.contains_key("TERM") {
            env.entry("TERM".to_owned()).or_insert_with(|| "xterm-256color".to_owned());
        }
        let settings = ProgramSettings {
            name: table.name().to_owned(),
            words,
            ready: serving.ready,
            http2: serving.http2,
            start_secs: u64::from(self.start_secs.get()),
            stop_signal: self.stop_signal,
            stop_secs: u64::from(self.stop_secs.get()),
            stuck_secs: serving.stuck_secs,
            once: serving.once,
            terminal,
            reports: self.max_growth_mib > 0,
            fill: self
                .env
                .iter()
                .filter(|(_, value)| value.contains('{'))
                .map(|(name, _)| name.clone())
                .collect(),
        };
        let settings = settings.encode();
        Ok(ProcessSpec {
            program: PathBuf::from("/proc/self/exe"),
            args: vec!["__program".to_owned()],
            folder,
            env,
            settings: vec![("program".to_owned(), settings)],
            details: Uncompared::default(),
            count: serving.count,
            address: serving.address,
            forwarded: true,
            runs_plugins: false,
            has_stacks: false,
            // The process beside the program reports the program's own limit.
            start_secs: u64::from(self.start_secs.get()) + 5,
            stop_secs: u64::from(self.stop_secs.get()) + 2,
            limits: ProcessLimits { growth_mb: self.max_growth_mib, ..ProcessLimits::default() },
            restart: if serving.once { Restart::Never } else { self.restart },
            once: serving.once,
            after: self.after,
            watched,
            user: self.user,
            group: self.group,
            resources: self.limits,
        })
    }

    /// The variables of `env` and of the files, without those that paster's own environment has.
    fn variables(&self, table: &Table, errors: &mut Vec<Error>) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        for (index, path) in self.env_files.iter().enumerate() {
            match read_env_file(path) {
                Ok(found) => variables.extend(found),
                Err(error) => errors.push(error.at(table.origin(item("env_files", index)))),
            }
        }
        variables.retain(|name, _| std::env::var_os(name).is_none());
        variables.extend(self.env.clone());
        variables
    }

    fn words(&self, table: &Table, errors: &mut Vec<Error>) -> Vec<String> {
        let words = match &self.command {
            CommandWords::Words(words) => words.clone(),
            CommandWords::Text(text) => shlex::split(text).unwrap_or_else(|| {
                let error = table.error("command", "a quote in `command` is not closed");
                errors
                    .push(error.help("close it, or write the words as a list: `[\"node\", \"server.js\"]`"));
                vec![String::new(); 2]
            }),
        };
        if words.len() < 2 && words.first().is_none_or(String::is_empty) {
            let error = table.error("command", "`command` does not name a program");
            errors.push(error.help("write `command = [\"program\", \"argument\"]`"));
        }
        if words.iter().any(|word| word.contains('\0')) {
            errors.push(table.error("command", "`command` must not contain a NUL"));
        }
        words
    }
}

/// The program that `words` name, seen from `folder`.
/// # Errors
/// When there is none.
fn find(table: &Table, words: &[String], folder: &Path, env: &BTreeMap<String, String>) -> Result<(), Error> {
    let name = words.first().map_or("", String::as_str);
    if name.contains('/') {
        let path = folder.join(name);
        if is_program(&path) {
            return Ok(());
        }
        let what = if path.exists() { "is not executable" } else { "does not exist" };
        return Err(table.error("command", format!("the program `{}` {what}", path.display())));
    }
    let path = env.get("PATH").map(Into::into).or_else(|| std::env::var_os("PATH")).unwrap_or_default();
    if std::env::split_paths(&path).any(|place| is_program(&folder.join(place).join(name))) {
        return Ok(());
    }
    let error = table.error("command", format!("there is no program `{name}` on the `PATH`"));
    Err(match folder.join(name).is_file() {
        true => error.help(format!("write `./{name}` for the file in the working directory")),
        false => error.help("install it, or write the path of its file"),
    })
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The files among the words of a command that belong to the project in `folder`.
fn files_of(words: &[String], folder: &Path) -> Vec<PathBuf> {
    let files = words.iter().map(|word| folder.join(word));
    files.filter(|path| path.is_file() && path.starts_with(folder)).collect()
}
