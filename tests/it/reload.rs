//! From a saved file to the new response: watching, building, switching.

use std::path::Path;

use serde_json::Value;

use crate::support::{Connection, Serving, folder, get, plugin, root, runs, save, wait_until};

/// A small plugin, based on this repository's SDK.
const SOURCE: &str = r#"
//! A small plugin.
use axum::response::Html;

paster_sdk::plugin! { settings: Settings, create: create }

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Settings {}

async fn create(_: Settings, host: paster_sdk::Host) -> Result<paster_sdk::App, paster_sdk::BoxError> {
    let seen = host.saved_state().map(|state| String::from_utf8_lossy(state).into_owned()).unwrap_or_default();
    let now = format!("{seen}{}", host.generation());
    let state = now.clone();
    let router = axum::Router::new()
        .route("/", axum::routing::get(|| async { "first" }))
        .route("/page", axum::routing::get(|| async { Html("<h1>page</h1>") }))
        .route("/generations", axum::routing::get(|| async { now }));
    Ok(paster_sdk::App::router(router).save_state(move || state.clone().into_bytes()))
}
"#;

/// Its folder: a separate workspace with our lock file, so that cargo needs no registry. Its name contains
/// the test's, because all build into one target folder.
pub(crate) fn crate_folder(name: &str) -> tempfile::TempDir {
    let sdk = root().join("plugins/paster-sdk");
    let manifest = format!(
        "[package]\nname = {name:?}\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n\
         [dependencies]\naxum = {{ version = \"0.8.9\", features = [\"ws\"] }}\npaster-sdk = {{ path = {sdk:?} }}\n\
         schemars = \"1.2\"\nserde = {{ version = \"1\", features = [\"derive\", \"rc\"] }}\n[workspace]\n"
    );
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let server = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"plugin\"\ncrate = \".\"\n";
    folder(&[
        ("Cargo.toml", &manifest),
        ("Cargo.lock", &lock),
        ("src/lib.rs", SOURCE),
        ("server.toml", server),
    ])
}

/// Replaces text in the plugin's source like an editor does: writes a new file and renames it over the old
/// one.
pub(crate) fn edit(folder: &Path, from: &str, to: &str) {
    let path = folder.join("src/lib.rs");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    save(&path, &text.replace(from, to));
}

#[test]
fn an_edit_is_live_and_a_broken_one_changes_nothing() {
    let folder = crate_folder("edited");
    let mut serving = Serving::start(folder.path(), &["--reload"]);
    assert_eq!(get(&serving, "/"), "first");

    edit(folder.path(), "\"first\"", "\"second\"");
    assert_eq!(serving.wait_for("reloading")["reason"], "files");
    let reloaded = serving.wait_for("reloaded");
    assert_eq!(reloaded["generation"], 2);
    assert_eq!(get(&serving, "/"), "second");
    let (ms, cargo) = (reloaded["ms"].as_u64().unwrap(), reloaded["cargo_ms"].as_u64().unwrap());
    eprintln!("edit to live: {ms} ms, of it building {cargo} ms");
    assert_eq!(get(&serving, "/generations"), "12", "the state came along");

    edit(folder.path(), "\"second\"", "no_such_name");
    let failed = serving.wait_for("reload_failed");
    assert_eq!(failed["generation"], 2);
    let error = &failed["errors"][0];
    assert!(error["message"].as_str().unwrap().contains("does not build"), "{error}");
    assert!(error["output"].as_str().unwrap().contains("no_such_name"), "{error}");
    assert_eq!(get(&serving, "/"), "second");

    edit(folder.path(), "no_such_name", "\"third\"");
    assert_eq!(serving.wait_for("reloaded")["generation"], 3);
    assert_eq!(get(&serving, "/"), "third");
    assert_eq!(serving.stop(), Some(0));

    // Built and known to be up to date, so cargo does not run.
    let mut again = Serving::launch({
        let mut command = crate::support::paster();
        command.args(["serve", "--json", "--reload"]).current_dir(folder.path());
        command.env("CARGO", "/nonexistent/cargo");
        command
    });
    again.wait_for("ready");
    assert_eq!(get(&again, "/"), "third");
}

