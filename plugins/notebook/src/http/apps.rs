//! `/api/apps/PATH`: a notebook as an app, without its code. `/api/app-sessions/PATH` and `/api/published-sessions/SLUG`: the
//! WebSocket of a reader who uses the controls of an app or of a published notebook.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use paster_sdk::ws::{Message, Utf8Bytes, WebSocket, WebSocketRejection, WebSocketUpgrade};
use serde_json::{Value, json};

use super::documents::read_request;
use super::error::{ApiError, Result, blocking};
use super::location::RequestLocation;
use crate::access::Level;
use crate::apps::{AppRefusal, AppRequest};
use crate::documents::{AppSession, AppView, Unreadable};
use crate::files::RelativePath;
use crate::format::{self, NotebookFile};
use crate::identity::Principal;
use crate::protocol::ServerFrame;
use crate::state::{Notebook, Shared};

/// What readers see if the owner has not allowed the controls.
const OFF: &str = "The controls show their saved state, because the owner has not allowed their use.";
/// The same on the page of a published notebook.
const OFF_PUBLISHED: &str =
    "The controls show their saved state, because the publisher has not allowed their use.";
/// Maximum length of a message of a reader, in bytes.
const MESSAGE_BYTES: usize = 64 << 10;

impl From<AppRefusal> for ApiError {
    fn from(refusal: AppRefusal) -> ApiError {
        let status = match refusal {
            AppRefusal::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            AppRefusal::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
        };
        ApiError::new(status, refusal.to_string())
    }
}

impl Notebook {
    /// Why the readers of a notebook as an app cannot use its controls; `None`: they can.
    fn app_problem(&self, path: &RelativePath) -> Result<Option<&'static str>> {
        // The single user is the only reader.
        let allowed = self.accounts.is_none() || self.store.app_controls(path)?;
        Ok(if allowed { self.apps.problem() } else { Some(OFF) })
    }

    /// Why the readers of a published notebook cannot use its controls; `None`: they can.
    pub(super) fn published_problem(&self, interactive: bool) -> Option<&'static str> {
        if interactive { self.apps.problem() } else { Some(OFF_PUBLISHED) }
    }

    /// The notebook that `principal` may open as an app.
    async fn app(&self, principal: &Principal, path: &str) -> Result<(RelativePath, NotebookFile)> {
        let path = RelativePath::parse(path)?;
        self.may(principal, Level::App, &path)?;
        if !path.is_notebook() {
            return Err(ApiError::bad(format!(
                "`{path}` is not a notebook, so it cannot be opened as an app"
            )));
        }
        self.documents.flush(&path).await;
        let (files, limit, read) = (self.files.clone(), self.settings.limits.body_bytes, path.clone());
        let file = blocking(move || {
            let (bytes, _) = files.read(&read, limit)?;
            // The reason could quote the file.
            format::parse(&bytes).map_err(|_| ApiError::bad(format!("`{read}` is not a valid notebook")))
        });
        Ok((path, file.await?))
    }
}

/// A notebook without its code.
pub(super) async fn show(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(path): Path<String>,
) -> Result<Json<Value>> {
    let (path, file) = notebook.app(&principal, &path).await?;
    let widgets = notebook.documents.widgets(&path).await;
    let (title, _) = path.split_name();
    let AppView { document, has_code } = AppView::new(file, title, widgets);
    let problem = notebook.app_problem(&path)?;
    Ok(Json(json!({
        "title": title,
        "document": document,
        "level": notebook.access.level(&principal, &path),
        "controls": {"usable": has_code && problem.is_none(), "problem": problem},
    })))
}

/// A session of an app.
pub(super) async fn open(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(path): Path<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketRejection>,
) -> Result<Response> {
    // A kernel is not started for a plain request.
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => {
            notebook.app(&principal, &path).await?;
            return Ok(rejection.into_response());
        }
    };
    let session = app_session(&notebook, &principal, &path).await;
    Ok(serve(upgrade, session))
}

