//! `session`: keeps values for each visitor, from one request to the next.
//!
//! - here: the options, and one request; `records`: sessions in a store; `cookie`: the cookie; `seal`, `keys`: its signature
//! - `crate::session`: what applications see
//!
//! Not on tower-sessions: its stores replace a whole session, so that one of two simultaneous requests loses its changes, and
//! they cannot detect that a session was ended in the meantime. Here a store compares versions, and changes are merged by key.

pub(super) mod cookie;
pub(super) mod keys;
mod records;
pub(super) mod seal;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{CACHE_CONTROL, HeaderValue, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::cookie::{CookieStyle, SameSite, is_name};
use self::records::{FoundSession, SessionLifetime, SessionRecord, SessionRecords, WriteError, millis};
use self::seal::Seal;
use super::refusal::{refusal, refusal_for};
use crate::body::{App, Request, Response};
use crate::config::Table;
use crate::context::Context;
use crate::environ::Environ;
use crate::error::{BoxError, Error, Errors, Result};
use crate::session::{Session, SessionChanges};
use crate::store::{MEMORY, StoreError};

/// Options of a `[middleware.NAME]` table with `use = "session"`.
///
/// The application reads and writes the session: `environ["paster.session"]` in WSGI, `scope["session"]` in ASGI,
/// `paster_sdk::Session` in a plugin. A visitor gets a cookie when the first value is stored. Changes are stored before the
/// response begins. Put it outside of the parts that use the session, such as `auth_form`.
///
/// ```toml
/// [middleware.session]
/// use = "session"
/// store = "db"
/// keys = "${file:session.key}"
///
/// [resource.db]
/// use = "redis"
/// url = "redis://127.0.0.1/0"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Where to store sessions: the name of a `[resource.NAME]` table, `memory` (until the server stops), or `cookie`. With
    /// `cookie`, the encrypted cookie contains all data. Such a session cannot be ended early, and of concurrent changes, the
    /// last one wins.
    store: String,
    /// Secrets of at least 32 characters that sign or encrypt the cookie. The first one is used for new cookies, and all are
    /// accepted. Default: a key that paster creates once in the state directory, for servers on one machine.
    keys: Vec<String>,
    /// Name of the cookie. Over TLS it begins with `__Host-`.
    cookie: String,
    /// Whether browsers send the cookie with requests from other sites.
    same_site: SameSite,
    /// Keep the cookie when the browser is closed, until the session ends.
    persistent: bool,
    /// End a session after this time without a request, in seconds.
    idle_secs: NonZeroU32,
    /// End a session this long after the login or its first value, in seconds.
    max_age_secs: NonZeroU32,
    /// Maximum length of a session as JSON, in bytes. Cookies can contain up to 2,900.
    max_bytes: usize,
}

/// The name of the store that is none.
const COOKIE: &str = "cookie";
/// The longest session in a cookie: browsers keep 4,096 bytes with the name and the attributes.
const COOKIE_BYTES: usize = 2900;

impl Default for Options {
    fn default() -> Self {
        let secs = |secs| NonZeroU32::new(secs).unwrap_or(NonZeroU32::MAX);
        Options {
            store: MEMORY.to_owned(),
            keys: Vec::new(),
            cookie: "session".to_owned(),
            same_site: SameSite::default(),
            persistent: false,
            idle_secs: secs(24 * 3600),
            max_age_secs: secs(30 * 24 * 3600),
            max_bytes: 16 << 10,
        }
    }
}