#[test]
fn what_cargo_knows_to_be_old_is_built_again() {
    let folder = crate_folder("tracked");
    edit(
        folder.path(),
        "async { \"first\" }",
        "async { option_env!(\"PASTER_TEST_WORD\").unwrap_or(\"none\") }",
    );
    let start = |word: Option<&str>| {
        let mut command = crate::support::paster();
        command.args(["serve", "--json", "--reload"]).current_dir(folder.path());
        command.envs(word.map(|word| ("PASTER_TEST_WORD", word)));
        Serving::spawn(command)
    };
    assert_eq!(get(&start(None), "/"), "none");
    assert_eq!(get(&start(Some("one")), "/"), "one", "a variable that sources read is set");
    let mut serving = start(Some("two"));
    assert_eq!(get(&serving, "/"), "two", "it has another value");

    // Without directives, a build script depends on all files of its crate.
    let script = "fn main() {\n    let word = std::fs::read_to_string(\"word.txt\").unwrap_or_default();\n    \
                  println!(\"cargo::rustc-env=PASTER_TEST_WORD=script{word}\");\n}\n";
    save(&folder.path().join("build.rs"), script);
    assert_eq!(serving.wait_for("reloaded")["generation"], 2);
    assert_eq!(get(&serving, "/"), "script", "there is a build script now");
    save(&folder.path().join("word.txt"), " and file");
    assert_eq!(serving.wait_for("reloaded")["generation"], 3);
    assert_eq!(get(&serving, "/"), "script and file");
}

#[test]
fn cargo_runs_in_the_folder_of_the_crate() {
    let folder = crate_folder("configured");
    edit(folder.path(), "async { \"first\" }", "async { env!(\"PASTER_TEST_WORD\") }");
    let config = folder.path().join(".cargo/config.toml");
    std::fs::create_dir(config.parent().unwrap()).unwrap();
    std::fs::write(&config, "[env]\nPASTER_TEST_WORD = \"one\"\n").unwrap();
    let file = folder.path().join("server.toml");
    let elsewhere = tempfile::tempdir().unwrap();
    let start = || Serving::start(elsewhere.path(), &["--reload", file.to_str().unwrap()]);
    assert_eq!(get(&start(), "/"), "one");
    std::fs::write(&config, "[env]\nPASTER_TEST_WORD = \"two\"\n").unwrap();
    assert_eq!(get(&start(), "/"), "two");
}

