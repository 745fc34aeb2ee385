//! `auth_basic`: asks for a name and a password (RFC 7617) and checks them against an htpasswd file.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use crate::body::{App, Response, text_response};
use crate::config::{Files, FollowedPath, Table, help_for_denied};
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

/// How long a file is assumed to be unchanged.
const TRUST: Duration = Duration::from_secs(1);
/// Correct passwords are remembered for this many users, because a check takes tens of milliseconds.
const REMEMBERED: usize = 1024;
/// Maximum number of concurrent checks: more would occupy every processor.
const AT_ONCE: usize = 2;
/// Checked for unknown names if the file has no hash, so that they take as long.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuu5Lk0YV3HB/d4QjMPZVJHsyCJIpOGhVK";

/// Wraps `next`: requests without a correct name and password get 401; the others carry a [`RemoteUser`].
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let challenge = options.realm.replace(['\\', '"'], "'");
    let challenge = HeaderValue::try_from(format!("Basic realm=\"{challenge}\", charset=\"UTF-8\""));
    let challenge = challenge.map_err(|_| {
        table
            .error("realm", "the realm has characters that are not allowed in a header")
            .help("use plain letters")
    });
    let users = read(&options.htpasswd, table.files()).map_err(|errors| {
        errors.into_iter().map(|error| error.at(table.origin("htpasswd"))).collect::<Vec<_>>()
    });
    let (challenge, users) = match (challenge, users) {
        (Ok(challenge), Ok(users)) => (challenge, users),
        (challenge, users) => {
            let mut errors: Vec<Error> = challenge.err().into_iter().collect();
            errors.extend(users.err().unwrap_or_default());
            Errors::check(errors)?;
            unreachable!("one of them is an error")
        }
    };
    let auth = Arc::new(BasicAuth {
        path: options.htpasswd.to_path_buf(),
        files: table.files().clone(),
        state: Mutex::new(AuthState {
            users: Arc::new(users),
            looked: Instant::now(),
            right: HashMap::new(),
        }),
        slots: Arc::new(Semaphore::new(AT_ONCE)),
        salt: uuid::Uuid::new_v4().into_bytes(),
    });
    Ok(App::from_call(move |mut request| {
        let (auth, next, challenge) = (auth.clone(), next.clone(), challenge.clone());
        Box::pin(async move {
            let Some(user) = auth.user(request.headers()).await else {
                return Ok(unauthorized(challenge));
            };
            request.extensions_mut().insert(RemoteUser::new(user.clone(), "Basic"));
            let mut response = next.handle(request).await?;
            response.extensions_mut().insert(RemoteUser::new(user, "Basic"));
            Ok(response)
        })
    }))
}

