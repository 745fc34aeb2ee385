//! `auth_form`: a page to log in, and a user who stays logged in.

mod fields;
mod page;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use http::header::{ACCEPT, CACHE_CONTROL, HeaderValue, LOCATION, RETRY_AFTER};
use http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use self::fields::own_path;
use self::page::{FormPage, PageValues};
use super::auth_basic::Passwords;
use super::csrf::is_own;
use super::identity::{hex, pass_as};
use super::options::{path, value};
use super::refusal::refusal;
use super::request_key::client;
use crate::body::{App, Body, Request, Response};
use crate::config::{FollowedPath, ReadPath, Table};
use crate::context::Context;
use crate::environ::{Environ, RemoteUser};
use crate::error::{BoxError, Errors, Result};
use crate::session::Session;

/// Options of a `[middleware.NAME]` table with `use = "auth_form"`.
///
/// Visitors who are not logged in are redirected to a login page, and after the login back to the page that they requested.
/// Programs that do not accept HTML get 401. The user is stored in the session, so the middleware `session` must be outside of
/// this one.
/// The session gets a new id at each login. A user whose password changes, or who is removed from the file, is logged out.
///
/// ```toml
/// [app.main]
/// use = "static"
/// publish_dir = "public"
/// middleware = ["session", "login"]
///
/// [middleware.login]
/// use = "auth_form"
/// htpasswd = "staff.htpasswd"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// File of `name:hash` lines with argon2id or bcrypt hashes, as written by `paster htpasswd` or `htpasswd
    /// -B`. It is reloaded when it changes.
    htpasswd: FollowedPath,
    /// Path of the page, below the app's mount.
    #[serde(default = "login")]
    login_path: String,
    /// Path to log out, below the app's mount. A form of the application sends POST to it. A visitor who opens it gets a
    /// button.
    #[serde(default = "logout")]
    logout_path: String,
    /// Where to redirect visitors who have opened the login page directly.
    #[serde(default = "root")]
    home_path: String,
    /// Heading of the page.
    #[serde(default = "title")]
    title: String,
    /// A Handlebars template for the page. It gets `title`, `action`, `next`, `user`, `error` and `logout`, and its form sends
    /// the fields `user`, `password` and `next`.
    page: Option<ReadPath>,
    /// Maximum number of login attempts of one client in `per_secs`. For one name, from all clients together, the limit is ten
    /// times as high. Each worker counts for itself.
    #[serde(default = "ten")]
    attempts: NonZeroU32,
    /// The period of `attempts`, in seconds.
    #[serde(default = "five_minutes")]
    per_secs: NonZeroU32,
}

fn login() -> String {
    "/login".into()
}

fn logout() -> String {
    "/logout".into()
}

fn root() -> String {
    "/".into()
}

fn title() -> String {
    "Log in".into()
}

fn ten() -> NonZeroU32 {
    const { NonZeroU32::new(10).unwrap() }
}

fn five_minutes() -> NonZeroU32 {
    const { NonZeroU32::new(300).unwrap() }
}

/// The key of the session that holds the user.
const KEY: &str = "auth_form";
/// How many clients and names are counted before those are forgotten that need not be remembered.
const REMEMBERED: usize = 10_000;

type LoginLimiter = RateLimiter<u64, HashMapStateStore<u64>, DefaultClock>;

