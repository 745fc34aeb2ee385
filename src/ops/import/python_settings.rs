//! The settings of Python servers, from a Python file or from arguments, and what they have in common.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};

use super::ImportInput;
use super::draft::{Draft, plain};
use crate::app::find_interpreter;
use crate::error::{Error, Result};

/// Reads the settings by Python's own parser. The file is not run.
const READER: &str = include_str!("settings.py");

/// A setting, as written in the file.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct PythonSetting {
    pub(super) name: String,
    /// The line, from 1; 0 for an argument.
    #[serde(default)]
    pub(super) line: usize,
    /// Its value as the config writes it: with `${env:…}` for variables of the environment.
    #[serde(default)]
    pub(super) value: Value,
    /// The expression, if its value is known only when the file runs.
    #[serde(default)]
    pub(super) code: Option<String>,
    /// Whether it is a function.
    #[serde(default)]
    pub(super) function: bool,
}

/// The settings in the Python file `input`: its assignments, or with a `module` the arguments of its `run`.
/// # Errors
/// If there is no Python interpreter, or the file is not Python.
pub(super) fn read(input: &ImportInput, module: &str) -> Result<Vec<PythonSetting>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum SettingsReport {
        Settings(Vec<PythonSetting>),
        Syntax { error: String, line: Option<usize> },
    }
    let Some(interpreter) = find_interpreter(&[input.folder()]) else {
        let error =
            Error::new(format!("`{}` is Python, and there is no Python interpreter", input.path.display()));
        return Err(error.help("install python3, or set `VIRTUAL_ENV`").into());
    };
    let mut command = Command::new(&interpreter);
    command.args(["-I", "-c", READER, module]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = || Error::new(format!("`{}` cannot read `{}`", interpreter.display(), input.path.display()));
    let output = run(&mut command, &input.text).map_err(|cause| failed().because(cause))?;
    match serde_json::from_slice(&output.stdout) {
        Ok(SettingsReport::Settings(settings)) => Ok(settings),
        Ok(SettingsReport::Syntax { error, line }) => {
            Err(input.error(line.unwrap_or(0), format!("it is not valid Python: {error}")).into())
        }
        Err(cause) => {
            Err(failed().because(cause).with_output(String::from_utf8_lossy(&output.stderr)).into())
        }
    }
}

/// Runs a program to its end. It reads `text` before it writes.
fn run(command: &mut Command, text: &str) -> std::io::Result<Output> {
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(text.as_bytes())?;
    }
    child.wait_with_output()
}

/// An option of a command: the setting that it is, its names, and whether it has no value.
pub(super) struct PythonFlag(pub(super) &'static str, pub(super) &'static [&'static str], pub(super) bool);

/// The settings in the arguments of a command. The first word without a dash is the setting `positional`.
/// # Errors
/// An option that is not known, or without its value.
pub(super) fn of_arguments(
    arguments: &[String],
    flags: &[PythonFlag],
    positional: &str,
) -> Result<Vec<PythonSetting>> {
    let mut settings: Vec<PythonSetting> = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut add = |name: &str, value: Value| match settings
            .iter_mut()
            .find(|setting| setting.name == name)
        {
            // `-b` and `-e` may be repeated.
            Some(PythonSetting { value: Value::Array(list), .. }) => list.push(value),
            Some(setting) => setting.value = json!([setting.value.take(), value]),
            None => settings.push(PythonSetting { name: name.to_owned(), value, ..PythonSetting::default() }),
        };
        if !word.starts_with('-') {
            add(positional, plain(word));
            continue;
        }
        let (option, joined) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value.to_owned())),
            // `-w4`
            None if !word.starts_with("--") && word.len() > 2 && word.is_char_boundary(2) => {
                (&word[..2], Some(word[2..].to_owned()))
            }
            None => (&word[..], None),
        };
        let Some(PythonFlag(name, _, alone)) = flags.iter().find(|flag| flag.1.contains(&option)) else {
            return Err(Error::usage(format!("unknown option `{option}`")).into());
        };
        let value = match alone {
            true => json!(!option.starts_with("--no-")),
            false => match joined.or_else(|| words.next().cloned()) {
                Some(value) => plain(&value),
                None => return Err(Error::usage(format!("`{option}` has no value")).into()),
            },
        };
        add(name, value);
    }
    Ok(settings)
}

