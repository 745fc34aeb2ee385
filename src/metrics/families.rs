//! The families of metrics that paster has.

/// A family of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricFamily {
    /// Its name, as written.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// How its values are read.
    pub kind: MetricKind,
    /// In what they are counted.
    pub unit: MetricUnit,
}

/// How the values of a family are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only increases.
    Counter,
    /// A level.
    Gauge,
    /// Durations in buckets.
    Histogram,
    /// The number of durations and their sum.
    Summary,
    /// Facts, as labels.
    Info,
}

/// In what the values of a family are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricUnit {
    /// As they are written.
    Plain,
    /// In nanoseconds, written in seconds.
    Nanoseconds,
}

macro_rules! families {
    ($($constant:ident: $name:literal, $kind:ident, $unit:ident, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: MetricFamily =
                MetricFamily { name: $name, help: $help, kind: MetricKind::$kind, unit: MetricUnit::$unit };
        )*

        /// Every family.
        pub const ALL: &[MetricFamily] = &[$($constant),*];
    };
}

families! {
    INFO: "paster_info", Info, Plain, "The running program.";
    START_TIME_SECONDS: "paster_start_time_seconds", Gauge, Plain, "When the supervisor started, in seconds since 1970.";
    GENERATION: "paster_generation", Gauge, Plain, "Number of the serving generation.";
    RELOADS: "paster_reloads_total", Counter, Plain, "New generations, by outcome: done (it serves) or failed (the old one keeps serving).";
    WORKER_EXITS: "paster_worker_exits_total", Counter, Plain, "Workers that have ended, by whether that was expected.";
    WORKER_RESTARTS: "paster_worker_restarts_total", Counter, Plain, "Workers that replaced another one of their generation, by reason.";
    SIDE_PROCESS_EXITS: "paster_side_process_exits_total", Counter, Plain, "Side processes that ended and were restarted.";
    APP_PROCESS_EXITS: "paster_app_process_exits_total", Counter, Plain, "Processes of applications that ended and were restarted.";
    WORKERS: "paster_workers", Gauge, Plain, "Worker processes, by generation.";
    GENERATION_REQUESTS: "paster_generation_requests_total", Counter, Plain, "Requests, by generation; only of generations that still run.";
    CONNECTIONS: "paster_connections_total", Counter, Plain, "Connections accepted or handed over by an older generation.";
    CONNECTIONS_OPEN: "paster_connections_open", Gauge, Plain, "Open connections.";
    CONNECTIONS_UPGRADED: "paster_connections_upgraded", Gauge, Plain, "Open connections that became WebSockets.";
    REQUESTS_IN_FLIGHT: "paster_requests_in_flight", Gauge, Plain, "Requests whose response has not ended.";
    REQUESTS: "paster_requests_total", Counter, Plain, "Requests that have ended, by outcome: class of the status, refused (by the request gate or the limit of requests in flight), gone (the client left before there was an answer).";
    REQUEST_FAILURES: "paster_request_failures_total", Counter, Plain, "Requests whose application failed: an error, a panic, a body that broke off.";
    REQUEST_DURATION_SECONDS: "paster_request_duration_seconds", Histogram, Nanoseconds, "From a request's head to the end of its response.";
    RESPONSE_BYTES: "paster_response_bytes_total", Counter, Plain, "Bytes of response bodies.";
    REQUEST_BYTES: "paster_request_bytes_total", Counter, Plain, "Bytes of request bodies.";
    ACCEPT_TO_APP_SECONDS: "paster_accept_to_app_seconds", Histogram, Nanoseconds, "From the acceptance of a connection to its first call of an application.";
    TURN_WAIT_SECONDS: "paster_turn_wait_seconds", Histogram, Nanoseconds, "Waits for the turn with one_at_a_time.";
    APP_REQUESTS: "paster_app_requests_total", Counter, Plain, "Responses of each app with its stack, by class of the status.";
    APP_ERRORS: "paster_app_errors_total", Counter, Plain, "Calls of each app with its stack that ended without a response.";
    APP_DURATION_SECONDS: "paster_app_duration_seconds", Summary, Nanoseconds, "From the call of an app with its stack to the head of its response.";
    APP_INNER_DURATION_SECONDS: "paster_app_inner_duration_seconds", Summary, Nanoseconds, "The same of each app without its middleware.";
    MIDDLEWARE_ERRORS: "paster_middleware_errors_total", Counter, Plain, "Calls of a middleware that ended without a response or with 5xx.";
    MIDDLEWARE_DURATION_SECONDS: "paster_middleware_duration_seconds", Summary, Nanoseconds, "From the call of a middleware to the head of its response, with everything inside it.";
    CACHE_REQUESTS: "paster_cache_requests_total", Counter, Plain, "Requests to each cache, by result: hit, stale (while the app is asked), collapsed (another request's response), validated, stale_if_error, miss, pass (not for a cache).";
    CACHE_SERVED_BYTES: "paster_cache_served_bytes_total", Counter, Plain, "Bytes of bodies that each cache has answered with.";
    CACHE_STORED_BYTES: "paster_cache_stored_bytes", Gauge, Plain, "Size of the stored responses.";
    CACHE_ENTRIES: "paster_cache_entries", Gauge, Plain, "Stored responses.";
    CACHE_EVICTIONS: "paster_cache_evictions_total", Counter, Plain, "Stored responses that were deleted because of the limits.";
    UPSTREAM_WORKERS: "paster_upstream_workers", Gauge, Plain, "Workers that have an upstream, by its state: working, or failing (skipped after failures or a health check).";
    UPSTREAM_REQUESTS_IN_FLIGHT: "paster_upstream_requests_in_flight", Gauge, Plain, "Connections to each upstream that are in use.";
    PLUGIN_COUNTER: "paster_plugin_counter_total", Counter, Plain, "What plugins count.";
    PROCESS_RESIDENT_BYTES: "paster_process_resident_bytes", Gauge, Plain, "Memory in use by the workers.";
    PROCESS_CPU_SECONDS: "paster_process_cpu_seconds_total", Counter, Nanoseconds, "Processor time of the workers.";
    PROCESS_OPEN_FDS: "paster_process_open_fds", Gauge, Plain, "Open descriptors of the workers.";
}

impl MetricFamily {
    /// The family of this name; `None` for one of another version of the program.
    pub fn find(name: &str) -> Option<&'static MetricFamily> {
        ALL.iter().find(|family| family.name == name)
    }
}
