//! `/account/passkeys`: adds and deletes passkeys. `/login/passkey`: logs in with one.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Form, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::assets;
use super::cookies::session_cookie;
use super::error::{ApiError, Result};
use super::forms::{Visitor, agent, shown_time};
use super::location::RequestLocation;
use super::login::own_address;
use super::pages::escape;
use crate::accounts::{hash_of, in_future};
use crate::auth::TICKET;
use crate::passkeys::{ALGORITHMS, Assertion, Expected, Registration, decode, register, verify};
use crate::state::Shared;

/// Maximum number of passkeys per account.
const PASSKEYS: usize = 20;

/// The origin of the request, and its host, to which passkeys are bound.
fn origin(place: &RequestLocation, headers: &HeaderMap) -> (String, String) {
    let sent = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = place.authority.as_deref().or(sent).unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let scheme = if place.secure { "https" } else { "http" };
    (format!("{scheme}://{authority}"), host.to_owned())
}

/// The script of the pages with passkeys.
pub(super) fn script(place: &RequestLocation) -> String {
    let address = assets::address(place, "passkeys.js");
    format!("<script type=\"module\" src=\"{}\"></script>", escape(&address))
}

/// The part of the page `/account` about passkeys.
pub(super) fn section(visitor: &Visitor) -> Result<String> {
    let rows: String = visitor
        .notebook
        .store
        .passkeys_of(visitor.user)?
        .iter()
        .map(|key| {
            let id = URL_SAFE_NO_PAD.encode(&key.id);
            format!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(&key.name),
                shown_time(key.created),
                key.used.map(shown_time).unwrap_or_default(),
                visitor.button("account/passkeys/delete", &[("id", &id)], "Delete", "plain"),
            )
        })
        .collect();
    let table = match rows.is_empty() {
        true => String::new(),
        false => {
            format!("<table><tr><th>Name</th><th>Since</th><th>Last login</th><th></th></tr>{rows}</table>")
        }
    };
    Ok(format!(
        "<h2>Passkeys</h2><p>A passkey on a phone, a computer or a security key logs you in without password and code.</p>{table}\
         <form id=\"add-passkey\" hidden><label>Name <input name=\"name\" maxlength=\"60\" placeholder=\"My phone\" required></label>\
         <button>Add a passkey</button></form><p id=\"passkey-problem\" class=\"bad\" role=\"alert\" hidden></p>{}",
        script(&visitor.place)
    ))
}

/// What a browser needs to make a passkey.
pub(super) async fn begin(visitor: Visitor, headers: HeaderMap) -> Result<Json<Value>> {
    let (_, host) = origin(&visitor.place, &headers);
    let challenge = visitor.notebook.auth.new_challenge(&format!("register {}", visitor.user));
    let known = visitor.notebook.store.passkeys_of(visitor.user)?;
    let known: Vec<String> = known.iter().map(|key| URL_SAFE_NO_PAD.encode(&key.id)).collect();
    Ok(Json(json!({
        "challenge": URL_SAFE_NO_PAD.encode(challenge), "host": host, "name": visitor.principal.name,
        "user": URL_SAFE_NO_PAD.encode(visitor.user.to_be_bytes()), "known": known, "algorithms": ALGORITHMS,
    })))
}

#[derive(Deserialize)]
pub(super) struct NewPasskeyBody {
    name: String,
    #[serde(flatten)]
    registration: Registration,
}

/// Adds a passkey.
pub(super) async fn add(
    visitor: Visitor,
    headers: HeaderMap,
    body: std::result::Result<Json<NewPasskeyBody>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>)> {
    let Json(NewPasskeyBody { name, registration }) =
        body.map_err(|error| ApiError::bad(format!("cannot read the passkey: {error}")))?;
    let name = name.trim();
    if name.is_empty() || name.len() > 200 {
        return Err(ApiError::bad("a passkey needs a name"));
    }
    let store = &visitor.notebook.store;
    if store.passkeys_of(visitor.user)?.len() >= PASSKEYS {
        return Err(ApiError::bad(format!("you have {PASSKEYS} passkeys: delete one first")));
    }
    let (origin, host) = origin(&visitor.place, &headers);
    let purpose = format!("register {}", visitor.user);
    let is_challenge = |challenge: &str| visitor.notebook.auth.check_challenge(&purpose, challenge);
    let expected = Expected { origin: &origin, host: &host, is_challenge: &is_challenge };
    let (passkey, challenge) = register(&registration, &expected).map_err(ApiError::bad)?;
    if !store.use_challenge(hash_of(&challenge), in_future(TICKET)).await? {
        return Err(ApiError::bad("this request was already sent: try again"));
    }
    if !store.add_passkey(visitor.user, name, passkey).await? {
        return Err(ApiError::new(StatusCode::CONFLICT, "this passkey is already registered"));
    }
    visitor.audit("add passkey", name).await?;
    Ok((StatusCode::CREATED, Json(json!({"name": name}))))
}

