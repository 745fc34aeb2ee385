//! Sends the library's tracing events to the host's log; in a side process, which has no host, to standard
//! error.

use std::cell::Cell;
use std::fmt::Write as _;
use std::sync::{Once, PoisonError, RwLock};

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

/// An event of the library's log, for [`Host::on_log`](crate::Host::on_log).
#[derive(Debug)]
pub struct LogEvent<'a> {
    /// How serious it is.
    pub level: Level,
    /// The module that logged it, or the target that the event names. A panic has the target `panic`.
    pub target: &'a str,
    /// The text.
    pub message: &'a str,
    /// The names and values of its fields.
    pub fields: &'a [(&'static str, String)],
}

type Observer = Box<dyn Fn(&LogEvent<'_>) + Send + Sync>;

/// A library has one log, so all observers get the events of all its apps.
static OBSERVERS: RwLock<Vec<Observer>> = RwLock::new(Vec::new());

thread_local! {
    /// Whether an observer runs on this thread. Its own events are not passed to observers.
    static OBSERVES: Cell<bool> = const { Cell::new(false) };
}

/// Calls `observer` with each event from now on.
pub(crate) fn observe(observer: Observer) {
    OBSERVERS.write().unwrap_or_else(PoisonError::into_inner).push(observer);
}

fn tell_observers(event: &LogEvent<'_>) {
    if OBSERVES.replace(true) {
        return;
    }
    for observer in OBSERVERS.read().unwrap_or_else(PoisonError::into_inner).iter() {
        // A panic here must not end what has logged the event.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| observer(event)));
    }
    OBSERVES.set(false);
}

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
        tell_observers(&LogEvent {
            level: *event.metadata().level(),
            target,
            message: &record.message,
            fields: &record.fields,
        });
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn observers_get_the_events_of_others() {
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let list = seen.clone();
        observe(Box::new(move |event| {
            // Its own events do not come back.
            tracing::error!("from the observer");
            list.lock()
                .unwrap()
                .push(format!("{} {} {} {:?}", event.level, event.target, event.message, event.fields));
            assert!(event.level > Level::ERROR, "a panic of an observer is caught");
        }));
        let layer = ToSink { sink: Sink::Stderr, level: LevelFilter::WARN };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::error!(target: "here", path = "a", "cannot write {}", 1);
            tracing::warn!(target: "here", "odd");
            tracing::info!(target: "here", "below the level");
        });
        assert_eq!(
            *seen.lock().unwrap(),
            ["ERROR here cannot write 1 [(\"path\", \"a\")]", "WARN here odd []"]
        );
    }
}
