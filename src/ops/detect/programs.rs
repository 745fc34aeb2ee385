//! Programs that serve requests at the port in `PORT`: those of a `Procfile`, of Node.js, of Go, and Rack applications.

use serde_json::{Map, Value, json};

use super::contents::Contents;
use super::entries::{FoundApp, app, found, incomplete};
use crate::config::{Procfile, ProcfileEntry, ProcfileRole, simple_words};
use crate::error::Result;

/// Package managers of Node.js, by their lock files.
const LOCK_FILES: [(&str, &str); 4] =
    [("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn"), ("bun.lock", "bun"), ("bun.lockb", "bun")];
/// Programs of start scripts that serve no application: development servers of front ends, servers of files, and apps for
/// the desktop and the phone.
const NOT_SERVERS: [&str; 18] = [
    "react-scripts",
    "react-app-rewired",
    "craco",
    "vue-cli-service",
    "ng",
    "vite",
    "parcel",
    "webpack",
    "webpack-dev-server",
    "gatsby",
    "live-server",
    "lite-server",
    "browser-sync",
    "http-server",
    "serve",
    "electron",
    "expo",
    "react-native",
];

/// The `Procfile`; empty if there is none.
pub(super) fn procfile_of(contents: &Contents) -> Procfile {
    contents.text("Procfile").map(|text| Procfile::parse(&text)).unwrap_or_default()
}

/// `web` is the app, and the others are programs beside it.
pub(super) fn procfile(contents: &Contents, _: &'static str) -> Result<FoundApp> {
    let procfile = procfile_of(contents);
    let folder = contents.path(".").as_str().unwrap_or(".").to_owned();
    let env_file = contents.path(".env").as_str().filter(|_| contents.has_file(".env")).map(str::to_owned);
    let (Some(web), programs) = tables(&procfile, &folder, env_file.as_deref()) else {
        return incomplete(
            "there is no `Procfile` with a line `web`".to_owned(),
            "add one: `web: COMMAND`, or name the command: `paster serve --app program:'COMMAND'`".to_owned(),
        );
    };
    let mut why = "`Procfile` has a line `web`".to_owned();
    for line in &procfile.skipped {
        why += &format!(", and line {} is skipped: {}", line.line, line.reason);
    }
    let more = if programs.is_empty() { Value::Null } else { json!({ "program": programs }) };
    Ok(FoundApp { app: app("program", Value::Object(web)), why, more })
}

/// The options of the program of one line. An empty `folder` is the config's.
fn options(
    procfile: &Procfile,
    entry: &ProcfileEntry,
    folder: &str,
    env_file: Option<&str>,
) -> Map<String, Value> {
    let words: Vec<String> = entry.words().iter().map(|word| word.replace("${", "$${")).collect();
    let mut options = Map::from_iter([("command".to_owned(), json!(words))]);
    if !folder.is_empty() {
        options.insert("working_dir".to_owned(), folder.into());
    }
    if let Some(file) = env_file {
        options.insert("env_files".to_owned(), json!([file]));
    }
    match entry.role() {
        ProcfileRole::Release => {
            options.insert("once".to_owned(), true.into());
        }
        _ if procfile.entry("release").is_some() => {
            options.insert("after".to_owned(), json!(["release"]));
        }
        _ => {}
    }
    options
}

/// The options of `web`, and the tables of the other programs by name.
pub fn tables(
    procfile: &Procfile,
    folder: &str,
    env_file: Option<&str>,
) -> (Option<Map<String, Value>>, Map<String, Value>) {
    let web = procfile.entry("web").map(|web| options(procfile, web, folder, env_file));
    let others = procfile.entries.iter().filter(|entry| entry.role() != ProcfileRole::Web);
    // The app is called `main`.
    let name = |entry: &ProcfileEntry| match &*entry.name {
        "main" => "main_program".to_owned(),
        name => name.to_owned(),
    };
    let programs =
        others.map(|entry| (name(entry), Value::Object(options(procfile, entry, folder, env_file))));
    (web, programs.collect())
}

/// A script of `package.json`.
pub(super) fn script(contents: &Contents, name: &str) -> Option<String> {
    let manifest = contents.json("package.json")?;
    manifest["scripts"][name].as_str().filter(|script| !script.is_empty()).map(str::to_owned)
}

