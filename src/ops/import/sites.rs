//! Sites by host and address, as web servers have them: what becomes servers and mounts.

use serde_json::{Map, Value, json};

use super::draft::{Draft, name_of};

/// The sites of one address on some hosts.
#[derive(Debug, Default)]
pub(super) struct WebSite {
    /// Hosts; empty for any.
    pub(super) hosts: Vec<String>,
    /// Addresses, and whether each is for TLS.
    pub(super) addresses: Vec<(String, bool)>,
    /// Whether it answers for hosts that no site has.
    pub(super) is_default: bool,
    /// The app.
    pub(super) app: String,
    /// Options of the server: `tls`, `idle_timeout_secs`.
    pub(super) server: Map<String, Value>,
}

/// Adds a server for each set of addresses that have the same sites.
pub(super) fn add_sites(draft: &mut Draft, sites: &[WebSite]) {
    let mut groups: Vec<(Vec<usize>, bool, Vec<String>)> = Vec::new();
    let mut addresses: Vec<(&str, bool)> = Vec::new();
    for (address, tls) in sites.iter().flat_map(|site| &site.addresses) {
        if !addresses.iter().any(|(known, _)| known == address) {
            addresses.push((address, *tls));
        }
    }
    for (address, tls) in addresses {
        let at = |site: &WebSite| site.addresses.iter().any(|(own, _)| own == address);
        let here: Vec<usize> =
            sites.iter().enumerate().filter(|(_, site)| at(site)).map(|(index, _)| index).collect();
        match groups.iter_mut().find(|(sites, with_tls, _)| *sites == here && *with_tls == tls) {
            Some((_, _, addresses)) => addresses.push(address.to_owned()),
            None => groups.push((here, tls, vec![address.to_owned()])),
        }
    }
    let is_only = groups.len() == 1;
    for (here, tls, addresses) in groups {
        let here: Vec<&WebSite> = here.into_iter().filter_map(|index| sites.get(index)).collect();
        let mut table =
            Map::from_iter([("use".to_owned(), "http".into()), ("listen".to_owned(), json!(addresses))]);
        for site in &here {
            for (key, value) in &site.server {
                if tls || key != "tls" {
                    add(table.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        table.insert("app".to_owned(), app_of(draft, &here).into());
        let name = match (is_only, tls) {
            (true, _) => "main",
            (false, true) => "https",
            (false, false) => "http",
        };
        draft.add("server", name, table.into());
    }
}

/// The app that answers for all of `sites`.
fn app_of(draft: &mut Draft, sites: &[&WebSite]) -> String {
    if let [site] = sites {
        return site.app.clone();
    }
    let mut routes = Map::new();
    for site in sites {
        for host in &site.hosts {
            routes.entry(format!("{host}/")).or_insert_with(|| site.app.clone().into());
        }
    }
    let default =
        sites.iter().find(|site| site.is_default).or_else(|| sites.iter().find(|site| site.hosts.is_empty()));
    if let Some(site) = default {
        routes.insert("/".to_owned(), site.app.clone().into());
    }
    draft.add("app", "sites", json!({ "use": "mount", "routes": routes }))
}

/// Adds options to others: lists grow, tables merge, and the first of several values stays.
fn add(to: &mut Value, from: &Value) {
    match (to, from) {
        (to @ Value::Null, from) => *to = from.clone(),
        (Value::Array(list), Value::Array(more)) => {
            let more: Vec<_> = more.iter().filter(|item| !list.contains(item)).cloned().collect();
            list.extend(more);
        }
        (Value::Object(table), Value::Object(more)) => {
            for (key, value) in more {
                add(table.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        _ => {}
    }
}

/// A name for the app of a site.
pub(super) fn site_name(hosts: &[String], addresses: &[(String, bool)], is_only: bool) -> String {
    match (is_only, hosts, addresses) {
        (true, ..) => "main".to_owned(),
        (_, [host, ..], _) => name_of(host),
        (_, [], [(address, _), ..]) => {
            name_of(&format!("site_{}", address.rsplit(':').next().unwrap_or_default()))
        }
        _ => "site".to_owned(),
    }
}

/// An app for several paths: `routes` by prefix; the app itself if it is the only one, and answers for `/`.
pub(super) fn mounted(draft: &mut Draft, wanted: &str, routes: Map<String, Value>) -> String {
    match (routes.len(), routes.get("/").and_then(Value::as_str)) {
        // Nothing that it had was carried over.
        (0, _) => draft.add("app", wanted, json!({ "use": "respond", "status": 503 })),
        (1, Some(app)) => app.to_owned(),
        _ => draft.add("app", wanted, json!({ "use": "mount", "routes": routes })),
    }
}

/// Adds an app, and returns its name.
pub(super) fn app(draft: &mut Draft, wanted: &str, kind: &str, options: Value, stack: &[String]) -> String {
    let mut table = Map::from_iter([("use".to_owned(), kind.into())]);
    table.extend(options.as_object().cloned().unwrap_or_default());
    if !stack.is_empty() {
        table.insert("middleware".to_owned(), json!(stack));
    }
    draft.add("app", wanted, table.into())
}
