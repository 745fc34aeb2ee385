//! The result of each rule: the table of the app, and the reason.

use serde_json::{Map, Value, json};

use super::contents::{Contents, PythonApplication};
use super::requirements::depends_on;
use super::web_line::WebLine;
use crate::error::{Error, Result};

/// An application that a rule has found.
#[derive(Debug)]
pub(super) struct FoundApp {
    /// The table `[app.main]`.
    pub(super) app: Map<String, Value>,
    /// The evidence for it.
    pub(super) why: String,
    /// Tables that are merged over the usual config.
    pub(super) more: Value,
}

/// Directories with the scripts of a PHP site.
const PHP_ROOTS: [&str; 5] = ["public", "web", "htdocs", "www", "."];

/// An app of `kind` with these options.
pub(super) fn app(kind: &str, options: Value) -> Map<String, Value> {
    let mut app = Map::from_iter([("use".to_owned(), kind.into())]);
    app.extend(options.as_object().cloned().unwrap_or_default());
    app
}

pub(super) fn found(app: Map<String, Value>, why: String) -> FoundApp {
    FoundApp { app, why, more: Value::Null }
}

/// An error about an application that is not complete, or not the only one.
pub(super) fn incomplete<T>(message: String, help: String) -> Result<T> {
    Err(Error::config(message).help(help).into())
}

pub(super) fn applications<'a>(
    contents: &'a Contents,
    framework: &'a str,
) -> impl Iterator<Item = &'a PythonApplication> {
    let all = contents.python().applications.iter();
    all.filter(move |one| one.framework.as_deref() == Some(framework))
}

/// The application with a usual name in a file with this name, if the syntax does not show its kind.
pub(super) fn object_in<'a>(contents: &'a Contents, file: &str) -> Option<&'a PythonApplication> {
    let of_file = |one: &&PythonApplication| one.file == file || one.file.ends_with(&format!("/{file}"));
    contents.python().applications.iter().filter(of_file).find(|one| one.framework.is_none())
}

/// What the `Procfile` names, if it is an application of this kind.
pub(super) fn web_line(contents: &Contents, kind: &str) -> Option<WebLine> {
    WebLine::read(&contents.text("Procfile")?).filter(|line| line.kind == kind)
}

/// Django projects with their settings, which a skeleton or a part of one does not have.
pub(super) fn projects(contents: &Contents) -> Vec<(&str, &str)> {
    let has_settings = |root: &str, module: &str| {
        let path = format!("{root}/{}", module.replace('.', "/"));
        contents.has_file(&format!("{path}.py")) || contents.has(&path) || depends_on(contents, "django")
    };
    let all = contents.python().projects.iter();
    all.map(|one| (&*one.root, &*one.settings)).filter(|(root, module)| has_settings(root, module)).collect()
}

pub(super) fn django(contents: &Contents, _: &'static str) -> Result<FoundApp> {
    match projects(contents).as_slice() {
        [] => incomplete(
            "there is no `manage.py` that names a settings module".to_owned(),
            "set it in a config: `settings = \"project.settings\"`".to_owned(),
        ),
        [(root, settings)] => {
            let place = if *root == "." { "manage.py".to_owned() } else { format!("{root}/manage.py") };
            let why = format!("`{place}` names the settings module `{settings}`");
            Ok(found(app("django", json!({ "publish_dir": contents.path(root) })), why))
        }
        several => {
            let roots: Vec<_> = several.iter().map(|(root, _)| format!("`{root}`")).collect();
            let message = format!("there are several Django projects: {}", roots.join(", "));
            incomplete(message, "choose the directory of one".to_owned())
        }
    }
}

pub(super) fn pyramid(contents: &Contents, _: &'static str) -> Result<FoundApp> {
    let (name, _) = ini_file(contents)?;
    let why = format!("`{name}` has an application, and the project uses Pyramid");
    Ok(found(app("pyramid", json!({ "publish_dir": contents.path(".") })), why))
}

