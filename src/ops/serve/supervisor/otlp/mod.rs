//! Sends the log and the metrics of all processes to an OpenTelemetry collector.
//!
//! - `records`: lines of the log as log records; `points`: counts as metrics.

mod points;
mod records;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::logs::v1::{LogRecord, LogsData, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, MetricsData, ResourceMetrics, ScopeMetrics};
use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

use super::event::Event;
use super::inbox::Notification;
use super::log_buffer::LogChunk;
use super::shared::SupervisorShared;
use crate::metrics::Counts;
use crate::ops::sections::otlp::Otlp;
use crate::tls_client::{OtlpTarget, resource, scope};

/// A batch of log records is sent when it has this many, …
const BATCH: usize = 512;
/// … or this long after its first one.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause after a message that could not be sent; doubled up to the second value.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Longest wait for the counts of all workers.
const COUNTING: Duration = Duration::from_secs(5);
/// Longest wait for the last messages when the server stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// Sends until it is dropped.
pub(super) struct OtlpExporter {
    options: Otlp,
    target: OtlpTarget,
    tasks: Vec<AbortOnDropHandle<()>>,
    stop: watch::Sender<bool>,
    last: Arc<Mutex<Option<Counts>>>,
}

/// The state shared by both tasks.
#[derive(Clone)]
struct ExportTask {
    shared: Arc<SupervisorShared>,
    target: OtlpTarget,
    service: String,
    stopped: watch::Receiver<bool>,
    /// The counts at the end of the server.
    last: Arc<Mutex<Option<Counts>>>,
}

impl OtlpExporter {
    /// Starts to send. The first one of a server also sends the lines so far.
    pub(super) fn start(
        shared: &Arc<SupervisorShared>,
        options: Otlp,
        target: OtlpTarget,
        first: bool,
    ) -> OtlpExporter {
        let (stop, stopped) = watch::channel(false);
        let last = Arc::<Mutex<Option<Counts>>>::default();
        let task = |path: &str| ExportTask {
            shared: shared.clone(),
            target: target.with_path(path),
            service: options.service.clone(),
            stopped: stopped.clone(),
            last: last.clone(),
        };
        let mut tasks = Vec::new();
        if options.logs {
            let queue = options.queue_lines.get();
            tasks.push(AbortOnDropHandle::new(tokio::spawn(task("/v1/logs").send_logs(queue, first))));
        }
        if options.metrics {
            let every = Duration::from_secs(options.interval_secs.get().into());
            tasks.push(AbortOnDropHandle::new(tokio::spawn(task("/v1/metrics").send_metrics(every))));
        }
        OtlpExporter { options, target, tasks, stop, last }
    }

    /// Whether it sends what `options` ask for, to the same collector.
    pub(super) fn is_of(&self, options: &Otlp, target: &OtlpTarget) -> bool {
        self.options == *options && self.target.is_same(target)
    }

    /// Sends what is left, if the collector is quick enough; `counts` are those at the end of the server.
    pub(super) async fn finish(self, counts: Option<Counts>) {
        *self.last.lock() = counts;
        let _ = self.stop.send(true); // the tasks may have ended
        let ends = futures_util::future::join_all(self.tasks);
        let _ = tokio::time::timeout(FAREWELL, ends).await; // the rest is lost
    }
}

/// Tracks the success of sending: logs a failure once, and returns how long to wait.
#[derive(Default)]
struct Attempts {
    pause: Option<Duration>,
}

impl Attempts {
    fn ended(&mut self, sent: &Result<(), String>, what: &str, task: &ExportTask) {
        match sent {
            Ok(()) => self.pause = None,
            Err(why) => {
                if self.pause.is_none() {
                    let message = format!("cannot send {what} to {}: {why}", task.target.uri);
                    task.shared.emit(&Event::Warning { message });
                }
                self.pause = Some(self.pause.map_or(PAUSE.0, |pause| (pause * 2).min(PAUSE.1)));
            }
        }
    }
}