/// Wraps `next`, and gives every request a [`Session`].
pub(super) fn build(options: Options, table: &Table, context: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    let secs = |secs: NonZeroU32| Duration::from_secs(secs.get().into());
    let lifetime = SessionLifetime { idle: secs(options.idle_secs), age: secs(options.max_age_secs) };
    if !is_name(&options.cookie) {
        let error = table.error("cookie", format!("`{}` cannot be the name of a cookie", options.cookie));
        errors.push(error.help("use letters, digits, `-` and `_`"));
    }
    let keeper = keeper(&options, lifetime, table, context).map_err(|error| errors.push(error));
    let secrets = keys::read(&options.keys, table, context.checking).map_err(|faults| errors.extend(faults));
    Errors::check(errors)?;
    let (Ok(keeper), Ok(secrets)) = (keeper, secrets) else { unreachable!("checked above") };
    let style = CookieStyle {
        name: options.cookie.clone(),
        same_site: options.same_site,
        max_age: options.persistent.then_some(lifetime.idle.min(lifetime.age)),
    };
    let seal = Seal::new(&format!("session:{}", options.cookie), &secrets);
    let Some(keeper) = keeper else { return Ok(next) }; // the table of the resource has faults
    let sessions = Arc::new(Sessions { keeper, style, seal });
    Ok(App::from_call(move |request| {
        let (sessions, next) = (sessions.clone(), next.clone());
        Box::pin(async move { sessions.handle(request, &next).await })
    }))
}

/// Where the sessions are; `None` if the table of the resource has faults.
fn keeper(
    options: &Options,
    lifetime: SessionLifetime,
    table: &Table,
    context: &Context,
) -> Result<Option<SessionKeeper>, Error> {
    if options.store == COOKIE {
        let max_bytes = options.max_bytes.min(COOKIE_BYTES);
        return Ok(Some(SessionKeeper::Cookie { lifetime, max_bytes }));
    }
    let found = context.stores.find(&options.store).map_err(|error| error.at(table.origin("store")))?;
    Ok(found.map(|store| SessionKeeper::Store(SessionRecords::new(store, lifetime, options.max_bytes))))
}

struct Sessions {
    keeper: SessionKeeper,
    style: CookieStyle,
    seal: Seal,
}

/// Where the data of sessions is.
enum SessionKeeper {
    Store(SessionRecords),
    Cookie { lifetime: SessionLifetime, max_bytes: usize },
}

/// A session in a cookie.
#[derive(Debug, Serialize, Deserialize)]
struct CookieContent {
    #[serde(flatten)]
    record: SessionRecord,
    /// When the cookie was made, in milliseconds since 1970.
    seen: u64,
}

/// The session that a request came with.
enum OpenedSession {
    /// None, or one that has ended. `stale`: the request has a cookie.
    None {
        stale: bool,
    },
    Stored(FoundSession),
    InCookie(CookieContent),
}

/// What happens to the cookie.
enum CookieChange {
    Keep,
    Set(String),
    Remove,
}

impl Sessions {
    async fn handle(&self, mut request: Request, next: &App) -> Result<Response, BoxError> {
        let secure = request.extensions().get::<Environ>().is_some_and(|environ| environ.secure);
        let opened = match self.open(request.headers(), secure).await {
            Ok(opened) => opened,
            Err(_) => return Ok(unavailable()),
        };
        let session = Session::new(match &opened {
            OpenedSession::None { .. } => Default::default(),
            OpenedSession::Stored(found) => found.record.data.clone(),
            OpenedSession::InCookie(content) => content.record.data.clone(),
        });
        request.extensions_mut().insert(session.clone());
        let mut response = next.handle(request).await?;
        let change = match self.close(opened, &session.take_changes()).await {
            Ok(change) => change,
            Err(error) => return refused(error),
        };
        let value = match &change {
            CookieChange::Keep => return Ok(response),
            CookieChange::Set(value) => Some(value.as_str()),
            CookieChange::Remove => None,
        };
        if let Some(field) = self.style.set(value, secure) {
            response.headers_mut().append(SET_COOKIE, field);
            // A shared cache must not give the cookie to someone else.
            let private = || HeaderValue::from_static("private");
            response.headers_mut().entry(CACHE_CONTROL).or_insert_with(private);
        }
        Ok(response)
    }

    /// The session that the cookie names.
    async fn open(&self, headers: &HeaderMap, secure: bool) -> Result<OpenedSession, StoreError> {
        let Some(value) = self.style.find(headers, secure) else {
            return Ok(OpenedSession::None { stale: false });
        };
        let stale = OpenedSession::None { stale: true };
        match &self.keeper {
            SessionKeeper::Store(records) => {
                let Some(id) = self.seal.verify(value) else { return Ok(stale) };
                Ok(records.find(id).await?.map_or(stale, OpenedSession::Stored))
            }
            SessionKeeper::Cookie { lifetime, .. } => {
                let content = self.seal.decrypt(value).and_then(|value| serde_json::from_slice(&value).ok());
                let current = content.filter(|content: &CookieContent| {
                    let age = millis(SystemTime::now()).saturating_sub(content.seen);
                    Duration::from_millis(age) < lifetime.idle && content.record.end(*lifetime).is_some()
                });
                Ok(current.map_or(stale, OpenedSession::InCookie))
            }
        }
    }

