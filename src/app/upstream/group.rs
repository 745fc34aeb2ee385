//! The upstreams of one app: chooses one for each request. Which ones there are can change, if their names are resolved.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::address::Address;
use super::balance::{Balancer, Candidate};
use super::failure::{FailureReason, UpstreamFailure, UpstreamFault};
use super::health::Health;
use super::member::{Member, UpstreamConnection};
use super::options::{HealthOptions, PoolOptions, Timeouts, UpstreamOptions, duration};
use super::stream::{Stream, Tls};
use crate::metrics::{CountedPartBody, Counts, Value, families};

/// Maximum number of upstreams of one app, so that a bit set can hold those already tried.
pub(super) const MOST: usize = 64;
/// Maximum number of upstreams tried for one request.
const TRIES: u32 = 3;
/// The pause before another attempt at upstreams that are starting.
const PAUSE: Duration = Duration::from_millis(20);

/// The upstreams of one app.
pub(in crate::app) struct Group {
    /// Name of the app.
    app: String,
    members: watch::Sender<Arc<Members>>,
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

/// The upstreams at one moment.
#[derive(Default)]
pub(in crate::app) struct Members {
    pub(in crate::app) list: Vec<Arc<Member>>,
    /// How many names have not been resolved yet: neither successfully nor in vain.
    pending: usize,
}

/// The right to use one connection of an upstream, until it is dropped.
pub(in crate::app) struct ConnectionLease {
    pub(in crate::app) member: Arc<Member>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// What a change of the addresses of a name has done.
#[derive(Default)]
pub(super) struct Replaced {
    pub(super) new: Vec<Arc<Member>>,
    pub(super) gone: Vec<Arc<Member>>,
    /// How many addresses were left out because there are too many.
    pub(super) left_out: usize,
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
        let balancer = Balancer::new(balance, MOST);
        let members = watch::Sender::default();
        let app = app.to_owned();
        let group = Group { app, members, balancer, timeouts, pool, health, tls, development, patience };
        let several = addresses.len() > 1;
        let member = |(index, address): (usize, Address)| {
            let weight = weights.get(index).map_or(1, |weight| weight.get());
            let name = if several { format!("{} {}", group.app, index + 1) } else { group.app.clone() };
            group.member(name, address, (index, index), weight, Health::new())
        };
        let list = addresses.into_iter().take(MOST).enumerate().map(member).collect();
        group.members.send_replace(Arc::new(Members { list, pending: 0 }));
        group
    }

    /// A member with a place: the index of its upstream in the config, and its slot.
    fn member(
        &self,
        name: String,
        address: Address,
        (upstream, slot): (usize, usize),
        weight: u32,
        health: Health,
    ) -> Arc<Member> {
        // A digest, because the address must stay private. It stays the same if upstreams are added.
        let digest = Sha256::digest(format!("{}\0{}", self.app, address.shown));
        Arc::new(Member {
            name,
            mark: digest[..8].iter().map(|byte| format!("{byte:02x}")).collect(),
            address,
            upstream,
            slot,
            weight: AtomicU32::new(weight),
            health,
            slots: Arc::new(Semaphore::new(self.pool.max_connections.get() as usize)),
            idle: Mutex::default(),
            attached: OnceLock::new(),
        })
    }

    /// Removes the members of these upstreams until [`Group::replace`] has their addresses.
    pub(super) fn await_names(&self, upstreams: &[usize]) {
        self.members.send_modify(|members| {
            let list = members.list.iter().filter(|member| !upstreams.contains(&member.upstream));
            *members = Arc::new(Members { list: list.cloned().collect(), pending: upstreams.len() });
        });
    }

    /// A name could not be resolved at the first attempt.
    pub(super) fn unresolved(&self) {
        self.members.send_modify(|members| {
            let pending = members.pending.saturating_sub(1);
            *members = Arc::new(Members { list: members.list.clone(), pending });
        });
    }

    /// Makes `addresses`, with their weights, the members of the upstream with this index. Those that it has had are kept.
    /// Those that have disappeared get no more requests, and end with the last one that they have. `first`: these are the
    /// first addresses of that name.
    pub(super) fn replace(&self, upstream: usize, addresses: Vec<(Address, u32)>, first: bool) -> Replaced {
        let mut replaced = Replaced::default();
        self.members.send_modify(|members| {
            let (own, mut list): (Vec<_>, Vec<_>) =
                members.list.iter().cloned().partition(|member| member.upstream == upstream);
            let mut used = members.list.iter().fold(0u64, |used, member| used | 1 << member.slot);
            replaced.gone = own.clone();
            for (address, weight) in addresses {
                let same = |member: &Arc<Member>| {
                    member.upstream == upstream && member.address.shown == address.shown
                };
                if list.iter().any(same) {
                    continue; // a record that is there twice
                }
                if let Some(known) = own.iter().find(|member| same(member)) {
                    known.weight.store(weight, Relaxed);
                    replaced.gone.retain(|member| !Arc::ptr_eq(member, known));
                    list.push(known.clone());
                    continue;
                }
                let slot = used.trailing_ones() as usize;
                if slot >= MOST {
                    replaced.left_out += 1;
                    continue;
                }
                used |= 1 << slot;
                self.balancer.forget(slot);
                let health = if own.is_empty() { Health::new() } else { Health::starting() };
                let name = format!("{} {}", self.app, slot + 1);
                let new = self.member(name, address, (upstream, slot), weight, health);
                replaced.new.push(new.clone());
                list.push(new);
            }
            list.sort_by_key(|member| member.slot);
            *members = Arc::new(Members { list, pending: members.pending - usize::from(first) });
        });
        replaced.gone.iter().for_each(|member| member.retire());
        replaced
    }

