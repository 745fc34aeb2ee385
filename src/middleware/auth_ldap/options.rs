//! The options of `auth_ldap`, and their checks.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use ldap3::{LdapConnSettings, parse_filter};
use schemars::JsonSchema;
use serde::Deserialize;

use super::connections::{Connections, DirectoryServer};
use super::directory::{Directory, GroupSource, Lookup};
use crate::config::{ReadPath, Table, item};
use crate::error::Error;
use crate::tls_client::client_config;

/// Options of a `[middleware.NAME]` table with `use = "auth_ldap"`.
///
/// The middleware searches for the entry of the user, with the rights of `bind_dn`, and checks the password with a bind as
/// that entry. Without a service account, set `user_dn` instead of `base`. Referrals to other
/// servers are not followed.
///
/// ```toml
/// [middleware.staff]
/// use = "auth_ldap"
/// urls = ["ldaps://ldap.example.org"]
/// bind_dn = "cn=paster,ou=services,dc=example,dc=org"
/// bind_password = "${file:ldap-password}"
/// base = "ou=people,dc=example,dc=org"
/// groups_base = "ou=groups,dc=example,dc=org"
/// require_group = ["staff"]
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::middleware) struct Options {
    /// URLs of servers with the same directory; if one does not respond, the next one is used:
    /// `ldaps://ldap.example.org`, `ldap://ldap.example.org` with `starttls`, or the path of a Unix socket,
    /// percent-encoded: `ldapi://%2Frun%2Fslapd%2Fldapi`.
    urls: Vec<String>,
    /// Begin TLS on connections to `ldap` URLs (StartTLS) before anything else is sent.
    #[serde(default)]
    starttls: bool,
    /// PEM file with the certificate authorities to trust instead of the public ones (Mozilla's list).
    ca_file: Option<ReadPath>,
    /// Send passwords without TLS to servers on other machines. Anyone in between can read them.
    #[serde(default)]
    allow_plain: bool,
    /// DN of the service account that searches for users. By default the search is anonymous.
    bind_dn: Option<String>,
    /// Password of the service account.
    bind_password: Option<String>,
    /// DN below which to search for users.
    base: Option<String>,
    /// Filter that finds a user (RFC 4515). `{user}` is the name that the client sent, escaped. For Active
    /// Directory: `(sAMAccountName={user})`.
    #[serde(default = "by_uid")]
    filter: String,
    /// DN of users, instead of a search with `base`: `uid={user},ou=people,dc=example,dc=org`.
    user_dn: Option<String>,
    /// Attribute with the name of the user for the app (`REMOTE_USER`). The name that a client sends is not passed on, because
    /// a directory ignores case and some spaces in it.
    #[serde(default = "uid")]
    user_attribute: String,
    /// Attribute of users with the DNs of their groups, such as `memberOf`. The group's name is the first value
    /// of the DN.
    groups_attribute: Option<String>,
    /// DN below which to search for groups. With `groups_attribute`, only groups below it count.
    groups_base: Option<String>,
    /// Filter that finds the groups of a user. `{dn}` is the DN of the user, `{user}` its name, both escaped.
    #[serde(default = "members")]
    groups_filter: String,
    /// Attribute with the name of a group that is found by `groups_filter`.
    #[serde(default = "cn")]
    group_name_attribute: String,
    /// Only let users of one of these groups pass; others get 403. By default every user passes.
    #[serde(default)]
    pub(super) require_group: Vec<String>,
    /// The realm that the browser shows when it asks for the password.
    #[serde(default = "restricted")]
    pub(super) realm: String,
    /// How long a correct password is cached, in seconds; 0 checks it for each request. Only a hash of the password is stored,
    /// in memory. A user whose account is locked remains logged in for this time.
    #[serde(default = "a_minute")]
    cache_secs: u32,
    /// Maximum time to check a login in seconds, including the connection.
    #[serde(default = "ten")]
    timeout_secs: NonZeroU32,
    /// Maximum number of logins to check at once. Also the maximum number of connections to the directory for searches, and
    /// for checks.
    #[serde(default = "eight")]
    max_connections: NonZeroU32,
    /// Maximum number of wrong passwords from one client for one name within `within_secs`. After that, further attempts get
    /// 429 for the rest of this time.
    #[serde(default = "ten")]
    pub(super) max_failures: NonZeroU32,
    /// The period in seconds in which failures are counted.
    #[serde(default = "sixty")]
    pub(super) within_secs: NonZeroU32,
}

fn by_uid() -> String {
    "(uid={user})".into()
}

fn uid() -> String {
    "uid".into()
}

fn cn() -> String {
    "cn".into()
}

fn members() -> String {
    "(|(member={dn})(uniqueMember={dn})(memberUid={user}))".into()
}

fn restricted() -> String {
    "restricted".into()
}

fn a_minute() -> u32 {
    60
}

fn eight() -> NonZeroU32 {
    const { NonZeroU32::new(8).unwrap() }
}

fn sixty() -> NonZeroU32 {
    const { NonZeroU32::new(60).unwrap() }
}

fn ten() -> NonZeroU32 {
    const { NonZeroU32::new(10).unwrap() }
}

