//! What the processes of `paster serve` need from the system. Knows neither supervisor nor worker.

pub(super) mod backoff;
pub(super) mod clock;
pub(super) mod credentials;
pub(super) mod descriptors;
pub(super) mod log;
pub(super) mod memory;
pub(super) mod orphans;
pub(super) mod pid_file;
pub(super) mod running;
pub(super) mod runtime_dir;