#[derive(Deserialize)]
pub(super) struct DeletePasskey {
    id: String,
}

/// Deletes a passkey.
pub(super) async fn delete(visitor: Visitor, Form(form): Form<DeletePasskey>) -> Result<Response> {
    let id = decode(&form.id).map_err(ApiError::bad)?;
    visitor.notebook.store.remove_passkey(visitor.user, id).await?;
    visitor.audit("delete passkey", "").await?;
    Ok(visitor.back("account"))
}

/// What a browser needs to log in with a passkey.
pub(super) async fn ask(
    State(notebook): State<Shared>,
    place: RequestLocation,
    headers: HeaderMap,
) -> Result<Json<Value>> {
    if notebook.accounts.is_none() {
        return Err(ApiError::missing("there is nothing at this address"));
    }
    let (_, host) = origin(&place, &headers);
    let challenge = notebook.auth.new_challenge("log in");
    Ok(Json(json!({"challenge": URL_SAFE_NO_PAD.encode(challenge), "host": host})))
}

#[derive(Deserialize)]
pub(super) struct PasskeyLogin {
    /// The page to show after the login.
    next: Option<String>,
    #[serde(flatten)]
    assertion: Assertion,
}

/// Logs in. The device has verified its user, so no second factor is needed.
pub(super) async fn log_in(
    State(notebook): State<Shared>,
    place: RequestLocation,
    headers: HeaderMap,
    body: std::result::Result<Json<PasskeyLogin>, JsonRejection>,
) -> Result<Response> {
    let Some(accounts) = &notebook.accounts else {
        return Err(ApiError::missing("there is nothing at this address"));
    };
    let Json(PasskeyLogin { next, assertion }) =
        body.map_err(|error| ApiError::bad(format!("cannot read the login: {error}")))?;
    let store = &notebook.store;
    let refused = |why: &str| ApiError::new(StatusCode::FORBIDDEN, why);
    let unknown = || {
        refused(
            "this passkey is not registered: log in with your password, and add the passkey to your account",
        )
    };
    let key = store.passkey(&decode(&assertion.id).map_err(ApiError::bad)?)?.ok_or_else(unknown)?;
    let account = store.active_account(key.account)?.ok_or_else(unknown)?;
    let (origin, host) = origin(&place, &headers);
    let is_challenge = |challenge: &str| notebook.auth.check_challenge("log in", challenge);
    let expected = Expected { origin: &origin, host: &host, is_challenge: &is_challenge };
    let checked = verify(&assertion, &expected, &key.public_key, key.algorithm);
    let checked = match checked {
        Ok(checked) => checked,
        Err(why) => {
            store.audit("", &place.client_text(), "refuse passkey", &account.name).await?;
            return Err(refused(&why));
        }
    };
    if !store.use_challenge(hash_of(&checked.challenge), in_future(TICKET)).await? {
        return Err(refused("this request was already sent: try again"));
    }
    if !store.use_passkey(key.id.clone(), checked.counter).await? {
        store.audit("", &place.client_text(), "refuse passkey", &account.name).await?;
        return Err(refused("this passkey was copied: delete it, and add another one"));
    }
    let secret = accounts.log_in(account.id, place.client, agent(&headers)).await?;
    store.audit(&account.name, &place.client_text(), "log in", "passkey").await?;
    let cookie = [(header::SET_COOKIE, session_cookie(&notebook, &place, &secret))];
    Ok((cookie, Json(json!({"next": own_address(&place, next.as_deref())}))).into_response())
}
