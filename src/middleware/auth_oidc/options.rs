//! The options of `auth_oidc`, and their checks.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::access::Access;
use super::cookies::Cookies;
use super::provider::Provider;
use super::requests::own_path;
use super::session::OidcLifetime;
use crate::config::{ReadPath, Table, join};
use crate::error::Error;
use crate::middleware::options::{header, value};
use crate::middleware::sealed::Sealer;
use crate::tls_client::{HttpsClient, client_config};

/// Options of a `[middleware.NAME]` table with `use = "auth_oidc"`.
///
/// Visitors log in at an OpenID Connect provider, such as Keycloak, Entra ID, Google or GitLab. Browsers are
/// redirected there; other requests without a session, such as those of scripts, get 401. Register
/// `https://HOST/oidc/callback` at the provider as redirect URI, and `https://HOST/` for logout. `/oidc/logout`
/// ends the session here and at the provider, and `/oidc/user` returns the logged-in user.
///
/// The session is in an encrypted cookie, so it is valid for all workers and machines with the same config, and survives
/// restarts. Changing an `allow_…` option ends all sessions.
///
/// ```toml
/// [middleware.sso]
/// use = "auth_oidc"
/// issuer = "https://login.example.org/realms/main"
/// client_id = "shop"
/// client_secret = "${file:oidc-secret}"
/// allow_groups = ["staff"]
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::middleware) struct Options {
    /// The provider's issuer URL. Its endpoints and keys are read from `/.well-known/openid-configuration` below
    /// it.
    issuer: String,
    /// The id that the provider has given to this site.
    pub(super) client_id: String,
    /// The secret that belongs to it. By default there is none (a public client), which is safe with PKCE.
    client_secret: Option<String>,
    /// The secret that encrypts cookies: at least 32 random characters. By default, the key is derived from `client_secret`. A
    /// new value ends all sessions.
    cookie_secret: Option<String>,
    /// Scopes to request in addition to `openid`. Some providers send groups or refresh tokens only for other scopes, such as
    /// `groups` and `offline_access`.
    #[serde(default = "scopes")]
    pub(super) scopes: Vec<String>,
    /// More parameters for the provider's login page: `{ prompt = "select_account" }`.
    #[serde(default)]
    pub(super) login_parameters: BTreeMap<String, String>,
    /// The path of `login`, `callback`, `logout` and `user`.
    #[serde(default = "prefix")]
    pub(super) prefix: String,
    /// The address of the site for clients, if it differs from the host that requests name:
    /// `https://shop.example.org`.
    pub(super) public_url: Option<String>,
    /// Path to go to after a logout.
    #[serde(default = "root")]
    pub(super) after_logout: String,
    /// Claim with the name of the user (`REMOTE_USER`). Only `sub` never changes and is never given to another
    /// user.
    #[serde(default = "sub")]
    pub(super) user_claim: String,
    /// Claim with the groups of the user (`REMOTE_GROUPS`): a list, or a string separated by spaces or commas.
    #[serde(default = "groups")]
    pub(super) groups_claim: String,
    /// Claims to pass to the app, by field: `{ x-email = "email" }`. Values from clients in these fields are removed.
    #[serde(default)]
    claims: BTreeMap<String, String>,
    /// Also read claims from the provider's userinfo endpoint, at login and refresh. Some providers send groups or the email
    /// address only there.
    #[serde(default)]
    userinfo: bool,
    /// Users who may pass, by `user_claim`. A user may pass if one of the `allow_…` options matches; others get 403.
    #[serde(default)]
    allow_users: BTreeSet<String>,
    /// Groups whose members may pass.
    #[serde(default)]
    allow_groups: BTreeSet<String>,
    /// Domains of email addresses whose users may pass. The provider must have verified the address.
    #[serde(default)]
    allow_domains: BTreeSet<String>,
    /// Let everyone pass who can log in at the provider. With a public provider, this is anyone.
    #[serde(default)]
    allow_everyone: bool,
    /// Additional claims that a user must have, with their values: `{ hd = "example.org" }`.
    #[serde(default)]
    require_claims: BTreeMap<String, String>,
    /// Accept email addresses without the claim `email_verified`. Only for a provider whose users cannot choose
    /// their address.
    #[serde(default)]
    trust_unverified_email: bool,
    /// Name of the session cookie. Over TLS, it gets the prefix `__Host-`, so that no other host can set it (below a mount,
    /// `__Secure-`).
    #[serde(default = "cookie_name")]
    cookie: String,
    /// End a session after this time without a request, in seconds.
    #[serde(default = "eight_hours")]
    idle_secs: NonZeroU32,
    /// End a session this long after the login, in seconds.
    #[serde(default = "a_day")]
    max_secs: NonZeroU32,
    /// Ask the provider for new claims when its access token expires, if it has sent a refresh token. A user who
    /// may no longer log in then loses the session.
    #[serde(default = "yes")]
    pub(super) refresh: bool,
    /// PEM file with the certificate authorities to trust for the provider instead of the public ones (Mozilla's
    /// list).
    ca_file: Option<ReadPath>,
    /// Maximum time for one request to the provider, in seconds.
    #[serde(default = "ten")]
    timeout_secs: NonZeroU32,
}

fn scopes() -> Vec<String> {
    ["profile", "email"].map(str::to_owned).into()
}

fn prefix() -> String {
    "/oidc".into()
}

fn root() -> String {
    "/".into()
}

fn sub() -> String {
    "sub".into()
}

fn groups() -> String {
    "groups".into()
}

fn cookie_name() -> String {
    "paster_oidc".into()
}

fn yes() -> bool {
    true
}

