//! One upstream, and the connections that are kept for its next requests.

use std::any::Any;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::address::Address;
use super::clock::Clock;
use super::failure::{FailureReason, UpstreamFault};
use super::health::Health;
use super::options::{PoolOptions, duration};
use super::outgoing::Outgoing;
use super::stream::Stream;

/// A kept connection frees a buffer above this size.
const KEPT_BUFFER: usize = 16 * 1024;

/// One upstream.
pub(in crate::app) struct Member {
    /// The public name.
    pub(in crate::app) name: String,
    /// A digest of the address, for clients.
    pub(in crate::app) mark: String,
    pub(in crate::app) address: Address,
    /// The index of its upstream in the config.
    pub(super) upstream: usize,
    /// A number that no other member has at the same time.
    pub(in crate::app) slot: usize,
    pub(super) weight: AtomicU32,
    pub(super) health: Health,
    pub(super) slots: Arc<Semaphore>,
    pub(super) idle: Mutex<IdleConnections>,
    pub(super) attached: OnceLock<Box<dyn Any + Send + Sync>>,
}

#[derive(Default)]
pub(super) struct IdleConnections {
    connections: Vec<KeptConnection>,
    /// Whether a task closes connections that were kept long enough.
    swept: bool,
    /// Whether no connection is kept any more.
    retired: bool,
}

struct KeptConnection {
    connection: UpstreamConnection,
    until: Instant,
}

/// A connection and its buffers.
pub(in crate::app) struct UpstreamConnection {
    pub(in crate::app) stream: Stream,
    /// Bytes read but not used yet.
    pub(in crate::app) input: BytesMut,
    pub(super) output: Outgoing,
    pub(super) clock: Clock,
}

impl UpstreamConnection {
    pub(in crate::app) fn new(stream: Stream) -> UpstreamConnection {
        UpstreamConnection {
            stream,
            input: BytesMut::new(),
            output: Outgoing::default(),
            clock: Clock::default(),
        }
    }
}

/// Closes idle connections that were kept long enough, until none are left.
async fn sweep(member: std::sync::Weak<Member>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Some(member) = member.upgrade() else { return };
        let now = Instant::now();
        let mut over = Vec::new();
        let mut kept = member.idle.lock();
        let mut index = 0;
        while index < kept.connections.len() {
            let idle = &mut kept.connections[index];
            if idle.until <= now || !idle.connection.stream.is_quiet() {
                over.push(kept.connections.remove(index));
            } else {
                index += 1;
            }
        }
        let done = kept.connections.is_empty();
        kept.swept = !done;
        drop(kept);
        drop(over); // closed outside the lock
        if done {
            return;
        }
    }
}

impl Member {
    /// Keeps a connection for the next request. `most` is how long the upstream will keep it by its own
    /// account.
    pub(super) fn keep(
        self: &Arc<Member>,
        pool: &PoolOptions,
        mut connection: UpstreamConnection,
        most: Option<Duration>,
    ) {
        let mut time = duration(pool.idle_secs);
        if let Some(most) = most {
            // It must not be reused at the moment when the upstream closes it.
            time = time.min(most.saturating_sub(Duration::from_secs(1)));
        }
        if pool.max_idle == 0 || time.is_zero() {
            return;
        }
        connection.clock.stop();
        if connection.input.capacity() > KEPT_BUFFER {
            connection.input = BytesMut::new();
        }
        let mut kept = self.idle.lock();
        if !kept.retired && kept.connections.len() < pool.max_idle as usize {
            kept.connections.push(KeptConnection { connection, until: Instant::now() + time });
            if !std::mem::replace(&mut kept.swept, true) {
                tokio::spawn(sweep(Arc::downgrade(self)));
            }
        }
    }

    /// It gets no more requests: closes the connections that wait for one.
    pub(super) fn retire(&self) {
        let mut kept = self.idle.lock();
        kept.retired = true;
        let over = std::mem::take(&mut kept.connections);
        drop(kept);
        drop(over); // closed outside the lock
    }

    /// What the protocol keeps for this upstream: the same value for each call, of one type.
    pub(in crate::app) fn attached<T: Default + Send + Sync + 'static>(&self) -> &T {
        let value = self.attached.get_or_init(|| Box::new(T::default()));
        value.downcast_ref().expect("an app has one protocol")
    }

    /// A kept connection that the upstream has not closed.
    pub(super) fn take(&self) -> Option<UpstreamConnection> {
        loop {
            let idle = self.idle.lock().connections.pop()?;
            let mut connection = idle.connection;
            if connection.stream.is_quiet() && idle.until > Instant::now() {
                return Some(connection);
            }
        }
    }

    pub(in crate::app) fn succeeded(&self) {
        self.health.succeeded();
    }

    /// A failure of this upstream.
    pub(in crate::app) fn fault(&self, reason: FailureReason) -> UpstreamFault {
        UpstreamFault { name: self.name.clone(), address: self.address.shown.clone(), reason }
    }
}
