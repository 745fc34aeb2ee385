//! Formats log lines.

use std::fmt::{self, Debug};
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level as Severity, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::is_secret_field;
use crate::escape;
use crate::inflight::{self, LoggedIds};
use crate::ops::sections::log::LogFormat;

/// The process that each line names.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Whose {
    pub(crate) generation: u64,
    pub(crate) worker: usize,
}

/// Writes events.
pub(super) struct Lines {
    pub(super) format: LogFormat,
    pub(super) whose: Option<Whose>,
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
        let current = inflight::current();
        let LoggedIds { request, trace } = current.logged();
        let mut name = |name: &str, id: String| {
            fields.values.entry(name).or_insert_with(|| id.into());
        };
        if let Some(id) = request {
            name("request_id", id.to_string());
        }
        if let Some((trace, span)) = trace.map(|ids| ids.hex()) {
            name("trace_id", trace);
            name("span_id", span);
        }
        current.log(|| format!("{level:5} {target}: {}", fields.message));
        if let Some(Whose { generation, worker }) = self.whose {
            fields.values.insert("generation".into(), generation.into());
            fields.values.insert("worker".into(), worker.into());
        }
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        match self.format {
            LogFormat::Text => text(writer, &time, level, target, &fields),
            LogFormat::Json => json_line(writer, &time, level, target, fields),
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
    // Escape the message: a line break must not look like another line, nor a terminal take any of it for a
    // command.
    write!(writer, " {}", escape::text(fields.message.clone()))?;
    for (name, value) in &fields.values {
        match value {
            Value::String(value) if is_plain(value) => write!(writer, " {name}={value}")?,
            value => write!(writer, " {name}={}", escape::json(value.to_string()))?,
        }
    }
    writer.write_char('\n')
}

/// Whether a text needs no quotes.
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
        // A field cannot hide any of the keys above.
        let name = if line.contains_key(&name) { format!("field_{name}") } else { name };
        line.insert(name, value);
    }
    writeln!(writer, "{}", escape::json(Value::Object(line).to_string()))
}

/// The message and the fields of an event, in order.
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
