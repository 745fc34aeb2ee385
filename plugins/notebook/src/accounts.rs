//! Accounts: passwords, sessions, tokens, invitations, and the limits on guessing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::access::Level;
use crate::identity::{Authentication, Principal, Role};
use crate::store::{Account, SecretHash, Store, StoreError};

/// The hash for unknown accounts, so that the check takes as long as for existing ones.
const NO_ACCOUNT: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$MXuuV7fKS/iOQfFNHpCoHpQXTmSvHt2IRnXpDGQwZSQ";
/// How long a browser stays logged in.
pub const SESSION: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long an invitation is valid.
pub const INVITATION: Duration = Duration::from_secs(7 * 24 * 3600);
/// Failures are counted over this time.
const WINDOW: Duration = Duration::from_secs(600);
/// Maximum number of failures in that time from one address, and for one login name from all addresses.
const ADDRESS_FAILURES: usize = 20;
const NAME_FAILURES: usize = 60;
/// Allowed wrong codes of one account's second factor in that time.
const CODE_FAILURES: usize = 10;
/// Maximum number of counters.
const COUNTERS: usize = 10_000;
/// Maximum number of passwords that are checked at the same time. Each check takes 19 MiB.
const CHECKS: usize = 2;
/// The shortest and longest password, in characters and bytes.
const SHORTEST: usize = 8;
const LONGEST: usize = 1024;

/// Why an account cannot be used or changed; for users.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The name or the password is wrong, or the account is suspended. The error does not reveal which.
    #[error("the name or the password is wrong")]
    Wrong,
    /// Too many failures.
    #[error("too many failed logins: try again in {0} s")]
    Throttled(u64),
    /// What was entered cannot be used.
    #[error("{0}")]
    Unfit(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The accounts of a notebook for several users. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    store: Store,
    checks: Arc<Semaphore>,
    failures: Arc<Mutex<HashMap<String, Failures>>>,
}

#[derive(Default)]
struct Failures {
    since: Option<Instant>,
    count: usize,
}

impl Accounts {
    /// The accounts in `store`.
    pub fn new(store: Store) -> Accounts {
        Accounts { store, checks: Arc::new(Semaphore::new(CHECKS)), failures: Arc::default() }
    }

    /// Checks a login name and password.
    /// # Errors
    /// [`AccountError`].
    pub async fn check(
        &self,
        name: &str,
        password: String,
        address: Option<IpAddr>,
    ) -> Result<Account, AccountError> {
        let counters = [
            (format!("address {}", network(address)), ADDRESS_FAILURES),
            (format!("name {}", name.to_lowercase()), NAME_FAILURES),
        ];
        self.admit(&counters)?;
        let account = self.store.account(name)?;
        // Takes the same time if there is no such account.
        let hash = account.as_ref().map_or(NO_ACCOUNT, |account| account.password.as_str()).to_owned();
        let right = self.verify(hash, password).await;
        match account.filter(|account| right && account.active) {
            Some(account) => Ok(account),
            None => {
                self.count(&counters);
                Err(AccountError::Wrong)
            }
        }
    }

    /// Whether a code of this account's second factor may be tried.
    /// # Errors
    /// [`AccountError::Throttled`].
    pub fn admit_code(&self, name: &str) -> Result<(), AccountError> {
        self.admit(&[(format!("code {name}"), CODE_FAILURES)])
    }

    /// Counts a wrong code.
    pub fn count_code(&self, name: &str) {
        self.count(&[(format!("code {name}"), CODE_FAILURES)]);
    }

    /// Refuses if one of the counters has reached its limit.
    fn admit(&self, counters: &[(String, usize)]) -> Result<(), AccountError> {
        let failures = self.failures.lock();
        for (key, limit) in counters {
            let Some(Failures { since: Some(since), count }) = failures.get(key) else { continue };
            let left = WINDOW.saturating_sub(since.elapsed());
            if count >= limit && !left.is_zero() {
                return Err(AccountError::Throttled(left.as_secs() + 1));
            }
        }
        Ok(())
    }

    fn count(&self, counters: &[(String, usize)]) {
        let mut failures = self.failures.lock();
        let recent = |failures: &Failures| failures.since.is_some_and(|since| since.elapsed() < WINDOW);
        if failures.len() > COUNTERS {
            failures.retain(|_, failures| recent(failures));
        }
        for (key, _) in counters {
            let entry = failures.entry(key.clone()).or_default();
            if !recent(entry) {
                *entry = Failures { since: Some(Instant::now()), count: 0 };
            }
            entry.count += 1;
        }
    }

    async fn verify(&self, hash: String, password: String) -> bool {
        let Ok(_permit) = self.checks.acquire().await else { return false };
        let check = move || {
            password.len() <= LONGEST
                && PasswordHash::new(&hash)
                    .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
        };
        tokio::task::spawn_blocking(check).await.unwrap_or(false)
    }

