//! One app or middleware created by a plugin.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use paster_abi as abi;

use super::host::HostServices;
use super::library::Library;
use super::{call, callback};
use crate::body::App;
use crate::context::Context;
use crate::error::{Error, Result};

/// One app or middleware created by a plugin.
#[derive(Clone)]
pub struct Instance {
    name: String,
    shared: Arc<InstanceShared>,
}

/// The prefix of the names of middleware.
pub const MIDDLEWARE_PREFIX: &str = "middleware.";

/// A task in the list of a plugin.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
pub struct TaskName {
    /// Its name.
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub summary: String,
}

/// The plugin's app, which is destroyed with its last user.
pub(super) struct InstanceShared {
    pub(super) table: &'static abi::Plugin,
    pub(super) app: *mut c_void,
    pub(super) services: &'static HostServices,
}

// SAFETY: the ABI guarantees that any number of threads may call the same app at once.
unsafe impl Send for InstanceShared {}
// SAFETY: as above.
unsafe impl Sync for InstanceShared {}

impl Drop for InstanceShared {
    fn drop(&mut self) {
        let last = Last { table: self.table, app: self.app };
        callback::call(self.services.app(), "destroy", move || last.destroy());
    }
}

/// An app without users.
struct Last {
    table: &'static abi::Plugin,
    app: *mut c_void,
}

// SAFETY: the ABI guarantees that any thread may call the app.
unsafe impl Send for Last {}

impl Last {
    fn destroy(self) {
        if let Some(destroy) = self.table.destroy {
            // SAFETY: the last user is gone, so the app has no exchange, task or call left.
            unsafe { destroy(self.app) }
        }
    }
}

impl Instance {
    /// Creates the app or the middleware `name`. The caller has checked its settings against the plugin's schema.
    /// `context.states` contains the saved states by app. Blocks until the plugin has created it.
    /// # Errors
    /// The reason from `create`, or a panic in it.
    pub fn create(
        library: &Library,
        name: &str,
        settings: &serde_json::Value,
        context: &Context,
    ) -> Result<Instance> {
        let failed = |reason: String| {
            let plugin = &library.info().name;
            let what = match name.strip_prefix(MIDDLEWARE_PREFIX) {
                Some(name) => format!("the middleware `{name}`"),
                None => format!("the app `{name}`"),
            };
            Error::new(format!("the plugin `{plugin}` did not create {what}")).because(reason)
        };
        let (services, host) = HostServices::publish(name, library, context);
        let settings = match settings {
            serde_json::Value::Null => "{}".to_owned(),
            settings => settings.to_string(),
        };
        let saved = context.states.get(name).map(|state| abi::Slice::new(state));
        let saved = saved.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let mut app = std::ptr::null_mut();
        let mut error = abi::Buffer::EMPTY;
        let settings = abi::Slice::new(settings.as_bytes());
        let create = library.table.create.ok_or_else(|| failed("it has no `create`".to_owned()))?;
        // SAFETY: the host's table lives as long as the process, the rest for the call.
        let (status, error) = unsafe {
            let status = create(settings, host, saved, &mut app, &mut error);
            (status, error.into_text())
        };
        if status != abi::READY {
            return Err(
                failed(if error.is_empty() { "no reason was given".to_owned() } else { error }).into()
            );
        }
        let shared = Arc::new(InstanceShared { table: library.table, app, services });
        Ok(Instance { name: name.to_owned(), shared })
    }

    /// The app's name in the config; of a middleware, `middleware.NAME`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its description for messages.
    pub fn noun(&self) -> String {
        match self.name.strip_prefix(MIDDLEWARE_PREFIX) {
            Some(name) => format!("middleware `{name}`"),
            None => format!("app `{}`", self.name),
        }
    }

    /// The app to call. The caller has checked [`Library::has_app`].
    pub fn app(&self) -> App {
        let called = self.shared.clone();
        App::from_call(move |request| Box::pin(call::answer(&called, request)))
    }

    /// The middleware around `next`. The caller has checked [`Library::has_middleware`].
    pub fn around(&self, next: App) -> App {
        let called = self.shared.clone();
        App::from_call(move |request| call::answer_around(&called, &next, request))
    }

