//! Lines of the log as log records.

use std::time::UNIX_EPOCH;

use serde_json::{Map, Value, json};

use crate::ops::control::LogLine;
use crate::tls_client::text;

/// The levels, and their numbers as severities.
const LEVELS: [(&str, u8); 5] = [("TRACE", 1), ("DEBUG", 5), ("INFO", 9), ("WARN", 13), ("ERROR", 17)];
/// The fields that paster adds at the end of a line.
const ADDED: [&str; 5] = ["request_id", "trace_id", "span_id", "generation", "worker"];

/// What a line says.
#[derive(Default)]
struct Parsed {
    /// In nanoseconds since 1970.
    time: Option<u128>,
    level: String,
    target: String,
    message: String,
    fields: Map<String, Value>,
}

/// The log record of a line: of paster's own, in either format, or of any other program.
pub(super) fn record(line: &LogLine) -> Value {
    let parsed = json_line(&line.text).or_else(|| text_line(&line.text));
    let Parsed { time, level, target, message, mut fields } =
        parsed.unwrap_or_else(|| Parsed { message: line.text.clone(), ..Parsed::default() });
    let observed = u128::from(line.at_ms) * 1_000_000;
    let mut id = |name: &str, digits: usize| {
        let found = fields.get(name).and_then(Value::as_str)?;
        let fits = found.len() == digits && found.bytes().all(|byte| byte.is_ascii_hexdigit());
        let found = fits.then(|| found.to_owned())?;
        fields.remove(name);
        Some(found)
    };
    let (trace, span) = (id("trace_id", 32), id("span_id", 16));
    let mut attributes = vec![text("paster.process", &line.from)];
    if !target.is_empty() {
        attributes.push(text("paster.target", &target));
    }
    for (name, value) in fields {
        let name = if ADDED.contains(&&*name) { format!("paster.{name}") } else { name };
        attributes.push(json!({ "key": name, "value": any(value) }));
    }
    let mut record = json!({
        "timeUnixNano": time.unwrap_or(observed).to_string(),
        "observedTimeUnixNano": observed.to_string(),
        "body": { "stringValue": message },
        "attributes": attributes,
    });
    if let Some((name, number)) = LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&level)) {
        record["severityText"] = json!(name);
        record["severityNumber"] = json!(number);
    }
    if let Some(trace) = trace {
        record["traceId"] = trace.into();
        if let Some(span) = span {
            record["spanId"] = span.into();
        }
    }
    record
}

/// A value as protobuf's JSON writes an `AnyValue`.
fn any(value: Value) -> Value {
    match value {
        Value::String(text) => json!({ "stringValue": text }),
        Value::Bool(value) => json!({ "boolValue": value }),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => json!({ "intValue": whole.to_string() }),
            None => json!({ "doubleValue": number }),
        },
        other => json!({ "stringValue": other.to_string() }),
    }
}

fn json_line(line: &str) -> Option<Parsed> {
    let Value::Object(mut fields) = serde_json::from_str(line).ok().filter(|_| line.starts_with('{'))? else {
        return None;
    };
    let mut own = |name: &str| match fields.shift_remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let (time, level, target) = (nanos(&own("time")?)?, own("level")?, own("target")?);
    let message = own("message")?;
    Some(Parsed { time: Some(time), level, target, message, fields })
}

/// `TIME LEVEL TARGET: MESSAGE FIELD=VALUE…`. The fields that an event has stay in the message, from which they cannot be
/// told for certain; those that paster has added are at its end.
fn text_line(line: &str) -> Option<Parsed> {
    let (time, rest) = line.split_once(' ')?;
    let time = nanos(time)?;
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

fn nanos(time: &str) -> Option<u128> {
    Some(humantime::parse_rfc3339(time).ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Value {
        record(&LogLine { at_ms: 5, from: "worker 7".into(), text: text.into() })
    }

    fn attribute<'a>(record: &'a Value, key: &str) -> &'a Value {
        let list = record["attributes"].as_array().unwrap();
        list.iter().find(|one| one["key"] == key).map_or(&Value::Null, |one| &one["value"])
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
        for (line, body) in [(&line, "it is a=b late after=3"), (&json, "it is")] {
            let record = of(line);
            assert_eq!(record["timeUnixNano"], "1767225602500000000", "{record}");
            assert_eq!((&record["severityText"], &record["severityNumber"]), (&json!("WARN"), &json!(13)));
            assert_eq!(record["body"]["stringValue"], body);
            assert_eq!((&record["traceId"], &record["spanId"]), (&json!(trace), &json!(span)));
            assert_eq!(attribute(&record, "paster.request_id")["stringValue"], "ab-1");
            assert_eq!(attribute(&record, "paster.generation")["intValue"], "2");
            assert_eq!(attribute(&record, "paster.target")["stringValue"], "plugin");
        }
        assert_eq!(attribute(&of(&json), "after")["intValue"], "3");
        assert_eq!(attribute(&of(&json), "ok")["boolValue"], true);
        let other = of("Traceback: trace_id=no");
        assert_eq!(other["body"]["stringValue"], "Traceback: trace_id=no");
        assert_eq!((&other["timeUnixNano"], &other["traceId"]), (&json!("5000000"), &Value::Null));
        assert_eq!(attribute(&other, "paster.process")["stringValue"], "worker 7");
    }
}
