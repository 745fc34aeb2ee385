//! Authentication: one token, a signed cookie for browsers, and values against cross-site request forgery.
//!
//! The token and the signing key are in a folder outside of the served one, which only the user can read.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::settings::Settings;

/// After this many wrong tokens within [`WINDOW`], further ones are not checked.
const FAILURES: usize = 16;
const WINDOW: Duration = Duration::from_secs(60);
/// Maximum time for the second step of a login.
pub const TICKET: Duration = Duration::from_secs(600);
/// How long a browser stays logged in.
const LOGIN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Checks tokens and cookies.
pub struct Auth {
    token: String,
    /// Whether this program created the token, so that it may be shown.
    made: bool,
    key: Vec<u8>,
    cookie: String,
    state_dir: PathBuf,
    failures: Mutex<VecDeque<Instant>>,
}

/// The result of checking a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The token is right.
    Right,
    /// The token is wrong.
    Wrong,
    /// There were too many wrong tokens recently, so this one was not checked.
    Throttled {
        /// Whole seconds until the next try.
        wait_secs: u64,
    },
}

impl Auth {
    /// Reads the token and the key, or creates them if they do not exist.
    /// # Errors
    /// If the folder cannot be created or is below the served one.
    pub fn open(settings: &Settings, data_dir: &Path) -> io::Result<Auth> {
        let id: String = Sha256::digest(data_dir.as_os_str().as_encoded_bytes())
            .iter()
            .take(6)
            .map(|b| format!("{b:02x}"))
            .collect();
        let state_dir = match &settings.state_dir {
            Some(folder) => folder.clone(),
            None => default_state_dir()?.join(format!("notebook-{id}")),
        };
        let context = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("cannot create the folder `{}`: {error}", state_dir.display()),
            )
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&state_dir).map_err(context)?;
        let state_dir = state_dir.canonicalize().map_err(context)?;
        if state_dir.starts_with(data_dir) {
            let message = format!(
                "the setting `state_dir` ({}) must be outside `data_dir`, because notebooks could read the token",
                state_dir.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let key = secret_file(&state_dir.join("cookie_key"))?;
        let (token, made) = match &settings.token {
            Some(token) if token.len() < 8 => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "the setting `token` must have at least 8 characters",
                ));
            }
            Some(token) => (token.clone(), false),
            None => (secret_file(&state_dir.join("token"))?, true),
        };
        Ok(Auth {
            token,
            made,
            key: key.into_bytes(),
            cookie: format!("paster-notebook-{id}"),
            state_dir,
            failures: Mutex::default(),
        })
    }

    /// A unique, random name of this server: no other machine and no other `state_dir` has it.
    pub fn server_name(&self, machine: &str) -> String {
        self.sign(&["server", machine])
    }

    /// Signs with this key from now on, which other servers share. The login cookie has the same name on all of them.
    pub fn share_key(&mut self, key: Vec<u8>) {
        self.key = key;
        let name: String =
            self.sign(&["cookie name"]).chars().filter(char::is_ascii_alphanumeric).take(12).collect();
        self.cookie = format!("paster-notebook-{name}");
    }

    /// The folder with the token and the key.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The token, if it was created here, to show it once on the terminal.
    pub fn made_token(&self) -> Option<&str> {
        self.made.then_some(self.token.as_str())
    }

    /// The name of the login cookie. Other notebooks on this host use other names.
    pub fn cookie_name(&self) -> &str {
        &self.cookie
    }

    /// Checks a token in constant time, and counts wrong ones.
    pub fn check_token(&self, shown: &str) -> Verdict {
        let mut failures = self.failures.lock();
        while failures.front().is_some_and(|when| when.elapsed() > WINDOW) {
            failures.pop_front();
        }
        if failures.len() >= FAILURES {
            let oldest = failures.front().map_or(Duration::ZERO, Instant::elapsed);
            return Verdict::Throttled { wait_secs: WINDOW.saturating_sub(oldest).as_secs() + 1 };
        }
        // Hashed first, so that the comparison takes the same time for every length.
        let equal = Sha256::digest(shown.as_bytes()).ct_eq(&Sha256::digest(self.token.as_bytes()));
        if bool::from(equal) {
            return Verdict::Right;
        }
        failures.push_back(Instant::now());
        Verdict::Wrong
    }

    fn sign(&self, parts: &[&str]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(part.as_bytes());
            mac.update(b"\0");
        }
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }

    /// The value of a new login cookie and its lifetime in seconds. It becomes invalid when the token
    /// changes.
    pub fn new_cookie(&self) -> (String, u64) {
        let until = SystemTime::now() + LOGIN;
        let until = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
        let signature = self.sign(&["login", &until, &self.token]);
        (format!("{until}.{signature}"), LOGIN.as_secs())
    }

    /// Whether a login cookie is valid and not too old.
    pub fn check_cookie(&self, value: &str) -> bool {
        let Some((until, signature)) = value.split_once('.') else { return false };
        let wanted = self.sign(&["login", until, &self.token]);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        bool::from(wanted.as_bytes().ct_eq(signature.as_bytes()))
            && until.parse::<u64>().is_ok_and(|until| now < until)
    }

    /// A ticket for the second step of a login: the password of this account was right, some minutes ago at most.
    pub fn new_ticket(&self, account: i64) -> String {
        let until = SystemTime::now() + TICKET;
        let until = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let signature = self.sign(&["ticket", &until.to_string(), &account.to_string()]);
        format!("{until}.{account}.{signature}")
    }

    /// The account of a ticket that is still valid.
    pub fn check_ticket(&self, ticket: &str) -> Option<i64> {
        let (until, rest) = ticket.split_once('.')?;
        let (account, signature) = rest.split_once('.')?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let right = self.sign(&["ticket", until, account]);
        (bool::from(right.as_bytes().ct_eq(signature.as_bytes()))
            && until.parse::<u64>().is_ok_and(|until| now < until))
        .then(|| account.parse().ok())
        .flatten()
    }

    /// A challenge for a passkey, for this purpose.
    pub fn new_challenge(&self, purpose: &str) -> String {
        let until = SystemTime::now() + TICKET;
        let until = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        let signature = self.sign(&["challenge", purpose, &until.to_string(), &nonce]);
        format!("{until}.{nonce}.{signature}")
    }

    /// Whether a challenge was made here for this purpose, some minutes ago at most.
    pub fn check_challenge(&self, purpose: &str, challenge: &str) -> bool {
        let mut parts = challenge.splitn(3, '.');
        let (Some(until), Some(nonce), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
            return false;
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let right = self.sign(&["challenge", purpose, until, nonce]);
        bool::from(right.as_bytes().ct_eq(signature.as_bytes()))
            && until.parse::<u64>().is_ok_and(|until| now < until)
    }

    /// The value of a new `_xsrf` cookie.
    pub fn new_xsrf(&self) -> String {
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        let signature = self.sign(&["xsrf", &nonce]);
        format!("{nonce}.{signature}")
    }

    /// Whether an `_xsrf` value was made here.
    pub fn check_xsrf(&self, value: &str) -> bool {
        value.split_once('.').is_some_and(|(nonce, signature)| {
            bool::from(self.sign(&["xsrf", nonce]).as_bytes().ct_eq(signature.as_bytes()))
        })
    }
}

