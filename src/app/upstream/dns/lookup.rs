//! Asks the DNS for the addresses of a name, or for the servers of a service.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;

use super::{AddressFamily, FoundAddresses, FoundTarget};
use crate::error::Error;

/// Asks DNS servers, without a cache of its own.
pub(super) struct NameResolver(TokioResolver);

impl NameResolver {
    /// Asks these servers; if there are none, those of the system.
    /// # Errors
    /// The system's configuration cannot be read.
    pub(super) fn new(
        servers: &[SocketAddr],
        family: AddressFamily,
        timeout: Duration,
    ) -> Result<NameResolver, Error> {
        let failed = |cause| Error::config("cannot read `/etc/resolv.conf`").because(cause);
        let mut builder = match servers {
            [] => TokioResolver::builder_tokio().map_err(failed)?,
            some => {
                let servers = some.iter().map(name_server).collect();
                let config = ResolverConfig::from_name_servers(servers);
                let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
                builder.options_mut().use_hosts_file = ResolveHosts::Never;
                builder
            }
        };
        let options = builder.options_mut();
        options.cache_size = 0;
        options.timeout = timeout;
        options.ip_strategy = match family {
            AddressFamily::Any => LookupIpStrategy::Ipv4AndIpv6,
            AddressFamily::Ipv4 => LookupIpStrategy::Ipv4Only,
            AddressFamily::Ipv6 => LookupIpStrategy::Ipv6Only,
        };
        builder.build().map(NameResolver).map_err(failed)
    }

    /// The addresses of a name. A name that begins with `_` is that of a service: its servers have ports and weights of
    /// their own, and those of the first priority are used (RFC 2782).
    /// # Errors
    /// Why there are none, for the log.
    pub(super) async fn find(&self, name: &str, port: u16) -> Result<FoundAddresses, String> {
        let mut found = FoundAddresses { targets: Vec::new(), ttl: Duration::MAX };
        if !name.starts_with('_') {
            self.add_addresses(name, port, 1, &mut found).await?;
        } else {
            let lookup = self.0.srv_lookup(name).await.map_err(|error| error.to_string())?;
            found.ttl = left(lookup.valid_until());
            let mut services: Vec<_> = lookup
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::SRV(service) => Some(service),
                    _ => None,
                })
                .collect();
            let first = services.iter().map(|service| service.priority).min();
            services.retain(|service| Some(service.priority) == first);
            for service in services {
                let target = service.target.to_utf8();
                let host = target.trim_end_matches('.');
                let weight = u32::from(service.weight).max(1);
                self.add_addresses(host, service.port, weight, &mut found).await?;
            }
        }
        match found.targets.is_empty() {
            true => Err("it has no address".to_owned()),
            false => Ok(found),
        }
    }

    async fn add_addresses(
        &self,
        host: &str,
        port: u16,
        weight: u32,
        found: &mut FoundAddresses,
    ) -> Result<(), String> {
        let lookup = self.0.lookup_ip(host).await.map_err(|error| error.to_string())?;
        found.ttl = found.ttl.min(left(lookup.valid_until()));
        found.targets.extend(lookup.iter().map(|address| FoundTarget {
            host: host.to_owned(),
            address: SocketAddr::new(address, port),
            weight,
        }));
        Ok(())
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// A server that is asked over UDP, and over TCP if its response is long.
fn name_server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}
