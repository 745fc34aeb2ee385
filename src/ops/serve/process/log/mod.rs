//! The log output of a process: one line per event.
//!
//! `lines` formats them, `sink` writes them.

mod lines;
pub(crate) mod sink;

use std::fs::File;
use std::io::{self, IsTerminal};

use tokio::sync::mpsc;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use self::lines::Lines;
pub(crate) use self::lines::Whose;
use self::sink::{LogFile, LogSink, Sinks};
use crate::context::Reopen;
use crate::error::Error;
use crate::ops::sections::log::{Log, LogFormat};

/// Starts the log; without `whose`, lines do not name a process. Each line also goes to `copy` while it has
/// room. `given` is the file if this process may not open it.
/// # Errors
/// When the file cannot be opened.
pub(crate) fn start(
    log: &Log,
    whose: Option<Whose>,
    copy: Option<mpsc::Sender<Vec<u8>>>,
    reopen: Reopen,
    given: Option<File>,
) -> Result<Option<LogFile>, Error> {
    let sink = match (given, &log.file) {
        (Some(given), Some(path)) => LogSink::given(path, given, reopen),
        _ => LogSink::of(log, reopen, None)?,
    };
    let file = sink.file();
    let _ = subscriber(log, whose, copy, sink).try_init(); // an error means that a log was started already
    Ok(file)
}

/// What writes the lines that `log` asks for to `sink`.
pub(crate) fn subscriber(
    log: &Log,
    whose: Option<Whose>,
    copy: Option<mpsc::Sender<Vec<u8>>>,
    sink: LogSink,
) -> impl Subscriber + Send + Sync {
    let filter = EnvFilter::try_from_env("PASTER_LOG").unwrap_or_else(|_| EnvFilter::new(log.filter()));
    let colours = log.file.is_none()
        && log.format == LogFormat::Text
        && io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Sinks { sink, copy })
        .with_ansi(colours)
        .event_format(Lines { format: log.format, whose })
        .finish()
}
