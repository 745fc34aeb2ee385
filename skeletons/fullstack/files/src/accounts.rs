//! Accounts: sign up, log in, log out, and the account of a request.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use axum::extract::{Extension, FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::Json;
use paster_sdk::Session;
use rusqlite::{ErrorCode, OptionalExtension};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::AppState;
use crate::error::ApiError;

/// The session's key for the id of the account.
const KEY: &str = "account";
/// A password has at least this many characters, and at most this many bytes.
const SHORTEST: usize = 10;
const LONGEST: usize = 1000;

/// A form of the page.
#[derive(Deserialize)]
pub(crate) struct Credentials {
    name: String,
    password: String,
}

/// The logged-in account. As an argument of a handler, it refuses requests without a login.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Account {
    #[serde(skip)]
    pub(crate) id: i64,
    pub(crate) name: String,
}

impl Account {
    /// The account of the session, if there is one.
    pub(crate) async fn of(session: &Session, state: &AppState) -> Result<Option<Account>, ApiError> {
        let Some(id) = session.get::<i64>(KEY) else { return Ok(None) };
        let name = state.database.call(move |connection| {
            let name = "SELECT name FROM account WHERE id = ?";
            connection.query_row(name, [id], |row| row.get(0)).optional()
        });
        Ok(name.await?.map(|name| Account { id, name }))
    }
}

impl FromRequestParts<AppState> for Account {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Account, ApiError> {
        let session = parts.extensions.get::<Session>().ok_or_else(without_sessions)?;
        let account = Account::of(session, state).await?;
        account.ok_or_else(|| ApiError::refused(StatusCode::UNAUTHORIZED, "Please log in."))
    }
}

fn without_sessions() -> ApiError {
    ApiError::internal("the middleware `session` is missing in server.toml")
}

/// `POST /api/sign-up`: creates an account and logs it in.
pub(crate) async fn sign_up(
    State(state): State<AppState>,
    Extension(session): Extension<Session>,
    Json(form): Json<Credentials>,
) -> Result<(StatusCode, Json<Account>), ApiError> {
    if !state.settings.sign_up {
        return Err(ApiError::refused(StatusCode::FORBIDDEN, "Only the administrator can create accounts."));
    }
    let name = form.name.trim().to_owned();
    if !(1..=40).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(ApiError::unprocessable("A name has 1 to 40 characters."));
    }
    if form.password.chars().count() < SHORTEST || form.password.len() > LONGEST {
        return Err(ApiError::unprocessable("A password has 10 to 1000 characters."));
    }
    let hash = state.passwords.hash(form.password).await?;
    let inserted = state.database.call(move |connection| {
        let insert = "INSERT INTO account (name, password_hash) VALUES (?, ?) RETURNING id, name";
        connection.query_row(insert, (name, hash), |row| Ok(Account { id: row.get(0)?, name: row.get(1)? }))
    });
    let account = inserted.await.map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => ApiError::refused(StatusCode::CONFLICT, "This name is taken."),
        _ => error.into(),
    })?;
    begin(&session, &account)?;
    Ok((StatusCode::CREATED, Json(account)))
}

/// `POST /api/log-in`. The response and its time are the same for a wrong name and a wrong password.
pub(crate) async fn log_in(
    State(state): State<AppState>,
    Extension(session): Extension<Session>,
    Json(form): Json<Credentials>,
) -> Result<Json<Account>, ApiError> {
    let found = state.database.call(move |connection| {
        let select = "SELECT id, name, password_hash FROM account WHERE name = ?";
        let account = |row: &rusqlite::Row| Ok((Account { id: row.get(0)?, name: row.get(1)? }, row.get(2)?));
        connection.query_row(select, [form.name.trim()], account).optional()
    });
    let (account, hash) = found.await?.unzip();
    let right = state.passwords.check(form.password, hash).await?;
    let Some(account) = account.filter(|_| right) else {
        return Err(ApiError::refused(StatusCode::UNAUTHORIZED, "The name or the password is wrong."));
    };
    begin(&session, &account)?;
    Ok(Json(account))
}

/// `POST /api/log-out`.
pub(crate) async fn log_out(Extension(session): Extension<Session>) -> StatusCode {
    session.end();
    StatusCode::NO_CONTENT
}

/// Logs an account in. The session gets a new id, so that knowing the old id does not grant access.
fn begin(session: &Session, account: &Account) -> Result<(), ApiError> {
    session.renew();
    session.insert(KEY, account.id).map_err(ApiError::internal)
}

/// Hashes and checks passwords with Argon2id, two at a time: each takes 19 MiB and some hundredths of a second.
pub(crate) struct Passwords(Semaphore);

impl Default for Passwords {
    fn default() -> Passwords {
        Passwords(Semaphore::new(2))
    }
}

/// A hash that matches no password. It is checked if there is no such account, so that the response takes as long.
const NO_ACCOUNT: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$MXuuV7fKS/iOQfFNHpCoHpQXTmSvHt2IRnXpDGQwZSQ";

impl Passwords {
    async fn hash(&self, password: String) -> Result<String, ApiError> {
        let hash = move || Argon2::default().hash_password(password.as_bytes()).map(|hash: PasswordHash| hash.to_string());
        self.run(hash).await?.map_err(ApiError::internal)
    }

    async fn check(&self, password: String, hash: Option<String>) -> Result<bool, ApiError> {
        self.run(move || {
            let hash = PasswordHash::new(hash.as_deref().unwrap_or(NO_ACCOUNT));
            let right = |hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok();
            password.len() <= LONGEST && hash.is_ok_and(right)
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
        let _permit = self.0.acquire().await.map_err(ApiError::internal)?;
        tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)
    }
}