/// The command that starts the server of a `package.json`, and the reason.
pub(super) fn node_command(contents: &Contents) -> Option<(Vec<String>, String)> {
    let manifest = contents.json("package.json")?;
    let Some(start) = script(contents, "start") else {
        // `npm start` runs `server.js` too.
        let main = manifest["main"].as_str().unwrap_or("index.js");
        let listens = |file: &str| contents.text(file).is_some_and(|text| text.contains(".listen("));
        let with_ending = format!("{main}.js");
        let file = ["server.js", main, &with_ending].into_iter().find(|file| listens(file))?;
        let why = format!("`{file}` beside `package.json` listens");
        return Some((vec!["node".to_owned(), file.to_owned()], why));
    };
    if !runs_server(&start) {
        return None;
    }
    let why = "`package.json` has a start script".to_owned();
    let is_alone = ["prestart", "poststart"].iter().all(|name| script(contents, name).is_none());
    let simple = simple_words(&start).filter(|words| is_alone && words[0] == "node");
    let by_manager = || [manager(contents, &manifest), "run", "start"].map(str::to_owned).to_vec();
    Some((simple.unwrap_or_else(by_manager), why))
}

/// Whether the last command of a start script is not known to be something else.
fn runs_server(start: &str) -> bool {
    let last = start.rsplit(['&', ';', '|']).find(|command| !command.trim().is_empty()).unwrap_or_default();
    let mut words = last.split_whitespace();
    let program = words.find(|word| !word.contains('=') && !["cross-env", "npx"].contains(word));
    !program.is_some_and(|program| NOT_SERVERS.contains(&program))
}

/// The package manager that `package.json` or a lock file names.
fn manager(contents: &Contents, manifest: &Value) -> &'static str {
    let named = manifest["packageManager"].as_str().and_then(|text| text.split('@').next());
    let known = ["npm", "pnpm", "yarn", "bun"];
    let named = named.and_then(|named| known.into_iter().find(|known| *known == named));
    let locked = || LOCK_FILES.iter().find(|(file, _)| contents.has_file(file)).map(|(_, manager)| *manager);
    named.or_else(locked).unwrap_or("npm")
}

pub(super) fn node(contents: &Contents, _: &'static str) -> Result<FoundApp> {
    let Some((words, why)) = node_command(contents) else {
        return incomplete(
            "there is no `package.json` with a start script of a server".to_owned(),
            "add one: `\"scripts\": { \"start\": \"node server.js\" }`, or name the command: `paster serve --app program:'node FILE'`"
                .to_owned(),
        );
    };
    let options = json!({ "command": words, "working_dir": contents.path(".") });
    Ok(found(app("program", options), why))
}

/// The directories with a `package main`: the root, else those in `cmd`.
fn go_programs(contents: &Contents) -> Vec<String> {
    let is_main = |name: &str| {
        let has_line = |text: String| text.lines().any(|line| line.trim_end() == "package main");
        name.ends_with(".go") && !name.ends_with("_test.go") && contents.text(name).is_some_and(has_line)
    };
    if contents.names().iter().any(|name| !name.contains('/') && is_main(name)) {
        return vec![".".to_owned()];
    }
    let in_cmd = contents.names().iter().filter(|name| name.starts_with("cmd/") && is_main(name));
    let folders = in_cmd.filter_map(|name| name.rsplit_once('/'));
    let mut folders: Vec<String> = folders.map(|(folder, _)| format!("./{folder}")).collect();
    folders.dedup();
    folders
}

/// Whether there is a program, and a file that reads `PORT`, or Gin, which does that.
pub(super) fn is_go_server(contents: &Contents) -> bool {
    let reads_port = |name: &String| {
        name.ends_with(".go") && contents.text(name).is_some_and(|text| text.contains("\"PORT\""))
    };
    let uses_gin = || contents.text("go.mod").is_some_and(|text| text.contains("github.com/gin-gonic/gin "));
    !go_programs(contents).is_empty() && (contents.names().iter().any(reads_port) || uses_gin())
}

pub(super) fn go(contents: &Contents, _: &'static str) -> Result<FoundApp> {
    match go_programs(contents).as_slice() {
        [] => incomplete(
            "there is no `package main`, here or in `cmd`".to_owned(),
            "name the program: `paster serve --app program:'go run ./FOLDER'`".to_owned(),
        ),
        [folder] => {
            // The compiler works first.
            let options = json!({
                "command": ["go", "run", folder], "working_dir": contents.path("."), "start_secs": 300,
            });
            let why = match &**folder {
                "." => "`go.mod` has a `package main` beside it".to_owned(),
                folder => format!("`{folder}` has a `package main`"),
            };
            Ok(found(app("program", options), why))
        }
        several => {
            let message = format!("there are several Go programs: {}", several.join(", "));
            incomplete(message, format!("choose one: `paster serve --app program:'go run {}'`", several[0]))
        }
    }
}