struct FormAuth {
    passwords: Passwords,
    page: FormPage,
    login_path: String,
    logout_path: String,
    home_path: String,
    title: String,
    clients: LoginLimiter,
    names: LoginLimiter,
    state: RandomState,
}

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    for (key, text) in [
        ("login_path", &options.login_path),
        ("logout_path", &options.logout_path),
        ("home_path", &options.home_path),
    ] {
        value(table, key, text, &mut errors, |text| path(text).map(drop));
    }
    let template = options.page.as_ref().map(|file| {
        let text = table.files().read_text(file);
        let text = text.and_then(|text| String::from_utf8(text).map_err(std::io::Error::other));
        text.map_err(|cause| {
            let error = table.error("page", format!("cannot read the template `{}`", file.display()));
            error.because(cause).help("set a Handlebars template")
        })
    });
    let page = match template.transpose() {
        Ok(template) => FormPage::new(template.as_deref()).map_err(|error| error.at(table.origin("page"))),
        Err(error) => Err(error),
    };
    let page = page.map_err(|error| errors.push(error));
    let passwords = Passwords::open(&options.htpasswd, table).map_err(|faults| errors.extend(faults));
    Errors::check(errors)?;
    let (Ok(page), Ok(passwords)) = (page, passwords) else { unreachable!("checked above") };
    let limiter = |attempts: NonZeroU32| {
        let step = Duration::from_secs(options.per_secs.get().into()) / attempts.get();
        let quota = Quota::with_period(step.max(Duration::from_nanos(1)));
        let quota = quota.unwrap_or(Quota::per_second(attempts)).allow_burst(attempts);
        RateLimiter::hashmap(quota)
    };
    let auth = Arc::new(FormAuth {
        clients: limiter(options.attempts),
        names: limiter(options.attempts.saturating_mul(ten())),
        passwords,
        page,
        login_path: options.login_path,
        logout_path: options.logout_path,
        home_path: options.home_path,
        title: options.title,
        state: RandomState::new(),
    });
    Ok(App::from_call(move |request| {
        let (auth, next) = (auth.clone(), next.clone());
        Box::pin(async move { auth.handle(request, &next).await })
    }))
}

impl FormAuth {
    async fn handle(&self, request: Request, next: &App) -> Result<Response, BoxError> {
        let Some(session) = request.extensions().get::<Session>().cloned() else {
            return Err("`auth_form` needs the middleware `session` outside of it".into());
        };
        let user = self.user(&session);
        let path = request.uri().path();
        let is_post = *request.method() == Method::POST;
        if path == self.login_path && is_post {
            return self.log_in(request, &session).await;
        }
        if path == self.login_path && is_read(request.method()) {
            let query = fields::parse(request.uri().query().unwrap_or(""));
            let next = query.get("next").and_then(|next| own_path(next)).unwrap_or(&self.home_path);
            return match user {
                Some(_) => Ok(self.redirect(&request, next)),
                None => self.show(&request, StatusCode::OK, PageValues { next, ..PageValues::default() }),
            };
        }
        if path == self.logout_path && is_post {
            return Ok(self.log_out(&request, &session));
        }
        match user {
            Some(user) if path == self.logout_path && is_read(request.method()) => {
                let values = PageValues { user: &user, logout: true, ..PageValues::default() };
                self.show(&request, StatusCode::OK, values)
            }
            Some(user) => pass_as(RemoteUser::new(user, "Form"), request, next).await,
            None => Ok(self.ask(&request)),
        }
    }

    /// The user who is logged in, and whose password is still the same.
    fn user(&self, session: &Session) -> Option<String> {
        let known = session.get(KEY)?;
        let (user, check) = (known.get("user")?.as_str()?, known.get("check")?.as_str()?);
        (self.check_of(user)? == check).then(|| user.to_owned())
    }

    /// What a session proves: it was begun with the password that the user still has.
    fn check_of(&self, user: &str) -> Option<String> {
        Some(hex(&Sha256::digest(self.passwords.hash_of(user)?)[..16]))
    }