pub(super) fn paste(contents: &Contents, _: &'static str) -> Result<FoundApp> {
    let (name, _) = ini_file(contents)?;
    let options = json!({ "application": format!("config:{name}"), "working_dir": contents.path(".") });
    Ok(found(app("wsgi", options), format!("`{name}` has an application")))
}

/// `production.ini`, `development.ini`, or the only one.
fn ini_file(contents: &Contents) -> Result<(&str, String)> {
    let mut files = contents.ini_files();
    let usual = ["production.ini", "development.ini"];
    let place = usual.iter().find_map(|usual| files.iter().position(|(name, _)| name == usual));
    match (place, files.len()) {
        (Some(place), _) => Ok(files.swap_remove(place)),
        (None, 1) => Ok(files.swap_remove(0)),
        (None, 0) => incomplete(
            "there is no `.ini` file with `[app:main]`".to_owned(),
            "name the application: `paster serve --app wsgi:config:FILE.ini`".to_owned(),
        ),
        (None, _) => {
            let names: Vec<_> = files.iter().map(|(name, _)| format!("`{name}`")).collect();
            let message = format!("several files have an application: {}", names.join(", "));
            incomplete(message, "choose one: `paster serve --app wsgi:config:FILE.ini`".to_owned())
        }
    }
}

pub(super) fn python_framework(contents: &Contents, kind: &'static str) -> Result<FoundApp> {
    let why = match applications(contents, kind).next() {
        Some(PythonApplication { file, name, .. }) if name.is_empty() => {
            format!("`{file}` adds to the framework's default application")
        }
        Some(PythonApplication { file, name, .. }) => format!("`{file}` has the application `{name}`"),
        None => "as requested".to_owned(), // the process reports what is missing
    };
    Ok(found(app(kind, json!({ "publish_dir": contents.path(".") })), why))
}

pub(super) fn python_object(contents: &Contents, kind: &'static str) -> Result<FoundApp> {
    // The author's own word.
    if let Some(WebLine { application, folder, .. }) = web_line(contents, kind) {
        let options = json!({ "application": application, "working_dir": contents.path(&folder) });
        return Ok(found(app(kind, options), format!("`Procfile` serves `{application}`")));
    }
    let usual = format!("{kind}.py");
    let known = applications(contents, kind).next().or_else(|| object_in(contents, &usual));
    if let Some(PythonApplication { file, root, module, name, .. }) = known {
        let options =
            json!({ "application": format!("{module}:{name}"), "working_dir": contents.path(root) });
        return Ok(found(app(kind, options), format!("`{file}` has the application `{name}`")));
    }
    let mut files = contents.names().iter().filter(|name| name.ends_with(".wsgi"));
    match (files.next(), files.next()) {
        (Some(file), None) if kind == "wsgi" => {
            let options = json!({ "application": file, "working_dir": contents.path(".") });
            Ok(found(app(kind, options), format!("`{file}` is a WSGI file")))
        }
        (Some(_), Some(_)) if kind == "wsgi" => incomplete(
            "there are several `.wsgi` files".to_owned(),
            "choose one: `paster serve --app wsgi:FILE.wsgi`".to_owned(),
        ),
        _ => incomplete(
            "no Python file has an object `application` or `app`".to_owned(),
            format!("name the application: `paster serve --app {kind}:MODULE:OBJECT`"),
        ),
    }
}

pub(super) fn plugin(contents: &Contents, _: &'static str) -> Result<FoundApp> {
    match plugins(contents).as_slice() {
        [folder] => {
            let manifest =
                if *folder == "." { "Cargo.toml".to_owned() } else { format!("{folder}/Cargo.toml") };
            let why = format!("`{manifest}` belongs to a plugin");
            Ok(found(app("plugin", json!({ "crate": contents.path(folder) })), why))
        }
        [] => incomplete(
            "there is no crate that depends on `paster-sdk` and is a `cdylib`".to_owned(),
            "see `paster create --template axum` for one".to_owned(),
        ),
        several => {
            let message = format!("several crates are plugins: {}", several.join(", "));
            incomplete(message, "choose one: `paster serve --app plugin:CRATE`".to_owned())
        }
    }
}

