//! Upstreams whose names are resolved again when the time to live of their records ends.
//!
//! - `lookup`: one question to the DNS.

#[cfg(feature = "dns")]
mod lookup;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "dns")]
use self::lookup::NameResolver;
use super::address::{Address, UpstreamTarget};
use super::group::{Group, Replaced};
use super::options::{Secs, duration, secs};
use super::probe::{ProbeUpstreams, probe_member};
use crate::config::{Table, item};
use crate::error::Error;

/// The pause after a lookup that failed; doubled up to the second value.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How to resolve the names of upstreams.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::app) struct NameOptions {
    /// DNS servers to ask: `10.0.0.2`, `127.0.0.1:5353`. By default those of `/etc/resolv.conf`, after `/etc/hosts`.
    servers: Vec<String>,
    /// Which addresses to use.
    family: AddressFamily,
    /// Minimum time between two lookups of a name, for records with a shorter time to live.
    min_ttl_secs: Secs,
    /// Maximum time between two lookups of a name, for records with a longer time to live.
    max_ttl_secs: Secs,
    /// Maximum time to wait for the response of a DNS server. After that, another server, or the same one, is asked once more.
    timeout_secs: Secs,
}

impl Default for NameOptions {
    fn default() -> Self {
        NameOptions {
            servers: Vec::new(),
            family: AddressFamily::default(),
            min_ttl_secs: secs(1),
            max_ttl_secs: secs(300),
            timeout_secs: secs(5),
        }
    }
}

/// Which addresses of a name to use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::app) enum AddressFamily {
    /// All.
    #[default]
    Any,
    /// Those of IPv4 (A records).
    Ipv4,
    /// Those of IPv6 (AAAA records).
    Ipv6,
}

/// What a name leads to.
struct FoundAddresses {
    targets: Vec<FoundTarget>,
    /// How long that holds.
    ttl: Duration,
}

/// One address of a name.
struct FoundTarget {
    /// The name that has the address: that of a server, if the name was that of a service (SRV).
    host: String,
    address: SocketAddr,
    weight: u32,
}

/// Resolves the names of one app's upstreams.
pub(in crate::app) struct Names {
    resolver: NameResolver,
    bounds: (Duration, Duration),
    /// The index of the upstream, its address, and its weight.
    names: Vec<(usize, Address, u32)>,
}

impl Names {
    /// Checks the options; faults go to `errors`.
    pub(in crate::app) fn new(
        options: &NameOptions,
        addresses: &[Address],
        weights: &[Secs],
        table: &Table,
        errors: &mut Vec<Error>,
    ) -> Option<Names> {
        let before = errors.len();
        let mut servers = Vec::new();
        for (index, text) in options.servers.iter().enumerate() {
            let ip = text.trim_matches(['[', ']']).parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
            match ip.or_else(|_| text.parse::<SocketAddr>()) {
                Ok(server) => servers.push(server),
                Err(_) => {
                    let error = table.error(
                        item("dns.servers", index),
                        format!("`{text}` is not the address of a DNS server"),
                    );
                    errors.push(error.help("write an IP address, such as `10.0.0.2` or `127.0.0.1:5353`"));
                }
            }
        }
        let bounds = (duration(options.min_ttl_secs), duration(options.max_ttl_secs));
        if bounds.0 > bounds.1 {
            errors.push(table.error("dns.min_ttl_secs", "it is greater than `dns.max_ttl_secs`"));
        }
        let named = |(index, address): (usize, &Address)| {
            address.name()?;
            Some((index, address.clone(), weights.get(index).map_or(1, |weight| weight.get())))
        };
        let names: Vec<_> = addresses.iter().enumerate().filter_map(named).collect();
        if names.is_empty() {
            errors.push(table.error("dns", "no upstream has a name").help("remove the table `dns`"));
        }
        if errors.len() > before {
            return None;
        }
        match NameResolver::new(&servers, options.family, duration(options.timeout_secs)) {
            Ok(resolver) => Some(Names { resolver, bounds, names }),
            Err(error) => {
                errors.push(error.at(table.origin("dns")));
                None
            }
        }
    }