    /// Asks a visitor to log in, and a program for credentials.
    fn ask(&self, request: &Request) -> Response {
        let accepts = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains("text/html"));
        let reads_html = request.headers().get_all(ACCEPT).iter().any(accepts);
        if !reads_html || !is_read(request.method()) {
            return refusal(StatusCode::UNAUTHORIZED, "not logged in", "You are not logged in.\n");
        }
        let wanted = request.uri().path_and_query().map_or("/", |wanted| wanted.as_str());
        let next = utf8_percent_encode(wanted, NON_ALPHANUMERIC);
        self.redirect(request, &format!("{}?next={next}", self.login_path))
    }

    async fn log_in(&self, request: Request, session: &Session) -> Result<Response, BoxError> {
        if !is_own(request.headers(), request.extensions().get::<Environ>(), &[]) {
            return Ok(foreign());
        }
        let (parts, body) = request.into_parts();
        let Some(mut form) = fields::read(body).await else {
            let text = "The form is too long.\n";
            return Ok(refusal(StatusCode::PAYLOAD_TOO_LARGE, "the form is too long", text));
        };
        let request = Request::from_parts(parts, Body::empty());
        let mut take = |name: &str| form.remove(name).unwrap_or_default();
        let (user, password, next) = (take("user"), take("password"), take("next"));
        let next = own_path(&next).unwrap_or(&self.home_path);
        if let Err(wait) = self.count(&request, &user) {
            let error = Some("Too many attempts. Try again later.");
            let values = PageValues { next, user: &user, error, ..PageValues::default() };
            let mut response = self.show(&request, StatusCode::TOO_MANY_REQUESTS, values)?;
            response.headers_mut().insert(RETRY_AFTER, (wait.as_secs() + 1).into());
            return Ok(response);
        }
        let checked = match password.contains('\0') {
            true => None,
            false => self.passwords.check(user.clone(), password.into_bytes()).await,
        };
        let known = checked.and_then(|name| Some((self.check_of(&name)?, name)));
        let Some((check, name)) = known else {
            tracing::warn!(client = ?client(&request), "a login failed");
            let error = Some("The name or the password is wrong.");
            let values = PageValues { next, user: &user, error, ..PageValues::default() };
            return self.show(&request, StatusCode::FORBIDDEN, values);
        };
        session.renew();
        session.set(KEY, json!({ "user": &*name, "check": check }));
        let mut response = self.redirect(&request, next);
        response.extensions_mut().insert(RemoteUser::new(name, "Form"));
        Ok(response)
    }

    /// Counts an attempt.
    /// # Errors
    /// How long the client must wait.
    fn count(&self, request: &Request, name: &str) -> Result<(), Duration> {
        for (limiter, key) in
            [(&self.clients, self.state.hash_one(client(request))), (&self.names, self.state.hash_one(name))]
        {
            if limiter.len() >= REMEMBERED {
                limiter.retain_recent();
            }
            limiter.check_key(&key).map_err(|early| early.wait_time_from(DefaultClock::default().now()))?;
        }
        Ok(())
    }

    fn log_out(&self, request: &Request, session: &Session) -> Response {
        if !is_own(request.headers(), request.extensions().get::<Environ>(), &[]) {
            return foreign();
        }
        session.end();
        self.redirect(request, &self.login_path)
    }

    fn show(
        &self,
        request: &Request,
        status: StatusCode,
        values: PageValues<'_>,
    ) -> Result<Response, BoxError> {
        let path = if values.logout { &self.logout_path } else { &self.login_path };
        let action = format!("{}{path}", mount(request));
        self.page.respond(status, &PageValues { title: &self.title, action, ..values })
    }

    /// A redirect to a path below the mount (RFC 9110, section 15.4.4).
    fn redirect(&self, request: &Request, path: &str) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SEE_OTHER;
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(location) = HeaderValue::try_from(format!("{}{path}", mount(request))) {
            response.headers_mut().insert(LOCATION, location);
        }
        response
    }
}

fn is_read(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

/// The prefix of the app's paths.
fn mount(request: &Request) -> &str {
    request.extensions().get::<Environ>().map_or("", |environ| &environ.script_name)
}

fn foreign() -> Response {
    let text = "The form comes from a page of another site.\n";
    refusal(StatusCode::FORBIDDEN, "a form from another site", text)
}
