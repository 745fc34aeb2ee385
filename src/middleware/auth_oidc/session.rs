//! The session of a user, and logins that have begun.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// How long sessions last, in seconds.
pub(super) struct OidcLifetime {
    /// Without a request.
    pub(super) idle: u64,
    /// After the login.
    pub(super) most: u64,
}

/// The data of a user who has logged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OidcSession {
    pub(super) user: String,
    /// The provider's id of the user.
    pub(super) subject: String,
    pub(super) groups: Vec<String>,
    /// Values for fields of requests, by claim.
    pub(super) claims: BTreeMap<String, String>,
    /// Time of the login, in seconds since 1970.
    pub(super) began: u64,
    /// Time of the last request, up to a minute ago.
    pub(super) seen: u64,
    /// For new claims, if the provider offers it.
    pub(super) refresh: Option<Refresh>,
    /// The ID token, for the provider's logout page, if there is room for it.
    pub(super) id_token: Option<String>,
}

/// When and with what to ask for new claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refresh {
    pub(super) token: String,
    /// In seconds since 1970.
    pub(super) due: u64,
}

/// A login that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    /// What the provider sends back.
    pub(super) state: String,
    /// What the ID token must contain.
    pub(super) nonce: String,
    /// What proves that the code was given to us (RFC 7636).
    pub(super) verifier: String,
    /// Where to go afterwards.
    pub(super) next: String,
    pub(super) began: u64,
}

/// How long a login may take, in seconds.
pub(super) const LOGIN_SECS: u64 = 900;
/// Maximum number of logins of one browser at once, such as in several tabs.
const LOGINS: usize = 3;
/// A session is marked as seen at most this often, in seconds.
const SEEN_SECS: u64 = 60;

impl OidcLifetime {
    /// Whether the session may still be used.
    pub(super) fn covers(&self, session: &OidcSession, now: u64) -> bool {
        now < session.seen.saturating_add(self.idle) && now < session.began.saturating_add(self.most)
    }

    /// How long the session may last from now on, at most.
    pub(super) fn left(&self, session: &OidcSession, now: u64) -> u64 {
        session.began.saturating_add(self.most).saturating_sub(now).min(self.idle)
    }

    /// Marks the session as seen; `false` if that was done recently.
    pub(super) fn touch(&self, session: &mut OidcSession, now: u64) -> bool {
        let old = now >= session.seen.saturating_add(SEEN_SECS.min(self.idle / 4));
        if old {
            session.seen = now;
        }
        old
    }
}

/// The logins that have begun, with another one; old ones are dropped.
pub(super) fn with_login(mut logins: Vec<Pending>, new: Pending) -> Vec<Pending> {
    logins.retain(|login| login.began.saturating_add(LOGIN_SECS) > new.began);
    let excess = (logins.len() + 1).saturating_sub(LOGINS);
    logins.drain(..excess);
    logins.push(new);
    logins
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> OidcSession {
        OidcSession {
            user: "ann".into(),
            subject: "1".into(),
            groups: Vec::new(),
            claims: BTreeMap::new(),
            began: 1000,
            seen: 1000,
            refresh: None,
            id_token: None,
        }
    }

    #[test]
    fn sessions_end() {
        let lifetime = OidcLifetime { idle: 600, most: 1500 };
        let mut session = session();
        assert!(lifetime.covers(&session, 1599) && !lifetime.covers(&session, 1600));
        assert!(!lifetime.touch(&mut session, 1059) && lifetime.touch(&mut session, 1500));
        assert!(lifetime.covers(&session, 2099));
        assert_eq!((lifetime.left(&session, 1500), lifetime.left(&session, 2400)), (600, 100));
        assert!(lifetime.touch(&mut session, 2400));
        assert!(lifetime.covers(&session, 2499) && !lifetime.covers(&session, 2500));
    }

    #[test]
    fn a_browser_has_a_few_logins_at_once() {
        let login = |began: u64| Pending {
            state: began.to_string(),
            nonce: String::new(),
            verifier: String::new(),
            next: "/".into(),
            began,
        };
        let states = |logins: &[Pending]| logins.iter().map(|login| login.began).collect::<Vec<_>>();
        let mut logins = Vec::new();
        for began in [10, 20, 30, 40] {
            logins = with_login(logins, login(began));
        }
        assert_eq!(states(&logins), [20, 30, 40]);
        assert_eq!(states(&with_login(logins, login(935))), [40, 935]);
    }
}
