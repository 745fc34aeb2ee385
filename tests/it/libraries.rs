//! Plugin libraries: their info, what is refused and why, private copies, side processes.

use std::path::{Path, PathBuf};

use paster::context::Context;
use paster::plugin::{Instance, Library};
use serde_json::{Value, json};

use crate::border::library;
use crate::support::{plugin, root};

/// The errors of an app of kind `plugin`, one per line, each with its helps.
fn create_fault(name: &str, settings: Value) -> String {
    let library = library(name);
    fault(Instance::create(&library, "main", &settings, &Context::alone(true)).unwrap_err())
}

fn fault(errors: paster::error::Errors) -> String {
    let line = |error: paster::error::Error| {
        let cause = error.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause} ({})", error.helps.join("; "))
    };
    errors.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_create_that_fails_says_why() {
    let check = |settings, expected: &str| assert_eq!(create_fault("faulty", settings), expected);
    let prefix = "the plugin `faulty` did not create the app `main`";
    check(json!({ "create": "fail" }), &format!("{prefix}: the store is not there ()"));
    check(json!({ "create": "panic" }), &format!("{prefix}: panicked: no luck today ()"));
    check(
        json!({ "healty": true }),
        &format!(
            "{prefix}: settings: unknown field `healty`, expected one of `create`, `healthy`, `unwell_file`, `blocks`, `helper_file`, `announce` at line 1 column 9 ()"
        ),
    );
}

fn load_fault(path: &Path) -> String {
    fault(Library::load(path).err().expect("it does not load")).replace(path.to_str().unwrap(), "FILE")
}

/// Compiles a C source to a library in `folder`.
pub(crate) fn compile(folder: &Path, name: &str, source: &str) -> PathBuf {
    let (file, library) = (folder.join(format!("{name}.c")), folder.join(format!("lib{name}.so")));
    std::fs::write(&file, source).unwrap();
    let mut command = std::process::Command::new("cc");
    command.args(["-shared", "-fPIC", "-I"]).arg(root().join("plugins/paster-abi/include"));
    assert!(command.arg("-o").arg(&library).arg(&file).status().unwrap().success());
    library
}

#[test]
fn what_is_no_plugin_is_refused_with_one_clear_message() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let whole = std::fs::read(plugin("hello")).unwrap();
    let mut foreign = whole.clone();
    foreign[18] = if cfg!(target_arch = "x86_64") { 183 } else { 62 };
    let other = if cfg!(target_arch = "x86_64") { "aarch64" } else { "x86_64" };
    let arch = std::env::consts::ARCH;
    let table = |version: &str, size: &str, functions: &str| {
        format!(
            "#include \"paster.h\"\n\
             static PasterExchange *call(void *app, const PasterRequest *request) {{ return 0; }}\n\
             static void destroy(void *app) {{}}\n\
             PASTER_EXPORT const PasterPlugin PASTER_PLUGIN = {{ .abi_version = {version}, .size_bytes = {size},\n\
             .name = PASTER_TEXT(\"c\"), .call = call, {functions} }};"
        )
    };
    let compile = |name: &str, source: &str| compile(folder.path(), name, source);
    let version = env!("CARGO_PKG_VERSION");
    let size = paster_abi::Plugin::SMALLEST_BYTES;
    let truncated = "the library is truncated (build it again)";
    for (path, expected) in [
        (file("empty.so", b""), "the file is empty (set the library that cargo or cc built: `lib….so`)".into()),
        (
            file("text.so", b"#!/bin/sh\n"),
            "it is not a shared library (no ELF header) (set the library that cargo or cc built: `lib….so`)"
                .into(),
        ),
        (
            PathBuf::from(env!("CARGO_BIN_EXE_paster")),
            String::from("it has no symbol `PASTER_PLUGIN`"),
        ),
        (file("head.so", &whole[..40]), truncated.into()),
        (file("half.so", &whole[..whole.len() / 2]), truncated.into()),
        (file("nearly.so", &whole[..whole.len() - 1]), truncated.into()),
        (
            file("foreign.so", &foreign),
            format!("the library is for {other}, but this paster runs on {arch} (build it for this machine's target)"),
        ),
        (
            compile("none", "int other = 1;"),
            "it is not a paster plugin: it has no symbol `PASTER_PLUGIN` (in Rust, `paster_sdk::plugin!` exports it; \
             in C, `PASTER_EXPORT const PasterPlugin`)"
                .into(),
        ),
        (
            compile("newer", &table("PASTER_ABI_VERSION + 1", "sizeof(PasterPlugin)", "")),
            format!(
                "it was built for version 2 of the plugin ABI, but this paster {version} uses version 1 (update paster, \
                 or rebuild the plugin with the paster-sdk (or paster.h) of this version)"
            ),
        ),
        (
            compile("older", &table("PASTER_ABI_VERSION - 1", "sizeof(PasterPlugin)", "")),
            format!(
                "it was built for version 0 of the plugin ABI, but this paster {version} uses version 1 (rebuild the \
                 plugin with the paster-sdk (or paster.h) of this paster)"
            ),
        ),
        (
            compile("small", &table("PASTER_ABI_VERSION", "24", "")),
            format!(
                "its plugin table has 24 bytes, but version 1 of the ABI needs at least {size} (set `size_bytes` to \
                 `sizeof(PasterPlugin)` and rebuild the plugin)"
            ),
        ),
        (
            compile("lacking", &table("PASTER_ABI_VERSION", "sizeof(PasterPlugin)", ".destroy = destroy")),
            "its plugin table lacks `create` ()".into(),
        ),
        (
            compile(
                "idle",
                &table("PASTER_ABI_VERSION", "sizeof(PasterPlugin)", ".destroy = destroy")
                    .replace(".call = call,", "")
                    .replace("static PasterExchange *call", "PasterExchange *call"),
            ),
            "its plugin table lacks `create`, `call` or `call_middleware` ()".into(),
        ),
    ] {
        let fault = load_fault(&path);
        if path.ends_with("paster") {
            // A program may be position independent. The loader refuses that with its own message.
            assert!(fault.starts_with("cannot load the plugin `FILE`: "), "{fault}");
            continue;
        }
        assert_eq!(fault, format!("cannot load the plugin `FILE`: {expected}"));
    }
    let missing = load_fault(&folder.path().join("missing.so"));
    assert!(missing.starts_with("cannot read the library `FILE`: No such file"), "{missing}");
}