    /// The app's counters: those of the plugin, and `panics`.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        self.shared.services.counters()
    }

    /// Runs the plugin's own health probe.
    /// # Errors
    /// The problem that the plugin reports.
    pub async fn health(&self) -> Result<(), String> {
        let task = match self.shared.table.health {
            // SAFETY: the app is live.
            Some(health) => PluginTask(unsafe { health(self.shared.app) }),
            None => return Ok(()),
        };
        if task.0.is_null() {
            return Ok(());
        }
        let (status, text) = poll_fn(|cx| task.poll(cx)).await;
        if status == abi::READY { Ok(()) } else { Err(text) }
    }

    /// The plugin's tasks.
    pub fn tasks(&self) -> Vec<TaskName> {
        let Some(list) = self.shared.table.list_tasks else { return Vec::new() };
        let mut out = abi::Buffer::EMPTY;
        // SAFETY: the app is live; `out` is a live place that is read before its release.
        unsafe {
            list(self.shared.app, &mut out);
            serde_json::from_slice(out.bytes()).unwrap_or_default()
        }
    }

    /// Runs the task `name` with `arguments` and returns its result. Dropping the future ends the task.
    /// # Errors
    /// If the task fails or panics, or if there is no task with this name.
    pub async fn run_task(&self, name: &str, arguments: &serde_json::Value) -> Result<String, String> {
        let task = match self.shared.table.run_task {
            Some(run) => {
                let arguments = arguments.to_string();
                let (name, arguments) =
                    (abi::Slice::new(name.as_bytes()), abi::Slice::new(arguments.as_bytes()));
                // SAFETY: the app is live, both slices live for the call.
                PluginTask(unsafe { run(self.shared.app, name, arguments) })
            }
            None => PluginTask(std::ptr::null_mut()),
        };
        if task.0.is_null() {
            return Err(format!("the app `{}` has no task `{name}`", self.name));
        }
        let (status, text) = poll_fn(|cx| task.poll(cx)).await;
        if status == abi::READY { Ok(text) } else { Err(text) }
    }

    /// The state for the next generation, if the plugin has any. Blocks for at most a few seconds, until the plugin has
    /// written it.
    pub fn save_state(&self) -> Option<Vec<u8>> {
        let save = self.shared.table.save_state?;
        self.call_back("save_state", move |shared| {
            let mut out = abi::Buffer::EMPTY;
            // SAFETY: the app is live; `out` is a live place whose bytes are copied before its release.
            unsafe { (save(shared.app, &mut out) == abi::READY).then(|| out.bytes().to_vec()) }
        })
        .flatten()
    }

    /// Informs the plugin that a newer generation has taken over. Blocks for at most a few seconds, until the plugin has
    /// returned.
    pub fn retire(&self) {
        if let Some(retire) = self.shared.table.retire {
            // SAFETY: the app is live.
            self.call_back("retire", move |shared| unsafe { retire(shared.app) });
        }
    }

    /// Tells the plugin to close its remaining connections (WebSockets with 1012), because the generation ends. Blocks for at
    /// most a few seconds, until the plugin has returned.
    pub fn shutdown(&self) {
        if let Some(shutdown) = self.shared.table.shutdown {
            // SAFETY: the app is live.
            self.call_back("shutdown", move |shared| unsafe { shutdown(shared.app) });
        }
    }

    /// Calls a function that should return soon. The app lives until then.
    fn call_back<T: Send + 'static>(
        &self,
        function: &str,
        work: impl FnOnce(&InstanceShared) -> T + Send + 'static,
    ) -> Option<T> {
        let shared = self.shared.clone();
        callback::call(&self.name, function, move || work(&shared))
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A task of the plugin; null if there is nothing to wait for.
struct PluginTask(*mut abi::Task);

// SAFETY: the ABI guarantees that any thread may use an object, one at a time.
unsafe impl Send for PluginTask {}
// SAFETY: a shared reference does nothing: only `poll_fn` above uses the task.
unsafe impl Sync for PluginTask {}

impl PluginTask {
    fn poll(&self, cx: &mut std::task::Context<'_>) -> Poll<(abi::Status, String)> {
        let mut out = abi::Buffer::EMPTY;
        let waker = abi::task::lend(cx.waker());
        // SAFETY: we own the task, one thread polls it, and the waker lives for the call.
        let status = unsafe { ((*(*self.0).table).poll)(self.0, &waker, &mut out) };
        match status {
            abi::PENDING => Poll::Pending,
            // SAFETY: the plugin wrote the text.
            status => Poll::Ready((status, unsafe { out.into_text() })),
        }
    }
}

impl Drop for PluginTask {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: we own the task, and it ends here, once.
            unsafe { ((*(*self.0).table).drop)(self.0) }
        }
    }
}
