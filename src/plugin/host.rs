//! The services of the host for one app: log, counters, config, side processes.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use paster_abi as abi;
use tracing::level_filters::LevelFilter;

use super::library::Library;
use crate::context::Context;
use crate::error::Error;

/// The data behind the host's table of functions. It lives as long as the process, because a plugin's threads
/// may call at any time. A worker makes one for each app.
pub(super) struct HostServices {
    app: String,
    library: PathBuf,
    /// The names of the library's side processes.
    side_processes: Vec<String>,
    config: Arc<serde_json::Value>,
    host: Arc<dyn crate::context::Host>,
    counters: Mutex<BTreeMap<String, u64>>,
}

impl HostServices {
    /// Creates the services and their table for the app `app`.
    pub(super) fn publish(
        app: &str,
        library: &Library,
        context: &Context,
    ) -> (&'static HostServices, &'static abi::Host) {
        let services: &'static HostServices = Box::leak(Box::new(HostServices {
            app: app.to_owned(),
            library: library.path().to_owned(),
            side_processes: library.info().side_processes.clone(),
            config: context.config.clone(),
            host: context.host.clone(),
            counters: Mutex::default(),
        }));
        let log_level = match LevelFilter::current() {
            LevelFilter::OFF => 0,
            LevelFilter::ERROR => abi::LOG_ERROR,
            LevelFilter::WARN => abi::LOG_WARN,
            LevelFilter::INFO => abi::LOG_INFO,
            LevelFilter::DEBUG => abi::LOG_DEBUG,
            _ => abi::LOG_TRACE,
        };
        let table = Box::leak(Box::new(abi::Host {
            size_bytes: size_of::<abi::Host>(),
            context: std::ptr::from_ref(services).cast(),
            generation: context.generation,
            development: context.development.into(),
            log_level,
            app: abi::Slice::new(services.app.as_bytes()),
            log,
            count,
            config,
            side_process,
            announce,
        }));
        (services, table)
    }

    /// Name of the app.
    pub(super) fn app(&self) -> &str {
        &self.app
    }

    /// Makes sure that the side process `name` runs. Returns the path of its socket.
    fn side_process(&self, name: &str) -> Result<PathBuf, Error> {
        super::library::check_side_process(name, &self.side_processes)?;
        self.host.side_process(&self.app, name, &self.library)
    }

    /// Adds to a counter.
    pub(super) fn count(&self, name: &str, count: u64) {
        let mut counters = self.counters.lock();
        match counters.get_mut(name) {
            Some(counter) => *counter = counter.saturating_add(count),
            None => {
                counters.insert(name.to_owned(), count);
            }
        }
    }

    /// All counters.
    pub(super) fn counters(&self) -> BTreeMap<String, u64> {
        self.counters.lock().clone()
    }
}

/// The services behind `context`.
///
/// # Safety
/// `context` must come from a table made by [`HostServices::publish`].
unsafe fn services(context: *const c_void) -> &'static HostServices {
    // SAFETY: guaranteed by the caller; services are leaked on purpose.
    unsafe { &*context.cast() }
}

unsafe extern "C" fn log(context: *const c_void, record: *const abi::LogRecord) {
    // SAFETY: the plugin passes its table's context and a record that lives for the call.
    let (app, level, target, message, fields) = unsafe {
        let record = &*record;
        let fields: &[abi::LogField] = match record.fields.is_null() {
            true => &[],
            false => std::slice::from_raw_parts(record.fields, record.field_count),
        };
        let fields = fields
            .iter()
            .map(|field| (field.name.text().to_string(), field.value.text().to_string().into()))
            .collect::<serde_json::Map<_, serde_json::Value>>();
        (&services(context).app, record.level, record.target.text(), record.message.text(), fields)
    };
    // tracing's field names are static. So all fields of the plugin are packed into one field, which the log unpacks.
    let fields = (!fields.is_empty()).then(|| serde_json::Value::Object(fields).to_string());
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(
                target: "plugin",
                tracing::Level::$level,
                app,
                from = target,
                fields,
                "{message}"
            )
        };
    }
    match level {
        abi::LOG_ERROR => event!(ERROR),
        abi::LOG_WARN => event!(WARN),
        abi::LOG_INFO => event!(INFO),
        abi::LOG_DEBUG => event!(DEBUG),
        _ => event!(TRACE),
    }
}

unsafe extern "C" fn count(context: *const c_void, name: abi::Slice, count: u64) {
    // SAFETY: the plugin passes its table's context and a name that lives for the call.
    unsafe { services(context).count(&String::from_utf8_lossy(name.bytes()), count) }
}

unsafe extern "C" fn config(context: *const c_void, out: *mut abi::Buffer) {
    // SAFETY: the plugin passes its table's context and a place for the buffer.
    unsafe { *out = abi::Buffer::of_vec(services(context).config.to_string().into_bytes()) }
}

unsafe extern "C" fn announce(context: *const c_void, path: abi::Slice) {
    // SAFETY: the plugin passes its table's context and a path that lives for the call.
    let (services, path) = unsafe { (services(context), path.text()) };
    // It is printed to a terminal.
    if path.starts_with('/') && !path.chars().any(|c| c.is_control() || c.is_whitespace()) {
        services.host.announce(&services.app, &path);
    }
}

unsafe extern "C" fn side_process(
    context: *const c_void,
    name: abi::Slice,
    out: *mut abi::Buffer,
) -> abi::Status {
    // SAFETY: the plugin passes its table's context and a name that lives for the call.
    let (services, name) = unsafe { (services(context), name.text()) };
    let (status, text) = match services.side_process(&name) {
        Ok(path) => (abi::READY, path.to_string_lossy().into_owned()),
        Err(error) => (abi::FAILED, crate::error::chain(&error)),
    };
    // SAFETY: the plugin passes a place for the buffer.
    unsafe { *out = abi::Buffer::of_vec(text.into_bytes()) };
    status
}
