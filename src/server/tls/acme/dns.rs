//! dns-01 (RFC 8555 section 8.4): a command of the user sets the record, and DNS servers are asked whether it can
//! be seen.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::process::Stdio;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::process::Command;

use super::lookup::texts_of;
use crate::config::{Table, item};
use crate::error::Error;

/// The pause between two questions to a DNS server.
const PAUSE: Duration = Duration::from_secs(2);

/// The table `[server.NAME.tls.acme.dns]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct DnsOptions {
    /// Program that sets TXT records, with its arguments. It is called with `present NAME VALUE` to add a record, and
    /// with `cleanup NAME VALUE` to remove it, like the programs of lego's `exec` provider. NAME is
    /// `_acme-challenge.example.org.`. The program must keep other records with the same name, because `example.org` and
    /// `*.example.org` have one each. The same values are in the variables `ACME_ACTION`, `ACME_DOMAIN`, `ACME_RECORD_NAME`
    /// and `ACME_RECORD_VALUE`.
    pub command: Vec<String>,
    /// DNS servers to ask whether a record is visible, preferably those of the zone: `192.0.2.53`, `[2001:db8::53]:5353`. By
    /// default, the servers of `/etc/resolv.conf`.
    #[serde(default)]
    pub resolvers: Vec<String>,
    /// How long to wait until all of them have a record. After that, the authority is asked anyway. 0 skips the check.
    #[serde(default = "two_minutes")]
    pub propagation_secs: u32,
    /// Maximum time for one run of the command.
    #[serde(default = "a_minute")]
    pub timeout_secs: NonZeroU32,
}

fn two_minutes() -> u32 {
    120
}

fn a_minute() -> NonZeroU32 {
    const { NonZeroU32::new(60).unwrap() }
}

/// Checked options.
#[derive(Debug, Clone)]
pub(super) struct DnsSettings {
    command: Vec<String>,
    resolvers: Vec<SocketAddr>,
    propagation: Duration,
    time: Duration,
}

/// A record that is set.
pub(super) struct DnsRecord {
    domain: String,
    name: String,
    value: String,
}

impl DnsSettings {
    /// Checks the options; faults go to `errors`.
    pub(super) fn build(table: &Table, options: &DnsOptions, errors: &mut Vec<Error>) -> DnsSettings {
        if options.command.first().is_none_or(String::is_empty) {
            let error = table.error("tls.acme.dns.command", "there is no command to set records");
            errors.push(error.help("write `command = [\"/path/to/program\"]`"));
        }
        let mut resolvers = Vec::new();
        for (index, text) in options.resolvers.iter().enumerate() {
            match address(text) {
                Some(address) => resolvers.push(address),
                None => {
                    let place = item("tls.acme.dns.resolvers", index);
                    let error = table.error(&place, format!("`{text}` is not the address of a DNS server"));
                    errors.push(error.help("write `192.0.2.53` or `[2001:db8::53]:53`"));
                }
            }
        }
        DnsSettings {
            command: options.command.clone(),
            resolvers,
            propagation: Duration::from_secs(options.propagation_secs.into()),
            time: Duration::from_secs(options.timeout_secs.get().into()),
        }
    }

    /// Sets the record for a domain, and waits until it can be seen.
    /// # Errors
    /// If the command fails.
    pub(super) async fn present(&self, domain: &str, value: String) -> Result<DnsRecord, Error> {
        let name = format!("_acme-challenge.{domain}.");
        let record = DnsRecord { domain: domain.to_owned(), name, value };
        self.run("present", &record).await?;
        let late = tokio::time::timeout(self.propagation, self.wait_for(&record)).await.is_err();
        if late && !self.propagation.is_zero() {
            let secs = self.propagation.as_secs();
            tracing::warn!(record = record.name, "not all DNS servers have the record after {secs} s");
        }
        Ok(record)
    }

    /// Removes a record. A failure is only logged: the certificate does not depend on it.
    pub(super) async fn clean_up(&self, record: &DnsRecord) {
        if let Err(error) = self.run("cleanup", record).await {
            let cause = error.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
            tracing::warn!(record = record.name, "the record may remain: {error}{cause}");
        }
    }

    async fn run(&self, action: &str, record: &DnsRecord) -> Result<(), Error> {
        let Some((program, arguments)) = self.command.split_first() else { return Ok(()) };
        let DnsRecord { domain, name, value } = record;
        let mut command = Command::new(program);
        command.args(arguments).args([action, name, value]).kill_on_drop(true).stdin(Stdio::null());
        command.env("ACME_ACTION", action).env("ACME_DOMAIN", domain);
        command.env("ACME_RECORD_NAME", name).env("ACME_RECORD_VALUE", value);
        let failed = |why: String| Error::new(format!("`{program} … {action} {name}` failed")).because(why);
        let output = match tokio::time::timeout(self.time, command.output()).await {
            Ok(output) => output.map_err(|cause| failed(cause.to_string()))?,
            Err(_) => return Err(failed(format!("it did not end within {} s", self.time.as_secs()))),
        };
        if output.status.success() {
            return Ok(());
        }
        let told = String::from_utf8_lossy(&output.stderr);
        let last = told.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        Err(failed(format!("{}: {last}", output.status)))
    }

    /// Waits until every DNS server can see the record.
    async fn wait_for(&self, record: &DnsRecord) {
        let resolvers = if self.resolvers.is_empty() { of_system() } else { self.resolvers.clone() };
        let began = Instant::now();
        for resolver in resolvers {
            loop {
                match texts_of(&record.name, resolver).await {
                    Ok(texts) if texts.iter().any(|text| text == record.value.as_bytes()) => break,
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%resolver, "the DNS server does not respond: {error}"),
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        tracing::debug!(record = record.name, "the record is visible after {:?}", began.elapsed());
    }
}

/// An address with the port of DNS, unless it has one.
fn address(text: &str) -> Option<SocketAddr> {
    let plain = || text.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53));
    text.parse().ok().or_else(plain)
}

/// The servers of `/etc/resolv.conf`.
fn of_system() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let words = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    words.filter_map(|rest| address(rest.trim())).collect()
}
