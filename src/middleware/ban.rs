//! `ban`: refuses clients for a while that have caused many errors: failed logins, pages that do not exist.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::peers::Peers;
use super::refusal::{at_once, refusal_for};
use super::request_key::client;
use super::shared_bans::SharedBans;
use crate::body::{App, Response};
use crate::config::Table;
use crate::context::Context;
use crate::environ::Environ;
use crate::error::{Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "ban"`.
///
/// Put it outside of the parts whose errors count, such as `auth_basic` and `rate_limit`. A banned client
/// gets 403 with `Retry-After`. Each worker counts for itself, and a reload ends all bans, unless `store` names a resource.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Number of such responses within `within_secs` after which a client is banned.
    after: NonZeroU32,
    /// The period in seconds.
    within_secs: NonZeroU32,
    /// How long a ban lasts, in seconds.
    ban_secs: NonZeroU32,
    /// Statuses that count.
    statuses: BTreeSet<u16>,
    /// Clients that are never banned: addresses, networks, `loopback`, `unix`.
    exempt: Peers,
    /// Maximum number of clients to remember in each worker.
    max_clients: usize,
    /// Name of a `[resource.NAME]` table: all workers, and all servers with this resource, then share one count, and bans
    /// survive a reload. While the resource does not respond, each worker counts for itself.
    store: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        let number = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Options {
            after: number(30),
            within_secs: number(60),
            ban_secs: number(600),
            statuses: BTreeSet::from([401, 403, 404, 429]),
            exempt: Peers::loopback(),
            max_clients: 100_000,
            store: None,
        }
    }
}

struct Bans {
    options: Options,
    clients: Mutex<HashMap<IpAddr, ClientRecord>>,
    /// When the records that are over were last removed: that takes time.
    swept: Mutex<Option<Instant>>,
    shared: Option<SharedBans>,
}

/// What is known about a client.
struct ClientRecord {
    /// Start of the period, or of the ban.
    since: Instant,
    strikes: u32,
    banned: bool,
}

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, context: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    for status in options.statuses.iter().filter(|status| !(400..600).contains(*status)) {
        let error = table.error("statuses", format!("`{status}` is not a status for errors"));
        errors.push(error.help("use numbers from 400 to 599"));
    }
    let store = options.store.as_ref().map(|name| context.stores.find(name)).transpose();
    let store = store.map_err(|error| errors.push(error.at(table.origin("store")))).ok().flatten().flatten();
    Errors::check(errors)?;
    let shared = store.map(|store| SharedBans::new(store, table.name()));
    let bans = Arc::new(Bans { options, clients: Mutex::default(), swept: Mutex::default(), shared });
    Ok(App::from_call(move |request| {
        let exempt = bans.options.exempt.allow(request.extensions().get::<Environ>());
        let Some(client) = client(&request).filter(|_| !exempt) else { return next.handle(request) };
        if let Some(left) = bans.left(client) {
            return at_once(refused(left));
        }
        let (bans, next) = (bans.clone(), next.clone());
        Box::pin(async move {
            if let Some(left) = bans.left_shared(client).await {
                return Ok(refused(left));
            }
            let response = next.handle(request).await?;
            if bans.options.statuses.contains(&response.status().as_u16()) {
                bans.strike_anywhere(client).await;
            }
            Ok(response)
        })
    }))
}

fn refused(left: Duration) -> Response {
    let text = "This address has caused too many errors. Try again later.\n";
    refusal_for(left.as_secs() + 1, StatusCode::FORBIDDEN, "a banned client", text)
}

impl Bans {
    fn period(&self, banned: bool) -> Duration {
        let secs = if banned { self.options.ban_secs } else { self.options.within_secs };
        Duration::from_secs(secs.get().into())
    }

    /// How long the client is still banned by the store.
    async fn left_shared(&self, client: IpAddr) -> Option<Duration> {
        let shared = self.shared.as_ref()?;
        shared.left(client).await.unwrap_or_default() // a failure is logged by the store
    }

    /// Counts an error in the store, or here.
    async fn strike_anywhere(&self, client: IpAddr) {
        let Some(shared) = &self.shared else { return self.strike(client) };
        let limits = (self.options.after.get(), self.period(false), self.period(true));
        match shared.strike(client, limits).await {
            Ok(true) => self.tell(client),
            Ok(false) => {}
            Err(_) => self.strike(client),
        }
    }

    fn tell(&self, client: IpAddr) {
        tracing::warn!(%client, secs = self.options.ban_secs.get(), "the client is banned: too many errors");
    }

    /// How long the client is still banned.
    fn left(&self, client: IpAddr) -> Option<Duration> {
        let clients = self.clients.lock();
        let record = clients.get(&client).filter(|record| record.banned)?;
        self.period(true).checked_sub(record.since.elapsed())
    }

    fn strike(&self, client: IpAddr) {
        let now = Instant::now();
        let mut clients = self.clients.lock();
        if clients.len() >= self.options.max_clients && !clients.contains_key(&client) {
            let mut swept = self.swept.lock();
            if swept.is_none_or(|swept| now.saturating_duration_since(swept) >= Duration::from_secs(1)) {
                *swept = Some(now);
                clients.retain(|_, record| record.since.elapsed() < self.period(record.banned));
            }
            if clients.len() >= self.options.max_clients {
                return;
            }
        }
        let record = clients.entry(client).or_insert(ClientRecord { since: now, strikes: 0, banned: false });
        if now.saturating_duration_since(record.since) >= self.period(record.banned) {
            *record = ClientRecord { since: now, strikes: 0, banned: false };
        }
        record.strikes += 1;
        if !record.banned && record.strikes >= self.options.after.get() {
            (record.since, record.banned) = (now, true);
            self.tell(client);
        }
    }
}