fn eight_hours() -> NonZeroU32 {
    const { NonZeroU32::new(8 * 3600).unwrap() }
}

fn a_day() -> NonZeroU32 {
    const { NonZeroU32::new(24 * 3600).unwrap() }
}

fn ten() -> NonZeroU32 {
    const { NonZeroU32::new(10).unwrap() }
}

/// What the options describe.
pub(super) struct OidcParts {
    pub(super) provider: Provider,
    pub(super) cookies: Cookies,
    pub(super) access: Access,
    pub(super) lifetime: OidcLifetime,
    pub(super) claims: Vec<(HeaderName, String)>,
}

impl Options {
    /// Checks the options; faults go to `errors`. Does not send any request yet.
    pub(super) fn parts(&self, table: &Table, errors: &mut Vec<Error>) -> Option<OidcParts> {
        let sealer = self.sealer(table, errors);
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if self.cookie.is_empty() || !self.cookie.chars().all(is_token) {
            let error = table.error("cookie", format!("`{}` is not the name of a cookie", self.cookie));
            errors.push(error.help("use letters, digits, `-` and `_`"));
        }
        self.check_paths(table, errors);
        let mut claims = Vec::new();
        for (name, claim) in &self.claims {
            let name = value(table, join("claims", name), name, errors, header);
            claims.extend(name.map(|name| (name, claim.clone())));
        }
        let named = [&self.allow_users, &self.allow_groups, &self.allow_domains];
        if named.iter().all(|list| list.is_empty()) && !self.allow_everyone {
            let error = table.error("", "`auth_oidc` does not set who may pass");
            errors.push(error.help(
                "set `allow_groups`, `allow_domains` or `allow_users`; or `allow_everyone = true` for everyone who can log in at the provider",
            ));
        }
        let provider = self.provider(table, errors);
        let access = Access {
            users: self.allow_users.clone(),
            groups: self.allow_groups.clone(),
            domains: self.allow_domains.iter().map(|domain| domain.to_ascii_lowercase()).collect(),
            everyone: self.allow_everyone,
            claims: self.require_claims.clone(),
            unverified: self.trust_unverified_email,
        };
        let lifetime =
            OidcLifetime { idle: u64::from(self.idle_secs.get()), most: u64::from(self.max_secs.get()) };
        let cookies = Cookies { sealer: sealer?, name: self.cookie.clone() };
        Some(OidcParts { provider: provider?, cookies, access, lifetime, claims })
    }

    fn sealer(&self, table: &Table, errors: &mut Vec<Error>) -> Option<Sealer> {
        // With another issuer, or other allowed users, earlier sessions are not valid.
        let Options { allow_users, allow_groups, allow_domains, allow_everyone, require_claims, .. } = self;
        let access = (allow_users, allow_groups, allow_domains, allow_everyone, require_claims);
        let claims = (&self.user_claim, &self.groups_claim, self.trust_unverified_email);
        let purpose = format!("auth_oidc {:?}", (&self.issuer, &self.client_id, access, claims));
        match (&self.cookie_secret, &self.client_secret) {
            (Some(secret), _) if secret.len() < 32 => {
                let error = table.error("cookie_secret", "the secret is too short");
                errors
                    .push(error.help("use at least 32 random characters, as `openssl rand -hex 32` prints"));
                None
            }
            (Some(secret), _) => Sealer::new(secret, &purpose),
            (None, Some(secret)) if secret.len() >= 16 => Sealer::new(secret, &purpose),
            _ => {
                let error = table.error("", "`auth_oidc` has no secret to encrypt cookies with");
                errors.push(error.help("set `cookie_secret` to at least 32 random characters"));
                None
            }
        }
    }

    fn check_paths(&self, table: &Table, errors: &mut Vec<Error>) {
        let is_path = |path: &str| path.starts_with('/') && path.parse::<http::uri::PathAndQuery>().is_ok();
        if !is_path(&self.prefix) || self.prefix.ends_with('/') || self.prefix.contains('?') {
            let error = table.error("prefix", format!("`{}` is not a path for the login", self.prefix));
            errors.push(error.help("write one such as `/oidc`, without `/` at the end"));
        }
        if !is_path(&self.after_logout) || own_path(&self.after_logout) != self.after_logout {
            let error = table.error("after_logout", format!("`{}` is not a path", self.after_logout));
            errors.push(error.help("begin it with one `/`"));
        }
        let is_origin = |url: &String| {
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            rest.is_some_and(|host| host.parse::<http::uri::Authority>().is_ok())
        };
        if let Some(url) = self.public_url.as_ref().filter(|url| !is_origin(url)) {
            let error = table.error("public_url", format!("`{url}` is not the address of a site"));
            errors.push(error.help("write `https://HOST`, without a path"));
        }
    }

    fn provider(&self, table: &Table, errors: &mut Vec<Error>) -> Option<Provider> {
        let time = Duration::from_secs(self.timeout_secs.get().into());
        let tls = client_config(self.ca_file.as_deref(), table.files());
        let tls = tls.map_err(|error| errors.push(error.at(table.origin("ca_file")))).ok();
        let provider = |tls| {
            let http = HttpsClient::new(tls, time).with_plain_loopback();
            Provider::new(&self.issuer, &self.client_id, self.client_secret.clone(), self.userinfo, http)
        };
        match provider(tls?) {
            Ok(provider) => Some(provider),
            Err(reason) => {
                let error = table.error("issuer", format!("`{}` is not an issuer: {reason}", self.issuer));
                errors.push(error.help("copy the value of `issuer` in the provider's discovery document"));
                None
            }
        }
    }
}
