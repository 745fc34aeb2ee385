//! What a worker counts, put together when the supervisor asks for it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::metrics::{Counts, Parts, Value};
use crate::plugin::Instance;
use crate::server::control::Load;

/// Most counters of one plugin that are told: their names are the plugin's own.
const MOST_COUNTERS: usize = 200;

/// The kernel tells times to programs in hundredths of a second (`USER_HZ`).
const NANOS_PER_TICK: u64 = 10_000_000;

/// Everything in this process that counts. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Counting(Arc<Inner>);

#[derive(Default)]
struct Inner {
    generation: u64,
    parts: Arc<Parts>,
    sources: Mutex<Sources>,
}

#[derive(Default)]
struct Sources {
    loads: Vec<(String, Arc<Load>)>,
    instances: Vec<Instance>,
}

impl Counting {
    /// `parts` is the context's.
    pub(super) fn new(generation: u64, parts: Arc<Parts>) -> Counting {
        Counting(Arc::new(Inner { generation, parts, sources: Mutex::default() }))
    }

    /// Counts what the server `name` does, too.
    pub(super) fn server(&self, name: &str, load: Arc<Load>) {
        self.sources(|sources| sources.loads.push((name.to_owned(), load)));
    }

    /// Counts what plugins count, too.
    pub(super) fn plugins(&self, instances: &[Instance]) {
        self.sources(|sources| sources.instances = instances.to_vec());
    }

    /// All of it as it is now.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.0.parts.count(&mut counts);
        self.sources(|sources| {
            for (name, load) in &sources.loads {
                load.count(name, self.0.generation, &mut counts);
            }
            for instance in &sources.instances {
                for (name, count) in instance.counters().iter().take(MOST_COUNTERS) {
                    let labels = [("app", instance.name()), ("counter", name)];
                    counts.put("paster_plugin_counter_total", &labels, Value::Count(*count));
                }
            }
        });
        process(&mut counts);
        counts
    }

    fn sources<T>(&self, with: impl FnOnce(&mut Sources) -> T) -> T {
        with(&mut self.0.sources.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the kernel says of this process; nothing where it does not.
fn process(counts: &mut Counts) {
    if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
        counts.put("paster_process_open_fds", &[], Value::Level(descriptors.count() as i64));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    if let Some(kib) = resident.and_then(|text| text.split_whitespace().next()?.parse::<i64>().ok()) {
        counts.put("paster_process_resident_bytes", &[], Value::Level(kib * 1024));
    }
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name may have spaces in it; the fields count from its closing parenthesis.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    if let (Some(user), Some(system)) = (ticks(11), ticks(12)) {
        let nanos = (user + system) * NANOS_PER_TICK;
        counts.put("paster_process_cpu_seconds_total", &[], Value::Count(nanos));
    }
}
