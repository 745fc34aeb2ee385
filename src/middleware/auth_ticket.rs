//! `auth_ticket`: signed tickets in a cookie, which several servers and programs accept.
//!
//! # Source
//! mod_auth_tkt 2.1, "Cookie Format"; `paste.auth.auth_tkt`. With SHA-256 or SHA-512: MD5 is not accepted.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{ACCEPT, CACHE_CONTROL, COOKIE, HeaderMap, HeaderValue, LOCATION, SET_COOKIE};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::identity::{hex, pass_as};
use super::refusal::refusal;
use super::session::cookie::is_name;
use super::session::seal::is_strong;
use crate::body::{App, Body, Request, Response};
use crate::config::{Table, item};
use crate::context::Context;
use crate::environ::{Environ, RemoteUser};
use crate::error::{BoxError, Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "auth_ticket"`.
///
/// A valid ticket logs a visitor in. Other visitors are redirected to `login_url`, or get 401. With `issue`, a user whom an
/// inner part such as `auth_basic` has authenticated gets a ticket, which all other servers with the same secret accept. The
/// format is that of mod_auth_tkt, Paste and Pyramid. A ticket cannot be revoked before it expires.
///
/// ```toml
/// [middleware.ticket]
/// use = "auth_ticket"
/// secrets = "${file:ticket.secret}"
/// login_url = "https://login.example.org/"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Secrets of at least 32 characters that sign tickets. The first one signs new tickets, and all are accepted.
    secrets: Vec<String>,
    /// The hash of the signature. Paste calls it `digest_algo`, Pyramid `hashalg`.
    #[serde(default)]
    digest: TicketDigest,
    /// Name of the cookie.
    #[serde(default = "auth_tkt")]
    cookie: String,
    /// The domain whose hosts share the cookie: `example.org`. Default: this host only.
    domain: Option<String>,
    /// How long a ticket is valid, in seconds.
    #[serde(default = "two_hours")]
    timeout_secs: NonZeroU32,
    /// A ticket must have at least one of these tokens, such as groups. Default: no token is needed.
    #[serde(default)]
    tokens: Vec<String>,
    /// Where to redirect visitors without a ticket. The parameter `back` contains the requested address.
    login_url: Option<String>,
    /// Issue tickets to users that an inner part has authenticated, and pass requests without a ticket to it.
    #[serde(default)]
    issue: bool,
    /// Whether tickets are bound to the client's address, as mod_auth_tkt does without `TKTAuthIgnoreIP`.
    #[serde(default)]
    bind_address: bool,
}

/// A hash function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum TicketDigest {
    #[default]
    Sha256,
    Sha512,
}

fn auth_tkt() -> String {
    "auth_tkt".into()
}

fn two_hours() -> NonZeroU32 {
    const { NonZeroU32::new(7200).unwrap() }
}

/// What is encoded in the name of a user, as Python's `quote` does.
const USER: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~').remove(b'/');

struct TicketAuth {
    options: Options,
    timeout: Duration,
}

/// The content of a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ticket {
    /// When it was made, in seconds since 1970.
    made: u32,
    user: String,
    /// Separated by commas.
    tokens: String,
    data: String,
}

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    for (index, _) in options.secrets.iter().enumerate().filter(|(_, secret)| !is_strong(secret.as_bytes())) {
        let error = table.error(item("secrets", index), "the secret is shorter than 32 characters");
        errors.push(error.help("write a random one with `openssl rand -hex 32`"));
    }
    if options.secrets.is_empty() {
        let error = table.error("secrets", "tickets need a secret");
        errors.push(error.help("write `secrets = \"${file:ticket.secret}\"`"));
    }
    if !is_name(&options.cookie) {
        let error = table.error("cookie", format!("`{}` cannot be the name of a cookie", options.cookie));
        errors.push(error.help("use letters, digits, `-` and `_`"));
    }
    if let Some(domain) = options.domain.as_ref().filter(|domain| !is_domain(domain)) {
        let error = table.error("domain", format!("`{domain}` is not a domain"));
        errors.push(error.help("write `example.org`"));
    }
    if let Some(url) = &options.login_url
        && !(url.starts_with("https://") || url.starts_with("http://") || url.starts_with('/'))
    {
        let error = table.error("login_url", format!("`{url}` is not an address"));
        errors.push(error.help("write `https://login.example.org/`, or a path"));
    }
    Errors::check(errors)?;
    let timeout = Duration::from_secs(options.timeout_secs.get().into());
    let auth = Arc::new(TicketAuth { options, timeout });
    Ok(App::from_call(move |request| {
        let (auth, next) = (auth.clone(), next.clone());
        Box::pin(async move { auth.handle(request, &next).await })
    }))
}

