//! The notebook as a paster plugin: its settings, its creation, and the side process that owns the kernels.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use paster_sdk::{App, BoxError, Environ, Host, Level};

use crate::commands;
use crate::error_reports::{ErrorReports, in_request};
use crate::http::{RequestLocation, router};
use crate::identity::Role;
use crate::kernel::host;
use crate::kernel::link::Link;
use crate::settings::{CONTENT_WARNING, Settings};
use crate::state::{Notebook, Shared};
use crate::store::ClaimError;

paster_sdk::plugin! {
    settings: Settings,
    create: create,
    side: { "kernels" => host::main },
}

async fn create(settings: Settings, host: Host) -> Result<App, BoxError> {
    let (link, serves) = match host.side_process("kernels") {
        Ok(socket) => (Link::new(socket), true),
        // `paster check` and `paster request` have no side processes. Everything except kernels works.
        Err(error) => (Link::unavailable(&error.to_string()), false),
    };
    let notebook = match Notebook::open(settings.clone(), link) {
        Ok(notebook) => notebook,
        Err(error) => {
            if serves {
                ErrorReports::start_failed(&settings, &error.to_string()).await;
            }
            return Err(error.into());
        }
    };
    if serves {
        let errors = notebook.errors.clone();
        host.on_log(move |event| {
            if event.level == Level::ERROR {
                errors.record(event.target, event.message, event.fields);
            }
        });
        notebook.errors.watch();
    }
    match notebook.store.claim_objects().await {
        // It may be back soon, and what needs no objects works meanwhile.
        Err(ClaimError::Unavailable(error)) if serves => {
            tracing::error!(%error, "the object store cannot be used");
        }
        claimed => claimed?,
    }
    if notebook.accounts.is_some() && notebook.content_origin.is_none() && host.generation() <= 1 {
        tracing::warn!("{CONTENT_WARNING}");
    }
    if host.generation() == 1 {
        tracing::info!("limits of kernels: {}", notebook.kernel_limits);
        announce(&notebook, &host).await?;
    }
    tokio::spawn(tidy(notebook.clone(), host.clone()));
    let router = router(notebook.clone()).layer(axum::middleware::from_fn(place));
    let (retired, commanded, ended) = (notebook.clone(), notebook.clone(), notebook);
    Ok(App::router(router)
        .command("Manages accounts and backups", move |words| {
            let notebook = commanded.clone();
            async move { commands::run(&notebook, words).await }
        })
        .on_retire(move || {
            let notebook = retired.clone();
            tokio::spawn(async move { notebook.documents.retire().await });
        })
        .on_shutdown(move || {
            let notebook = ended.clone();
            async move { notebook.documents.retire().await }
        }))
}

/// Shows once where to log in, if we made the token, or where to make the first account. Neither is ever logged.
async fn announce(notebook: &Shared, host: &Host) -> Result<(), BoxError> {
    if let Some(accounts) = &notebook.accounts {
        if notebook.store.accounts()?.is_empty() {
            let code = accounts.invite(Role::Admin, None).await?;
            host.announce(&format!("/signup?code={code}"));
            tracing::info!("open the printed address to create the administrator's account");
        }
        return Ok(());
    }
    let Some(token) = notebook.auth.made_token() else { return Ok(()) };
    host.announce(&format!("/?token={token}"));
    let file = notebook.auth.state_dir().join("token");
    tracing::info!("the token for the login is in {}", file.display());
    Ok(())
}

/// Does what is due each hour, until a newer generation takes over.
async fn tidy(notebook: Shared, host: Host) {
    let mut hour = tokio::time::interval(Duration::from_secs(3600));
    loop {
        tokio::select! {
            _ = hour.tick() => notebook.tidy().await,
            () = host.retired() => return,
        }
    }
}

/// Passes on what paster knows about the request.
async fn place(mut request: Request, next: Next) -> Response {
    let mut id = None;
    if let Some(environ) = request.extensions().get::<Environ>() {
        let host = environ.host();
        let host =
            if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
        let authority = match environ.port() {
            _ if host.is_empty() => None,
            Some(port) => Some(format!("{host}:{port}")),
            None => Some(host),
        };
        let place = RequestLocation {
            prefix: environ.script_name().to_owned(),
            secure: environ.secure(),
            authority,
            client: environ.client(),
            user: environ.user().map(str::to_owned),
            content_origin: None,
            groups: environ.groups().map(str::to_owned).collect(),
        };
        id = environ.request_id().map(str::to_owned);
        request.extensions_mut().insert(place);
    }
    in_request(id, next.run(request)).await
}