/// Directories of the crates that are plugins.
pub(super) fn plugins(contents: &Contents) -> Vec<&str> {
    let is_plugin = |manifest: &str| {
        contents.toml(manifest).is_some_and(|manifest| {
            let depends =
                |table: &str| manifest.get(table).and_then(|table| table.get("paster-sdk")).is_some();
            let kinds =
                manifest.get("lib").and_then(|lib| lib.get("crate-type")).and_then(|kinds| kinds.as_array());
            let dynamic = kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind.as_str() == Some("cdylib")));
            depends("dependencies") && dynamic
        })
    };
    let manifests =
        contents.names().iter().filter(|name| *name == "Cargo.toml" || name.ends_with("/Cargo.toml"));
    let plugins = manifests.filter(|name| is_plugin(name));
    plugins.map(|name| name.strip_suffix("/Cargo.toml").unwrap_or(".")).collect()
}

pub(super) fn php(contents: &Contents, _: &'static str) -> Result<FoundApp> {
    let root = PHP_ROOTS.iter().find(|root| contents.has_file(&format!("{root}/index.php")));
    let Some(root) = root else {
        return incomplete("there is no `index.php`".to_owned(), "choose its directory".to_owned());
    };
    let Some(socket) = php_socket() else {
        return incomplete(
            "it is a PHP site, but php-fpm is not running: there is no socket in `/run/php`".to_owned(),
            "start php-fpm, or set its address in a config: `use = \"fastcgi\"`, `upstreams`, `root`"
                .to_owned(),
        );
    };
    let mut options = json!({ "upstreams": [format!("unix:{socket}")], "root": contents.path(root) });
    // A framework answers paths that are not files.
    if ["composer.json", "artisan", "wp-load.php", "wp-config.php"].iter().any(|name| contents.has_file(name))
    {
        options["fallback"] = "/index.php".into();
    }
    let index = if *root == "." { "index.php".to_owned() } else { format!("{root}/index.php") };
    Ok(found(app("fastcgi", options), format!("`{index}` is a PHP script")))
}

/// The socket of Debian's php-fpm.
fn php_socket() -> Option<String> {
    let sockets = std::fs::read_dir("/run/php").ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let sockets = sockets.filter_map(|path| path.to_str().map(str::to_owned));
    sockets.filter(|path| path.ends_with("fpm.sock")).min_by_key(|path| (path.len(), path.clone()))
}

pub(super) fn pages(contents: &Contents, roots: &[&str]) -> Result<FoundApp> {
    let there: Vec<_> =
        roots.iter().filter(|root| contents.has_file(&format!("{root}/index.html"))).collect();
    match there.as_slice() {
        [] => incomplete(
            "there is no `index.html`".to_owned(),
            "list a directory with `listing = true`".to_owned(),
        ),
        [root, ..] => {
            let index = if **root == "." { "index.html".to_owned() } else { format!("{root}/index.html") };
            Ok(found(
                app("static", json!({ "publish_dir": contents.path(root) })),
                format!("`{index}` is a page"),
            ))
        }
    }
}

pub(super) fn notebook(contents: &Contents, _: &'static str) -> Result<FoundApp> {
    let name = contents.names().iter().find(|name| name.ends_with(".ipynb"));
    let why = format!("`{}` is a notebook", name.map_or("*.ipynb", String::as_str));
    let app = app("notebook", json!({ "settings": { "data_dir": contents.path(".") } }));
    // Notebooks with plots are large.
    let more = json!({ "middleware": { "body_limit": { "max_bytes": 256 << 20 } } });
    Ok(FoundApp { app, why, more })
}
