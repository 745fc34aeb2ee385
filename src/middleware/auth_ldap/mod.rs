//! `auth_ldap`: asks for a name and a password (RFC 7617), and checks them with an LDAP directory (RFC 4511).

mod connections;
mod directory;
mod login;
mod options;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::HeaderValue;

use self::directory::{Directory, Login};
pub(super) use self::options::Options;
use super::failed_logins::FailedLogins;
use super::identity::{basic_credentials, pass_as, quoted, unauthorized};
use super::refusal::{refusal, refusal_for};
use super::request_key::client;
use crate::body::{App, Request, Response};
use crate::config::Table;
use crate::context::Context;
use crate::environ::RemoteUser;
use crate::error::{BoxError, Errors, Result};

/// Longest name of a user in bytes.
const NAME_LIMIT: usize = 256;
/// `Retry-After` while the directory is unreachable, in seconds.
const AWAY_SECS: u64 = 5;

struct LdapAuth {
    directory: Directory,
    require_group: Vec<String>,
    failed: FailedLogins,
    challenge: HeaderValue,
    next: App,
}

/// Wraps `next`: requests without a correct name and password get 401; the others carry a [`RemoteUser`] with its
/// groups.
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    let challenge = format!("Basic realm=\"{}\", charset=\"UTF-8\"", quoted(&options.realm));
    let challenge = HeaderValue::try_from(challenge);
    if challenge.is_err() {
        let error = table.error("realm", "the realm contains characters that are not allowed in a header");
        errors.push(error.help("use plain letters"));
    }
    let directory = options.directory(table, &mut errors);
    Errors::check(errors)?;
    let (Ok(challenge), Some(directory)) = (challenge, directory) else { unreachable!("checked above") };
    let period = Duration::from_secs(options.within_secs.get().into());
    let failed = FailedLogins::new(options.max_failures, period);
    let auth =
        Arc::new(LdapAuth { directory, require_group: options.require_group, failed, challenge, next });
    Ok(App::from_call(move |request| {
        let auth = auth.clone();
        Box::pin(async move { auth.answer(request).await })
    }))
}

impl LdapAuth {
    async fn answer(&self, request: Request) -> Result<Response, BoxError> {
        let asks = || unauthorized(self.challenge.clone(), "A name and a password are required.\n");
        let Some((name, password)) = credentials(&request) else { return Ok(asks()) };
        let by = (client(&request), name.as_str());
        // Held during the check, so that many guesses at once do not pass the limit.
        let login = self.directory.log_in(&name, &password, || self.failed.wait(by)).await;
        let user = match login {
            Ok(Login::User(user)) => user,
            Ok(Login::Wrong) => {
                self.failed.count(by);
                return Ok(asks());
            }
            Ok(Login::Wait(secs)) => {
                let text = "Too many failed logins. Try again later.\n";
                return Ok(refusal_for(secs, StatusCode::TOO_MANY_REQUESTS, "too many failed logins", text));
            }
            Err(error) => {
                tracing::error!("the directory cannot check a login: {error}");
                let text = "The user directory does not respond. Try again later.\n";
                return Ok(refusal_for(AWAY_SECS, StatusCode::SERVICE_UNAVAILABLE, "no directory", text));
            }
        };
        if !self.may_pass(&user) {
            let text = "You are not a member of a group that has access.\n";
            let mut response = refusal(StatusCode::FORBIDDEN, "not in a required group", text);
            response.extensions_mut().insert(user);
            return Ok(response);
        }
        pass_as(user, request, &self.next).await
    }

    /// Names in a directory are the same in upper and lower case.
    fn may_pass(&self, user: &RemoteUser) -> bool {
        let in_group =
            |required: &String| user.groups.split(',').any(|group| group.eq_ignore_ascii_case(required));
        self.require_group.is_empty() || self.require_group.iter().any(in_group)
    }
}

/// Name and password of a request. A directory would accept any name with an empty password (RFC 4513, section
/// 5.1.2), so none is asked about one.
fn credentials(request: &Request) -> Option<(String, String)> {
    let (name, password) = basic_credentials(request.headers())?;
    let password = String::from_utf8(password).ok()?;
    let plain = !name.is_empty() && name.len() <= NAME_LIMIT && !name.contains(char::is_control);
    (plain && !password.is_empty()).then_some((name, password))
}
