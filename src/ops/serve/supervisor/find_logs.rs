//! Finds what was logged about one request: in memory, and in the files of `[log]` and of access logs.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde_json::Value;

use super::log_buffer::LogBuffer;
use crate::config::Config;
use crate::middleware::MiddlewareKind;
use crate::ops::control::{LogLine, LoggedId};
use crate::ops::sections::log::Log;

/// How much of the end of a file is searched, in bytes.
const MOST: u64 = 16 << 20;

/// The files that the config names for lines of its logs.
pub(super) fn files(config: &Config) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    files.extend(Log::read(config).ok().and_then(|log| log.file.map(|file| file.to_path_buf())));
    for name in config.names("middleware") {
        let Some(table) = config.table("middleware", name) else { continue };
        if table.value().get("use").and_then(Value::as_str) == Some("access_log") {
            let Ok(entry) = MiddlewareKind::of(&table) else { continue };
            files.extend(table.paths((entry.options)().as_value()).into_iter().map(|named| named.path));
        }
    }
    files
}

/// The lines with this id, oldest first. May block.
pub(super) fn find(log: &LogBuffer, files: &[PathBuf], id: &LoggedId) -> Vec<LogLine> {
    let texts = texts(id);
    let (kept, _) = log.look(usize::MAX);
    let mut found: Vec<LogLine> = kept.into_iter().filter(|line| names(&line.text, &texts)).collect();
    let known: HashSet<String> = found.iter().map(|line| line.text.clone()).collect();
    for path in files {
        let Ok(text) = end_of(path) else { continue }; // there may be no file yet
        let lines = text.lines().filter(|line| names(line, &texts) && !known.contains(*line));
        found.extend(lines.map(|line| LogLine {
            at_ms: time(line).unwrap_or(0),
            from: path.display().to_string(),
            text: line.to_owned(),
        }));
    }
    found.sort_by_key(|line| line.at_ms);
    found
}

/// How lines name the id, in either format.
fn texts(id: &LoggedId) -> [String; 3] {
    let (key, id) = match id {
        LoggedId::Request(id) => ("request_id", id),
        LoggedId::Trace(id) => ("trace_id", id),
    };
    [format!(" {key}={id}"), format!(" {key}=\"{id}\""), format!("\"{key}\":\"{id}\"")]
}

fn names(line: &str, texts: &[String; 3]) -> bool {
    texts.iter().any(|text| {
        line.match_indices(text.as_str()).any(|(at, _)| {
            let next = line[at + text.len()..].chars().next();
            text.ends_with('"') || next.is_none_or(|next| next == ' ')
        })
    })
}

fn end_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The time at the beginning of a line, in milliseconds since 1970.
fn time(line: &str) -> Option<u64> {
    let parsed = |text: &str| humantime::parse_rfc3339(text).ok()?.duration_since(UNIX_EPOCH).ok();
    let first = line.split(' ').next().and_then(parsed);
    let time = first.or_else(|| parsed(serde_json::from_str::<Value>(line).ok()?["time"].as_str()?))?;
    u64::try_from(time.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::super::log_buffer::LogChunk;
    use super::*;

    #[test]
    fn lines_are_found_in_both_formats_and_in_files() {
        let log = LogBuffer::new();
        log.push(LogChunk::new("a", "2026-01-01T00:00:02.000Z INFO x: one request_id=ab-1\n"));
        log.push(LogChunk::new("a", "2026-01-01T00:00:02.000Z INFO x: no request_id=ab-12\n"));
        log.push(LogChunk::new("a", "{\"time\":\"2026-01-01T00:00:03.000Z\",\"request_id\":\"ab-1\"}\n"));
        log.push(LogChunk::new("a", "INFO x: request_id=\"ab-1\" quoted trace_id=cd\n"));
        let file = tempfile::NamedTempFile::new().unwrap();
        let line = "{\"time\":\"1999-01-01T00:00:01.000001Z\",\"status\":200,\"request_id\":\"ab-1\"}";
        std::fs::write(file.path(), format!("{line}\n{{\"request_id\":null}}\n")).unwrap();
        let files = [file.path().to_owned(), PathBuf::from("/none")];
        let found = find(&log, &files, &LoggedId::Request("ab-1".into()));
        assert_eq!(found.len(), 4, "{found:#?}");
        assert_eq!((found[0].text.as_str(), found[0].at_ms), (line, 915_148_801_000));
        assert_eq!(find(&log, &files, &LoggedId::Trace("cd".into())).len(), 1);
    }
}
