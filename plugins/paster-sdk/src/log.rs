//! Sends the library's tracing events to the host's log; in a side process, which has no host, to standard
//! error.

use std::fmt::Write as _;
use std::sync::Once;

use paster_abi as abi;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// Where events go. A library has one subscriber, so the first app's log receives the events of all apps.
enum Sink {
    Host(&'static abi::Host),
    Stderr,
}

struct ToSink {
    sink: Sink,
    level: LevelFilter,
}

static ONCE: Once = Once::new();

/// Sends the library's events and panics to the host's log.
pub(crate) fn to_host(host: &'static abi::Host) {
    let level = match host.log_level {
        abi::LOG_ERROR => LevelFilter::ERROR,
        abi::LOG_WARN => LevelFilter::WARN,
        abi::LOG_INFO => LevelFilter::INFO,
        abi::LOG_DEBUG => LevelFilter::DEBUG,
        abi::LOG_TRACE => LevelFilter::TRACE,
        _ => LevelFilter::OFF,
    };
    install(ToSink { sink: Sink::Host(host), level });
}

/// Sends the library's events and panics to standard error.
pub(crate) fn to_stderr() {
    install(ToSink { sink: Sink::Stderr, level: LevelFilter::INFO });
}

fn install(layer: ToSink) {
    ONCE.call_once(|| {
        // If the plugin has set its own subscriber, that one stays.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let payload = panic.payload();
            let text = payload.downcast_ref::<&str>().copied();
            let text =
                text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("panic");
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            match tracing::enabled!(target: "panic", Level::ERROR) {
                true => tracing::error!(target: "panic", place, "{text}"),
                false => usual(panic),
            }
        }));
    });
}

impl<S: Subscriber> Layer<S> for ToSink {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut record = Record::default();
        event.record(&mut record);
        let target = event.metadata().target();
        match self.sink {
            Sink::Stderr => {
                let mut line = format!("{} {target}: {}", event.metadata().level(), record.message);
                for (name, value) in record.fields {
                    let _ = write!(line, " {name}={value}");
                }
                eprintln!("{line}");
            }
            Sink::Host(host) => {
                let fields: Vec<_> = record
                    .fields
                    .iter()
                    .map(|(name, value)| abi::LogField {
                        name: abi::Slice::new(name.as_bytes()),
                        value: abi::Slice::new(value.as_bytes()),
                    })
                    .collect();
                let record = abi::LogRecord {
                    size_bytes: size_of::<abi::LogRecord>(),
                    level: match *event.metadata().level() {
                        Level::ERROR => abi::LOG_ERROR,
                        Level::WARN => abi::LOG_WARN,
                        Level::INFO => abi::LOG_INFO,
                        Level::DEBUG => abi::LOG_DEBUG,
                        Level::TRACE => abi::LOG_TRACE,
                    },
                    target: abi::Slice::new(target.as_bytes()),
                    message: abi::Slice::new(record.message.as_bytes()),
                    fields: fields.as_ptr(),
                    field_count: fields.len(),
                };
                // SAFETY: the host's table lives as long as the process; the record lives for the call.
                unsafe { (host.log)(host.context, &record) }
            }
        }
    }
}

#[derive(Default)]
struct Record {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields.push((name, format!("{value:?}"))),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            name => self.fields.push((name, value.to_owned())),
        }
    }
}
