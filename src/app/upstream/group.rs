//! The upstreams of one app: chooses one for each request, and keeps their connections.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::address::Address;
use super::balance::{Balancer, Candidate};
use super::clock::Clock;
use super::failure::{Reason, UpstreamFailure, UpstreamFault};
use super::health::Health;
use super::options::{HealthOptions, PoolOptions, Timeouts, UpstreamOptions, duration};
use super::outgoing::Outgoing;
use super::stream::{Stream, Tls};

/// Maximum number of upstreams of one app, so that a bit set can hold those already tried.
pub(super) const MOST: usize = 64;
/// Maximum number of upstreams tried for one request.
const TRIES: u32 = 3;
/// The pause before another attempt at upstreams that are starting.
const PAUSE: Duration = Duration::from_millis(20);
/// A kept connection frees a buffer above this size.
const KEPT_BUFFER: usize = 16 * 1024;

/// The upstreams of one app.
pub(in crate::app) struct Group {
    pub(in crate::app) members: Vec<Arc<Member>>,
    balancer: Balancer,
    pub(in crate::app) timeouts: Timeouts,
    pub(in crate::app) pool: PoolOptions,
    pub(in crate::app) health: HealthOptions,
    pub(in crate::app) tls: Option<Tls>,
    /// Whether pages may show addresses and causes.
    pub(in crate::app) development: bool,
    /// How long to go on when no upstream can be reached.
    pub(super) patience: Duration,
}

/// One upstream.
pub(in crate::app) struct Member {
    /// The public name.
    pub(in crate::app) name: String,
    pub(in crate::app) address: Address,
    pub(super) health: Health,
    slots: Arc<Semaphore>,
    idle: Mutex<IdleConnections>,
}

#[derive(Default)]
struct IdleConnections {
    connections: Vec<KeptConnection>,
    /// Whether a task closes connections that were kept long enough.
    swept: bool,
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

/// The right to use one connection of an upstream, until it is dropped.
pub(in crate::app) struct Lease {
    pub(in crate::app) member: Arc<Member>,
    /// Its index in the group.
    pub(in crate::app) index: usize,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Group {
    /// Creates the group of the app with this name; starts nothing.
    pub(in crate::app) fn new(
        app: &str,
        addresses: Vec<Address>,
        options: UpstreamOptions,
        tls: Option<Tls>,
        development: bool,
    ) -> Group {
        let UpstreamOptions { balance, weights, timeouts, pool, health, patience, .. } = options;
        let several = addresses.len() > 1;
        let member = |(index, address): (usize, Address)| {
            Arc::new(Member {
                name: if several { format!("{app} {}", index + 1) } else { app.to_owned() },
                address,
                health: Health::new(),
                slots: Arc::new(Semaphore::new(pool.max_connections.get() as usize)),
                idle: Mutex::default(),
            })
        };
        let members: Vec<_> = addresses.into_iter().take(MOST).enumerate().map(member).collect();
        let weights: Vec<u32> = weights.into_iter().map(u32::from).collect();
        let balancer = Balancer::new(balance, &weights, members.len());
        Group { members, balancer, timeouts, pool, health, tls, development, patience }
    }

    /// Whether there are upstreams other than `tried` that may be used.
    pub(super) fn has_more(&self, tried: u64) -> bool {
        let may = |(index, member): (usize, &Arc<Member>)| {
            tried & 1 << index == 0 && !member.health.is_out() && !member.health.is_checked_out()
        };
        self.members.iter().enumerate().any(may)
    }

    /// Chooses an upstream that is not among `tried`, the `preferred` one if it can be used, and waits for a free
    /// connection.
    /// # Errors
    /// If all upstreams are unhealthy, or the wait took too long.
    pub(in crate::app) async fn lease(
        &self,
        tried: u64,
        preferred: Option<usize>,
    ) -> Result<Lease, UpstreamFault> {
        let Some(index) = self.choose(tried, preferred) else {
            return Err(self.members[0].fault(Reason::Out));
        };
        let member = &self.members[index];
        let permit = match member.slots.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let wait = member.slots.clone().acquire_owned();
                match tokio::time::timeout(duration(self.timeouts.queue_secs), wait).await {
                    Ok(Ok(permit)) => permit,
                    _ => return Err(member.fault(Reason::Full)),
                }
            }
        };
        Ok(Lease { member: member.clone(), index, _permit: Some(permit) })
    }

    /// A lease that is not counted: for health checks, and for programs, which are counted elsewhere.
    pub(in crate::app) fn uncounted(&self, index: usize) -> Lease {
        Lease { member: self.members[index].clone(), index, _permit: None }
    }

