//! `/api/terminals` and `/terminals/websocket/NAME`: shells on pseudoterminals, as in Jupyter Server.
//!
//! # Source
//! jupyter_server_terminals, `api_handlers.py`; terminado, `websocket.py`.

use std::path::PathBuf;

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use paster_sdk::ws::{self, WebSocket, WebSocketRejection, WebSocketUpgrade, close_code};
use serde_json::{Value, json};

use super::error::{ApiError, Result, blocking, object};
use super::kernels::optional_text;
use super::rights::RIGHTS;
use crate::access::Level;
use crate::files::RelativePath;
use crate::identity::Principal;
use crate::kernel::link::{AttachmentReader, AttachmentWriter, Delivery};
use crate::kernel::wire::{TerminalLaunch, TerminalModel};
use crate::state::{Notebook, Shared};

impl Notebook {
    /// Checks that `principal` may have terminals. A terminal has the same rights as a kernel, in the folder of its user.
    fn may_have_terminals(&self, principal: &Principal) -> Result<RelativePath> {
        if !self.settings.terminals {
            return Err(ApiError::missing("terminals are disabled: see the setting `terminals`"));
        }
        let home = RelativePath::parse(principal.home().unwrap_or_default())?;
        if self.accounts.is_some() && home.is_root() {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "guests have no folder, so they have no terminals",
            ));
        }
        self.may(principal, Level::Edit, &home)?;
        Ok(home)
    }

    /// The terminals that `principal` may end: their own, or all for an administrator.
    pub(super) async fn endable_terminals(&self, principal: &Principal) -> Result<Vec<TerminalModel>> {
        let mut terminals = self.link.terminals().await?;
        if !self.may_everything(principal) {
            terminals.retain(|terminal| principal.is_known() && terminal.owner == principal.name);
        }
        Ok(terminals)
    }

    /// The terminal `name`, if it belongs to `principal`.
    async fn own_terminal(&self, principal: &Principal, name: &str) -> Result<TerminalModel> {
        self.may_have_terminals(principal)?;
        let local = self.local_terminal(name);
        let found = self.link.terminals().await?.into_iter().find(|terminal| terminal.name == local);
        let found = found.filter(|terminal| terminal.owner == principal.name);
        found.ok_or_else(|| ApiError::missing(format!("there is no terminal `{name}`")))
    }
}

fn shown(notebook: &Notebook, terminal: &TerminalModel) -> Value {
    json!({"name": notebook.terminal_name(&terminal.name), "last_activity": terminal.last_activity})
}

pub(super) async fn list(State(notebook): State<Shared>, principal: Principal) -> Result<Json<Value>> {
    notebook.may_have_terminals(&principal)?;
    let terminals = notebook.link.terminals().await?;
    let own = terminals.iter().filter(|terminal| terminal.owner == principal.name);
    Ok(Json(own.map(|terminal| shown(&notebook, terminal)).collect()))
}

