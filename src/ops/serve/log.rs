//! The table `[log]`, and the log output of a process: one line an event.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level as Severity, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{Config, ConfigPath, is_secret_field, join};
use crate::context::Reopen;
use crate::error::{Error, Errors, Result};

/// Options of the table `[log]`: what workers and plugins say beside the access log. The variable `PASTER_LOG` goes
/// before its levels (`debug`, `paster=trace,hyper=off`).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// How a line is written.
    format: Format,
    /// The least level that is written.
    level: Level,
    /// The same for single targets, which begin with these names: `paster::server`, `hyper`, `plugin`.
    levels: BTreeMap<String, Level>,
    /// File that lines are appended to, instead of standard error; opened anew on USR1.
    file: Option<ConfigPath>,
}

/// How a line is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// Time, level, target, message and fields, for people.
    #[default]
    Text,
    /// A JSON object.
    Json,
}

/// How much is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Level {
    /// Nothing.
    Off,
    /// What failed.
    Error,
    /// What may fail soon, too.
    Warn,
    /// What happens seldom, too.
    #[default]
    Info,
    /// Each request's ways, too.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Off => "off",
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

impl Log {
    /// Reads the table `[log]` of `config`.
    /// # Errors
    /// Unknown and ill-typed keys; names that are no targets.
    pub fn read(config: &Config) -> Result<Log> {
        let Some(table) = config.section("log") else { return Ok(Log::default()) };
        let log: Log = table.options()?;
        let mut errors = Vec::new();
        for target in log.levels.keys() {
            let fits =
                target.chars().all(|c| c.is_alphanumeric() || "_:-.".contains(c)) && !target.is_empty();
            if !fits {
                let error =
                    table.error(&join("levels", target), format!("`{target}` is no target of the log"));
                errors.push(error.help("write the beginning of a target, such as `paster::server`"));
            }
        }
        Errors::check(errors)?;
        Ok(log)
    }

    /// `info,paster::server=debug`
    fn filter(&self) -> String {
        let levels = self.levels.iter().map(|(target, level)| format!(",{target}={}", level.name()));
        std::iter::once(self.level.name().to_owned()).chain(levels).collect()
    }
}

/// Whose log it is: what each line says of its process.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Whose {
    pub(super) generation: u64,
    pub(super) worker: usize,
}

/// Starts it; without `whose`, lines say nothing of the process. Each line goes to `copy` too, while it has room.
/// # Errors
/// When the file cannot be opened.
pub(super) fn start(
    log: &Log,
    whose: Option<Whose>,
    copy: Option<mpsc::Sender<Vec<u8>>>,
    reopen: Reopen,
) -> Result<(), Error> {
    let sink = match &log.file {
        None => Sink::Stderr,
        Some(path) => {
            let file = open(path).map_err(|cause| {
                Error::new(format!("cannot open the log file `{}`", path.display()))
                    .because(cause)
                    .help("create its folder, or correct `file` of `[log]`")
            })?;
            let open = Open { path: path.to_path_buf(), file, count: reopen.count() };
            Sink::File(Arc::new(Mutex::new(open)), reopen)
        }
    };
    let filter = EnvFilter::try_from_env("PASTER_LOG").unwrap_or_else(|_| EnvFilter::new(log.filter()));
    let colours = log.file.is_none()
        && log.format == Format::Text
        && io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none();
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Sinks { sink, copy })
        .with_ansi(colours)
        .event_format(Lines { format: log.format, whose })
        .try_init(); // an error means that a log is there already
    Ok(())
}

/// Where lines go.
enum Sink {
    Stderr,
    File(Arc<Mutex<Open>>, Reopen),
}

struct Open {
    path: PathBuf,
    file: File,
    /// Count of requests to open it anew when it was opened.
    count: u64,
}

/// Lines may say what is nobody's business but the owner's and the group's.
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// Where lines go, and their copies.
struct Sinks {
    sink: Sink,
    copy: Option<mpsc::Sender<Vec<u8>>>,
}

