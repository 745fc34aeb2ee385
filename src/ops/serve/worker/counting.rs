//! Collects a worker's counts when the supervisor asks for them.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::caches::Caches;
use crate::metrics::{Counts, StackMetrics, Value, families};
use crate::plugin::Instance;
use crate::server::control::Load;

/// Maximum number of counters of one plugin, because a plugin can choose any names.
const MOST_COUNTERS: usize = 200;

/// The kernel reports CPU times in hundredths of a second (`USER_HZ`).
const NANOS_PER_TICK: u64 = 10_000_000;

/// All counters of this process. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Counting(Arc<CountingState>);

#[derive(Default)]
struct CountingState {
    generation: u64,
    parts: Arc<StackMetrics>,
    caches: Arc<Caches>,
    sources: Mutex<CountSources>,
}

#[derive(Default)]
struct CountSources {
    loads: Vec<(String, Arc<Load>)>,
    instances: Vec<Instance>,
}

impl Counting {
    /// `parts` and `caches` belong to the context.
    pub(super) fn new(generation: u64, parts: Arc<StackMetrics>, caches: Arc<Caches>) -> Counting {
        Counting(Arc::new(CountingState { generation, parts, caches, sources: Mutex::default() }))
    }

    /// Adds the counters of the server `name`.
    pub(super) fn server(&self, name: &str, load: Arc<Load>) {
        self.sources(|sources| sources.loads.push((name.to_owned(), load)));
    }

    /// Adds the counters of plugins.
    pub(super) fn plugins(&self, instances: &[Instance]) {
        self.sources(|sources| sources.instances = instances.to_vec());
    }

    /// The current counts.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.0.parts.count(&mut counts);
        self.0.caches.count(&mut counts);
        self.sources(|sources| {
            for (name, load) in &sources.loads {
                load.count(name, self.0.generation, &mut counts);
            }
            for instance in &sources.instances {
                for (name, count) in instance.counters().iter().take(MOST_COUNTERS) {
                    let labels = [("app", instance.name()), ("counter", name)];
                    counts.put(&families::PLUGIN_COUNTER, &labels, Value::Count(*count));
                }
            }
        });
        process(&mut counts);
        counts
    }

    fn sources<T>(&self, with: impl FnOnce(&mut CountSources) -> T) -> T {
        with(&mut self.0.sources.lock())
    }
}

/// Adds what the kernel reports about this process, as far as it can be read.
fn process(counts: &mut Counts) {
    if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
        counts.put(&families::PROCESS_OPEN_FDS, &[], Value::Level(descriptors.count() as i64));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    if let Some(kib) = resident.and_then(|text| text.split_whitespace().next()?.parse::<i64>().ok()) {
        counts.put(&families::PROCESS_RESIDENT_BYTES, &[], Value::Level(kib * 1024));
    }
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name may contain spaces; the fields start after its closing parenthesis.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    if let (Some(user), Some(system)) = (ticks(11), ticks(12)) {
        let nanos = (user + system) * NANOS_PER_TICK;
        counts.put(&families::PROCESS_CPU_SECONDS, &[], Value::Count(nanos));
    }
}