impl ExportTask {
    async fn send_logs(mut self, queue: usize, first: bool) {
        let (before, lines) = self.shared.events.log.look(if first { queue } else { 0 });
        let waiting = before.iter().map(records::record).collect();
        let mut lines = OtlpLines { lines, waiting, queue, lost: 0, open: true };
        let mut attempts = Attempts::default();
        while lines.open {
            if lines.waiting.is_empty() {
                lines.wait(&mut self.stopped, None).await;
            }
            // Wait for a whole batch, for a while after its first line; after a failure, for a pause.
            let deadline = tokio::time::Instant::now() + attempts.pause.unwrap_or(PATIENCE);
            while lines.open
                && (lines.waiting.len() < BATCH || attempts.pause.is_some())
                && lines.wait(&mut self.stopped, Some(deadline)).await
            {}
            while !lines.waiting.is_empty() {
                let count = lines.waiting.len().min(BATCH);
                let batch = lines.waiting.iter().take(count).cloned().collect();
                let sent = self.target.post(&self.logs(batch)).await;
                attempts.ended(&sent, "the log", &self);
                if sent.is_err() {
                    break;
                }
                lines.waiting.drain(..count);
            }
            if lines.lost > 0 && attempts.pause.is_none() {
                let lost = std::mem::take(&mut lines.lost);
                let message = format!("{lost} lines of the log were not sent to {}", self.target.uri);
                self.shared.emit(&Event::Warning { message });
            }
        }
    }

    async fn send_metrics(mut self, every: Duration) {
        let mut attempts = Attempts::default();
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let (counts, ends) = tokio::select! {
                _ = ticks.tick() => (self.counts().await, false),
                _ = self.stopped.changed() => (self.last.lock().take(), true),
            };
            if let Some(counts) = counts {
                let metrics = points::metrics(&counts, SystemTime::now());
                let sent = self.target.post(&self.metrics(metrics)).await;
                attempts.ended(&sent, "metrics", &self);
            }
            if ends {
                return;
            }
        }
    }

    /// The sum of the counts of all workers and the supervisor.
    async fn counts(&self) -> Option<Counts> {
        let (sender, sum) = oneshot::channel();
        self.shared.send(Notification::Sum(sender));
        tokio::time::timeout(COUNTING, sum).await.ok()?.ok()
    }

    fn logs(&self, log_records: Vec<LogRecord>) -> LogsData {
        let records = ScopeLogs { scope: Some(scope()), log_records, ..ScopeLogs::default() };
        let records = ResourceLogs {
            resource: Some(resource(&self.service, None)),
            scope_logs: vec![records],
            ..ResourceLogs::default()
        };
        LogsData { resource_logs: vec![records] }
    }

    fn metrics(&self, metrics: Vec<Metric>) -> MetricsData {
        let metrics = ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() };
        let metrics = ResourceMetrics {
            resource: Some(resource(&self.service, None)),
            scope_metrics: vec![metrics],
            ..ResourceMetrics::default()
        };
        MetricsData { resource_metrics: vec![metrics] }
    }
}

/// The lines that wait to be sent.
struct OtlpLines {
    lines: broadcast::Receiver<Arc<LogChunk>>,
    waiting: VecDeque<LogRecord>,
    /// How many may wait.
    queue: usize,
    /// How many were dropped.
    lost: u64,
    /// Whether more may follow.
    open: bool,
}

impl OtlpLines {
    /// Waits for the next lines, or for the end of the server, and then takes all that there are; `false` if it is late.
    async fn wait(
        &mut self,
        stopped: &mut watch::Receiver<bool>,
        deadline: Option<tokio::time::Instant>,
    ) -> bool {
        let late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            next = self.lines.recv() => self.take(next),
            () = late => return false,
            _ = stopped.changed() => {
                while let Ok(chunk) = self.lines.try_recv() {
                    self.take(Ok(chunk));
                }
                self.open = false;
            }
        }
        true
    }

    fn take(&mut self, next: Result<Arc<LogChunk>, RecvError>) {
        match next {
            Ok(chunk) => {
                self.waiting.extend(chunk.lines().iter().map(records::record));
                let over = self.waiting.len().saturating_sub(self.queue);
                self.waiting.drain(..over);
                self.lost += over as u64;
            }
            Err(RecvError::Lagged(count)) => self.lost += count,
            Err(RecvError::Closed) => self.open = false,
        }
    }
}