/// Opens a terminal in the folder `cwd` or in the user's folder.
pub(super) async fn open(
    State(notebook): State<Shared>,
    principal: Principal,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Json<Value>> {
    let home = notebook.may_have_terminals(&principal)?;
    let body = object(body)?;
    let folder = folder(&notebook, &principal, &home, optional_text(&body, "cwd")?).await?;
    let env = [("TERM", "xterm-256color"), ("COLORTERM", "truecolor")];
    let mut env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    // The page speaks UTF-8.
    if ["LC_ALL", "LC_CTYPE", "LANG"].iter().all(|name| std::env::var_os(name).is_none()) {
        env.push(("LC_CTYPE".to_owned(), "C.UTF-8".to_owned()));
    }
    let launch = TerminalLaunch {
        owner: principal.name.clone(),
        argv: vec![shell(), "-l".to_owned()],
        env,
        folder: folder.to_string_lossy().into_owned(),
        limits: notebook.settings.limits.of_kernel(),
        sandbox: notebook.sessions.sandbox(&folder)?,
    };
    Ok(Json(shown(&notebook, &notebook.link.open_terminal(launch).await?)))
}

fn shell() -> String {
    let wanted = std::env::var("SHELL").ok().into_iter().chain(["/bin/bash".to_owned()]);
    let usable = |shell: &String| {
        std::path::Path::new(shell).is_file() && !shell.ends_with("nologin") && !shell.ends_with("false")
    };
    wanted.into_iter().find(usable).unwrap_or_else(|| "/bin/sh".to_owned())
}

/// The folder of a new terminal. Only the single user may choose one outside of the served folder. If it does not exist, the
/// user's folder is used, as in Jupyter Server.
async fn folder(
    notebook: &Shared,
    principal: &Principal,
    home: &RelativePath,
    wanted: Option<&str>,
) -> Result<PathBuf> {
    let default = notebook.files.absolute(home);
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return Ok(default) };
    let absolute = PathBuf::from(wanted);
    if notebook.accounts.is_none() && absolute.is_absolute() {
        return Ok(if absolute.is_dir() { absolute } else { default });
    }
    let path = RelativePath::parse(wanted)?;
    notebook.may(principal, Level::Edit, &path)?;
    let (files, looked) = (notebook.files.clone(), path.clone());
    let is_dir = blocking(move || Ok::<_, ApiError>(files.facts(&looked).is_ok_and(|facts| facts.is_dir)));
    let own = notebook.accounts.is_none() || path == *home || path.is_below(home);
    Ok(if is_dir.await? && own { notebook.files.absolute(&path) } else { default })
}

pub(super) async fn show(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(name): Path<String>,
) -> Result<Json<Value>> {
    Ok(Json(shown(&notebook, &notebook.own_terminal(&principal, &name).await?)))
}

pub(super) async fn close(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(name): Path<String>,
) -> Result<StatusCode> {
    let local = notebook.local_terminal(&name);
    if !notebook.endable_terminals(&principal).await?.iter().any(|terminal| terminal.name == local) {
        return Err(ApiError::missing(format!("there is no terminal `{name}`")));
    }
    notebook.link.close_terminal(local).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn attach(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(name): Path<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketRejection>,
) -> Result<Response> {
    let terminal = notebook.own_terminal(&principal, &name).await?;
    let upgrade = match upgrade {
        // The guard has checked the origin against the settings.
        Ok(upgrade) => upgrade.max_message_bytes(notebook.settings.limits.message_bytes).any_origin(),
        Err(rejection) => return Ok(rejection.into_response()),
    };
    let (reader, writer) = notebook.link.attach_terminal(&terminal.name).await?;
    Ok(upgrade.on_upgrade(async move |mut socket: WebSocket| {
        tokio::select! {
            () = converse(&mut socket, reader, writer) => {}
            () = until_denied(&notebook, &principal) => {}
        }
        socket.close(close_code::NORMAL, "the terminal was closed").await;
    }))
}

async fn until_denied(notebook: &Notebook, principal: &Principal) {
    while notebook.may_have_terminals(principal).is_ok() {
        tokio::time::sleep(RIGHTS).await;
    }
}

/// Passes text to the page and input to the terminal until one of them ends.
async fn converse(socket: &mut WebSocket, mut reader: AttachmentReader, mut writer: AttachmentWriter) {
    let frame = |value: Value| ws::Message::Text(value.to_string().into());
    if socket.send(frame(json!(["setup", {}]))).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            delivery = reader.next() => match delivery {
                Some(Delivery::Message(_, text)) => {
                    let text = String::from_utf8_lossy(&text);
                    if socket.send(frame(json!(["stdout", text]))).await.is_err() {
                        return;
                    }
                }
                Some(Delivery::Gap(..)) => {}
                None => {
                    let _ = socket.send(frame(json!(["disconnect", 1]))).await;
                    return;
                }
            },
            message = socket.recv() => match message {
                Some(Ok(ws::Message::Text(text))) => {
                    // The host ignores what it does not understand.
                    let text: &str = text.as_ref();
                    if writer.send_v1(Bytes::copy_from_slice(text.as_bytes())).await.is_err() {
                        return;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
        }
    }
}