#[test]
fn a_copy_is_named_by_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let copies = folder.path().join("copies");
    let source = plugin("hello");
    let copy = paster::plugin::copy_by_hash(&source, &copies).unwrap();
    assert_eq!(copy, paster::plugin::copy_by_hash(&source, &copies).unwrap());
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(&source).unwrap());
    assert!(copy.file_name().unwrap().to_str().unwrap().starts_with("libhello-"));
    assert_eq!(Library::load(&copy).unwrap().info().name, "hello");
    let half = folder.path().join("libhalf.so");
    std::fs::write(&half, &std::fs::read(&source).unwrap()[..100_000]).unwrap();
    let error = paster::plugin::copy_by_hash(&half, &copies).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot load the plugin `{}`", half.display()));
    assert_eq!(std::fs::read_dir(&copies).unwrap().count(), 1);
}

#[test]
fn a_side_process_gets_its_socket() {
    use std::io::{Read, Write};
    let library = library("faulty");
    assert_eq!(library.info().side_processes, ["echo"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("side.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let side = std::thread::spawn(move || library.run_side("echo", listener.into()));
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.write_all(b"over there").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    assert_eq!((back.as_str(), side.join().unwrap().unwrap()), ("over there", 7));
}

#[test]
fn inspect_prints_what_a_plugin_says() {
    let output = crate::support::paster().args(["plugin", "inspect"]).arg(plugin("faulty")).output().unwrap();
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap(), @r#"
    faulty 0.1.0
      ABI             version 1, table of 152 bytes
      functions       settings_schema, create, call, health, save_state, retire, shutdown, destroy, list_tasks, run_task, run_side
      side processes  echo
      settings
        create       one of "work", "fail", "panic", "abort", "exit", "hang"  optional      What `create` does.
        healthy      boolean                                                  default true  Whether the health probe succeeds.
        unwell_file  string or null                                           optional      While this file is there the health probe fails, with its text.
        blocks       list                                                     default []    Which of the host's calls never return: `save_state`, `retire`, `shutdown`, `destroy`.
        helper_file  string or null                                           optional      Where `create` writes the process id of a program that it starts and leaves alone.
        announce     string or null                                           optional      The path that it names for a person to open.
    "#);
    let output =
        crate::support::paster().args(["plugin", "inspect", "--json"]).arg(plugin("hello")).output().unwrap();
    let info: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(info["name"], "hello");
    assert_eq!(info["settings_schema"]["properties"]["greeting"]["type"], "string");
}

/// The kind `plugin` in a config: errors in its settings with their place, and what to do if nothing is
/// built.
#[test]
fn an_app_of_kind_plugin_is_made_from_its_table() {
    let library = plugin("faulty").display().to_string();
    let check = |table: &str, expected: &str| {
        let config = format!("[app.main]\nuse = \"plugin\"\n{table}\n");
        let folder = crate::support::folder(&[("server.toml", &config)]);
        let config = crate::local::load(folder.path()).unwrap();
        let made = paster::ops::assemble::assemble_apps(&config, &Context::alone(false), None);
        let faults = match made {
            Ok(assembly) => assembly.instances.iter().map(|made| format!("made {}", made.name())).collect(),
            Err(errors) => errors
                .into_iter()
                .map(|error| {
                    let line = error.origin.as_ref().map_or(0, |origin| origin.line);
                    let cause = error.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
                    format!("{line}: {error}{cause}")
                })
                .collect::<Vec<_>>(),
        };
        assert_eq!(faults.join("\n").replace(&library, "LIBRARY"), expected);
    };
    let library_is = format!("library = \"{library}\"");
    check(&library_is, "made main");
    check(&format!("{library_is}\nsettings.create = \"work\""), "made main");
    check("", "1: `[app.main]` names no plugin");
    check("crate = \".\"\nlibrary = \"x\"", "4: `crate` and `library` are both set");
    check("crate = \".\"", "3: the plugin of the app `main` is not built");
    check(
        &format!("{library_is}\nsettings.create = \"fail\""),
        "4: the plugin `faulty` did not create the app `main`: the store is not there",
    );
    check(
        &format!("{library_is}\nsettings = {{ healty = true, healthy = 3 }}"),
        "4: unknown key `healty` in `[app.main.settings]`\n4: `settings.healthy` must be `true` or `false`, not `3`",
    );
}
