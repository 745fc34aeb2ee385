//! Lines of the log as log records.

use std::time::UNIX_EPOCH;

use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use serde_json::{Map, Value};

use crate::ops::control::LogLine;
use crate::tls_client::{attribute, nanos, text};

/// The levels as severities.
const LEVELS: [(&str, SeverityNumber); 5] = [
    ("TRACE", SeverityNumber::Trace),
    ("DEBUG", SeverityNumber::Debug),
    ("INFO", SeverityNumber::Info),
    ("WARN", SeverityNumber::Warn),
    ("ERROR", SeverityNumber::Error),
];
/// What wrote the lines of the supervisor.
const SUPERVISOR: &str = "supervisor";
/// The fields that paster adds at the end of a line.
const ADDED: [&str; 5] = ["request_id", "trace_id", "span_id", "generation", "worker"];

/// The content of a line.
#[derive(Default)]
struct Parsed {
    /// In nanoseconds since 1970.
    time: Option<u64>,
    level: String,
    target: String,
    message: String,
    fields: Map<String, Value>,
}

/// The log record of a line: of paster's own, in either format, or of any other program.
pub(super) fn record(line: &LogLine) -> LogRecord {
    let parsed = json_line(&line.text).or_else(|| text_line(&line.text)).or_else(|| supervisor_line(line));
    let Parsed { time, level, target, message, mut fields } =
        parsed.unwrap_or_else(|| Parsed { message: line.text.clone(), ..Parsed::default() });
    let observed = line.at_ms.saturating_mul(1_000_000);
    let (trace_id, span_id) = (take_id(&mut fields, "trace_id", 16), take_id(&mut fields, "span_id", 8));
    let mut attributes = vec![text("paster.process", &line.from)];
    if !target.is_empty() {
        attributes.push(text("paster.target", &target));
    }
    for (name, value) in fields {
        let name = if ADDED.contains(&&*name) { format!("paster.{name}") } else { name };
        attributes.push(attribute(&name, any(value)));
    }
    let severity = LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&level));
    LogRecord {
        time_unix_nano: time.unwrap_or(observed),
        observed_time_unix_nano: observed,
        severity_number: severity.map_or(SeverityNumber::Unspecified, |(_, number)| *number).into(),
        severity_text: severity.map(|(name, _)| (*name).to_owned()).unwrap_or_default(),
        body: Some(AnyValue { value: Some(Any::StringValue(message)) }),
        attributes,
        // A span belongs to a trace.
        span_id: span_id.filter(|_| trace_id.is_some()).unwrap_or_default(),
        trace_id: trace_id.unwrap_or_default(),
        ..LogRecord::default()
    }
}

/// Takes a field with an id of `length` bytes in hexadecimal digits.
fn take_id(fields: &mut Map<String, Value>, name: &str, length: usize) -> Option<Vec<u8>> {
    let digits = fields.get(name).and_then(Value::as_str)?.as_bytes();
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16)?).ok();
    let byte = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    let id: Vec<u8> =
        (digits.len() == 2 * length).then(|| digits.chunks(2).map(byte).collect::<Option<_>>()).flatten()?;
    fields.shift_remove(name);
    Some(id)
}

fn any(value: Value) -> Any {
    match value {
        Value::String(text) => Any::StringValue(text),
        Value::Bool(value) => Any::BoolValue(value),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Any::IntValue(whole),
            None => Any::DoubleValue(number.as_f64().unwrap_or(f64::NAN)),
        },
        other => Any::StringValue(other.to_string()),
    }
}

/// A line that the supervisor itself wrote: its messages have no time and no target.
fn supervisor_line(line: &LogLine) -> Option<Parsed> {
    if line.from != SUPERVISOR {
        return None;
    }
    let level = ["error", "warning"].into_iter().find(|level| line.text.starts_with(&format!("{level}: ")));
    let level = match level {
        Some("error") => "ERROR",
        Some(_) => "WARN",
        None => "INFO",
    };
    Some(Parsed { level: level.to_owned(), message: line.text.clone(), ..Parsed::default() })
}