    /// Lets requests wait for the first addresses. Without a runtime it does nothing: then the system resolves the names for
    /// each connection.
    pub(in crate::app) fn hold(&self, group: &Group) {
        if tokio::runtime::Handle::try_current().is_ok() {
            group.await_names(&self.names.iter().map(|(index, ..)| *index).collect::<Vec<_>>());
        }
    }

    /// Resolves the names from now on, until nothing else holds the app. Without a runtime it does nothing.
    pub(in crate::app) fn start<A: ProbeUpstreams>(self, app: &Arc<A>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let Names { resolver, bounds, names } = self;
        let resolver = Arc::new(resolver);
        for (upstream, address, weight) in names {
            let (app, resolver) = (Arc::downgrade(app), resolver.clone());
            runtime.spawn(NameTask { app, resolver, bounds, upstream, address, weight }.run());
        }
    }
}

/// Resolves one name.
struct NameTask<A> {
    app: Weak<A>,
    resolver: Arc<NameResolver>,
    bounds: (Duration, Duration),
    upstream: usize,
    address: Address,
    weight: u32,
}

impl<A: ProbeUpstreams> NameTask<A> {
    async fn run(self) {
        let Some((name, port)) = self.address.name() else { return };
        let mut first = true;
        let mut failing = None::<Duration>;
        loop {
            let found = self.resolver.find(name, port).await;
            let Some(app) = self.app.upgrade() else { return };
            let pause = match found {
                Ok(found) => {
                    let ttl = found.ttl.clamp(self.bounds.0, self.bounds.1);
                    if failing.take().is_some() {
                        tracing::info!("the upstream name `{name}` can be resolved again");
                    }
                    self.take(&app, found, name, first);
                    ttl
                }
                Err(why) => {
                    if failing.is_none() {
                        let known =
                            app.group().members().list.iter().any(|one| one.upstream == self.upstream);
                        let rest =
                            if known { "its last addresses remain in use" } else { "it has no address yet" };
                        tracing::warn!("cannot resolve the upstream name `{name}`: {why}; {rest}");
                    }
                    if first {
                        app.group().unresolved();
                    }
                    let pause = failing.map_or(PAUSE.0, |pause| (pause * 2).min(PAUSE.1));
                    *failing.insert(pause)
                }
            };
            first = false;
            drop(app);
            tokio::time::sleep(pause).await;
        }
    }

    /// Makes the addresses the members of the group.
    fn take(&self, app: &Arc<A>, found: FoundAddresses, name: &str, first: bool) {
        let addresses = found.targets.into_iter().map(|target| {
            let weight = self.weight.saturating_mul(target.weight);
            (resolved(&self.address, target.host, target.address), weight)
        });
        let group: &Group = app.group();
        let Replaced { new, gone, left_out } = group.replace(self.upstream, addresses.collect(), first);
        if !new.is_empty() || !gone.is_empty() {
            let shown = |members: &[Arc<super::member::Member>]| {
                let addresses = members.iter().filter_map(|member| member.address.resolved);
                addresses.map(|address| address.to_string()).collect::<Vec<_>>().join(", ")
            };
            let (new, gone) = (shown(&new), shown(&gone));
            tracing::info!(new, gone, "the addresses of the upstream name `{name}` have changed");
        }
        if left_out > 0 {
            tracing::warn!("{left_out} addresses of `{name}` are not used: there are too many upstreams");
        }
        new.iter().for_each(|member| probe_member(app, member));
    }
}

/// The upstream at one address of a name.
fn resolved(configured: &Address, host: String, address: SocketAddr) -> Address {
    let mut own = configured.clone();
    own.shown = format!("{} ({address})", configured.shown);
    own.resolved = Some(address);
    if configured.name().is_some_and(|(name, _)| name != host) {
        own.authority = format!("{host}:{}", address.port());
        own.target = UpstreamTarget::Tcp(host, address.port());
    }
    own
}

#[cfg(not(feature = "dns"))]
use NoResolver as NameResolver;

/// This build cannot resolve names again.
#[cfg(not(feature = "dns"))]
enum NoResolver {}

#[cfg(not(feature = "dns"))]
impl NoResolver {
    fn new(_: &[SocketAddr], _: AddressFamily, _: Duration) -> Result<NoResolver, Error> {
        Err(crate::registry::lacking("dns"))
    }

    async fn find(&self, _: &str, _: u16) -> Result<FoundAddresses, String> {
        match *self {}
    }
}