fn default_state_dir() -> io::Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
    let folder =
        std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home);
    let message =
        "neither XDG_STATE_HOME nor HOME is set: set a folder for the token with the setting `state_dir`";
    Ok(folder.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, message))?.join("paster"))
}

/// Reads one of our secrets, or creates it. Only its owner can read the file.
fn secret_file(path: &Path) -> io::Result<String> {
    let context =
        |error: io::Error| io::Error::new(error.kind(), format!("cannot use `{}`: {error}", path.display()));
    for _ in 0..2 {
        match std::fs::read_to_string(path) {
            Ok(secret) if secret.trim().len() >= 32 => {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(context)?;
                return Ok(secret.trim().to_owned());
            }
            Ok(_) => std::fs::remove_file(path).map_err(context)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(context(error)),
        }
        let (a, b) = (uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(folder)
            .map_err(context)?;
        io::Write::write_all(&mut file, format!("{a}{b}\n").as_bytes()).map_err(context)?;
        // If another worker has created a secret first, that one is used.
        match file.persist_noclobber(path) {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(context(error.error)),
        }
    }
    std::fs::read_to_string(path).map(|secret| secret.trim().to_owned()).map_err(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(folder: &Path, token: Option<&str>) -> Auth {
        let settings: Settings = serde_json::from_value(serde_json::json!({
            "data_dir": folder.join("data"), "state_dir": folder.join("state"), "token": token,
        }))
        .unwrap();
        Auth::open(&settings, &folder.join("data")).unwrap()
    }

    #[test]
    fn a_made_token_lasts_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (auth(folder.path(), None), auth(folder.path(), None));
        assert_eq!(first.made_token().unwrap(), second.made_token().unwrap());
        let mode = std::fs::metadata(folder.path().join("state/token")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(auth(folder.path(), Some("12345678")).made_token(), None);
    }

    #[test]
    fn cookies_hold_for_their_token_alone() {
        let folder = tempfile::tempdir().unwrap();
        let one = auth(folder.path(), Some("first token"));
        let (cookie, _) = one.new_cookie();
        assert!(one.check_cookie(&cookie));
        assert!(!auth(folder.path(), Some("other token")).check_cookie(&cookie));
        for bad in ["", ".", "99999999999.", "99999999999.AAAA", &cookie[1..]] {
            assert!(!one.check_cookie(bad), "{bad}");
        }
        let challenge = one.new_challenge("log in");
        assert!(one.check_challenge("log in", &challenge) && !one.check_challenge("register 1", &challenge));
        assert!(!one.check_challenge("log in", "99999999999.x.y") && !one.check_challenge("log in", ""));
        assert!(one.check_xsrf(&one.new_xsrf()) && !one.check_xsrf("x.y"));
    }

    #[test]
    fn wrong_tokens_are_throttled() {
        let folder = tempfile::tempdir().unwrap();
        let auth = auth(folder.path(), Some("right token"));
        for _ in 0..FAILURES {
            assert_eq!(auth.check_token("wrong"), Verdict::Wrong);
        }
        assert!(matches!(auth.check_token("right token"), Verdict::Throttled { wait_secs: 1..=61 }));
    }

    #[test]
    fn the_token_may_not_lie_in_the_served_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let settings =
            serde_json::from_value(serde_json::json!({"data_dir": &root, "state_dir": root.join("s")}))
                .unwrap();
        assert!(Auth::open(&settings, &root).is_err());
    }
}
