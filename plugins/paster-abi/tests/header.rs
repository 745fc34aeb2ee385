//! Checks that `include/paster.h` matches the types. `PASTER_BLESS=1 cargo test -p paster-abi` rewrites it.
#![allow(clippy::unwrap_used, reason = "a test ends at its first surprise")]

use std::path::Path;

use cbindgen::{Builder, Config, DocumentationStyle, EnumConfig, Language, Style};

const HEAD: &str = "/* The C ABI between paster and its plugins. Generated from plugins/paster-abi: do not edit.
 *
 * A plugin is a shared library that exports one symbol:
 *
 *     PASTER_EXPORT const PasterPlugin PASTER_PLUGIN = {
 *         .abi_version = PASTER_ABI_VERSION,
 *         .size_bytes = sizeof(PasterPlugin),
 *         .name = PASTER_TEXT(\"hello\"),
 *         .version = PASTER_TEXT(\"1.0\"),
 *         .create = create, .call = call, .destroy = destroy,
 *     };
 *
 * - The side that allocates also frees. A PasterBuffer carries its owner's release function; a PasterSlice is
 *   borrowed for the call.
 * - Every table begins with its size in bytes; fields are only ever added at its end. Use no field beyond that size.
 * - An object (PasterExchange, PasterNext, PasterBody, PasterIo, PasterTask) is a pointer to a struct whose first
 *   member points to its table; the rest belongs to the side that made it. Only one thread at a time calls its
 *   functions, not always the same one, and none after its `drop`.
 * - A `poll_` function never blocks. When it returns PASTER_PENDING, it has kept a clone of the waker and wakes it
 *   when it should be called again.
 * - No C++ exception and no longjmp may cross.
 */";

const FORWARD: &str = "
struct PasterWaker;
struct PasterBody;
struct PasterIo;
struct PasterTask;
struct PasterExchange;
struct PasterNext;";

const TRAILER: &str = "#if defined(_WIN32)
#define PASTER_EXPORT __declspec(dllexport)
#else
#define PASTER_EXPORT __attribute__((visibility(\"default\"), used))
#endif

/* A PasterSlice for a string literal, in an initializer. */
#define PASTER_TEXT(literal) { (const uint8_t *)(literal), sizeof(literal) - 1 }

/* A copy of a request, to change it before it is passed to PasterNextTable.call. It borrows what `request` borrows. */
static inline PasterRequest paster_request_copy(const PasterRequest *request)
{
    PasterRequest copy;
    memset(&copy, 0, sizeof copy);
    memcpy(&copy, request, request->size_bytes < sizeof copy ? request->size_bytes : sizeof copy);
    copy.size_bytes = sizeof copy;
    return copy;
}
";

fn generate() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = Config {
        language: Language::C,
        cpp_compat: true,
        style: Style::Both,
        include_guard: Some("PASTER_H".into()),
        sys_includes: ["stddef.h", "stdint.h", "string.h"].map(str::to_owned).into(),
        no_includes: true,
        header: Some(HEAD.into()),
        after_includes: Some(FORWARD.into()),
        trailer: Some(TRAILER.into()),
        documentation: true,
        documentation_style: DocumentationStyle::C,
        usize_is_size_t: true,
        line_length: 110,
        tab_width: 4,
        enumeration: EnumConfig::default(),
        ..Config::default()
    };
    let files = ["value.rs", "object.rs", "request.rs", "plugin.rs"].map(|file| root.join("src").join(file));
    let mut builder = Builder::new();
    for file in &files {
        builder = builder.with_src(file);
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let mut words = line.split([' ', ':', '<', '(']).filter(|word| !word.is_empty());
            match (words.next(), words.next(), words.next()) {
                (Some("pub"), Some("struct" | "type"), Some(name)) => {
                    config.export.include.push(name.into());
                    config.export.rename.insert(name.into(), format!("Paster{name}"));
                }
                (Some("pub"), Some("const"), Some(name))
                    if name == name.to_uppercase() && !line.starts_with(' ') =>
                {
                    config.export.include.push(name.into());
                    config.export.rename.insert(name.into(), format!("PASTER_{name}"));
                }
                _ => {}
            }
        }
    }
    config.export.exclude.push("SYMBOL".into());
    let mut out = Vec::new();
    builder.with_config(config).generate().unwrap().write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_header_is_not_stale() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/paster.h");
    let generated = generate();
    if std::env::var_os("PASTER_BLESS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "include/paster.h is stale: `PASTER_BLESS=1 cargo test -p paster-abi` rewrites it; then commit it"
    );
}
