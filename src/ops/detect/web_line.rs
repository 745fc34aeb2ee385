//! The line `web` of a `Procfile` that runs a Python server: it names the application.

use std::sync::LazyLock;

use regex::Regex;

/// An application that such a line names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WebLine {
    /// "wsgi" or "asgi".
    pub(super) kind: &'static str,
    /// `module:object`.
    pub(super) application: String,
    /// The directory of its modules, relative to the `Procfile`.
    pub(super) folder: String,
}

/// Servers, and what they serve.
const SERVERS: [(&str, &str); 6] = [
    ("gunicorn", "wsgi"),
    ("waitress-serve", "wsgi"),
    ("uvicorn", "asgi"),
    ("hypercorn", "asgi"),
    ("daphne", "asgi"),
    ("granian", "asgi"),
];
/// Options that set the application's directory.
const FOLDERS: [&str; 3] = ["--chdir", "--app-dir", "--pythonpath"];

impl WebLine {
    /// The application that the text of a `Procfile` names; `None` if its `web` runs something else.
    pub(super) fn read(procfile: &str) -> Option<WebLine> {
        static NAME: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r"^[A-Za-z_][A-Za-z0-9_.]*(:[A-Za-z_][A-Za-z0-9_.]*(\(.*\))?)?$").expect("it is valid")
        });
        let line = procfile.lines().find_map(|line| line.strip_prefix("web:"))?;
        let words: Vec<&str> = line.split_whitespace().skip_while(|word| is_assignment(word)).collect();
        let words = match words.as_slice() {
            ["python" | "python3", "-m", rest @ ..] => rest,
            words => words,
        };
        let (server, words) = words.split_first()?;
        let (_, mut kind) = *SERVERS.iter().find(|(name, _)| name == server)?;
        let (mut named, mut folder, mut is_factory) = (None, ".", false);
        let mut before = "";
        for word in words {
            let (option, value) = word.split_once('=').unwrap_or((before, word));
            if FOLDERS.contains(&option) {
                folder = value;
            } else if word.starts_with('-') {
                is_factory |= matches!(*word, "--factory" | "--call");
            } else if NAME.is_match(word) && (!before.starts_with('-') || is_flag(before)) {
                named = Some(*word);
            }
            // Workers of gunicorn for ASGI, and the interface of granian.
            let is_worker = matches!(option, "-k" | "--worker-class") && value.contains("uvicorn");
            if is_worker {
                kind = "asgi";
            } else if option == "--interface" && value == "wsgi" {
                kind = "wsgi";
            }
            before = if word.contains('=') { "" } else { word };
        }
        let name = named?;
        let call = if is_factory && !name.ends_with(')') { "()" } else { "" };
        let object = if name.contains(':') { "" } else { ":application" };
        Some(WebLine { kind, application: format!("{name}{object}{call}"), folder: folder.to_owned() })
    }
}

/// Options without a value, after which the application may stand.
fn is_flag(option: &str) -> bool {
    ["--factory", "--call", "--preload", "--reload", "--proxy-headers", "--no-access-log", "--capture-output"]
        .contains(&option)
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications_in_lines() {
        let check = |line: &str, expected: Option<(&'static str, &str, &str)>| {
            let expected = expected.map(|(kind, application, folder)| WebLine {
                kind,
                application: application.to_owned(),
                folder: folder.to_owned(),
            });
            assert_eq!(WebLine::read(line), expected, "{line}");
        };
        check("web: gunicorn shop.wsgi --log-file -", Some(("wsgi", "shop.wsgi:application", ".")));
        check("release: x\nweb: gunicorn -b 0.0.0.0:$PORT shop:app", Some(("wsgi", "shop:app", ".")));
        check(
            "web: A=1 gunicorn -k uvicorn.workers.UvicornWorker api.main:app",
            Some(("asgi", "api.main:app", ".")),
        );
        check("web: uvicorn --factory api:create --port $PORT", Some(("asgi", "api:create()", ".")));
        check("web: python -m uvicorn api:app --app-dir src", Some(("asgi", "api:app", "src")));
        check("web: gunicorn --chdir=web 'shop:make(1)'", None);
        check("web: gunicorn --chdir=web shop:make(1)", Some(("wsgi", "shop:make(1)", "web")));
        check("web: granian --interface wsgi shop:app", Some(("wsgi", "shop:app", ".")));
        check("web: waitress-serve --call shop:make", Some(("wsgi", "shop:make()", ".")));
        check("web: node server.js", None);
        check("worker: gunicorn shop:app", None);
        check("web:", None);
    }
}
