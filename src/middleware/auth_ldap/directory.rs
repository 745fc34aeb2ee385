//! Checks names and passwords with a directory, and remembers the correct ones for a while.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ldap3::{Ldap, Scope, SearchEntry, SearchOptions, SearchResult, dn_escape, ldap_escape};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::connections::{ConnectionUse, Connections};
use super::login::{DirectoryError, first_value, is_below, is_correct, is_lost};
use crate::environ::RemoteUser;

/// Correct passwords are remembered for this many users.
const REMEMBERED: usize = 4096;
/// Maximum number of groups of one user.
const GROUPS_LIMIT: i32 = 1000;
/// `sizeLimitExceeded`, and `noSuchObject`: RFC 4511, section 4.1.9.
const TOO_MANY: u32 = 4;
const NO_SUCH_OBJECT: u32 = 32;

/// How the entry of a user is found.
pub(super) enum Lookup {
    /// By a search below `base`.
    Search { base: String, filter: String },
    /// By its DN.
    Template(String),
}

/// Where the groups of a user are.
pub(super) enum GroupSource {
    None,
    /// In an attribute of the user, as DNs, of which those `below` a DN count.
    Attribute {
        name: String,
        below: Option<String>,
    },
    /// In separate entries, which have an attribute with their name.
    Search {
        base: String,
        filter: String,
        name: String,
    },
}

/// The answer to a login.
pub(super) enum Login {
    User(RemoteUser),
    /// The name or the password is wrong.
    Wrong,
    /// Too many were wrong: not checked for so many seconds.
    Wait(u64),
}

/// A directory.
pub(super) struct Directory {
    connections: Connections,
    lookup: Lookup,
    groups: GroupSource,
    user_attribute: String,
    /// Time limit for a login.
    time: Duration,
    /// How long a correct password is remembered.
    cache: Duration,
    correct: Mutex<HashMap<[u8; 32], (RemoteUser, Instant)>>,
    salt: [u8; 16],
}

impl Directory {
    pub(super) fn new(
        connections: Connections,
        lookup: Lookup,
        groups: GroupSource,
        user_attribute: String,
        (time, cache): (Duration, Duration),
    ) -> Directory {
        let (correct, salt) = (Mutex::default(), uuid::Uuid::new_v4().into_bytes());
        Directory { connections, lookup, groups, user_attribute, time, cache, correct, salt }
    }

    /// Checks a name and a password, which is not empty. `wait` is the time for which it must not be checked.
    /// # Errors
    /// If the directory gives no answer.
    pub(super) async fn log_in(
        &self,
        name: &str,
        password: &str,
        wait: impl Fn() -> Option<u64>,
    ) -> Result<Login, DirectoryError> {
        let digest = self.digest(name, password);
        if let Some(user) = self.remembered(&digest) {
            return Ok(Login::User(user));
        }
        let checked = async {
            let _slot = self.connections.slot().await?;
            // Another request with the same password may have been checked in the meantime.
            if let Some(user) = self.remembered(&digest) {
                return Ok(Login::User(user));
            }
            if let Some(secs) = wait() {
                return Ok(Login::Wait(secs));
            }
            Ok(self.check(name, password).await?.map_or(Login::Wrong, Login::User))
        };
        let login = tokio::time::timeout(self.time, checked).await;
        let login = login.unwrap_or(Err(DirectoryError::Late(self.time.as_secs())))?;
        if let Login::User(user) = &login {
            self.remember(digest, user);
        }
        Ok(login)
    }

    async fn check(&self, name: &str, password: &str) -> Result<Option<RemoteUser>, DirectoryError> {
        let name = name.trim();
        let attributes = self.attributes();
        match &self.lookup {
            Lookup::Search { base, filter } => {
                let filter = filter.replace("{user}", &ldap_escape(name));
                let query =
                    Query { base, scope: Scope::Subtree, filter: &filter, attributes: &attributes, limit: 2 };
                let Some(entry) = only(query, self.search(query).await?) else { return Ok(None) };
                let Some(own) = self.bind(&entry.dn, password).await? else { return Ok(None) };
                self.connections.keep(ConnectionUse::Check, own);
                let user = self.user(&entry)?;
                let groups = self.groups(None, &entry, &user).await?;
                Ok(Some(RemoteUser::new(user, "Basic").with_groups(groups)))
            }
            Lookup::Template(template) => {
                let dn = template.replace("{user}", &dn_escape(name));
                let Some(mut own) = self.bind(&dn, password).await? else { return Ok(None) };
                // The user's own rights are enough to read its entry and its groups.
                let filter = "(objectClass=*)";
                let query =
                    Query { base: &dn, scope: Scope::Base, filter, attributes: &attributes, limit: 2 };
                let entry = only(query, query.run(&mut own).await?);
                let nameless = || DirectoryError::Nameless(dn.clone(), self.user_attribute.clone());
                let entry = entry.ok_or_else(nameless)?;
                let user = self.user(&entry)?;
                let groups = self.groups(Some(&mut own), &entry, &user).await?;
                self.connections.keep(ConnectionUse::Check, own);
                Ok(Some(RemoteUser::new(user, "Basic").with_groups(groups)))
            }
        }
    }

    /// The connection with the rights of an entry; `None` if the password is wrong. If the server has closed a kept
    /// connection, on a new one.
    async fn bind(&self, dn: &str, password: &str) -> Result<Option<Ldap>, DirectoryError> {
        let (mut ldap, kept) = self.connections.take(ConnectionUse::Check).await?;
        let bound = match ldap.simple_bind(dn, password).await {
            Err(error) if kept && is_lost(&error) => {
                ldap = self.connections.connect(ConnectionUse::Check).await?;
                ldap.simple_bind(dn, password).await
            }
            bound => bound,
        };
        if is_correct(bound?)? {
            return Ok(Some(ldap));
        }
        self.connections.keep(ConnectionUse::Check, ldap);
        Ok(None)
    }

