//! `auth_basic`: asks for a name and a password (RFC 7617) and checks them against an htpasswd file.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use http::header::HeaderValue;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use super::followed::{FollowedFile, lines};
use super::identity::{basic_credentials, pass_as, quoted, unauthorized};
use crate::body::App;
use crate::config::{FollowedPath, Table};
use crate::context::Context;
use crate::environ::RemoteUser;
use crate::error::{Error, Errors, Result};
use crate::middleware::password::Hash;

/// Options of a `[middleware.NAME]` table with `use = "auth_basic"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// File of `name:hash` lines with argon2id or bcrypt hashes, as written by `paster htpasswd` or `htpasswd
    /// -B`. It is reloaded when it changes.
    htpasswd: FollowedPath,
    /// The realm that the browser shows when it asks for the password.
    #[serde(default = "restricted")]
    realm: String,
}

fn restricted() -> String {
    "restricted".into()
}

/// Correct passwords are remembered for this many users, because a check takes tens of milliseconds.
const REMEMBERED: usize = 1024;
/// Maximum number of concurrent checks: more would occupy every processor.
const AT_ONCE: usize = 2;
/// Checked for unknown names if the file has no hash, so that they take as long.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuu5Lk0YV3HB/d4QjMPZVJHsyCJIpOGhVK";

/// Wraps `next`: requests without a correct name and password get 401; the others carry a [`RemoteUser`].
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let challenge = format!("Basic realm=\"{}\", charset=\"UTF-8\"", quoted(&options.realm));
    let challenge = HeaderValue::try_from(challenge);
    let challenge = challenge.map_err(|_| {
        table
            .error("realm", "the realm contains characters that are not allowed in a header")
            .help("use plain letters")
    });
    let passwords = Passwords::open(&options.htpasswd, table);
    let (challenge, auth) = match (challenge, passwords) {
        (Ok(challenge), Ok(passwords)) => (challenge, Arc::new(passwords)),
        (challenge, passwords) => {
            let mut errors: Vec<Error> = challenge.err().into_iter().collect();
            errors.extend(passwords.err().unwrap_or_default());
            Errors::check(errors)?;
            unreachable!("one of them is an error")
        }
    };
    Ok(App::from_call(move |request| {
        let (auth, next, challenge) = (auth.clone(), next.clone(), challenge.clone());
        Box::pin(async move {
            let user = match basic_credentials(request.headers()) {
                Some((name, password)) => auth.check(name, password).await,
                None => None,
            };
            match user {
                Some(user) => pass_as(RemoteUser::new(user, "Basic"), request, &next).await,
                None => Ok(unauthorized(challenge, "A name and a password are required.\n")),
            }
        })
    }))
}

/// The content of the file: hashes by name.
#[derive(Debug)]
struct UserHashes {
    hashes: HashMap<String, Hash>,
    /// The hash that unknown names are checked against: the slowest one in the file.
    nobody: Option<Hash>,
}

/// The passwords of a file.
pub(super) struct Passwords {
    users: FollowedFile<UserHashes>,
    right: Mutex<RightPasswords>,
    slots: Arc<Semaphore>,
    salt: [u8; 16],
}

/// Digests of the last correct passwords by name, for this content of the file.
struct RightPasswords {
    users: Arc<UserHashes>,
    digests: HashMap<Arc<str>, [u8; 32]>,
}

impl Passwords {
    /// Reads the file that the option `htpasswd` names.
    /// # Errors
    /// A file that cannot be read, and wrong lines in it.
    pub(super) fn open(htpasswd: &Path, table: &Table) -> Result<Passwords, Vec<Error>> {
        let what = ("password file", "create one with `paster htpasswd FILE NAME`");
        FollowedFile::open(htpasswd, table, "htpasswd", what, read).map(Passwords::new)
    }

    fn new(users: FollowedFile<UserHashes>) -> Passwords {
        let right = RightPasswords { users: users.get(), digests: HashMap::new() };
        Passwords {
            users,
            right: Mutex::new(right),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            salt: uuid::Uuid::new_v4().into_bytes(),
        }
    }

    /// The hash of a user, which changes with the password.
    pub(super) fn hash_of(&self, name: &str) -> Option<String> {
        self.users.get().hashes.get(name).map(|hash| hash.as_str().to_owned())
    }

