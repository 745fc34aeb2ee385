//! Generations that cannot start: the old one keeps serving, with one clear message each.

use std::path::Path;

use crate::libraries::compile;
use crate::support::{Serving, get, paster, plugin, wait_until};

/// A folder whose server serves `hello` as a plugin.
struct Ground {
    folder: tempfile::TempDir,
    serving: Serving,
}

/// Generations that never start get two seconds, the others as long as they need.
fn config(library: &Path, settings: &str) -> String {
    let hangs = settings.contains("hang") || library.ends_with("libstuck.so");
    let start_secs = if hangs { 2 } else { 3600 };
    format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[process]\nstart_secs = {start_secs}\n\
         [app.main]\nuse = \"plugin\"\nlibrary = {library:?}\n[app.main.settings]\n{settings}\n"
    )
}

impl Ground {
    fn new() -> Ground {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("server.toml"), config(&plugin("hello"), "")).unwrap();
        let serving = Serving::start(folder.path(), &[]);
        Ground { folder, serving }
    }

    /// Reloads with a config that must fail with `words`, and checks that nothing else has changed.
    fn check(&mut self, library: &Path, settings: &str, words: &[&str]) {
        let text = config(library, settings);
        std::fs::write(self.folder.path().join("server.toml"), text).unwrap();
        self.serving.signal("HUP");
        let failed = self.serving.wait_for("reload_failed");
        assert_eq!(failed["generation"], 1);
        let errors = failed["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "one message: {failed}");
        let text = errors[0].to_string();
        for word in words {
            assert!(text.contains(word), "`{word}` is not in {text}");
        }
        assert!(!text.contains("/libraries/"), "the private copy is named in {text}");
        assert_eq!(get(&self.serving, "/"), "Hello, world!");
        let serving = &self.serving;
        wait_until("the failed worker is gone", || serving.children().len() == 1);
    }
}

#[test]
fn every_way_to_fail_leaves_the_old_generation() {
    let mut ground = Ground::new();
    let folder = tempfile::tempdir().unwrap();
    let faulty = plugin("faulty");
    ground.check(&faulty, "create = \"panic\"", &["no luck today"]);
    ground.check(&faulty, "create = \"fail\"", &["the store is not there"]);
    ground.check(&faulty, "healthy = false", &["app `main` is not healthy", "the store is gone"]);
    ground.check(&faulty, "unknown = 1", &["unknown"]);

    let table = |version: &str, size: &str| {
        format!(
            "#include \"paster.h\"\nPASTER_EXPORT const PasterPlugin PASTER_PLUGIN = {{ .abi_version = {version},\n\
             .size_bytes = {size}, .name = PASTER_TEXT(\"c\") }};"
        )
    };
    let newer = compile(folder.path(), "newer", &table("PASTER_ABI_VERSION + 1", "sizeof(PasterPlugin)"));
    ground.check(&newer, "", &["version 2 of the plugin ABI", "uses version 1", "update paster, or rebuild"]);
    let small = compile(folder.path(), "small", &table("PASTER_ABI_VERSION", "24"));
    ground.check(&small, "", &["its plugin table has 24 bytes", "rebuild the plugin"]);
    let lacking = compile(folder.path(), "lacking", &table("PASTER_ABI_VERSION", "sizeof(PasterPlugin)"));
    ground.check(&lacking, "", &["its plugin table lacks `create`, `call` or `call_middleware`, `destroy`"]);
    let unresolved =
        compile(folder.path(), "unresolved", "void nowhere(void); void paster(void) { nowhere(); }");
    let named = unresolved.display().to_string();
    ground.check(&unresolved, "", &["cannot load the plugin", "undefined symbol: nowhere", &named]);

    let truncated = folder.path().join("libtruncated.so");
    let whole = std::fs::read(plugin("hello")).unwrap();
    std::fs::write(&truncated, &whole[..whole.len() / 2]).unwrap();
    ground.check(&truncated, "", &["truncated"]);
    ground.check(&folder.path().join("absent.so"), "", &["absent.so` does not exist"]);

    let empty = compile(folder.path(), "empty", "int nothing;");
    ground.check(&empty, "", &["it is not a paster plugin: it has no symbol `PASTER_PLUGIN`"]);
    let dies = compile(
        folder.path(),
        "dies",
        "#include <stdlib.h>\n__attribute__((constructor)) static void die(void) { abort(); }",
    );
    let loading = |library: &Path| format!("loading the plugin `{}` of the app `main`", library.display());
    ground.check(&dies, "", &["crashed while starting", "SIGABRT", &loading(&dies)]);
    let stuck = compile(
        folder.path(),
        "stuck",
        "#include <unistd.h>\n__attribute__((constructor)) static void wait(void) { for (;;) pause(); }",
    );
    ground.check(&stuck, "", &["not ready within 2 s", &loading(&stuck)]);
    let creating = "creating the app `main` of the plugin `faulty`";
    ground.check(&faulty, "create = \"hang\"", &["not ready within 2 s", creating]);

    // And none of them left anything behind that keeps the next one from starting.
    let text = config(&plugin("hello"), "greeting = \"mended\"");
    std::fs::write(ground.folder.path().join("server.toml"), text).unwrap();
    ground.serving.signal("HUP");
    assert_eq!(ground.serving.wait_for("reloaded")["generation"], 2);
    assert_eq!(get(&ground.serving, "/"), "mended");
    assert_eq!(ground.serving.stop(), Some(0));
}

#[test]
fn a_start_that_fails_ends_with_the_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("server.toml"), config(&plugin("faulty"), "create = \"panic\""))
        .unwrap();
    let mut command = paster();
    command.arg("serve").current_dir(folder.path());
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("no luck today"), "{stderr}");
}

/// Before there is an old generation, a crash ends the program, with an error that names the app and the plugin.
#[test]
fn a_first_start_that_crashes_ends_with_the_app_and_the_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let dies = compile(
        folder.path(),
        "dies",
        "#include <stdlib.h>\n__attribute__((constructor)) static void die(void) { abort(); }",
    );
    let faulty = plugin("faulty");
    let creating = "the last step was creating the app `main` of the plugin `faulty`".to_owned();
    let loading = format!("the last step was loading the plugin `{}` of the app `main`", dies.display());
    for (library, settings, how, step) in [
        (&dies, "", "signal: 6 (SIGABRT)", &loading),
        (&faulty, "create = \"abort\"", "signal: 6 (SIGABRT)", &creating),
        (&faulty, "create = \"exit\"", "exit status: 0", &creating),
    ] {
        // Only once, however many workers there are.
        let text = config(library, settings).replace("[process]\n", "[process]\nworkers = 3\n");
        std::fs::write(folder.path().join("server.toml"), text).unwrap();
        let output = paster().arg("serve").current_dir(folder.path()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let message = format!("error: the new worker crashed while starting ({how})");
        assert_eq!(stderr.matches(&message).count(), 1, "{stderr}");
        assert!(stderr.contains(step), "{stderr}");
    }
}
