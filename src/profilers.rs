//! The apps of a generation whose Python stacks can be sampled.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::body::BoxFuture;

/// An app whose processes can sample the stacks of their Python threads.
pub trait Profiled: Send + Sync {
    /// Samples for `secs` seconds, `frequency` times per second. The result has one element per process: one line per stack, with
    /// its functions separated by `;`, the outermost first, then a space and the number of samples.
    fn profile(self: Arc<Self>, secs: u32, frequency: u16) -> BoxFuture<Vec<Result<String, String>>>;
}

/// The apps, by name.
#[derive(Default)]
pub struct Profilers(Mutex<BTreeMap<String, Weak<dyn Profiled>>>);

impl Profilers {
    /// Adds an app.
    pub fn add(&self, app: &str, profiled: &Arc<impl Profiled + 'static>) {
        let profiled: Weak<dyn Profiled> = Arc::downgrade(profiled) as _;
        self.0.lock().insert(app.to_owned(), profiled);
    }

    /// The app of this name.
    pub fn get(&self, app: &str) -> Option<Arc<dyn Profiled>> {
        self.0.lock().get(app)?.upgrade()
    }

    /// The names of all.
    pub fn names(&self) -> Vec<String> {
        self.0.lock().keys().cloned().collect()
    }
}