    /// Stores the changes.
    async fn close(
        &self,
        opened: OpenedSession,
        changes: &SessionChanges,
    ) -> Result<CookieChange, WriteError> {
        match &self.keeper {
            SessionKeeper::Store(records) => self.close_stored(records, opened, changes).await,
            SessionKeeper::Cookie { lifetime, max_bytes } => {
                self.close_cookie(*lifetime, *max_bytes, opened, changes)
            }
        }
    }

    async fn close_stored(
        &self,
        records: &SessionRecords,
        opened: OpenedSession,
        changes: &SessionChanges,
    ) -> Result<CookieChange, WriteError> {
        let (found, stale) = match opened {
            OpenedSession::Stored(found) => (Some(found), false),
            OpenedSession::None { stale } => (None, stale),
            OpenedSession::InCookie(_) => (None, true),
        };
        let before = found.as_ref().map(|found| found.id.clone());
        let after = match &found {
            Some(found) if changes.is_empty() => {
                if !records.touch(found).await || self.style.max_age.is_none() {
                    return Ok(CookieChange::Keep);
                }
                before.clone() // the browser must keep it longer too
            }
            _ => records.change(found, changes).await?,
        };
        match after {
            None if before.is_some() || stale => Ok(CookieChange::Remove),
            None => Ok(CookieChange::Keep),
            after if after == before && !changes.is_empty() && self.style.max_age.is_none() => {
                Ok(CookieChange::Keep)
            }
            Some(id) => Ok(self.seal.sign(&id).map_or(CookieChange::Keep, CookieChange::Set)),
        }
    }

    fn close_cookie(
        &self,
        lifetime: SessionLifetime,
        max_bytes: usize,
        opened: OpenedSession,
        changes: &SessionChanges,
    ) -> Result<CookieChange, WriteError> {
        let (mut record, seen, stale) = match opened {
            OpenedSession::InCookie(content) => (content.record, Some(content.seen), false),
            OpenedSession::None { stale } => (SessionRecord::new(), None, stale),
            OpenedSession::Stored(_) => (SessionRecord::new(), None, true),
        };
        let now = millis(SystemTime::now());
        let idle = Duration::from_millis(now.saturating_sub(seen.unwrap_or(now)));
        if changes.is_empty() && !stale && (seen.is_none() || idle < lifetime.idle / 10) {
            return Ok(CookieChange::Keep);
        }
        if changes.end || changes.renew {
            record.created = now;
        }
        changes.apply_to(&mut record.data);
        if record.data.is_empty() {
            let had_one = seen.is_some() || stale;
            return Ok(if had_one { CookieChange::Remove } else { CookieChange::Keep });
        }
        let value = serde_json::to_vec(&CookieContent { record, seen: now }).unwrap_or_default();
        if value.len() > max_bytes {
            return Err(WriteError::TooLong(max_bytes));
        }
        Ok(self.seal.encrypt(&value).map_or(CookieChange::Keep, CookieChange::Set))
    }
}

/// The response while the store is away, which logs its failure.
fn unavailable() -> Response {
    let text = "Sessions are not available at the moment. Try again.\n";
    refusal_for(1, StatusCode::SERVICE_UNAVAILABLE, "the store of the sessions failed", text)
}

/// The response if the changes were not stored.
fn refused(error: WriteError) -> Result<Response, BoxError> {
    match error {
        WriteError::Store(_) => Ok(unavailable()),
        WriteError::Gone => {
            let text = "The session ended in the meantime. Send the request again.\n";
            Ok(refusal(StatusCode::CONFLICT, "the session ended in the meantime", text))
        }
        WriteError::TooLong(limit) => {
            Err(format!("the session would be longer than {limit} bytes (`max_bytes`)").into())
        }
    }
}
