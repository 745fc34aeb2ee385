//! `grant_ip`: lets requests pass by the client's address.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use super::peers::Peers;
use super::refusal::{at_once, refusal};
use crate::body::App;
use crate::config::{Clients, Table, join};
use crate::context::Context;
use crate::environ::{Environ, RemoteUser};
use crate::error::{Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "grant_ip"`.
///
/// The client's address is that of the connection or, behind a proxy in the server's `trusted_proxies`, the
/// one that the proxy reports. Other clients get 403.
///
/// ```toml
/// [middleware.staff_network]
/// use = "grant_ip"
/// allow = ["10.0.0.0/8", "loopback"]
/// deny = ["10.66.0.0/16"]
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(super) struct Options {
    /// Clients that may pass: addresses, networks, `loopback`, `unix`. Without a list, all clients may pass that are not in
    /// `deny`.
    allow: Option<Peers>,
    /// Clients that may not pass, even if they are in `allow`.
    deny: Option<Peers>,
    /// User names by client: `"10.1.0.0/16" = "warehouse"`. The app gets this name as the user (`REMOTE_USER`).
    users: BTreeMap<String, String>,
}

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    let mut users: Vec<(Clients, Arc<str>)> = Vec::new();
    for (clients, user) in &options.users {
        match Clients::try_from(clients.clone()) {
            Ok(clients) => users.push((clients, user.as_str().into())),
            Err(message) => {
                let key = join("users", clients);
                let error = crate::error::Error::config(message).at(table.key_origin(&key));
                errors.push(
                    error.help("write an address, a network such as `10.0.0.0/8`, `loopback` or `unix`"),
                );
            }
        }
    }
    if options.allow.is_none() && options.deny.is_none() && options.users.is_empty() {
        let error = table.error("", "`grant_ip` without `allow`, `deny` and `users` has no effect");
        errors.push(error.help("add `allow = [\"10.0.0.0/8\"]`"));
    }
    Errors::check(errors)?;
    let Options { allow, deny, .. } = options;
    Ok(App::from_call(move |mut request| {
        let environ = request.extensions().get::<Environ>();
        let denied = deny.as_ref().is_some_and(|deny| deny.name(environ));
        let allowed = allow.as_ref().is_none_or(|allow| allow.allow(environ));
        if denied || !allowed {
            let text = "This address has no access to this page.\n";
            return at_once(refusal(StatusCode::FORBIDDEN, "an address that may not pass", text));
        }
        let known = environ.filter(|environ| !environ.relayed && !environ.is_console());
        let client = known.map(|environ| environ.client);
        let user = client.and_then(|client| users.iter().find(|(clients, _)| clients.contains(client)));
        let Some((_, user)) = user else { return next.handle(request) };
        let user = RemoteUser::new(user.clone(), "IP");
        request.extensions_mut().insert(user.clone());
        let response = next.handle(request);
        Box::pin(async move {
            let mut response = response.await?;
            response.extensions_mut().insert(user);
            Ok(response)
        })
    }))
}