fn is_domain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))
}

impl TicketAuth {
    async fn handle(&self, request: Request, next: &App) -> Result<Response, BoxError> {
        let environ = request.extensions().get::<Environ>().cloned();
        let found = self.find(request.headers(), environ.as_ref());
        match found.filter(|ticket| self.may_pass(ticket)) {
            Some(ticket) => {
                let renewed = self.options.issue && self.is_old(&ticket);
                let user = RemoteUser::new(ticket.user.clone(), "Ticket");
                let mut response = pass_as(user, request, next).await?;
                if renewed {
                    self.give(&ticket, environ.as_ref(), &mut response);
                }
                Ok(response)
            }
            None if self.options.issue => {
                let mut response = next.handle(request).await?;
                if let Some(user) = response.extensions().get::<RemoteUser>().cloned() {
                    let (user, tokens) = (user.name.to_string(), self.options.tokens.join(","));
                    let ticket = Ticket { made: 0, user, tokens, data: String::new() };
                    self.give(&ticket, environ.as_ref(), &mut response);
                }
                Ok(response)
            }
            None => Ok(self.ask(&request, environ.as_ref())),
        }
    }

    /// Asks a visitor to log in elsewhere.
    fn ask(&self, request: &Request, environ: Option<&Environ>) -> Response {
        let refused = || refusal(StatusCode::UNAUTHORIZED, "no valid ticket", "You are not logged in.\n");
        let accepts = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains("text/html"));
        let reads_html = request.headers().get_all(ACCEPT).iter().any(accepts);
        let (Some(url), Some(environ)) = (&self.options.login_url, environ) else { return refused() };
        if !reads_html {
            return refused();
        }
        let scheme = if environ.secure { "https" } else { "http" };
        let wanted = request.uri().path_and_query().map_or("/", |wanted| wanted.as_str());
        let back = format!("{scheme}://{}{}{wanted}", environ.authority(), environ.script_name);
        let back = utf8_percent_encode(&back, NON_ALPHANUMERIC);
        let joint = if url.contains('?') { '&' } else { '?' };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SEE_OTHER;
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match HeaderValue::try_from(format!("{url}{joint}back={back}")) {
            Ok(location) => drop(response.headers_mut().insert(LOCATION, location)),
            Err(_) => return refused(),
        }
        response
    }

    /// The first valid ticket among the cookies.
    fn find(&self, headers: &HeaderMap, environ: Option<&Environ>) -> Option<Ticket> {
        let fields = headers.get_all(COOKIE).iter().filter_map(|field| field.to_str().ok());
        let pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs.filter(|(name, _)| *name == self.options.cookie).map(|(_, value)| value);
        values.find_map(|value| self.read(value.trim_matches('"'), environ))
    }

    /// The ticket in a cookie, which may be in base64.
    fn read(&self, value: &str, environ: Option<&Environ>) -> Option<Ticket> {
        let decoded = STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        [decoded.as_deref(), Some(value)].into_iter().flatten().find_map(|text| {
            let (digest, ticket) = Ticket::parse(text, self.options.digest.digits())?;
            let age = now().checked_sub(u64::from(ticket.made))?;
            let address = self.address(environ)?;
            let signs = |secret: &String| {
                let own = ticket.digest(self.options.digest, secret.trim(), address);
                bool::from(own.as_bytes().ct_eq(digest.as_bytes()))
            };
            (Duration::from_secs(age) < self.timeout && self.options.secrets.iter().any(signs))
                .then_some(ticket)
        })
    }

    fn may_pass(&self, ticket: &Ticket) -> bool {
        let has = |token: &String| ticket.tokens.split(',').any(|other| other == token);
        self.options.tokens.is_empty() || self.options.tokens.iter().any(has)
    }

    /// Whether half of its time is over.
    fn is_old(&self, ticket: &Ticket) -> bool {
        now().saturating_sub(ticket.made.into()) > self.timeout.as_secs() / 2
    }

    /// The address that tickets are bound to. `None` if it is unknown: no ticket is valid then.
    fn address(&self, environ: Option<&Environ>) -> Option<[u8; 4]> {
        if !self.options.bind_address {
            return Some([0; 4]);
        }
        match environ?.client?.to_canonical() {
            std::net::IpAddr::V4(address) => Some(address.octets()),
            std::net::IpAddr::V6(_) => None, // the format has room for four bytes
        }
    }

    /// Adds a new ticket to the response.
    fn give(&self, ticket: &Ticket, environ: Option<&Environ>, response: &mut Response) {
        let (Some(secret), Some(address)) = (self.options.secrets.first(), self.address(environ)) else {
            return;
        };
        let ticket = Ticket { made: u32::try_from(now()).unwrap_or(u32::MAX), ..ticket.clone() };
        let value = STANDARD.encode(ticket.encode(self.options.digest, secret.trim(), address));
        let mut field = format!("{}={value}; Path=/; HttpOnly; SameSite=Lax", self.options.cookie);
        if let Some(domain) = &self.options.domain {
            field += &format!("; Domain={domain}");
        }
        if environ.is_some_and(|environ| environ.secure) {
            field += "; Secure";
        }
        if let Ok(field) = HeaderValue::try_from(field) {
            response.headers_mut().append(SET_COOKIE, field);
            let private = || HeaderValue::from_static("private");
            response.headers_mut().entry(CACHE_CONTROL).or_insert_with(private);
        }
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl TicketDigest {
    /// Number of hexadecimal digits.
    fn digits(self) -> usize {
        match self {
            TicketDigest::Sha256 => 64,
            TicketDigest::Sha512 => 128,
        }
    }

    fn hash(self, bytes: &[u8]) -> String {
        match self {
            TicketDigest::Sha256 => hex(&Sha256::digest(bytes)),
            TicketDigest::Sha512 => hex(&Sha512::digest(bytes)),
        }
    }
}

impl Ticket {
    /// A ticket and its digest, which is not checked: `DIGEST TIME USER!TOKENS!DATA`, or without tokens `…USER!DATA`.
    fn parse(text: &str, digits: usize) -> Option<(&str, Ticket)> {
        let (digest, rest) = text.split_at_checked(digits)?;
        let (made, rest) = rest.split_at_checked(8)?;
        let (user, rest) = rest.split_once('!')?;
        let (tokens, data) = rest.split_once('!').unwrap_or(("", rest));
        let user = percent_decode_str(user).decode_utf8().ok().filter(|user| is_plain(user))?;
        let ticket = Ticket {
            made: u32::from_str_radix(made, 16).ok()?,
            user: user.into_owned(),
            tokens: tokens.to_owned(),
            data: data.to_owned(),
        };
        Some((digest, ticket))
    }

    fn digest(&self, digest: TicketDigest, secret: &str, address: [u8; 4]) -> String {
        let made = self.made.to_be_bytes();
        let parts: [&[u8]; 8] = [
            &address,
            &made,
            secret.as_bytes(),
            self.user.as_bytes(),
            b"\0",
            self.tokens.as_bytes(),
            b"\0",
            self.data.as_bytes(),
        ];
        let inner = digest.hash(&parts.concat());
        digest.hash(format!("{inner}{secret}").as_bytes())
    }

    fn encode(&self, digest: TicketDigest, secret: &str, address: [u8; 4]) -> String {
        let (signature, user) = (self.digest(digest, secret, address), utf8_percent_encode(&self.user, USER));
        let tokens = if self.tokens.is_empty() { String::new() } else { format!("{}!", self.tokens) };
        format!("{signature}{:08x}{user}!{tokens}{}", self.made, self.data)
    }
}

/// Whether a name is one that a log line and a variable can hold.
fn is_plain(user: &str) -> bool {
    !user.is_empty() && !user.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_what_paste_writes() {
        let secret = "0123456789abcdef0123456789abcdef";
        let ticket =
            Ticket { made: 0x6500_0000, user: "jürgen!k/x".into(), tokens: "a,b".into(), data: "d".into() };
        let encoded = ticket.encode(TicketDigest::Sha256, secret, [0; 4]);
        assert_eq!(&encoded[64..], "65000000j%C3%BCrgen%21k/x!a,b!d");
        let (digest, parsed) = Ticket::parse(&encoded, 64).unwrap();
        assert_eq!(parsed, ticket);
        assert_eq!(digest, ticket.digest(TicketDigest::Sha256, secret, [0; 4]));
        for wrong in ["", &encoded[..70], &encoded[..71], &encoded.replace('!', "")] {
            assert_eq!(Ticket::parse(wrong, 64), None, "{wrong}");
        }
    }
}