fn json_line(line: &str) -> Option<Parsed> {
    let Value::Object(mut fields) = serde_json::from_str(line).ok().filter(|_| line.starts_with('{'))? else {
        return None;
    };
    let mut own = |name: &str| match fields.shift_remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let (time, level, target) = (time_of(&own("time")?)?, own("level")?, own("target")?);
    let message = own("message")?;
    Some(Parsed { time: Some(time), level, target, message, fields })
}

/// `TIME LEVEL TARGET: MESSAGE FIELD=VALUE…`. The fields of an event remain in the message, because they cannot be parsed
/// reliably. Those that paster has added are at its end.
fn text_line(line: &str) -> Option<Parsed> {
    let (time, rest) = line.split_once(' ')?;
    let time = time_of(time)?;
    let (level, rest) = rest.trim_start().split_once(' ')?;
    let (target, rest) = rest.trim_start().split_once(": ")?;
    let mut message = rest;
    let mut fields = Map::new();
    while let Some((before, last)) = message.rsplit_once(' ')
        && let Some((name, value)) = last.split_once('=')
        && ADDED.contains(&name)
        && !fields.contains_key(name)
    {
        let value = match value.parse::<u64>() {
            Ok(number) if ["generation", "worker"].contains(&name) => number.into(),
            _ => value.trim_matches('"').into(),
        };
        fields.insert(name.to_owned(), value);
        message = before;
    }
    let (level, target) = (level.to_owned(), target.to_owned());
    Some(Parsed { time: Some(time), level, target, message: message.to_owned(), fields })
}

fn time_of(time: &str) -> Option<u64> {
    Some(nanos(humantime::parse_rfc3339(time).ok()?.duration_since(UNIX_EPOCH).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(from: &str, text: &str) -> LogRecord {
        record(&LogLine { at_ms: 5, from: from.into(), text: text.into() })
    }

    fn body(record: &LogRecord) -> Any {
        record.body.clone().unwrap().value.unwrap()
    }

    fn value(record: &LogRecord, key: &str) -> Any {
        let found = record.attributes.iter().find(|one| one.key == key).unwrap();
        found.value.clone().unwrap().value.unwrap()
    }

    #[test]
    fn lines_of_both_formats_and_of_others() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let line = format!(
            "2026-01-01T00:00:02.500Z  WARN plugin: it is a=b late after=3 request_id=ab-1 trace_id={trace} span_id={span} generation=2 worker=0"
        );
        let json = format!(
            "{{\"time\":\"2026-01-01T00:00:02.500Z\",\"level\":\"warn\",\"target\":\"plugin\",\"message\":\"it is\",\"after\":3,\
             \"ok\":true,\"request_id\":\"ab-1\",\"trace_id\":\"{trace}\",\"span_id\":\"{span}\",\"generation\":2,\"worker\":0}}"
        );
        let string = |text: &str| Any::StringValue(text.to_owned());
        for (line, message) in [(&line, "it is a=b late after=3"), (&json, "it is")] {
            let record = of("worker 7", line);
            assert_eq!(record.time_unix_nano, 1_767_225_602_500_000_000, "{record:?}");
            assert_eq!((&*record.severity_text, record.severity_number), ("WARN", 13));
            assert_eq!(body(&record), string(message));
            assert_eq!((record.trace_id[..2].to_vec(), record.trace_id.len()), (vec![0x4b, 0xf9], 16));
            assert_eq!((record.span_id[7], record.span_id.len()), (0xb7, 8));
            assert_eq!(value(&record, "paster.request_id"), string("ab-1"));
            assert_eq!(value(&record, "paster.generation"), Any::IntValue(2));
            assert_eq!(value(&record, "paster.target"), string("plugin"));
        }
        assert_eq!(value(&of("worker 7", &json), "after"), Any::IntValue(3));
        assert_eq!(value(&of("worker 7", &json), "ok"), Any::BoolValue(true));
        let other = of("worker 7", "Traceback: trace_id=no");
        assert_eq!(body(&other), string("Traceback: trace_id=no"));
        assert_eq!((other.time_unix_nano, other.trace_id.len(), other.severity_number), (5_000_000, 0, 0));
        assert_eq!(value(&other, "paster.process"), string("worker 7"));
        let warning = of("supervisor", "warning: the applications run as root");
        assert_eq!((&*warning.severity_text, warning.severity_number), ("WARN", 13));
        assert_eq!(of("supervisor", "ready in 3 ms").severity_text, "INFO");
    }
}