impl Options {
    /// The directory that they describe; faults go to `errors`. Connects to nothing yet.
    pub(super) fn directory(&self, table: &Table, errors: &mut Vec<Error>) -> Option<Directory> {
        let servers = self.servers(table, errors);
        let service = match (&self.bind_dn, &self.bind_password) {
            (Some(dn), Some(password)) if !password.is_empty() => Some((dn.clone(), password.clone())),
            (None, None) => None,
            (None, Some(_)) => {
                errors
                    .push(table.error("bind_password", "`bind_password` is not used").help("set `bind_dn`"));
                None
            }
            (Some(_), _) => {
                let error = table.error("bind_dn", "the service account has no password");
                errors.push(error.help("set `bind_password = \"${file:PATH}\"`"));
                None
            }
        };
        let lookup = match (&self.base, &self.user_dn) {
            (Some(base), None) => Some(Lookup::Search { base: base.clone(), filter: self.filter.clone() }),
            (None, Some(dn)) => Some(Lookup::Template(dn.clone())),
            _ => {
                let error = table.error("", "`auth_ldap` needs exactly one way to find users");
                errors.push(error.help("set `base` to search for them, or `user_dn` for their DN"));
                None
            }
        };
        if self.user_dn.as_ref().is_some_and(|dn| !dn.contains("{user}")) {
            let error = table.error("user_dn", "every user would have the same DN");
            errors.push(error.help("add `{user}` to it"));
        }
        self.check_filters(table, errors);
        let groups = match (&self.groups_attribute, &self.groups_base) {
            (Some(attribute), below) => {
                GroupSource::Attribute { name: attribute.clone(), below: below.clone() }
            }
            (None, Some(base)) => GroupSource::Search {
                base: base.clone(),
                filter: self.groups_filter.clone(),
                name: self.group_name_attribute.clone(),
            },
            (None, None) => GroupSource::None,
        };
        if !self.require_group.is_empty() && matches!(groups, GroupSource::None) {
            let error = table.error("require_group", "no groups are known, so no user could pass");
            errors.push(error.help("set `groups_attribute = \"memberOf\"`, or `groups_base`"));
        }
        let time = Duration::from_secs(self.timeout_secs.get().into());
        let connections = Connections::new(servers?, service, self.max_connections.get() as usize);
        let cache = Duration::from_secs(self.cache_secs.into());
        Some(Directory::new(connections, lookup?, groups, self.user_attribute.clone(), (time, cache)))
    }

    fn servers(&self, table: &Table, errors: &mut Vec<Error>) -> Option<Vec<DirectoryServer>> {
        let before = errors.len();
        if self.urls.is_empty() {
            errors.push(table.error("urls", "there is no server").help("write `urls = [\"ldaps://HOST\"]`"));
        }
        let tls = client_config(self.ca_file.as_deref(), table.files());
        let tls = tls.map_err(|error| errors.push(error.at(table.origin("ca_file")))).ok().map(Arc::new);
        for (index, url) in self.urls.iter().enumerate() {
            if let Some((message, help)) = self.fault(url) {
                errors.push(table.error(item("urls", index), message).help(help));
            }
        }
        if errors.len() > before {
            return None;
        }
        let servers = self.urls.iter().map(|url| {
            let starttls = self.starttls && url.starts_with("ldap://");
            let settings = LdapConnSettings::new().set_starttls(starttls).set_config(tls.clone()?);
            Some(DirectoryServer { url: url.clone(), settings })
        });
        servers.collect()
    }

    /// What is wrong with a URL, and how to fix it.
    fn fault(&self, url: &str) -> Option<(String, &'static str)> {
        let help = "write `ldaps://HOST`, `ldap://HOST` or `ldapi://PATH`";
        let Some((scheme, rest)) = url.split_once("://") else {
            return Some((format!("`{url}` is not a URL"), help));
        };
        if scheme == "ldapi" && !rest.is_empty() && !rest.contains([':', '/']) {
            return None;
        }
        let authority: Option<http::uri::Authority> = rest.trim_end_matches('/').parse().ok();
        let host = match authority {
            Some(authority) if matches!(scheme, "ldap" | "ldaps") && !authority.as_str().contains('@') => {
                authority.host().trim_matches(['[', ']']).to_owned()
            }
            _ => return Some((format!("`{url}` is not the URL of a directory"), help)),
        };
        let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let open = scheme == "ldap" && !self.starttls && !local && !self.allow_plain;
        let help =
            "set `starttls = true`, write `ldaps://`, or, in a trusted network, set `allow_plain = true`";
        open.then(|| (format!("passwords would be sent to `{url}` in the clear"), help))
    }

    fn check_filters(&self, table: &Table, errors: &mut Vec<Error>) {
        for (key, filter) in [("filter", &self.filter), ("groups_filter", &self.groups_filter)] {
            let example = filter.replace("{user}", "ann").replace("{dn}", "uid=ann,dc=example");
            let names = filter.contains("{user}") || (key == "groups_filter" && filter.contains("{dn}"));
            if parse_filter(&example).is_err() {
                let error = table.error(key, format!("`{filter}` is not a filter"));
                errors.push(error.help("write one such as `(uid={user})`, see RFC 4515"));
            } else if !names {
                let error = table.error(key, "the filter does not depend on the user");
                errors.push(error.help("add `{user}` to it, as in `(uid={user})`"));
            }
        }
    }
}
