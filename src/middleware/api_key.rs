//! `api_key`: lets programs in that know a key. Only hashes of the keys are stored.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::followed::{FollowedFile, lines};
use super::identity::{pass_as, unauthorized, unhex};
use super::options::{header, value};
use super::refusal::at_once;
use crate::body::{App, Request};
use crate::config::{FollowedPath, Table, join};
use crate::context::Context;
use crate::environ::RemoteUser;
use crate::error::{Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "api_key"`.
///
/// A request must have a key in the field `x-api-key` or as `Authorization: Bearer KEY`; others get 401. The app gets the name
/// of the key as the user (`REMOTE_USER`), but not the key itself. Use long random keys, and store their SHA-256:
///
/// ```console
/// $ printf %s 'a long random key' | sha256sum
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Hashes of keys by name: `robot = "sha256:…"`, with 64 hexadecimal digits.
    hashes: BTreeMap<String, String>,
    /// File of `name:sha256:…` lines. It is reloaded when it changes.
    file: Option<FollowedPath>,
    /// Header field with the key.
    header: String,
    /// Also accept the key as `Authorization: Bearer KEY`.
    bearer: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { hashes: BTreeMap::new(), file: None, header: "x-api-key".into(), bearer: true }
    }
}

/// The SHA-256 of a key, and its name.
type Hashed = (Vec<u8>, Arc<str>);

struct ApiKeys {
    hashes: Vec<Hashed>,
    file: Option<FollowedFile<Vec<Hashed>>>,
    header: HeaderName,
    bearer: bool,
}

const HELP: &str = "write `sha256:` and 64 hexadecimal digits, as `printf %s KEY | sha256sum` prints them";

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    let mut hashes = Vec::new();
    for (name, hash) in &options.hashes {
        match parse_hash(hash) {
            Some(hash) => hashes.push((hash, name.as_str().into())),
            None => {
                let error = table.error(join("hashes", name), "expected the SHA-256 of a key");
                errors.push(error.help(HELP));
            }
        }
    }
    let file = options.file.as_ref().and_then(|path| {
        let what = ("file of keys", "write lines such as `robot:sha256:…`");
        let parse = |text: &str, path: &Path| lines((text, path), HELP, parse_line);
        let opened = FollowedFile::open(path, table, "file", what, parse);
        opened.map_err(|found| errors.extend(found)).ok()
    });
    if options.hashes.is_empty() && options.file.is_none() {
        let error = table.error("", "`api_key` has no keys, so no request could pass");
        errors.push(error.help("set `file`, or `hashes = { robot = \"sha256:…\" }`"));
    }
    let header = value(table, "header", &options.header, &mut errors, header);
    Errors::check(errors)?;
    let Some(header) = header else { unreachable!("checked above") };
    let keys = Arc::new(ApiKeys { hashes, file, header, bearer: options.bearer });
    Ok(App::from_call(move |mut request| match keys.take(&mut request) {
        Some(name) => pass_as(RemoteUser::new(name, "ApiKey"), request, &next),
        None => {
            let challenge = HeaderValue::from_static("Bearer realm=\"api\"");
            at_once(unauthorized(challenge, "A key is required.\n"))
        }
    }))
}

fn parse_hash(text: &str) -> Option<Vec<u8>> {
    unhex(text.trim().strip_prefix("sha256:")?).filter(|hash| hash.len() == 32)
}

fn parse_line(line: &str) -> Result<Hashed, String> {
    let (name, hash) = line.split_once(':').ok_or("no `name:sha256:…`")?;
    let hash = parse_hash(hash).ok_or("no SHA-256 of a key")?;
    Ok((hash, name.trim().into()))
}

impl ApiKeys {
    /// The name of the request's key, which is removed from the request.
    fn take(&self, request: &mut Request) -> Option<Arc<str>> {
        let own = request.headers_mut().remove(&self.header);
        let key = match &own {
            Some(key) => key.as_bytes(),
            None => bearer(request.headers().get(AUTHORIZATION).filter(|_| self.bearer)?.as_bytes())?,
        };
        let hash = Sha256::digest(key);
        let file = self.file.as_ref().map(FollowedFile::get);
        let all = self.hashes.iter().chain(file.iter().flat_map(|file| file.iter()));
        // Every hash is compared, so that the time does not reveal anything.
        let mut found = None;
        for (known, name) in all {
            if bool::from(known.as_slice().ct_eq(&hash)) {
                found = Some(name.clone());
            }
        }
        if own.is_none() && found.is_some() {
            request.headers_mut().remove(AUTHORIZATION);
        }
        found
    }
}

/// The credentials of the scheme `Bearer` (RFC 6750, section 2.1).
pub(super) fn bearer(field: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = field.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}