fn unauthorized(challenge: HeaderValue) -> Response {
    let mut response = text_response(StatusCode::UNAUTHORIZED, "A name and a password are required.\n");
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

/// The result of reading the file once: hashes by name, and the file's version.
#[derive(Debug)]
struct Users {
    hashes: HashMap<String, Hash>,
    /// The hash that unknown names are checked against: the slowest one in the file.
    nobody: Option<Hash>,
    version: Option<Version>,
}

struct BasicAuth {
    path: PathBuf,
    files: Files,
    state: Mutex<AuthState>,
    slots: Arc<Semaphore>,
    salt: [u8; 16],
}

struct AuthState {
    users: Arc<Users>,
    looked: Instant,
    /// Digest of the last correct password, by name; cleared when the file changes.
    right: HashMap<Arc<str>, [u8; 32]>,
}

impl BasicAuth {
    /// The user whose correct name and password the request carries.
    async fn user(&self, headers: &HeaderMap) -> Option<Arc<str>> {
        let (name, password) = credentials(headers)?;
        self.refresh();
        let digest = self.digest(&name, &password);
        let (users, known) = {
            let state = self.state();
            (
                state.users.clone(),
                state.right.get_key_value(&*name).map(|(name, right)| (name.clone(), *right)),
            )
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
        let mut state = self.state();
        // The file may have changed in the meantime, and the password may no longer be correct.
        if Arc::ptr_eq(&state.users, &users) {
            if state.right.len() >= REMEMBERED {
                state.right.clear();
            }
            state.right.insert(name.clone(), digest);
        }
        Some(name)
    }

    /// Reloads the file if it changed. If it can no longer be read, the old content stays in use and the
    /// error is logged.
    fn refresh(&self) {
        {
            let mut state = self.state();
            if state.looked.elapsed() < TRUST {
                return;
            }
            state.looked = Instant::now();
            if version(&self.path, &self.files).is_some_and(|version| state.users.version == Some(version)) {
                return;
            }
        }
        match read(&self.path, &self.files) {
            Ok(users) => {
                let mut state = self.state();
                state.users = Arc::new(users);
                state.right.clear();
            }
            Err(errors) => {
                for error in errors {
                    tracing::error!(file = %self.path.display(), "cannot reload the file, the old one stays in use: {error}");
                }
            }
        }
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

    fn state(&self) -> parking_lot::MutexGuard<'_, AuthState> {
        self.state.lock()
    }
}

/// Name and password of an `Authorization: Basic` field.
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let (scheme, rest) = field.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let name = String::from_utf8(decoded[..colon].to_vec()).ok()?;
    // bcrypt does not accept NUL.
    let password = decoded[colon + 1..].to_vec();
    (!password.contains(&0)).then_some((name, password))
}

/// Distinguishes versions of the file: inode, length and both times, because a replacement may have the same
/// length and modification time.
type Version = [i64; 6];

fn version(path: &Path, files: &Files) -> Option<Version> {
    let found = files.metadata(path).ok()?;
    let (inode, length) = (found.ino().cast_signed(), found.len().cast_signed());
    Some([inode, length, found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()])
}

/// Reads an htpasswd file.
fn read(path: &Path, files: &Files) -> Result<Users, Vec<Error>> {
    let version = version(path, files);
    let text = files.read_text(path).and_then(|text| String::from_utf8(text).map_err(std::io::Error::other));
    let text = text.map_err(|error| {
        let error_of = Error::config(format!("cannot read the password file `{}`", path.display()));
        let help = match error.kind() {
            std::io::ErrorKind::PermissionDenied => help_for_denied(),
            _ => "make one with `paster htpasswd FILE NAME`".to_owned(),
        };
        vec![error_of.because(error).help(help)]
    })?;
    let mut users = Users { version, hashes: HashMap::new(), nobody: Hash::parse(NOBODY).ok() };
    let mut errors = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fault = match line.split_once(':').map(|(name, hash)| (name, Hash::parse(hash))) {
            Some((name, Ok(hash))) => {
                users.hashes.insert(name.to_owned(), hash);
                continue;
            }
            Some((_, Err(fault))) => fault,
            None => "no `name:hash`".to_owned(),
        };
        let message = format!("line {} of `{}` has {fault}", index + 1, path.display());
        errors.push(Error::config(message).help("write the entry with `paster htpasswd FILE NAME`"));
    }
    if let Some(longest) = users.hashes.values().max_by_key(|hash| hash.work()) {
        users.nobody = Some(longest.clone());
    }
    if errors.is_empty() { Ok(users) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_check_keeps_its_slot_when_its_request_is_given_up() {
        let auth = BasicAuth {
            files: Files::default(),
            path: PathBuf::new(),
            state: Mutex::new(AuthState {
                users: Arc::new(Users {
                    hashes: HashMap::new(),
                    nobody: Hash::parse(NOBODY).ok(),
                    version: None,
                }),
                looked: Instant::now() + Duration::from_secs(3600),
                right: HashMap::new(),
            }),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            salt: [0; 16],
        };
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic ZXZlOmd1ZXNz"));
        let mut given_up = Box::pin(auth.user(&headers));
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
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        let nobody = |lines: &[&str]| {
            std::fs::write(&file, lines.join("\n")).unwrap();
            read(&file, &Files::default()).unwrap().nobody.unwrap().as_str().to_owned()
        };
        let (cheap, dear) = (bcrypt::hash("x", 4).unwrap(), bcrypt::hash("x", 11).unwrap());
        let memory = Hash::new(crate::middleware::password::Algorithm::Argon2, b"x").unwrap();
        assert_eq!(nobody(&[]), NOBODY);
        assert_eq!(nobody(&[&format!("a:{cheap}"), &format!("b:{dear}")]), dear);
        assert_eq!(nobody(&[&format!("a:{}", memory.as_str()), &format!("b:{cheap}")]), memory.as_str());
    }
}