async fn app_session(notebook: &Shared, principal: &Principal, path: &str) -> Result<AppSession> {
    let (path, file) = notebook.app(principal, path).await?;
    if let Some(problem) = notebook.app_problem(&path)? {
        return Err(ApiError::new(StatusCode::FORBIDDEN, problem));
    }
    let folder = path.parent().unwrap_or_default();
    if notebook.accounts.is_some() && folder.is_root() {
        // Its kernel could read everyone's files.
        return Err(ApiError::unavailable("The owner must first move this notebook into a folder."));
    }
    let request = AppRequest {
        title: path.split_name().0.to_owned(),
        file,
        folder: Some(notebook.files.absolute(&folder)),
        reader: format!("account:{}", principal.name),
        refusal: {
            let (notebook, principal) = (notebook.clone(), principal.clone());
            Box::new(move || {
                let may = notebook.access.may(&principal, Level::App, &path).is_ok();
                let problem = notebook.app_problem(&path).unwrap_or(Some(OFF));
                match (may, problem) {
                    (true, problem) => problem.map(str::to_owned),
                    (false, _) => Some("You no longer have access to this notebook.".to_owned()),
                }
            })
        },
    };
    Ok(notebook.apps.open(request).await?)
}

/// A session of a published notebook.
pub(super) async fn open_published(
    State(notebook): State<Shared>,
    place: RequestLocation,
    Path(slug): Path<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketRejection>,
) -> Result<Response> {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => {
            super::published::found(&notebook, &slug)?;
            return Ok(rejection.into_response());
        }
    };
    let session = published_session(&notebook, &place, slug).await;
    Ok(serve(upgrade, session))
}

async fn published_session(notebook: &Shared, place: &RequestLocation, slug: String) -> Result<AppSession> {
    let (publication, content) = super::published::found(notebook, &slug)?;
    if let Some(problem) = notebook.published_problem(publication.interactive) {
        return Err(ApiError::new(StatusCode::FORBIDDEN, problem));
    }
    let file = format::parse(content.as_bytes())
        .map_err(|error| ApiError::bad(format!("the published notebook cannot be read: {error}")))?;
    let request = AppRequest {
        title: publication.title,
        file,
        folder: None,
        reader: reader_of(place.client),
        refusal: {
            let (notebook, at) = (notebook.clone(), publication.at);
            Box::new(move || match notebook.store.publication_facts(&slug) {
                Ok(Some(now)) if now.at != at => {
                    Some("The notebook was published again. Reload the page.".to_owned())
                }
                Ok(Some(now)) => notebook.published_problem(now.interactive).map(str::to_owned),
                Ok(None) => Some("The notebook was withdrawn.".to_owned()),
                // It is not known to have changed.
                Err(_) => None,
            })
        },
    };
    Ok(notebook.apps.open(request).await?)
}

/// A reader without an account. One network has many addresses of IPv6.
fn reader_of(client: Option<IpAddr>) -> String {
    match client {
        Some(IpAddr::V6(address)) => {
            let network = u128::from(address) & (u128::MAX << 64);
            format!("address:{}/64", std::net::Ipv6Addr::from(network))
        }
        Some(address) => format!("address:{address}"),
        None => "address:unknown".to_owned(),
    }
}

/// The guard has checked the origin.
fn serve(upgrade: WebSocketUpgrade, session: Result<AppSession>) -> Response {
    let upgrade = upgrade.max_message_bytes(MESSAGE_BYTES).any_origin();
    match session {
        Ok(session) => upgrade.on_upgrade(move |socket| converse(socket, session)),
        // A browser hides the response to a refused upgrade from the page.
        Err(error) => upgrade.on_upgrade(move |socket| super::documents::refuse(socket, error)),
    }
}

async fn converse(mut socket: WebSocket, mut session: AppSession) {
    loop {
        tokio::select! {
            frame = session.frames.recv() => match frame {
                Some(frame) => if socket.send(Message::Text(frame)).await.is_err() { return },
                None => return socket.close(1000, "the session has ended").await,
            },
            message = socket.recv() => {
                let request = match message {
                    Some(Ok(Message::Text(text))) => read_request(&text),
                    Some(Ok(_)) => {
                        Err(Unreadable { id: None, message: "requests must be text frames".to_owned() })
                    }
                    Some(Err(_)) | None => return,
                };
                if !session.request(request) {
                    let frame = ServerFrame::Closing { again: false, message: "Too many requests at a time.".to_owned() };
                    let frame: Utf8Bytes = super::documents::encode(&frame);
                    let _ = socket.send(Message::Text(frame)).await;
                    return;
                }
            }
        }
    }
}
