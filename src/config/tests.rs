//! Tables as parts read them, and unusual configs.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{Config, ConfigPath, KeyPath, Sources, Table, item, join};
use crate::error::Errors;

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// How many. More than one sentence.
    count: u32,
    #[serde(default)]
    file: Option<ConfigPath>,
    #[serde(default)]
    files: Vec<ConfigPath>,
    #[serde(default)]
    form: Form,
    #[serde(default)]
    store: Option<Store>,
    #[serde(default)]
    on: bool,
}

#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Form {
    #[default]
    Short,
    Long,
    /// This comment makes schemars write another schema.
    VeryLong,
}

/// Tables that a key distinguishes.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Store {
    Memory { limit: u32 },
    File { directory: ConfigPath },
}

fn load(folder: &Path, text: &str) -> Config {
    std::fs::write(folder.join("server.toml"), text).unwrap();
    Config::load(&Sources { file: Some(folder.join("server.toml")), ..Sources::default() }).unwrap()
}

fn table(folder: &Path, text: &str) -> Table {
    load(folder, text).table("middleware", "x").unwrap()
}

/// The messages, places and helps of all errors.
fn said(errors: Errors) -> String {
    let one = |error: &crate::error::Error| {
        let origin = error.origin.as_ref().unwrap();
        let marked: String =
            origin.text.chars().skip(origin.mark as usize).take(origin.width as usize).collect();
        format!("{}:{} `{marked}` {}: {}", origin.line, origin.column, error.message, error.helps.join("; "))
    };
    errors.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn refused(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    said(table(folder.path(), text).options::<Options>().unwrap_err())
}

#[test]
fn paths_start_from_the_file_that_says_them() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("inner")).unwrap();
    let inner = "[middleware.x]\nfile = \"./a.txt\"\nfiles = [\"b\", \"/c\"]\n";
    std::fs::write(folder.path().join("inner/common.toml"), inner).unwrap();
    let text = "include = [\"inner/common.toml\"]\n[middleware.x]\nuse = \"k\"\ncount = 1\nstore = { kind = \"file\", directory = \"../d\" }\n";
    let options: Options = table(folder.path(), text).options().unwrap();
    let inner = folder.path().join("inner");
    assert_eq!(options.file.as_deref(), Some(&*inner.join("a.txt")));
    let files: Vec<PathBuf> = options.files.iter().map(|file| file.to_path_buf()).collect();
    assert_eq!(files, [inner.join("b"), PathBuf::from("/c")]);
    let Some(Store::File { directory }) = options.store else { panic!("{:?}", options.store) };
    assert_eq!(&*directory, folder.path().join("../d"));
}

#[test]
fn paths_outside_of_files_start_from_the_working_directory() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.toml");
    std::fs::write(&file, "[middleware.x]\nuse = \"k\"\ncount = 1\n").unwrap();
    let environment = vec![("PASTER_MIDDLEWARE__X__FILES".into(), "[\"b\", \"${here}/c\"]".into())];
    let overrides = vec!["middleware.x.file=a".into()];
    let sources = Sources { file: Some(file), environment, overrides, ..Sources::default() };
    let table = Config::load(&sources).unwrap().table("middleware", "x").unwrap();
    let options: Options = table.options().unwrap();
    let here = std::env::current_dir().unwrap();
    assert_eq!(options.file.as_deref(), Some(&*here.join("a")));
    let files: Vec<PathBuf> = options.files.iter().map(|file| file.to_path_buf()).collect();
    assert_eq!(files, [here.join("b"), here.join("c")]);
}

