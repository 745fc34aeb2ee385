//! `paster check --online`: whether upstreams and stores can be reached.

use std::time::Duration;

use serde_json::Value;

use crate::app::reach;
use crate::config::{Config, KeyPath, SECTIONS, Table, item, join};
use crate::error::{Error, Origin};

/// How long an address may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// Schemes of the URLs of stores, with their ports.
const STORES: [(&str, u16); 7] = [
    ("redis", 6379),
    ("rediss", 6379),
    ("postgres", 5432),
    ("postgresql", 5432),
    ("ldap", 389),
    ("ldaps", 636),
    ("mysql", 3306),
];

/// An address of the config.
struct OnlineAddress {
    /// As it is shown: without the password of a URL.
    shown: String,
    /// What to connect to: `host:port`, `unix:PATH`.
    address: String,
    table: String,
    origin: Option<Origin>,
}

/// An error for each upstream and store that accepts no connection.
pub(super) fn unreachable(config: &Config) -> Vec<Error> {
    let mut wanted = Vec::new();
    for section in SECTIONS.iter().chain(&["resource"]) {
        for name in config.names(section) {
            if let Some(table) = config.table(section, name) {
                collect(&table, table.value(), &KeyPath::default(), &mut wanted);
            }
        }
    }
    // At once: each may take its time.
    std::thread::scope(|scope| {
        let attempts: Vec<_> =
            wanted.iter().map(|one| scope.spawn(|| reach(&one.address, PATIENCE))).collect();
        let results = wanted.iter().zip(attempts).filter_map(|(one, attempt)| match attempt.join() {
            Ok(Err(cause)) => Some(error(one, &cause)),
            _ => None,
        });
        results.collect()
    })
}

fn error(one: &OnlineAddress, cause: &str) -> Error {
    let message = format!("`{}` of `[{}]` cannot be reached", one.shown, one.table);
    Error::new(message)
        .at(one.origin.clone())
        .because(cause.to_owned())
        .help("start it, or check without `--online`")
}

/// The addresses in a table: `upstreams`, and the URLs of stores.
fn collect(table: &Table, value: &Value, path: &KeyPath, wanted: &mut Vec<OnlineAddress>) {
    match value {
        Value::Object(inner) => {
            for (key, value) in inner {
                collect(table, value, &join(path, key), wanted);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                collect(table, value, &item(path, index), wanted);
            }
        }
        Value::String(text) => {
            let is_upstream = path.names().eq(["upstreams"]);
            let found = if is_upstream { Some((text.clone(), text.clone())) } else { store(text) };
            if let Some((shown, address)) = found {
                wanted.push(OnlineAddress {
                    shown,
                    address,
                    table: table.path().to_string(),
                    origin: table.origin(path),
                });
            }
        }
        _ => {}
    }
}

/// The address in the URL of a store, and the URL without its user.
fn store(text: &str) -> Option<(String, String)> {
    let (scheme, rest) = text.split_once("://")?;
    let (_, port) = STORES.iter().find(|(known, _)| *known == scheme)?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port { host.to_owned() } else { format!("{host}:{port}") };
    (!host.is_empty()).then(|| (format!("{scheme}://{host}"), address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let expected = expected.map(|(shown, address)| (shown.to_owned(), address.to_owned()));
            assert_eq!(store(text), expected, "{text}");
        };
        check("redis://:s3cret@cache:6380/1", Some(("redis://cache:6380", "cache:6380")));
        check("postgres://ann:s3cret@db/shop?sslmode=require", Some(("postgres://db", "db:5432")));
        check("ldaps://ldap.example.org", Some(("ldaps://ldap.example.org", "ldap.example.org:636")));
        check("https://example.org", None);
        check("postgres:///shop", None);
        check("text", None);
    }
}
