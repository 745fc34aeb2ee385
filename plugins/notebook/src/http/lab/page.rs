//! The page that JupyterLab's scripts fill.

use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, header};
use serde_json::{Map, Value, json};

use super::installed;
use crate::http::error::{ApiError, Result, blocking};
use crate::http::location::RequestLocation;
use crate::http::pages::escape;
use crate::state::Shared;

/// JupyterLab compiles its schemas with `eval`. Inline scripts, which outputs could contain, remain forbidden.
const POLICY: &str = "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' https: data: blob:; font-src 'self' data:; connect-src 'self' data:; frame-src 'self' blob: data:; \
    media-src 'self' https: data: blob:; worker-src 'self' blob: data:; object-src 'self' blob: data:; form-action 'self'; \
    base-uri 'self'; frame-ancestors 'self'";

/// The addresses in the page's configuration: the beginning of the key, and the path.
const ADDRESSES: [(&str, &str); 8] = [
    ("app", "lab"),
    ("tree", "lab/tree"),
    ("settings", "lab/api/settings"),
    ("workspacesApi", "lab/api/workspaces"),
    ("translationsApi", "lab/api/translations"),
    ("themes", "lab/api/themes"),
    ("listings", "lab/api/listings"),
    ("labextensions", "lab/extensions"),
];

pub(super) async fn show(notebook: State<Shared>, place: RequestLocation) -> Result<Response> {
    page(&notebook, &place, "multiple-document", "default", "").await
}

pub(super) async fn tree(
    notebook: State<Shared>,
    place: RequestLocation,
    Path(path): Path<String>,
) -> Result<Response> {
    page(&notebook, &place, "multiple-document", "default", &path).await
}

pub(super) async fn workspace(
    notebook: State<Shared>,
    place: RequestLocation,
    Path(workspace): Path<String>,
) -> Result<Response> {
    page(&notebook, &place, "multiple-document", &workspace, "").await
}

pub(super) async fn workspace_tree(
    notebook: State<Shared>,
    place: RequestLocation,
    Path((workspace, path)): Path<(String, String)>,
) -> Result<Response> {
    page(&notebook, &place, "multiple-document", &workspace, &path).await
}

pub(super) async fn document(notebook: State<Shared>, place: RequestLocation) -> Result<Response> {
    page(&notebook, &place, "single-document", "default", "").await
}

pub(super) async fn document_tree(
    notebook: State<Shared>,
    place: RequestLocation,
    Path(path): Path<String>,
) -> Result<Response> {
    page(&notebook, &place, "single-document", "default", &path).await
}

async fn page(
    notebook: &Shared,
    place: &RequestLocation,
    mode: &str,
    workspace: &str,
    tree: &str,
) -> Result<Response> {
    let lab = installed(notebook).await?;
    let base = place.base();
    let root = notebook.files.path().to_string_lossy().into_owned();
    let (terminals, mode) = (notebook.settings.terminals, mode.to_owned());
    let (workspace, tree) = (workspace.to_owned(), tree.to_owned());
    let text = blocking(move || {
        let script = lab.script().ok_or_else(|| ApiError::missing("JupyterLab's page has no script"))?;
        let (extensions, disabled) = lab.federated();
        let full = |path: &str| format!("{base}{path}");
        let mut config = Map::new();
        for (name, path) in ADDRESSES {
            config.insert(format!("{name}Url"), format!("/{path}").into());
            config.insert(format!("full{}{}Url", name[..1].to_uppercase(), &name[1..]), full(path).into());
        }
        let more = json!({
            "appName": "JupyterLab", "appNamespace": "lab", "appVersion": lab.version(), "baseUrl": base, "wsUrl": "",
            "licensesUrl": "", "fullLicensesUrl": "", "fullStaticUrl": full("static/lab"), "mode": mode,
            "workspace": workspace, "treePath": tree, "terminalsAvailable": terminals, "serverRoot": root,
            "preferredPath": "/", "ignorePlugins": [], "deferredExtensions": [], "federated_extensions": extensions,
            "disabledExtensions": switched_off(disabled), "notebookStartsKernel": true, "cacheFiles": true,
            "devMode": false, "exposeAppInBrowser": false, "collaborative": false, "quitButton": false,
        });
        let server = json!({
            "store_id": 0, "notebookVersion": "[2, 21, 0]", "buildAvailable": false, "buildCheck": false,
            "allow_hidden_files": false, "delete_to_trash": true, "copyAbsolutePath": false,
        });
        for more in [more, server] {
            config.extend(more.as_object().cloned().unwrap_or_default());
        }
        let config = Value::Object(config);
        Ok::<_, ApiError>(html(&full(""), &config, &format!("{}/{script}", full("static/lab"))))
    });
    let mut response = Html(text.await?).into_response();
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    Ok(response)
}

/// Extensions that would fail here: the extension manager and its news (which contact other servers), licences, and language
/// servers.
fn switched_off(mut by_extensions: Vec<String>) -> Vec<String> {
    by_extensions.extend(
        [
            "@jupyterlab/extensionmanager-extension",
            "@jupyterlab/apputils-extension:announcements",
            "@jupyterlab/help-extension:licenses",
            "@jupyterlab/lsp-extension",
        ]
        .map(str::to_owned),
    );
    by_extensions
}

fn html(base: &str, config: &Value, script: &str) -> String {
    // It must not contain the end of a script element.
    let config = config.to_string().replace('<', "\\u003c");
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>JupyterLab</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <script id=\"jupyter-config-data\" type=\"application/json\">{config}</script>\
         <link rel=\"icon\" href=\"{}favicon.ico\" class=\"idle favicon\"><script defer src=\"{}\"></script></head>\
         <body class=\"jp-ThemedContainer\"></body></html>\n",
        escape(base),
        escape(script),
    )
}
