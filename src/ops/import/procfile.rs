//! `Procfile`: `web` is the app, and the others are programs beside it. A Python server in `web` becomes an app of its kind.

use std::path::Path;

use serde_json::json;

use super::draft::Draft;
use super::python_settings::PORT_MARK;
use super::{ImportInput, gunicorn, uvicorn};
use crate::config::{Procfile, simple_words};
use crate::error::{Error, Result};
use crate::ops::detect::procfile_tables;

pub(super) fn recognizes(input: &ImportInput) -> bool {
    input.name() == "Procfile" || input.name().starts_with("Procfile.")
}

pub(super) fn read(input: &ImportInput) -> Result<Draft> {
    let procfile = Procfile::parse(&input.text);
    if procfile.entries.is_empty() {
        return Err(Error::config(format!("`{}` has no line `name: command`", input.path.display())).into());
    }
    let mut draft = Draft::of(input);
    for skipped in &procfile.skipped {
        draft.lose(skipped.line, skipped.reason.clone());
    }
    let env_file = input.folder().join(".env").is_file().then_some(".env");
    let (web, programs) = procfile_tables(&procfile, "", env_file);
    for (name, table) in programs {
        draft.table("program", &name).extend(table.as_object().cloned().unwrap_or_default());
    }
    let Some(mut web) = web else {
        draft.lose(0, "no line `web`: nothing serves requests");
        return Ok(draft);
    };
    if let Some(python) =
        procfile.entry("web").and_then(|entry| python_server(&entry.command, input.folder()))
    {
        let after = web.get("after").cloned();
        let mut read = python?;
        read.lost.append(&mut draft.lost);
        let programs = draft.take("program");
        if let Some(after) = after {
            read.lose(0, format!("`web` waits for {after}, and an app of a Python kind has no `after`"));
        }
        read.put("program", programs);
        return Ok(read.named(input));
    }
    web.insert("use".to_owned(), "program".into());
    web.insert("middleware".to_owned(), json!(["access_log", "error_page", "body_limit"]));
    draft.table("app", "main").extend(web);
    draft.set("server", "main", &["app"], "main");
    Ok(draft)
}

/// The draft of a command that runs gunicorn or uvicorn without a shell's help, but for `$PORT`.
fn python_server(command: &str, folder: &Path) -> Option<Result<Draft>> {
    let with_port =
        ["${PORT}", "$PORT"].iter().fold(command.to_owned(), |text, name| text.replace(name, "{port}"));
    let words = simple_words(&with_port)?;
    let words: Vec<String> = match words.as_slice() {
        [python, dash, rest @ ..] if python.starts_with("python") && dash == "-m" => rest.to_vec(),
        words => words.to_vec(),
    };
    let read = match words.first().map(String::as_str) {
        Some("gunicorn") => gunicorn::read,
        Some("uvicorn") => uvicorn::read,
        _ => return None,
    };
    // paster's own port is one of its listeners: `PORT` of the environment, as Heroku sets it.
    let mark = PORT_MARK.to_string();
    let words = words.into_iter().map(|word| word.replace("{port}", &mark)).collect();
    Some(read(&ImportInput::of_arguments(words).in_folder(folder)).map(|mut draft| {
        draft.replace(&mark, "${env:PORT:-8080}");
        draft
    }))
}
