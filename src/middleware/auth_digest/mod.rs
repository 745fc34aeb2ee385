//! `auth_digest`: asks for a name and a password, which are not sent in the clear (RFC 7616, SHA-256).
//!
//! Own code: the crates for Digest are clients, or support only MD5.

mod credentials;
mod nonce;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use self::credentials::DigestCredentials;
use self::nonce::{Age, Nonces};
use super::followed::{FollowedFile, lines};
use super::identity::{hex, pass_as, quoted, unauthorized};
use super::refusal::at_once;
use crate::body::{App, Request};
use crate::codec::variables::decode_path;
use crate::config::{FollowedPath, Table};
use crate::context::Context;
use crate::environ::{Environ, RemoteUser};
use crate::error::{Error, Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "auth_digest"`.
///
/// Over TLS, prefer `auth_basic`, whose password file cannot be used to log in if it is stolen. A line of the
/// file is `name:realm:hash`; this prints the hash:
///
/// ```console
/// $ printf %s 'ann:restricted:password' | sha256sum
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// File of `name:realm:hash` lines, with the SHA-256 of `name:realm:password` as 64 hexadecimal digits. It is reloaded
    /// when it changes. Keep it secret, because anyone with a hash can log in.
    htdigest: FollowedPath,
    /// The realm, which the browser shows when it asks for the password. Lines with another realm are skipped.
    #[serde(default = "restricted")]
    realm: String,
    /// How long a client may use a nonce, in seconds. Browsers get a new one without asking the user.
    #[serde(default = "five_minutes")]
    nonce_secs: NonZeroU32,
}

fn restricted() -> String {
    "restricted".into()
}

fn five_minutes() -> NonZeroU32 {
    const { NonZeroU32::new(300).unwrap() }
}

/// The users of the realm, and the key of nonces that all workers make of the file.
struct DigestUsers {
    hashes: HashMap<Arc<str>, String>,
    key: ring::hmac::Key,
}

struct DigestAuth {
    realm: String,
    users: FollowedFile<DigestUsers>,
    nonces: Nonces,
}

/// Wraps `next`: requests without correct credentials get 401; the others carry a [`RemoteUser`].
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    let realm = quoted(&options.realm);
    if HeaderValue::try_from(&realm).is_err() {
        let error = table.error("realm", "the realm contains characters that are not allowed in a header");
        errors.push(error.help("use plain letters"));
    }
    let known = realm.clone();
    let what = ("password file", "write lines such as `ann:restricted:…`");
    let read = move |text: &str, path: &Path| parse((text, path), &known);
    let users = FollowedFile::open(&options.htdigest, table, "htdigest", what, read);
    let users = users.map_err(|found| errors.extend(found)).ok();
    Errors::check(errors)?;
    let Some(users) = users else { unreachable!("checked above") };
    let nonces = Nonces::new(Duration::from_secs(options.nonce_secs.get().into()));
    let auth = Arc::new(DigestAuth { realm, users, nonces });
    Ok(App::from_call(move |request| match auth.user(&request) {
        Ok(user) => pass_as(RemoteUser::new(user, "Digest"), request, &next),
        Err(challenge) => at_once(unauthorized(challenge, "A name and a password are required.\n")),
    }))
}

fn parse((text, path): (&str, &Path), realm: &str) -> Result<DigestUsers, Vec<Error>> {
    let help = "write `name:realm:` and the hash that `printf %s NAME:REALM:PASSWORD | sha256sum` prints";
    let all = lines((text, path), help, |line| {
        let mut parts = line.splitn(3, ':');
        let (Some(name), Some(realm), Some(hash)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("no `name:realm:hash`".to_owned());
        };
        match hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => Ok((name.into(), realm.to_owned(), hash.to_ascii_lowercase())),
            false => Err("no SHA-256".to_owned()),
        }
    })?;
    let of_realm = all.into_iter().filter(|(_, of, _)| of == realm);
    let hashes = of_realm.map(|(name, _, hash): (Arc<str>, _, _)| (name, hash)).collect();
    // The hashes are secret, so what is made of them is too.
    let seed = Sha256::digest([b"auth_digest\0", text.as_bytes()].concat());
    Ok(DigestUsers { hashes, key: ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &seed) })
}

impl DigestAuth {
    /// The user whose correct credentials the request carries.
    /// # Errors
    /// The challenge to answer with.
    fn user(&self, request: &Request) -> Result<Arc<str>, HeaderValue> {
        let users = self.users.get();
        let challenge = |stale| self.challenge(&users, stale);
        let mut fields = request.headers().get_all(AUTHORIZATION).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else { return Err(challenge(false)) };
        let given = field.to_str().ok().and_then(DigestCredentials::parse).ok_or_else(|| challenge(false))?;
        let fits = given.realm == self.realm && is_target(&given.uri, request);
        let (name, hash) = match users.hashes.get_key_value(&*given.username) {
            Some((name, hash)) => (Some(name), hash.as_str()),
            None => (None, ""),
        };
        let expected = given.response_for(hash, request.method());
        let right = bool::from(expected.as_bytes().ct_eq(given.response.as_bytes()));
        let Some(name) = name.filter(|_| right && fits) else { return Err(challenge(false)) };
        match self.nonces.accept(&users.key, &given.nonce, given.count) {
            Age::Fresh => Ok(name.clone()),
            Age::Stale => Err(challenge(true)),
        }
    }

    /// RFC 7616, section 3.3. `stale`: the password was right, only the nonce is too old.
    fn challenge(&self, users: &DigestUsers, stale: bool) -> HeaderValue {
        let nonce = self.nonces.make(&users.key);
        let stale = if stale { ", stale=true" } else { "" };
        let realm = &self.realm;
        let text = format!(
            "Digest realm=\"{realm}\", qop=\"auth\", algorithm=SHA-256, nonce=\"{nonce}\", charset=UTF-8{stale}"
        );
        // The realm was checked, and a nonce has plain characters.
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Digest"))
    }
}

/// Whether the credentials are for this target. The client wrote it in its own way, with other escapes.
fn is_target(uri: &str, request: &Request) -> bool {
    let mount = request.extensions().get::<Environ>().map(|environ| environ.script_name.clone());
    let path = format!("{}{}", mount.unwrap_or_default(), request.uri().path());
    let origin = uri.split_once("://").and_then(|(_, rest)| rest.find('/').map(|slash| &rest[slash..]));
    let (given, query) = match origin.unwrap_or(uri).split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin.unwrap_or(uri), None),
    };
    decode_path(given) == decode_path(&path) && query == request.uri().query()
}

/// The hexadecimal SHA-256 of the parts, joined by colons (RFC 7616, section 3.4.1).
fn hash(parts: &[&str]) -> String {
    hex(&Sha256::digest(parts.join(":")))
}