    /// The upstream for a request: one of the healthy ones; if there are none, one of those that failed
    /// recently.
    fn choose(&self, tried: u64, preferred: Option<usize>) -> Option<usize> {
        if let [only] = &self.members[..] {
            return (tried == 0 && !only.health.is_checked_out()).then_some(0);
        }
        let usable = |index: usize| {
            let health = &self.members[index].health;
            tried & 1 << index == 0 && !health.is_checked_out()
        };
        let works = |index: usize| usable(index) && !self.members[index].health.is_out();
        if let Some(index) = preferred.filter(|index| *index < self.members.len() && works(*index)) {
            return Some(index);
        }
        let all = 0..self.members.len();
        let mut candidates: Vec<_> =
            all.clone().filter(|index| works(*index)).map(|index| self.candidate(index)).collect();
        if candidates.is_empty() {
            candidates.extend(all.filter(|index| usable(*index)).map(|index| self.candidate(index)));
        }
        self.balancer.choose(&candidates)
    }

    fn candidate(&self, index: usize) -> Candidate {
        let (member, limit) = (&self.members[index], self.pool.max_connections.get() as usize);
        let busy = limit.saturating_sub(member.slots.available_permits());
        let slow_start = Duration::from_secs(self.health.slow_start_secs.into());
        Candidate { index, busy, limit, ramp: member.health.ramp(slow_start) }
    }

    /// A new connection to `member`.
    /// # Errors
    /// If there is no connection, or not in time.
    pub(in crate::app) async fn connect(&self, member: &Member) -> Result<UpstreamConnection, Reason> {
        let connect = Stream::connect(&member.address, self.tls.as_ref());
        match tokio::time::timeout(duration(self.timeouts.connect_secs), connect).await {
            Ok(Ok(stream)) => Ok(UpstreamConnection::new(stream)),
            Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Err(Reason::ConnectTimeout),
            Ok(Err(error)) => Err(Reason::Unreachable(error)),
            Err(_) => Err(Reason::ConnectTimeout),
        }
    }

    /// Counts a failure of `member`.
    pub(in crate::app) fn failed(&self, member: &Member) {
        if member.health.fail(&self.health) && self.members.len() > 1 {
            let (upstream, address, out_secs) = (&*member.name, &*member.address.shown, self.health.out_secs);
            tracing::warn!(upstream, address, "not used for {out_secs} s: it failed too often");
        }
    }

    /// Allows the caller to try another upstream after a failure of `member`, if one was not `tried`.
    /// # Errors
    /// The failure, if none is left.
    pub(in crate::app) fn next(
        &self,
        member: &Member,
        tried: u64,
        reason: Reason,
    ) -> Result<(), UpstreamFailure> {
        let fault = member.fault(reason);
        if tried.count_ones() < TRIES && self.has_more(tried) {
            fault.log();
            return Ok(());
        }
        Err(UpstreamFailure::Upstream(fault))
    }

    /// Waits a moment for upstreams that may be starting again, after the `failure` of a request that began at `began`.
    /// # Errors
    /// The failure, when the wait is over.
    pub(in crate::app) async fn wait_for_start(
        &self,
        began: Instant,
        failure: UpstreamFailure,
    ) -> Result<(), UpstreamFailure> {
        if began.elapsed() >= self.patience {
            return Err(failure);
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    /// Keeps a connection for the next request. `most` is how long the upstream will keep it by its own
    /// account.
    pub(super) fn keep(
        &self,
        member: &Arc<Member>,
        mut connection: UpstreamConnection,
        most: Option<Duration>,
    ) {
        let mut time = duration(self.pool.idle_secs);
        if let Some(most) = most {
            // It must not be reused at the moment when the upstream closes it.
            time = time.min(most.saturating_sub(Duration::from_secs(1)));
        }
        if self.pool.max_idle == 0 || time.is_zero() {
            return;
        }
        connection.clock.stop();
        if connection.input.capacity() > KEPT_BUFFER {
            connection.input = BytesMut::new();
        }
        let mut kept = member.idle.lock();
        if kept.connections.len() < self.pool.max_idle as usize {
            kept.connections.push(KeptConnection { connection, until: Instant::now() + time });
            if !std::mem::replace(&mut kept.swept, true) {
                tokio::spawn(sweep(Arc::downgrade(member)));
            }
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
    pub(in crate::app) fn fault(&self, reason: Reason) -> UpstreamFault {
        UpstreamFault { name: self.name.clone(), address: self.address.shown.clone(), reason }
    }
}