pub(super) fn rack(contents: &Contents, _: &'static str) -> Result<FoundApp> {
    if !contents.has_file("config.ru") {
        return incomplete(
            "there is no `config.ru`".to_owned(),
            "name the command: `paster serve --app program:'ruby FILE'`".to_owned(),
        );
    }
    let puma = ["puma", "--bind", "tcp://{host}:{port}", "config.ru"];
    let rackup = ["rackup", "--host", "{host}", "--port", "{port}", "config.ru"];
    let words = match contents.text("Gemfile.lock") {
        None if contents.has_file("Gemfile") => [&["bundle", "exec"][..], &puma].concat(),
        None => puma.to_vec(),
        Some(lock) => {
            let has_puma = lock.lines().any(|line| line.trim_start().starts_with("puma ("));
            [&["bundle", "exec"][..], if has_puma { &puma } else { &rackup }].concat()
        }
    };
    let options = json!({ "command": words, "working_dir": contents.path(".") });
    Ok(found(app("program", options), "`config.ru` is a Rack application".to_owned()))
}

/// Rails serves by Rack, with the tasks of `config/puma.rb`.
pub(super) fn rails(contents: &Contents, name: &'static str) -> Result<FoundApp> {
    if !contents.has_file("bin/rails") {
        return incomplete(
            "there is no `bin/rails`".to_owned(),
            "name the command: `paster serve --app program:'bundle exec puma --bind tcp://{host}:{port}'`"
                .to_owned(),
        );
    }
    let found = rack(contents, name)?;
    Ok(FoundApp { why: "`bin/rails` is a Rails application".to_owned(), ..found })
}

/// Files of Deno programs with usual names.
const DENO_FILES: [&str; 6] = ["main.ts", "server.ts", "mod.ts", "main.tsx", "main.js", "server.js"];

/// The command that starts a Deno server, and the reason.
pub(super) fn deno_command(contents: &Contents) -> Option<(Vec<String>, String)> {
    let text = contents.text("deno.json").or_else(|| contents.text("deno.jsonc"))?;
    let plain: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let manifest: Value = serde_json::from_str(&plain).unwrap_or(Value::Null);
    if manifest["tasks"]["start"].is_string() || manifest["tasks"]["start"].is_object() {
        let words = ["deno", "task", "start"].map(str::to_owned).to_vec();
        return Some((words, "`deno.json` has a task `start`".to_owned()));
    }
    let exports = |file: &&&str| {
        let text = contents.text(file).unwrap_or_default();
        text.contains("export default") && text.contains("fetch")
    };
    let file = DENO_FILES.iter().find(exports)?;
    let words = [
        "deno",
        "serve",
        "--allow-net",
        "--allow-read",
        "--allow-env",
        "--host",
        "{host}",
        "--port",
        "{port}",
        file,
    ];
    Some((words.map(str::to_owned).to_vec(), format!("`{file}` exports a `fetch` handler")))
}

pub(super) fn deno(contents: &Contents, _: &'static str) -> Result<FoundApp> {
    let Some((words, why)) = deno_command(contents) else {
        return incomplete(
            "there is no `deno.json` with a task `start`, and no file that exports a `fetch` handler"
                .to_owned(),
            "name the command: `paster serve --app program:'deno run --allow-net FILE'`".to_owned(),
        );
    };
    let options = json!({ "command": words, "working_dir": contents.path(".") });
    Ok(found(app("program", options), why))
}

/// For the error: why a program's file is not enough.
pub(super) fn hints(contents: &Contents) -> Vec<&'static str> {
    let mut hints = Vec::new();
    if contents.has_file("Procfile") {
        hints.push("its `Procfile` has no line `web`: nothing in it serves requests");
    }
    if script(contents, "build").is_some() {
        hints.push("if its pages must be built first, do that: `npm run build`");
    } else if contents.has_file("package.json") {
        hints.push("its `package.json` has no start script of a server");
    }
    if contents.has_file("go.mod") {
        hints.push("a Go server must read the variable `PORT`");
    }
    hints
}