#[test]
fn all_faults_of_a_table() {
    let text = "[middleware.x]\nuse = \"k\"\ncuont = 1\nform = \"very-long\"\non = 1\nfiles = [\"a\", 2]\n";
    insta::assert_snapshot!(refused(text), @r#"
1:1 `[middleware.x]` missing key `count` in `[middleware.x]`: add `count = …`: How many
3:1 `cuont` unknown key `cuont` in `[middleware.x]`: did you mean `count`?
4:8 `"very-long"` unknown value `very-long` for `form`: did you mean `very_long`?
5:6 `1` `on` must be `true` or `false`, not `1`: 
6:15 `2` `files[1]` must be a string, not `2`: write it in quotes: `"2"`
"#);
}

#[test]
fn alternatives_say_what_is_wrong_with_the_one_that_was_meant() {
    let head = "[middleware.x]\nuse = \"k\"\ncount = 1\n";
    insta::assert_snapshot!(refused(&format!("{head}store = {{ kind = \"file\", dir = \"x\" }}\n")), @r#"
4:9 `{ kind = "file", dir = "x" }` missing key `directory` in `[middleware.x.store]`: add `directory = "…"`: A file path in the config: relative to the folder of the file that wrote it, absolute once read
4:26 `dir` unknown key `dir` in `[middleware.x.store]`: known keys: `kind`, `directory`
"#);
    insta::assert_snapshot!(refused(&format!("{head}store = {{ kind = \"fiel\" }}\n")), @r#"
4:18 `"fiel"` unknown value `fiel` for `store.kind`: did you mean `file`?
"#);
    insta::assert_snapshot!(refused(&format!("{head}store = {{ directory = \"x\" }}\n")), @r#"
4:9 `{ directory = "x" }` missing key `kind` in `[middleware.x.store]`: add `kind = "…"`
"#);
    insta::assert_snapshot!(refused(&format!("{head}store = \"file\"\n")), @r#"
4:9 `"file"` `store` must be a table, not the string `"file"`:
"#);
    insta::assert_snapshot!(refused(&format!("{head}form = 3\n")), @r#"
4:8 `3` `form` must be a string, not `3`: write it in quotes: `"3"`
"#);
}

#[test]
fn texts_from_references_become_what_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[vars]\nn = \"4\"\n[middleware.x]\nuse = \"k\"\ncount = \"${n}\"\non = \"${nobody:-true}\"\n";
    let options: Options = table(folder.path(), text).options().unwrap();
    assert_eq!((options.count, options.on), (4, true));
    // Without a reference, a string stays a string.
    assert!(refused("[middleware.x]\nuse = \"k\"\ncount = \"4\"\n").contains("must be a whole number"));
}

#[test]
fn settings_by_a_schema_of_run_time() {
    let folder = tempfile::tempdir().unwrap();
    let schema = json!({
        "type": "object",
        "properties": {
            "data_dir": { "type": "string", "format": "path", "description": "Where data goes." },
            "ports": { "type": "array", "items": { "type": "integer", "minimum": 1 }, "uniqueItems": true },
        },
        "required": ["data_dir"],
        "additionalProperties": false,
    });
    let text = "[middleware.x]\nuse = \"k\"\nsettings = { data_dir = \"data\" }\n";
    let value = table(folder.path(), text).resolve(&schema, "settings").unwrap();
    assert_eq!(value, json!({ "data_dir": folder.path().join("data") }));

    let text = "[middleware.x]\nuse = \"k\"\n[middleware.x.settings]\ndatadir = \"d\"\nports = [0, 3, 3]\n";
    insta::assert_snapshot!(said(table(folder.path(), text).resolve(&schema, "settings").unwrap_err()), @r#"
3:1 `[middleware.x.settings]` missing key `data_dir` in `[middleware.x.settings]`: add `data_dir = "…"`: Where data goes
4:1 `datadir` unknown key `datadir` in `[middleware.x.settings]`: did you mean `data_dir`?
5:9 `[0, 3, 3]` `settings.ports` must not contain duplicates: 
5:10 `0` `settings.ports[0]` must be at least 1, not `0`:
"#);
    let text = "[middleware.x]\nuse = \"k\"\n";
    insta::assert_snapshot!(said(table(folder.path(), text).resolve(&schema, "settings").unwrap_err()), @r#"
1:1 `[middleware.x]` missing key `data_dir` in `[middleware.x.settings]`: add `data_dir = "…"`: Where data goes
"#);
    let broken = json!({ "type": "objekt" });
    let error = table(folder.path(), text).resolve(&broken, "settings").unwrap_err();
    assert!(error.to_string().contains("not a valid JSON Schema"), "{error}");
}

#[test]
fn places_are_found_by_key_paths() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[middleware.x]\nuse = \"k\"\nlist = [1, 2]\n[middleware.x.routes]\n\"a.b/\" = 3\n[middleware.xy]\nuse = \"k\"\n";
    let table = table(folder.path(), text);
    let line = |key: KeyPath| table.origin(key).map(|origin| (origin.line, origin.column));
    assert_eq!(line(item("list", 1)), Some((3, 12)));
    assert_eq!(line(join("routes", "a.b/")), Some((5, 10)));
    assert_eq!(line("routes.none".into()), Some((4, 1)));
    assert_eq!(line("none".into()), Some((1, 1)));
}

/// figment sorts keys, has its own kinds of numbers, and gives the names of two profiles a meaning.
#[test]
fn merging_keeps_order_numbers_and_profile_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.toml");
    let text = "vars = { z = 9223372036854775807, m = -9223372036854775808, e = 1e300, d = 1979-05-27 }\n\
        [[log.list]]\nz = 1\na = [{ y = 1, x = [0.5] }]\n[log]\nlevel = \"a\"\n\
        [profile.default.log]\nlevel = \"d\"\n[profile.global.log]\nlevel = \"g\"\n\
        [profile.Dev.log]\nlevel = \"D\"\n[profile.dev.log]\nnew = 1\nlevel = \"e\"\n";
    std::fs::write(&file, text).unwrap();
    let with = |profile: Option<&str>| {
        let profile = profile.map(str::to_owned);
        let overrides = vec!["vars.b=2".to_owned()];
        Config::load(&Sources { file: Some(file.clone()), profile, overrides, ..Sources::default() }).unwrap()
    };
    assert_eq!(
        with(Some("dev")).tree().to_string(),
        "{\"vars\":{\"z\":9223372036854775807,\"m\":-9223372036854775808,\"e\":1e+300,\"d\":\"1979-05-27\",\"b\":2},\
         \"log\":{\"list\":[{\"z\":1,\"a\":[{\"y\":1,\"x\":[0.5]}]}],\"level\":\"e\",\"new\":1}}"
    );
    let cases = [(None, "a"), (Some("default"), "d"), (Some("global"), "g"), (Some("Dev"), "D")];
    for (profile, level) in cases {
        assert_eq!(with(profile).tree()["log"]["level"], level, "{profile:?}");
    }
}

#[test]
fn a_table_that_a_variable_only_names_keeps_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.toml");
    std::fs::write(&file, "[middleware.x]\nuse = \"k\"\n").unwrap();
    let environment = vec![("PASTER_MIDDLEWARE__X__COUNT".into(), "1".into())];
    let overrides = vec!["middleware.y.use=k".into(), "middleware.y.count=2".into()];
    let sources = Sources { file: Some(file), environment, overrides, ..Sources::default() };
    let config = Config::load(&sources).unwrap();
    let origin = |name: &str, key: &str| {
        let origin = config.table("middleware", name).unwrap().origin(key).unwrap();
        (origin.source.to_string().rsplit('/').next().unwrap().to_owned(), origin.line)
    };
    assert_eq!(origin("x", ""), ("server.toml".into(), 1));
    assert_eq!(origin("x", "count"), ("environment variable PASTER_MIDDLEWARE__X__COUNT".into(), 0));
    assert_eq!(origin("y", ""), ("-D middleware.y.use".into(), 0));
    assert_eq!(origin("y", "count"), ("-D middleware.y.count".into(), 0));
}

#[test]
fn travels_to_workers_with_its_places() {
    let folder = tempfile::tempdir().unwrap();
    let config = load(folder.path(), "[middleware.x]\nuse = \"k\"\nfile = \"a\"\ncount = \"x\"\n");
    let bytes = serde_json::to_vec(&config).unwrap();
    let copy: Config = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(copy.tree(), config.tree());
    assert_eq!((copy.files(), copy.folder()), (config.files(), folder.path()));
    let error =
        |config: &Config| said(config.table("middleware", "x").unwrap().options::<Options>().unwrap_err());
    assert_eq!(error(&copy), error(&config));
}

/// Pieces of configs, joined at random. They parse more often than random bytes.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "[app.a]\n",
        "[app.b]\n",
        "[server.main]\n",
        "[profile.p]\n",
        "[vars]\n",
        "[[app.a.list]]\n",
        "use = \"app:b\"\n",
        "use = \"app:a\"\n",
        "use = \"respond\"\n",
        "a = \"${b}\"\n",
        "b = \"${a}${c}\"\n",
        "c = \"${here}$${x}\"\n",
        "d = \"${env:NO:-${b}}\"\n",
        "e = \"${\"\n",
        "include = [\"server.toml\", \"x?\", \"${here}/server.toml\"]\n",
        "app = 3\n",
        "app.a.use = \"x\"\n",
        "password = \"p\"\n",
        "token = '''\nmany\nlines'''\n",
        "x = [1, {y = [\"${a}\"]}]\n",
        "\"ä.b\" = inf\n",
        "y = 1e400\n",
        "\t= 'ß' # ü\r\n",
        "\u{feff}",
        "[",
        "\"",
        "=",
        "\n",
        "{",
        "\\",
        "\u{0}",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any content of a file, a variable or an argument is read or refused, and every error has a message.
    #[test]
    fn nothing_panics(
        bytes in prop_oneof![
            pieces().prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..200),
        ],
        variable in (pieces(), ".*"),
        argument in prop_oneof![pieces(), ".*", "[a-z.\"']{0,9}=.*"],
        profile in prop::option::of("[p-q]"),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        std::fs::write(&file, &bytes).unwrap();
        let environment = vec![(format!("PASTER_{}", variable.0), variable.1)];
        let sources = Sources { file: Some(file), profile, environment, overrides: vec![argument], ..Sources::default() };
        let (config, errors) = Config::read(&sources);
        for error in &errors {
            prop_assert!(!error.message.is_empty());
        }
        let Some(config) = config else { return Ok(()) };
        config.masked();
        let _ = config.explain("");
        for section in ["server", "app", "middleware"] {
            for name in config.names(section) {
                let table = config.table(section, name).unwrap();
                let _ = table.options::<Options>();
                table.origin(item("a.b", 0));
            }
        }
    }
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Renamed {
    #[schemars(extend("x-renamed-from" = ["size_mb", "megabytes"]))]
    size_mib: u32,
    #[serde(default)]
    parts: Vec<RenamedPart>,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RenamedPart {
    #[schemars(extend("x-renamed-from" = ["path"]))]
    file: ConfigPath,
}

#[test]
fn an_option_is_read_under_its_old_name() {
    let folder = tempfile::tempdir().unwrap();
    let table = |text: &str| table(folder.path(), &format!("[middleware.x]\nuse = \"x\"\n{text}"));
    let read = table("megabytes = 5\nparts = [{ path = \"a\" }]").read::<Renamed>().unwrap();
    let (options, read) = (read.options, read.table);
    assert_eq!(options.size_mib, 5);
    assert_eq!(*options.parts[0].file, *folder.path().join("a"));
    assert_eq!(read.origin("size_mib").unwrap().line, 3);
    let file = folder.path().join("server.toml");
    let warnings = read.deprecations().join("\n").replace(&*file.to_string_lossy(), "server.toml");
    insta::assert_snapshot!(warnings, @r"
    server.toml:3:1: the key `megabytes` in `[middleware.x]` is deprecated: write `size_mib`
    server.toml:4:12: the key `parts[0].path` in `[middleware.x]` is deprecated: write `parts[0].file`
    ");
    let check = |text: &str, expected: &str| {
        assert_eq!(said(table(text).options::<Renamed>().unwrap_err()), expected);
    };
    check("size_mb = true", "3:11 `true` `size_mib` must be a whole number, not `true`: ");
    check(
        "size_mib = 1\nsize_mb = 2",
        "4:1 `size_mb` `size_mb` and `size_mib` are two names of the same option: remove `size_mb`, which is its old name",
    );
}

#[test]
#[should_panic = "`[middleware.x]` has no option `flies[0]`"]
fn a_key_that_is_spelled_wrong_in_code_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path(), "[middleware.x]\nuse = \"x\"\ncount = 1\nfiles = [\"a\"]");
    let table = table.read::<Options>().unwrap().table;
    assert!(table.origin(item("files", 0)).is_some());
    assert!(table.origin("use").is_some() && table.origin("store.limit").is_some());
    let _ = table.origin(item("flies", 0));
}