    /// Checks a new login name and password. Returns the hash to store.
    /// # Errors
    /// [`AccountError::Unfit`].
    pub async fn prepare(&self, name: &str, password: String) -> Result<String, AccountError> {
        check_name(name).map_err(AccountError::Unfit)?;
        self.hash(password).await
    }

    async fn hash(&self, password: String) -> Result<String, AccountError> {
        if password.chars().count() < SHORTEST {
            return Err(AccountError::Unfit(format!(
                "the password must have at least {SHORTEST} characters"
            )));
        }
        if password.len() > LONGEST {
            return Err(AccountError::Unfit(format!("the password must not be longer than {LONGEST} bytes")));
        }
        let failed =
            |error: &dyn std::fmt::Display| AccountError::Unfit(format!("cannot hash the password: {error}"));
        let _permit = self.checks.acquire().await.map_err(|error| failed(&error))?;
        let hash = move || {
            let hash: Result<PasswordHash, _> = Argon2::default()
                .hash_password_with_salt(password.as_bytes(), uuid::Uuid::new_v4().as_bytes());
            hash.map(|hash| hash.to_string()).map_err(|error| error.to_string())
        };
        tokio::task::spawn_blocking(hash)
            .await
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))
    }

    /// Starts a session. Returns the secret for the cookie.
    /// # Errors
    /// [`StoreError`].
    pub async fn log_in(
        &self,
        user: i64,
        address: Option<IpAddr>,
        agent: &str,
    ) -> Result<String, StoreError> {
        let secret = new_secret();
        let agent: String = agent.chars().take(200).collect();
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        self.store.add_session(user, hash_of(&secret), in_future(SESSION), &address, &agent).await?;
        Ok(secret)
    }

    /// The account of a session's secret.
    /// # Errors
    /// [`StoreError`].
    pub fn of_cookie(&self, secret: &str) -> Result<Option<Principal>, StoreError> {
        let hash = hash_of(secret);
        let account = self.store.account_of_session(hash)?;
        Ok(account.map(|account| principal(account, Authentication::Session(hash))))
    }

    /// The account of a token.
    /// # Errors
    /// [`StoreError`].
    pub fn of_token(&self, token: &str) -> Result<Option<Principal>, StoreError> {
        let hash = hash_of(token);
        let found = self.store.account_of_token(hash)?;
        Ok(found.map(|(mut account, level)| {
            // A token manages documents at most, not accounts.
            account.role = account.role.min(Role::User);
            principal(account, Authentication::ApiToken { hash, level })
        }))
    }

    /// Creates a token. Returns its secret, which is shown once.
    /// # Errors
    /// [`StoreError`].
    pub async fn add_token(
        &self,
        user: i64,
        name: &str,
        level: Level,
        life: Duration,
    ) -> Result<String, StoreError> {
        let secret = new_secret();
        self.store.add_token(user, hash_of(&secret), name, level, in_future(life)).await?;
        Ok(secret)
    }

    /// Creates an invitation for an account with this role, or for a new password of `user`. Returns its code.
    /// # Errors
    /// [`StoreError`].
    pub async fn invite(&self, role: Role, user: Option<i64>) -> Result<String, StoreError> {
        let code = new_secret();
        self.store.add_invitation(hash_of(&code), role, user, in_future(INVITATION)).await?;
        Ok(code)
    }
}

fn principal(account: Account, authentication: Authentication) -> Principal {
    Principal { user: Some(account.id), name: account.name, role: account.role, authentication }
}

/// A secret with 244 random bits.
pub fn new_secret() -> String {
    let (a, b) = (uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    format!("{a}{b}")
}

/// The hash under which a secret is stored.
pub fn hash_of(secret: &str) -> SecretHash {
    Sha256::digest(secret.as_bytes()).into()
}

/// The time after `life`, in milliseconds since 1970.
pub fn in_future(life: Duration) -> i64 {
    let then = SystemTime::now() + life;
    let since = then.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Failures of one IPv6 network of 64 bits count together, because one host has all its addresses.
fn network(address: Option<IpAddr>) -> String {
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V6(address)) => format!("{:x?}", &address.segments()[..4]),
        Some(address) => address.to_string(),
        None => String::new(),
    }
}

/// Whether a text can be a login name, which is also the name of the account's folder.
/// # Errors
/// What is wrong, for users.
pub fn check_name(name: &str) -> Result<(), String> {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    let rest =
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte));
    if first && rest && name.len() <= 32 {
        return Ok(());
    }
    Err("a login name must have 1 to 32 of the characters a-z 0-9 - _ and begin with a letter".to_owned())
}