impl<'a> MakeWriter<'a> for Sinks {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// Takes one line, which comes in one piece.
struct Line<'a>(&'a Sinks);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(copy) = &self.0.copy {
            let _ = copy.try_send(uncoloured(line)); // it stands where it belongs all the same
        }
        match &self.0.sink {
            Sink::Stderr => io::stderr().write_all(line)?,
            Sink::File(open_file, reopen) => {
                let mut open_file = open_file.lock().unwrap_or_else(PoisonError::into_inner);
                let count = reopen.count();
                if open_file.count != count {
                    open_file.count = count;
                    // Where that fails, the old one takes what comes.
                    if let Ok(file) = open(&open_file.path) {
                        open_file.file = file;
                    }
                }
                open_file.file.write_all(line)?;
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // nothing is kept back
    }
}

/// Writes events.
struct Lines {
    format: Format,
    whose: Option<Whose>,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (level, mut target) = (event.metadata().level(), event.metadata().target());
        let from = fields.values.remove("from");
        if let Some(from) = from.as_ref().and_then(Value::as_str).filter(|_| target == "plugin") {
            target = from;
        }
        if let Some(Value::String(inner)) = fields.values.remove("fields") {
            fields.values.extend(serde_json::from_str::<Map<String, Value>>(&inner).unwrap_or_default());
        }
        for (name, value) in &mut fields.values {
            if is_secret_field(name) {
                *value = "***".into();
            }
        }
        if let Some(Whose { generation, worker }) = self.whose {
            fields.values.insert("generation".into(), generation.into());
            fields.values.insert("worker".into(), worker.into());
        }
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        match self.format {
            Format::Text => text(writer, &time, level, target, &fields),
            Format::Json => json_line(writer, &time, level, target, fields),
        }
    }
}

fn text(
    mut writer: Writer<'_>,
    time: &dyn fmt::Display,
    level: &Severity,
    target: &str,
    fields: &Fields,
) -> fmt::Result {
    let colour = match *level {
        Severity::ERROR => 31,
        Severity::WARN => 33,
        Severity::INFO => 32,
        _ => 34,
    };
    match writer.has_ansi_escapes() {
        true => {
            write!(writer, "\x1b[2m{time}\x1b[0m \x1b[{colour}m{level:5}\x1b[0m \x1b[2m{target}\x1b[0m:")?
        }
        false => write!(writer, "{time} {level:5} {target}:")?,
    }
    // A line break in a message must not look like another line.
    write!(writer, " {}", fields.message.replace('\r', "\\r").replace('\n', "\\n"))?;
    for (name, value) in &fields.values {
        match value {
            Value::String(value) if is_plain(value) => write!(writer, " {name}={value}")?,
            value => write!(writer, " {name}={value}")?,
        }
    }
    writer.write_char('\n')
}

/// Whether a text can stand without quotes.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_./:[]@+%".contains(c))
}

fn json_line(
    mut writer: Writer<'_>,
    time: &dyn fmt::Display,
    level: &Severity,
    target: &str,
    fields: Fields,
) -> fmt::Result {
    let mut line = Map::new();
    line.insert("time".into(), time.to_string().into());
    line.insert("level".into(), level.as_str().to_ascii_lowercase().into());
    line.insert("target".into(), target.into());
    line.insert("message".into(), fields.message.into());
    for (name, value) in fields.values {
        // What a field calls itself hides none of the above.
        let name = if line.contains_key(&name) { format!("field_{name}") } else { name };
        line.insert(name, value);
    }
    writeln!(writer, "{}", Value::Object(line))
}

/// The message and the fields of an event, in their order.
#[derive(Default)]
struct Fields {
    message: String,
    values: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => drop(self.values.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, json!(value));
    }
}

/// `line` without the sequences that set colours.
fn uncoloured(line: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"\x1b[") {
        plain.extend_from_slice(&rest[..at]);
        let end = rest[at..].iter().position(|byte| *byte == b'm');
        rest = end.map_or(&[], |end| &rest[at + end + 1..]);
    }
    plain.extend_from_slice(rest);
    plain
}

#[cfg(test)]
mod tests {
    #[test]
    fn copies_have_no_colours() {
        assert_eq!(super::uncoloured(b"\x1b[2mtime\x1b[0m \x1b[31mERROR\x1b[0m no\n"), b"time ERROR no\n");
        assert_eq!(super::uncoloured(b"plain [m\n"), b"plain [m\n");
    }
}
