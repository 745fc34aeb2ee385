//! The notebook as a paster plugin: its settings, its creation, and the side process that owns the kernels.

use axum::extract::Request;
use paster_sdk::{App, BoxError, Environ, Host};

use crate::http::{Place, router};
use crate::kernel::host;
use crate::kernel::link::Link;
use crate::settings::Settings;
use crate::state::{Notebook, Shared};

paster_sdk::plugin! {
    settings: Settings,
    create: create,
    side: { "kernels" => host::main },
}

async fn create(settings: Settings, host: Host) -> Result<App, BoxError> {
    let link = match host.side_process("kernels") {
        Ok(socket) => Link::new(socket),
        // `paster check` and `paster request` have no side processes: all but kernels works.
        Err(error) => Link::unavailable(&error.to_string()),
    };
    let notebook = Notebook::open(settings, link)?;
    if host.generation() == 1 {
        announce(&notebook, &host);
    }
    let router = router(notebook.clone()).layer(axum::middleware::map_request(place));
    let (retired, ended) = (notebook.clone(), notebook);
    Ok(App::router(router)
        .on_retire(move || {
            let notebook = retired.clone();
            tokio::spawn(async move { notebook.documents.retire().await });
        })
        .on_shutdown(move || {
            let notebook = ended.clone();
            async move { notebook.documents.retire().await }
        }))
}

/// Says once where to log in: the token that we made is known to nobody yet.
fn announce(notebook: &Shared, host: &Host) {
    let Some(token) = notebook.auth.made_token() else { return };
    let config = host.config();
    let addresses = config["server"].as_object().into_iter().flat_map(|servers| servers.values());
    let addresses = addresses.flat_map(|server| match &server["listen"] {
        serde_json::Value::Array(list) => list.iter().filter_map(|listen| listen.as_str()).collect(),
        serde_json::Value::String(one) => vec![one.as_str()],
        _ => Vec::new(),
    });
    let known = addresses.filter(|address| {
        !address.contains("unix:") && !address.starts_with("fd:") && !address.ends_with(":0")
    });
    match known
        .filter(|address| address.contains(':'))
        .map(|address| address.replacen("0.0.0.0", "127.0.0.1", 1))
        .next()
    {
        Some(address) => tracing::info!("the notebook is at http://{address}/?token={token}"),
        None => tracing::info!("to log in, add /?token={token} to the server's address"),
    }
}

/// Hands on what paster knows of the request.
async fn place(mut request: Request) -> Request {
    if let Some(environ) = request.extensions().get::<Environ>() {
        let host = environ.host();
        let host =
            if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
        let authority = match environ.port() {
            _ if host.is_empty() => None,
            Some(port) => Some(format!("{host}:{port}")),
            None => Some(host),
        };
        let place = Place { prefix: environ.script_name().to_owned(), secure: environ.secure(), authority };
        request.extensions_mut().insert(place);
    }
    request
}