    /// The user of this name, if the password is correct. It must not contain a NUL.
    pub(super) async fn check(&self, name: String, password: Vec<u8>) -> Option<Arc<str>> {
        let digest = self.digest(&name, &password);
        let users = self.users.get();
        let known = {
            let mut right = self.right.lock();
            if !Arc::ptr_eq(&right.users, &users) {
                *right = RightPasswords { users: users.clone(), digests: HashMap::new() };
            }
            right.digests.get_key_value(&*name).map(|(name, right)| (name.clone(), *right))
        };
        if let Some((name, right)) = known
            && bool::from(right.ct_eq(&digest))
        {
            return Some(name);
        }
        let exists = users.hashes.contains_key(&*name);
        let hash = users.hashes.get(&*name).or(users.nobody.as_ref()).cloned()?;
        let slot = self.slots.clone().acquire_owned().await.ok()?;
        let checked = tokio::task::spawn_blocking(move || {
            // Held here because the check continues if the request is cancelled.
            let _slot = slot;
            hash.verify(&password)
        });
        if !(checked.await.unwrap_or(false) && exists) {
            return None;
        }
        let name: Arc<str> = name.into();
        let mut right = self.right.lock();
        // The file may have changed in the meantime, and the password may no longer be correct.
        if Arc::ptr_eq(&right.users, &users) {
            if right.digests.len() >= REMEMBERED {
                right.digests.clear();
            }
            right.digests.insert(name.clone(), digest);
        }
        Some(name)
    }

    /// Salted, so that a memory dump cannot be compared with precomputed digests.
    fn digest(&self, name: &str, password: &[u8]) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.salt);
        digest.update((name.len() as u64).to_le_bytes());
        digest.update(name);
        digest.update(password);
        digest.finalize().into()
    }
}

/// Parses an htpasswd file.
fn read(text: &str, path: &Path) -> Result<UserHashes, Vec<Error>> {
    let help = "write the entry with `paster htpasswd FILE NAME`";
    let entries = lines((text, path), help, |line| {
        let (name, hash) = line.split_once(':').ok_or("no `name:hash`")?;
        Ok((name.to_owned(), Hash::parse(hash)?))
    })?;
    let hashes: HashMap<String, Hash> = entries.into_iter().collect();
    let longest = hashes.values().max_by_key(|hash| hash.work()).cloned();
    Ok(UserHashes { nobody: longest.or_else(|| Hash::parse(NOBODY).ok()), hashes })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_check_keeps_its_slot_when_its_request_is_given_up() {
        let nobody = Hash::parse(NOBODY).ok();
        let auth = Passwords::new(FollowedFile::fixed(UserHashes { hashes: HashMap::new(), nobody }));
        let mut given_up = Box::pin(auth.check("eve".to_owned(), b"guess".to_vec()));
        assert!(
            std::future::poll_fn(|cx| std::task::Poll::Ready(given_up.as_mut().poll(cx))).await.is_pending()
        );
        drop(given_up);
        assert_eq!(auth.slots.available_permits(), AT_ONCE - 1, "the check continues");
        let all = auth.slots.acquire_many(AT_ONCE as u32);
        let all = tokio::time::timeout(Duration::from_secs(60), all).await;
        assert!(all.is_ok(), "its end releases the slot");
    }

    #[test]
    fn an_unknown_name_takes_as_long_as_the_dearest() {
        assert!(!Hash::parse(NOBODY).unwrap().verify(b"guess"));
        let nobody = |lines: &[&str]| {
            read(&lines.join("\n"), Path::new("users")).unwrap().nobody.unwrap().as_str().to_owned()
        };
        let (cheap, dear) = (bcrypt::hash("x", 4).unwrap(), bcrypt::hash("x", 11).unwrap());
        let memory = Hash::new(crate::middleware::password::Algorithm::Argon2, b"x").unwrap();
        assert_eq!(nobody(&[]), NOBODY);
        assert_eq!(nobody(&[&format!("a:{cheap}"), &format!("b:{dear}")]), dear);
        assert_eq!(nobody(&[&format!("a:{}", memory.as_str()), &format!("b:{cheap}")]), memory.as_str());
    }
}