    /// A search with the rights of the service account. If the server has closed a kept connection, on a new one.
    async fn search(&self, query: Query<'_>) -> Result<FoundEntries, DirectoryError> {
        let (mut ldap, kept) = self.connections.take(ConnectionUse::Search).await?;
        let found = match query.run(&mut ldap).await {
            Err(DirectoryError::Connection(error)) if kept && is_lost(&error) => {
                ldap = self.connections.connect(ConnectionUse::Search).await?;
                query.run(&mut ldap).await
            }
            found => found,
        };
        if found.is_ok() {
            self.connections.keep(ConnectionUse::Search, ldap);
        }
        found
    }

    /// The attributes of a user that are needed.
    fn attributes(&self) -> Vec<&str> {
        let groups = match &self.groups {
            GroupSource::Attribute { name, .. } => Some(name.as_str()),
            _ => None,
        };
        [self.user_attribute.as_str()].into_iter().chain(groups).collect()
    }

    /// The name of the user, as the directory writes it.
    fn user(&self, entry: &SearchEntry) -> Result<String, DirectoryError> {
        let name = values(entry, &self.user_attribute).next().filter(|name| !name.is_empty());
        let nameless = || DirectoryError::Nameless(entry.dn.clone(), self.user_attribute.clone());
        name.map(str::to_owned).ok_or_else(nameless)
    }

    /// The groups of a user, searched for on its `own` connection if the service account has no part in this.
    async fn groups(
        &self,
        own: Option<&mut Ldap>,
        entry: &SearchEntry,
        user: &str,
    ) -> Result<Vec<String>, DirectoryError> {
        match &self.groups {
            GroupSource::None => Ok(Vec::new()),
            GroupSource::Attribute { name, below } => {
                let counts = |dn: &&str| below.as_ref().is_none_or(|base| is_below(dn, base));
                Ok(values(entry, name).filter(counts).filter_map(first_value).collect())
            }
            GroupSource::Search { base, filter, name } => {
                // One pass, so that nothing in a name is taken for the other placeholder.
                let parts = filter.split("{dn}").map(|part| part.replace("{user}", &ldap_escape(user)));
                let filter = parts.collect::<Vec<_>>().join(&ldap_escape(entry.dn.as_str()));
                let (scope, attributes) = (Scope::Subtree, [name.as_str()]);
                let query =
                    Query { base, scope, filter: &filter, attributes: &attributes, limit: GROUPS_LIMIT };
                let found = match own {
                    Some(own) => query.run(own).await?,
                    None => self.search(query).await?,
                };
                let named = |entry: &SearchEntry| values(entry, name).next().map(str::to_owned);
                Ok(found.entries.iter().filter_map(named).collect())
            }
        }
    }

    fn remembered(&self, digest: &[u8; 32]) -> Option<RemoteUser> {
        let correct = self.correct.lock();
        let (user, since) = correct.get(digest)?;
        (since.elapsed() < self.cache).then(|| user.clone())
    }

    fn remember(&self, digest: [u8; 32], user: &RemoteUser) {
        let mut correct = self.correct.lock();
        if correct.len() >= REMEMBERED {
            correct.retain(|_, (_, since)| since.elapsed() < self.cache);
        }
        if !self.cache.is_zero() && correct.len() < REMEMBERED {
            correct.insert(digest, (user.clone(), Instant::now()));
        }
    }

    /// Salted, so that a memory dump cannot be compared with precomputed digests.
    fn digest(&self, name: &str, password: &str) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.salt);
        digest.update((name.len() as u64).to_le_bytes());
        digest.update(name);
        digest.update(password);
        digest.finalize().into()
    }
}

/// The values of an attribute, whose name may be written in another case.
fn values<'a>(entry: &'a SearchEntry, name: &str) -> impl Iterator<Item = &'a str> {
    let found = entry.attrs.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
    found.into_iter().flat_map(|(_, values)| values.iter().map(String::as_str))
}

/// A search.
#[derive(Clone, Copy)]
struct Query<'a> {
    base: &'a str,
    scope: Scope,
    filter: &'a str,
    attributes: &'a [&'a str],
    limit: i32,
}

/// The entries of a search, and whether there are more than its limit.
struct FoundEntries {
    entries: Vec<SearchEntry>,
    more: bool,
}

impl Query<'_> {
    /// Runs it. References to other servers are left out.
    async fn run(&self, ldap: &mut Ldap) -> Result<FoundEntries, DirectoryError> {
        ldap.with_search_options(SearchOptions::new().sizelimit(self.limit));
        let attributes: Vec<String> = self.attributes.iter().map(|name| (*name).to_owned()).collect();
        let SearchResult(entries, result) =
            ldap.search(self.base, self.scope, self.filter, attributes).await?;
        match result.rc {
            0 | TOO_MANY | NO_SUCH_OBJECT => {}
            _ => return Err(DirectoryError::Refused(result.to_string())),
        }
        let entries = entries.into_iter().filter(|entry| !entry.is_ref() && !entry.is_intermediate());
        let entries = entries.map(SearchEntry::construct).collect();
        Ok(FoundEntries { entries, more: result.rc == TOO_MANY })
    }
}

/// The only entry of a search; none if there are several, because they may be different users.
fn only(query: Query<'_>, FoundEntries { mut entries, more }: FoundEntries) -> Option<SearchEntry> {
    if more || entries.len() > 1 {
        let filter = query.filter;
        tracing::error!(filter, "the filter of `auth_ldap` matches several users: none of them can log in");
        return None;
    }
    entries.pop().filter(|entry| !entry.dn.is_empty())
}