    /// The upstreams now.
    pub(in crate::app) fn members(&self) -> Arc<Members> {
        self.members.borrow().clone()
    }

    /// The upstreams; if there are none because their names are still being resolved, waits for them.
    async fn resolved(&self) -> Arc<Members> {
        let members = self.members();
        if !members.list.is_empty() {
            return members;
        }
        let mut changes = self.members.subscribe();
        let wait = changes.wait_for(|members| !members.list.is_empty() || members.pending == 0);
        let waited = tokio::time::timeout(duration(self.timeouts.connect_secs), wait).await;
        drop(waited);
        self.members()
    }

    /// Whether there are upstreams other than `tried` that may be used.
    pub(super) fn has_more(&self, tried: u64) -> bool {
        let members = self.members();
        members.list.iter().any(|member| tried & 1 << member.slot == 0 && !member.health.is_unusable())
    }

    /// Chooses an upstream whose slot is not among `tried`, the one in the slot `preferred` if it can be used, and waits
    /// for a free connection.
    /// # Errors
    /// If all upstreams are unhealthy, or the wait took too long.
    pub(in crate::app) async fn lease(
        &self,
        tried: u64,
        preferred: Option<usize>,
    ) -> Result<ConnectionLease, UpstreamFault> {
        let members = self.resolved().await;
        let Some(member) = self.choose(&members.list, tried, preferred) else {
            return Err(match members.list.first() {
                Some(first) => first.fault(FailureReason::Out),
                None => UpstreamFault {
                    name: self.app.clone(),
                    address: "unknown".to_owned(),
                    reason: FailureReason::Unresolved,
                },
            });
        };
        let permit = match member.slots.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let wait = member.slots.clone().acquire_owned();
                match tokio::time::timeout(duration(self.timeouts.queue_secs), wait).await {
                    Ok(Ok(permit)) => permit,
                    _ => return Err(member.fault(FailureReason::Full)),
                }
            }
        };
        Ok(ConnectionLease { member: member.clone(), _permit: Some(permit) })
    }

    /// A lease that is not counted: for health checks, and for programs, which are counted elsewhere.
    pub(in crate::app) fn uncounted(&self, member: &Arc<Member>) -> ConnectionLease {
        ConnectionLease { member: member.clone(), _permit: None }
    }

    /// The upstream for a request: one of the healthy ones; if there are none, one of those that failed
    /// recently.
    fn choose<'a>(
        &self,
        members: &'a [Arc<Member>],
        tried: u64,
        preferred: Option<usize>,
    ) -> Option<&'a Arc<Member>> {
        if let [only] = members {
            return (tried & 1 << only.slot == 0 && !only.health.is_checked_out()).then_some(only);
        }
        let usable = |member: &Arc<Member>| tried & 1 << member.slot == 0 && !member.health.is_checked_out();
        let works = |member: &Arc<Member>| usable(member) && !member.health.is_out();
        let in_slot = |slot: usize| members.iter().find(|member| member.slot == slot);
        if let Some(member) = preferred.and_then(in_slot).filter(|member| works(member)) {
            return Some(member);
        }
        let mut candidates: Vec<_> =
            members.iter().filter(|member| works(member)).map(|member| self.candidate(member)).collect();
        if candidates.is_empty() {
            candidates
                .extend(members.iter().filter(|member| usable(member)).map(|member| self.candidate(member)));
        }
        in_slot(self.balancer.choose(&candidates)?)
    }

    fn candidate(&self, member: &Member) -> Candidate {
        let limit = self.pool.max_connections.get() as usize;
        let slow_start = Duration::from_secs(self.health.slow_start_secs.into());
        Candidate {
            slot: member.slot,
            weight: member.weight.load(Relaxed),
            busy: self.busy(member),
            limit,
            ramp: member.health.ramp(slow_start),
        }
    }

    /// The connections of `member` that are in use.
    fn busy(&self, member: &Member) -> usize {
        let limit = self.pool.max_connections.get() as usize;
        limit.saturating_sub(member.slots.available_permits())
    }

    /// A new connection to `member`.
    /// # Errors
    /// If there is no connection, or not in time.
    pub(in crate::app) async fn connect(&self, member: &Member) -> Result<UpstreamConnection, FailureReason> {
        let connect = Stream::connect(&member.address, self.tls.as_ref());
        match tokio::time::timeout(duration(self.timeouts.connect_secs), connect).await {
            Ok(Ok(stream)) => Ok(UpstreamConnection::new(stream)),
            Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Err(FailureReason::ConnectTimeout),
            Ok(Err(error)) => Err(FailureReason::Unreachable(error)),
            Err(_) => Err(FailureReason::ConnectTimeout),
        }
    }

    /// Counts a failure of `member`.
    pub(in crate::app) fn failed(&self, member: &Member) {
        if member.health.fail(&self.health) && self.members.borrow().list.len() > 1 {
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
        reason: FailureReason,
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
}

impl CountedPartBody for Group {
    fn count(&self, counts: &mut Counts) {
        for member in &self.members().list {
            let labels = [("app", &*self.app), ("upstream", &*member.address.shown)];
            let state = if member.health.is_unusable() { "failing" } else { "working" };
            let states = [labels[0], labels[1], ("state", state)];
            counts.put(&families::UPSTREAM_WORKERS, &states, Value::Level(1));
            let busy = Value::Level(self.busy(member) as i64);
            counts.put(&families::UPSTREAM_REQUESTS_IN_FLIGHT, &labels, busy);
        }
    }
}