/// `cargo run` sets `OUT_DIR` and more for the program that it runs. The build script of `ring` is one of those that cargo runs
/// again when such a variable changes.
#[test]
fn variables_of_cargo_run_do_not_reach_the_build_of_a_plugin() {
    let folder = crate_folder("configured");
    let script = "fn main() {
        println!(\"cargo::rerun-if-env-changed=OUT_DIR\");
        println!(\"cargo::rerun-if-env-changed=CARGO_PKG_NAME\");
        let runs = std::fs::OpenOptions::new().append(true).create(true).open(\"runs\").unwrap();
        std::io::Write::write_all(&mut &runs, b\"+\").unwrap();
    }";
    std::fs::write(folder.path().join("build.rs"), script).unwrap();
    let start = |variables: &[(&str, &str)]| {
        let mut command = crate::support::paster();
        command.args(["serve", "--json", "--reload"]).current_dir(folder.path());
        command.env_remove("OUT_DIR").env_remove("CARGO_PKG_NAME").envs(variables.iter().copied());
        get(&Serving::spawn(command), "/")
    };
    start(&[]);
    edit(folder.path(), "async { \"first\" }", "async { \"second\" }");
    assert_eq!(start(&[("OUT_DIR", "/elsewhere"), ("CARGO_PKG_NAME", "paster")]), "second");
    assert_eq!(std::fs::read_to_string(folder.path().join("runs")).unwrap(), "+");
}

/// The error about a crate that is not a plugin shows that its library was found.
#[test]
fn a_library_is_found_where_the_config_of_cargo_puts_it() {
    let output = std::process::Command::new("rustc").args(["--print", "host-tuple"]).output().unwrap();
    let host = String::from_utf8(output.stdout).unwrap();
    let config = format!("[build]\ntarget-dir = \"out\"\ntarget = [{:?}]\n", host.trim());
    let manifest =
        "[package]\nname = \"placed\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n[workspace]\n";
    let server = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"plugin\"\ncrate = \"app\"\n";
    let folder = folder(&[
        ("server.toml", server),
        ("app/Cargo.toml", manifest),
        ("app/src/lib.rs", ""),
        ("app/.cargo/config.toml", &config),
    ]);
    let mut command = crate::support::paster();
    command.args(["serve", "--json", "--reload"]).current_dir(folder.path()).env_remove("CARGO_TARGET_DIR");
    let mut serving = Serving::launch(command);
    let failed = serving.wait_for("reload_failed").to_string();
    assert!(failed.contains("it has no symbol `PASTER_PLUGIN`"), "{failed}");
    let shown = folder.path().canonicalize().unwrap().join("app");
    assert!(failed.contains(&format!("cannot load the plugin `{}`", shown.display())), "{failed}");
    assert!(folder.path().join("app/out/paster").join(host.trim()).is_dir());
}

#[test]
fn a_start_that_does_not_build_waits_for_the_mending() {
    let folder = crate_folder("unbuilt");
    edit(folder.path(), "\"first\"", "no_such_name");
    let mut command = crate::support::paster();
    command.args(["serve", "--json", "--reload"]).current_dir(folder.path());
    let mut serving = Serving::launch(command);
    let failed = serving.wait_for("reload_failed");
    assert_eq!(failed["generation"], 0);
    let page = Connection::open(serving.address()).get("/");
    assert!(page.0.starts_with("HTTP/1.1 503 "), "{}", page.0);
    assert!(page.1.contains("no_such_name"), "{}", page.1);
    edit(folder.path(), "no_such_name", "\"mended\"");
    assert_eq!(serving.wait_for("ready")["generation"], 1);
    assert_eq!(get(&serving, "/"), "mended");
}

#[test]
fn what_does_not_build_and_what_does_not_load_is_told_together() {
    let folder = crate_folder("together");
    edit(folder.path(), "\"first\"", "no_such_name");
    std::fs::write(folder.path().join("cut.so"), b"\x7fELF").unwrap();
    let config = std::fs::read_to_string(folder.path().join("server.toml")).unwrap()
        + &format!(
            "[app.cut]\nuse = \"plugin\"\nlibrary = \"cut.so\"\n[app.other]\nuse = \"respnd\"\n\
             [app.set]\nuse = \"plugin\"\nlibrary = {:?}\nsettings = {{ no_such_setting = 1 }}\n",
            plugin("faulty")
        );
    std::fs::write(folder.path().join("server.toml"), config).unwrap();
    let mut command = crate::support::paster();
    command.args(["serve", "--json"]).current_dir(folder.path());
    let mut serving = Serving::launch(command);
    let failed = serving.wait_for("failed");
    let of = |word: &str| {
        let errors = failed["errors"].as_array().unwrap().iter();
        errors.filter(|error| error.to_string().contains(word)).count()
    };
    let all = ["no_such_name", "the library is truncated", "respnd", "no_such_setting"].map(of);
    assert_eq!((all, failed["errors"].as_array().unwrap().len()), ([1, 1, 1, 1], 4), "{failed}");
    assert_eq!(serving.end(), Some(78));
}

const HELLO: &str = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\
                     [app.main]\nuse = \"respond\"\nbody = \"hello\"\n";

#[test]
fn config_files_and_their_includes_are_watched() {
    let folder = folder(&[
        (
            "server.toml",
            &format!("include = [\"conf/more.toml\", \"local.toml?\"]\n[process]\nreload = true\n{HELLO}"),
        ),
        ("conf/more.toml", ""),
    ]);
    let mut serving = Serving::start(folder.path(), &[]);
    let address = serving.address().to_owned();
    let file = |name: &str, text: &str| save(&folder.path().join(name), text);
    file("local.toml", "[middleware.lowercase]\nuse = \"lowercase\"\n");
    assert_eq!(serving.wait_for("reloading")["reason"], "config");
    assert_eq!(serving.wait_for("reloaded")["generation"], 2);
    file("conf/more.toml", "[app.other]\nuse = \"respnd\"\n");
    assert_eq!(serving.wait_for("reload_failed")["generation"], 2);
    // And one that cannot even be read.
    file("conf/more.toml", "[app.other\n");
    assert_eq!(serving.wait_for("reload_failed")["generation"], 2);
    file("conf/more.toml", "[app.other]\nuse = \"respond\"\nbody = \"${file:words.txt}\"\n");
    assert_eq!(serving.wait_for("reload_failed")["generation"], 2);
    file("conf/words.txt", "words");
    assert_eq!(serving.wait_for("reloaded")["generation"], 3);
    assert_eq!(Connection::open(&address).get("/").1, "hello");
}

#[test]
fn files_that_are_written_while_it_runs_make_no_generation() {
    let folder = crate_folder("written");
    let at = |name: &str| folder.path().join(name);
    let config = std::fs::read_to_string(at("server.toml")).unwrap()
        + "middleware = [\"log\"]\n[middleware.log]\nuse = \"access_log\"\nfile = \"access.log\"\n\
           [app.pages]\nuse = \"static\"\npublish_dir = \"pages\"\n";
    std::fs::write(at("server.toml"), config).unwrap();
    std::fs::create_dir(at("pages")).unwrap();
    let mut serving = Serving::start(folder.path(), &["--reload"]);
    let mut stream = crate::live::events(&serving);
    let mut told = crate::live::next(&mut stream, "serving").unwrap();
    for round in 0..3 {
        get(&serving, "/");
        std::fs::write(at("data.db"), format!("row {round}")).unwrap();
        std::fs::write(at("state.toml"), format!("round = {round}")).unwrap();
        // The refresh of a page shows that everything before it was checked.
        save(&at("pages/index.html"), &round.to_string());
        let next = crate::live::next(&mut stream, "serving").unwrap();
        assert_ne!(next, told, "the page is refreshed");
        told = next;
    }
    assert!(at("access.log").is_file());
    edit(folder.path(), "\"first\"", "\"second\"");
    assert_eq!(serving.wait_for("reloaded")["generation"], 2, "nothing else has made a generation");
    assert_eq!(get(&serving, "/"), "second");

    // The inputs of a library count wherever they are.
    let elsewhere = crate::support::folder(&[("words.txt", "third")]);
    let words = elsewhere.path().join("words.txt");
    edit(folder.path(), "\"second\"", &format!("include_str!({words:?})"));
    assert_eq!(serving.wait_for("reloaded")["generation"], 3);
    save(&words, "fourth");
    assert_eq!(serving.wait_for("reloaded")["generation"], 4);
    assert_eq!(get(&serving, "/"), "fourth");
}

#[test]
fn a_config_map_that_is_swapped_is_taken() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // As Kubernetes does it: a new folder, then a link to it replaces `..data`, then the old folder is
    // removed.
    let place = |version: &str, body: &str| {
        std::fs::create_dir(at(version)).unwrap();
        std::fs::write(at(version).join("server.toml"), HELLO.replace("hello", body)).unwrap();
        symlink(version, at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    place("..one", "one");
    symlink("..data/server.toml", at("server.toml")).unwrap();
    let mut serving = Serving::start(folder.path(), &["--reload"]);
    let address = serving.address().to_owned();
    for (version, body, generation) in [("..two", "two", 2), ("..three", "three", 3)] {
        let old = std::fs::read_link(at("..data")).unwrap();
        place(version, body);
        std::fs::remove_dir_all(at("").join(old)).unwrap();
        assert_eq!(serving.wait_for("reloaded")["generation"], generation);
        assert_eq!(Connection::open(&address).get("/").1, body);
    }
}

#[test]
fn a_file_that_an_app_reads_once_makes_a_generation() {
    let config = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"respond\"\n\
                  file = \"pages/one.txt\"\n";
    let folder = folder(&[("server.toml", config), ("pages/one.txt", "one")]);
    let mut serving = Serving::start(folder.path(), &["--reload"]);
    save(&folder.path().join("pages/one.txt"), "two");
    assert_eq!(serving.wait_for("reloaded")["generation"], 2);
    assert_eq!(get(&serving, "/"), "two");
}

/// The inotify limits belong to a user namespace.
#[test]
fn a_limit_of_inotify_is_named_and_what_serves_serves_on() {
    for (limit, setting) in [
        ("max_inotify_watches", "fs.inotify.max_user_watches"),
        ("max_inotify_instances", "fs.inotify.max_user_instances"),
    ] {
        let folder = folder(&[("server.toml", HELLO)]);
        let mut command = std::process::Command::new("unshare");
        let script = format!("echo 0 > /proc/sys/user/{limit} && exec \"$0\" serve --json --reload");
        command.args(["--user", "--map-root-user", "sh", "-c", &script, env!("CARGO_BIN_EXE_paster")]);
        command.current_dir(folder.path()).env("XDG_RUNTIME_DIR", folder.path());
        let mut serving = Serving::launch(command);
        let message = |warning: &Value| warning["message"].as_str().unwrap().to_owned();
        let warning = serving.wait_for_one("warning", |warning| message(warning).contains("cannot watch"));
        let warning = message(&warning);
        assert!(warning.contains("inotify") && warning.contains(setting), "{warning}");
        serving.wait_for("ready");
        assert_eq!(get(&serving, "/"), "hello");
    }
}

#[test]
fn a_start_that_hangs_is_given_up_when_the_files_change() {
    let config = |settings: &str| {
        format!(
            "[process]\nstart_secs = 3600\n[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\
             [app.main]\nuse = \"plugin\"\nlibrary = {:?}\nsettings = {{ {settings} }}\n",
            plugin("faulty")
        )
    };
    let folder = folder(&[("server.toml", &config("create = \"hang\""))]);
    let path = folder.path().join("server.toml");
    let mut command = crate::support::paster();
    command.args(["serve", "--json", "--reload"]).current_dir(folder.path());
    let mut serving = Serving::launch(command);
    wait_until("the first worker is being started", || serving.children().len() == 1);
    save(&path, &config(""));
    assert_eq!(serving.wait_for("ready")["generation"], 1);
    assert_eq!(get(&serving, "/pending").trim(), "head 0 head 1 head 2");

    save(&path, &config("create = \"hang\""));
    serving.wait_for("reloading");
    wait_until("the next worker is being started", || serving.children().len() == 2);
    // Changes to other files have no effect.
    std::fs::write(folder.path().join("other.toml"), "").unwrap();
    save(&path, &config("healthy = true"));
    assert_eq!(serving.wait_for("reloaded")["generation"], 2);
    wait_until("the worker that hung is gone", || serving.children().len() == 1);
}

#[test]
fn a_rebuilt_library_is_taken_and_a_touched_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libapp.so");
    let place = |name: &str| {
        std::fs::copy(plugin(name), folder.path().join("new")).unwrap();
        std::fs::rename(folder.path().join("new"), &library).unwrap();
    };
    place("hello");
    let text = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"plugin\"\nlibrary = \"libapp.so\"\n";
    std::fs::write(folder.path().join("server.toml"), text).unwrap();
    let mut serving = Serving::start(folder.path(), &["--reload"]);
    assert_eq!(get(&serving, "/"), "Hello, world!");
    place("faulty");
    assert_eq!(serving.wait_for("reloaded")["generation"], 2);
    assert_eq!(get(&serving, "/pending").trim(), "head 0 head 1 head 2");
    // Rewritten with the same content: that starts nothing, so the next event belongs to the last change.
    place("faulty");
    place("hello");
    assert_eq!(serving.wait_for("reloaded")["generation"], 3);
    assert_eq!(get(&serving, "/"), "Hello, world!");
    wait_until("old workers are gone", || serving.children().len() == 1);
}

#[test]
fn front_end_steps_run_when_their_inputs_are_newer() {
    let folder = crate_folder("stepped");
    let manifest = folder.path().join("Cargo.toml");
    let steps = r#"
[[package.metadata.paster.build]]
run = ["sh", "-c", "cat in.txt > out.txt; echo run >> runs.log"]
dir = "web"
inputs = ["in.txt"]
outputs = ["out.txt", "runs.log"]
[[package.metadata.paster.build]]
run = ["no-such-program"]
outputs = ["never"]
needs = "no-such-program"
without = "no such program here: served without it"
"#;
    let text = std::fs::read_to_string(&manifest)
        .unwrap()
        .replace("[workspace]\n", &format!("[workspace]\n{steps}"));
    std::fs::write(&manifest, text).unwrap();
    std::fs::create_dir(folder.path().join("web")).unwrap();
    std::fs::write(folder.path().join("web/in.txt"), "one").unwrap();
    edit(folder.path(), "async { \"first\" }", "async { include_str!(\"../web/out.txt\") }");
    let mut serving = Serving::launch({
        let mut command = crate::support::paster();
        command.args(["serve", "--json", "--reload"]).current_dir(folder.path());
        command
    });
    let warning = serving.wait_for("warning");
    assert_eq!(warning["message"], "no such program here: served without it");
    serving.wait_for("ready");
    assert_eq!(get(&serving, "/"), "one");
    save(&folder.path().join("web/in.txt"), "two");
    assert_eq!(serving.wait_for("reloaded")["generation"], 2);
    assert_eq!(get(&serving, "/"), "two");
    edit(folder.path(), "<h1>page</h1>", "<h1>changed</h1>");
    assert_eq!(serving.wait_for("reloaded")["generation"], 3, "nothing else has made a generation");
    let runs = std::fs::read_to_string(folder.path().join("web/runs.log")).unwrap();
    assert_eq!(runs, "run\nrun\n", "the step ran for its own inputs only");
}

#[test]
fn changes_are_left_alone_once_the_config_says_so() {
    let config = |reload: bool, body: &str| {
        format!(
            "[process]\nreload = {reload}\n[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\
             [app.main]\nuse = \"respond\"\nbody = {body:?}\n"
        )
    };
    let folder = folder(&[("server.toml", &config(true, "1"))]);
    let path = folder.path().join("server.toml");
    let mut serving = Serving::start(folder.path(), &[]);
    save(&path, &config(false, "2"));
    assert_eq!(serving.wait_for("reloaded")["generation"], 2);
    for generation in 3..=12 {
        save(&path, &config(false, &generation.to_string()));
        serving.signal("HUP");
        assert_eq!(serving.wait_for("reloading")["reason"], "hup");
        assert_eq!(serving.wait_for("reloaded")["generation"], generation);
    }
    save(&path, &config(true, "13"));
    serving.signal("HUP");
    assert_eq!(serving.wait_for("reloaded")["generation"], 13);
    save(&path, &config(true, "14"));
    assert_eq!(serving.wait_for("reloading")["reason"], "config");
    assert_eq!(serving.wait_for("reloaded")["generation"], 14);
}

/// A plugin whose calls never return does not hold up the connections and states of other apps, or the end of
/// a process.
#[test]
fn a_plugin_that_blocks_in_the_hosts_calls_holds_up_nobody_else() {
    let library = plugin("faulty");
    let text = format!(
        "[process]\ndrain_secs = 600\ngrace_secs = 600\n[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\
         [app.main]\nuse = \"mount\"\nroutes = {{ \"/\" = \"good\", \"/bad\" = \"bad\", \"/worse\" = \"worse\" }}\n\
         [app.good]\nuse = \"plugin\"\nlibrary = {library:?}\n\
         [app.bad]\nuse = \"plugin\"\nlibrary = {library:?}\n\
         [app.bad.settings]\nblocks = [\"save_state\", \"retire\", \"shutdown\"]\n\
         [app.worse]\nuse = \"plugin\"\nlibrary = {library:?}\n\
         [app.worse.settings]\nblocks = [\"destroy\"]\n"
    );
    let folder = folder(&[("server.toml", &text)]);
    let mut serving = Serving::start(folder.path(), &[]);
    let mut kept: Vec<_> = (0..3).map(|_| Connection::open(serving.address())).collect();
    kept.iter_mut().for_each(|connection| drop(connection.get("/bad/pid")));
    let old = serving.children()[0];
    serving.signal("HUP");
    serving.wait_for("reloaded");
    for connection in &mut kept {
        let about: Value = serde_json::from_str(&connection.get("/host").1).unwrap();
        assert_eq!((&about["generation"], &about["saved"]), (&2.into(), &"saved by generation 1".into()));
    }
    let about: Value = serde_json::from_str(&get(&serving, "/bad/host")).unwrap();
    assert_eq!(about["saved"], Value::Null, "it has not saved in time");
    wait_until("the old worker has ended", || !runs(old));
    drop(kept);
    assert_eq!(serving.stop(), Some(0));
    for call in ["save_state", "retire", "shutdown", "destroy"] {
        let warning = format!("the plugin's `{call}` has not returned within 4 s");
        assert!(serving.stderr().contains(&warning), "{call}: {}", serving.stderr());
    }
}