impl PythonSetting {
    /// The value as a list of strings.
    pub(super) fn list(&self) -> Vec<String> {
        match &self.value {
            Value::String(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
            Value::Array(items) => items.iter().map(text_of).collect(),
            Value::Null => Vec::new(),
            other => vec![text_of(other)],
        }
    }

    pub(super) fn text(&self) -> String {
        text_of(&self.value)
    }

    /// The value as a number of the config: a number, or a string with a reference.
    pub(super) fn number(&self) -> Value {
        match &self.value {
            Value::String(text) => text.parse::<i64>().map_or_else(|_| text.as_str().into(), Value::from),
            other => other.clone(),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        matches!(&self.value, Value::Bool(true)) || self.value == "True" || self.value == "true"
    }

    /// Whether there is nothing to do: `None`, or off.
    pub(super) fn is_off(&self) -> bool {
        matches!(&self.value, Value::Null | Value::Bool(false)) || self.value == ""
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Notes a setting that has no equivalent.
pub(super) fn lose(draft: &mut Draft, setting: &PythonSetting, why: &str) {
    let PythonSetting { name, line, code, function, .. } = setting;
    let shown = match (function, code) {
        (true, _) => format!("the function `{name}`"),
        (_, Some(code)) if name.is_empty() => format!("`{code}`"),
        (_, Some(code)) => format!("`{name} = {code}`"),
        (_, None) => format!("`{name}`"),
    };
    draft.lose(*line, format!("{shown}: {why}"));
}

/// `forwarded_allow_ips`: the proxies whose fields are trusted.
pub(super) fn trusted_proxies(draft: &mut Draft, setting: &PythonSetting) {
    let mut proxies: Vec<String> = setting.list();
    if proxies.iter().any(|proxy| proxy == "*") {
        lose(
            draft,
            setting,
            "`trusted_proxies` must name the networks of the proxies; `*` would let clients choose their address",
        );
        proxies.retain(|proxy| proxy != "*");
    }
    if !proxies.is_empty() {
        draft.set("server", "main", &["trusted_proxies"], json!(proxies));
    }
}

/// The certificate of the server, with the settings of these names.
pub(super) fn certificate(draft: &mut Draft, settings: &[PythonSetting], names: [&str; 4]) {
    let text = |name: &str| {
        let setting = settings.iter().find(|setting| setting.name == name && !setting.is_off());
        setting.map(PythonSetting::text)
    };
    let [certificate, key, authorities, required] = names;
    let Some(certificate) = text(certificate) else { return };
    let key = text(key).unwrap_or_else(|| certificate.clone());
    let entry = json!([{ "certificate_file": certificate, "key_file": key }]);
    draft.set("server", "main", &["tls", "certificates"], entry);
    let wanted = match text(required).as_deref() {
        Some("1" | "ssl.CERT_OPTIONAL") => "optional",
        Some("2" | "ssl.CERT_REQUIRED") => "required",
        _ => return,
    };
    draft.set("server", "main", &["tls", "client_certificates"], wanted);
    if let Some(authorities) = text(authorities) {
        draft.set("server", "main", &["tls", "client_ca_file"], authorities);
    }
}

/// Stands for the port in `PORT`, until all strings have been escaped.
pub(super) const PORT_MARK: char = '\u{1}';

/// The address of a server, whose port is `default` if none is written.
pub(super) fn address(text: &str, default: u16) -> String {
    if let Some(number) = text.strip_prefix("fd://") {
        return format!("fd:{number}");
    }
    let text = text.strip_prefix("http://").or_else(|| text.strip_prefix("tcp://")).unwrap_or(text);
    let has_port = text.ends_with(['}', PORT_MARK])
        || text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    match text {
        text if text.starts_with("unix:") => {
            format!("unix:{}", text.trim_start_matches("unix:").replace("//", "/"))
        }
        text if has_port => text.to_owned(),
        text => format!("{text}:{default}"),
    }
}
