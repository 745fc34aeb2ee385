//! What a request is about: a document, a kernel, a session, a terminal, or what all servers have.

use http::Method;
use serde_json::Value;

use crate::files::RelativePath;
use crate::http::percent::decode_path;

/// The beginnings of addresses that name a document.
const DOCUMENTS: &[&str] = &[
    "/api/documents/",
    "/api/contents/",
    "/api/history/",
    "/api/runs/",
    "/api/outputs/",
    "/api/comments/",
    "/api/apps/",
    "/api/app-sessions/",
    "/api/export/",
    "/files/",
    "/publish/",
    "/view/",
];

/// What decides which server answers a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// The server that has this document open. `opens`: or else the one that runs its kernel, because the request opens the
    /// document.
    Document { path: RelativePath, opens: bool },
    /// The server that runs this kernel.
    Kernel(String),
    /// The server that runs the kernel of this session.
    Session(String),
    /// The server that has this terminal.
    Terminal(String),
    /// All servers: the response lists kernels, sessions or terminals.
    Lists,
}

impl Target {
    fn document(path: &str) -> Option<Target> {
        let path = RelativePath::parse(path).ok().filter(|path| !path.is_root())?;
        Some(Target::Document { path, opens: false })
    }

    /// What the server does that must answer, for users.
    pub(super) fn held(&self) -> String {
        match self {
            Target::Document { path, .. } => format!("has `{path}` open"),
            Target::Kernel(id) => format!("runs the kernel {id}"),
            Target::Session(id) => format!("has the session {id}"),
            Target::Terminal(name) => format!("has the terminal `{name}`"),
            Target::Lists => "may run kernels".to_owned(),
        }
    }
}

/// The target of a request; `None`: this server answers.
pub(super) fn of_head(method: &Method, path: &str) -> Option<Target> {
    let lists = ["/api/kernels", "/api/sessions", "/api/running", "/api/terminals"];
    if *method == Method::GET && lists.contains(&path) {
        return Some(Target::Lists);
    }
    let first = |rest: &str| decode_path(rest.split('/').next().unwrap_or_default());
    if let Some(rest) = path.strip_prefix("/api/kernels/") {
        return Some(Target::Kernel(first(rest)));
    }
    let terminal =
        path.strip_prefix("/api/terminals/").or_else(|| path.strip_prefix("/terminals/websocket/"));
    if let Some(rest) = terminal {
        return Some(Target::Terminal(first(rest)));
    }
    if let Some(rest) = path.strip_prefix("/api/sessions/") {
        return Some(Target::Session(first(rest)));
    }
    let converted = || path.strip_prefix("/nbconvert/").and_then(|rest| Some(rest.split_once('/')?.1));
    let encoded = DOCUMENTS.iter().find_map(|start| path.strip_prefix(start)).or_else(converted)?;
    let whole = decode_path(encoded);
    let trimmed = whole.trim_matches('/');
    // `PATH/checkpoints`, `PATH/checkpoints/ID` and `PATH/trust` are about the notebook at `PATH`.
    let name = match trimmed.split_once(".ipynb/") {
        Some((stem, rest)) if rest == "trust" || rest.starts_with("checkpoints") => format!("{stem}.ipynb"),
        // Any server moves and deletes what others have open (`super::servers`).
        _ if path.starts_with("/api/contents/") && matches!(*method, Method::PATCH | Method::DELETE) => {
            return None;
        }
        _ => trimmed.to_owned(),
    };
    let mut target = Target::document(&name)?;
    if let Target::Document { opens, .. } = &mut target {
        *opens = path.starts_with("/api/documents/");
    }
    Some(target)
}

/// Whether the body of a request names the document.
pub(super) fn is_in_body(method: &Method, path: &str) -> bool {
    *method == Method::POST
        && (matches!(path, "/api/sessions" | "/api/contents") || path.starts_with("/api/contents/"))
}

/// The target of a request whose body names the document.
pub(super) fn of_body(path: &str, body: &[u8]) -> Option<Target> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let text = |value: &Value| value.as_str().and_then(Target::document);
    match path {
        "/api/sessions" => match text(&body["path"]).or_else(|| text(&body["notebook"]["path"])) {
            Some(Target::Document { path, .. }) => Some(Target::Document { path, opens: true }),
            _ => None,
        },
        // A copy.
        _ => text(&body["copy_from"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(path: &str, opens: bool) -> Option<Target> {
        let path = RelativePath::parse(path).unwrap();
        Some(Target::Document { path, opens })
    }

    #[test]
    fn requests_name_their_document() {
        let (get, patch) = (Method::GET, Method::PATCH);
        for (method, path, target) in [
            (&get, "/api/documents/a/b%20c.ipynb", document("a/b c.ipynb", true)),
            (&get, "/api/contents/a+b.ipynb", document("a+b.ipynb", false)),
            (&get, "/api/contents/a.ipynb/checkpoints/checkpoint", document("a.ipynb", false)),
            (&Method::POST, "/api/contents/a.ipynb/trust", document("a.ipynb", false)),
            (&patch, "/api/contents/folder", None),
            (&Method::DELETE, "/api/contents/a.ipynb", None),
            (&Method::DELETE, "/api/contents/a.ipynb/checkpoints/checkpoint", document("a.ipynb", false)),
            (&get, "/nbconvert/html/a/b.ipynb", document("a/b.ipynb", false)),
            (&get, "/api/kernels/1-2/channels", Some(Target::Kernel("1-2".to_owned()))),
            (&Method::DELETE, "/api/sessions/3", Some(Target::Session("3".to_owned()))),
            (&get, "/api/sessions", Some(Target::Lists)),
            (&get, "/terminals/websocket/1-abc", Some(Target::Terminal("1-abc".to_owned()))),
            (&Method::DELETE, "/api/terminals/2", Some(Target::Terminal("2".to_owned()))),
            (&get, "/api/contents/", None),
            (&get, "/api/contents/.hidden", None),
            (&get, "/notebooks/a.ipynb", None),
            (&get, "/static/app.js", None),
        ] {
            assert_eq!(of_head(method, path), target, "{path}");
        }
    }

    #[test]
    fn bodies_name_their_document() {
        for (path, body, target) in [
            ("/api/sessions", r#"{"path": "a.ipynb", "type": "notebook"}"#, document("a.ipynb", true)),
            ("/api/sessions", r#"{"notebook": {"path": "a.ipynb"}}"#, document("a.ipynb", true)),
            ("/api/contents/x", r#"{"copy_from": "a.ipynb"}"#, document("a.ipynb", false)),
            ("/api/contents/x", r#"{"type": "notebook"}"#, None),
            ("/api/sessions", "not JSON", None),
        ] {
            assert_eq!(of_body(path, body.as_bytes()), target, "{path} {body}");
        }
    }
}
