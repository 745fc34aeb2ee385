//! Names that may become a file or a crate. Pure functions of the name.

/// Names that Windows reserves for devices, with any extension.
const DEVICES: [&str; 24] = [
    "con", "prn", "aux", "nul", "conin$", "conout$", "com1", "com2", "com3", "com4", "com5", "com6", "com7",
    "com8", "com9", "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// Rust's keywords in all editions, including reserved ones.
const KEYWORDS: [&str; 53] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "union", "unsafe", "unsized", "use",
    "virtual", "where", "while", "yield", "_",
];

/// Crates that every Rust program has, and cargo's own folders in a target directory.
const TAKEN: [&str; 10] =
    ["alloc", "build", "core", "deps", "examples", "incremental", "proc_macro", "std", "test", "paster_sdk"];

/// Checks that `name` is one plain path component on every system, so that a path joined from a folder and it
/// stays in the folder.
/// # Errors
/// What is wrong with it, as the end of a sentence: `contains a path separator`.
pub fn plain_component(name: &str) -> Result<(), String> {
    let device = name.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    if name.is_empty() {
        Err("is empty".into())
    } else if name == "." || name == ".." {
        Err("leads out of its folder".into())
    } else if name.contains(['/', '\\']) {
        Err("contains a path separator".into())
    } else if name.contains('\0') {
        Err("contains a NUL".into())
    } else if name.chars().any(char::is_control) {
        Err("contains a control character".into())
    } else if let Some(found) = name.chars().find(|c| r#":<>"|?*"#.contains(*c)) {
        Err(format!("contains `{found}`, which Windows does not allow in names"))
    } else if name.ends_with(['.', ' ']) {
        Err("ends with a dot or a space, which Windows drops".into())
    } else if name.eq_ignore_ascii_case(".git") || name.eq_ignore_ascii_case("git~1") {
        Err("belongs to git: files in it can run programs".into())
    } else if DEVICES.contains(&device.as_str()) {
        Err("is the name of a device on Windows".into())
    } else if name.len() > 200 {
        Err("is longer than 200 bytes".into())
    } else {
        Ok(())
    }
}

/// Checks that `name` can be the name of a Rust package that is also a library.
/// # Errors
/// What is wrong with it, as the end of a sentence, and a valid name.
pub fn crate_name(name: &str) -> Result<(), (String, String)> {
    let suggestion = || {
        let kept = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
        let words = kept.collect::<String>();
        let stem = words.split('-').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-");
        match stem.as_bytes().first() {
            None => "app".to_string(),
            Some(b'0'..=b'9') => format!("app-{stem}"),
            Some(_) if taken(&stem).is_some() => format!("{stem}-app"),
            Some(_) => stem,
        }
    };
    let why = if name.is_empty() {
        "is empty".to_string()
    } else if name.starts_with(|c: char| c.is_ascii_digit()) {
        "starts with a digit".to_string()
    } else if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        "does not start with a letter".to_string()
    } else if let Some(found) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || "-_".contains(*c))) {
        format!("contains `{}`: use letters, digits, `-` and `_`", found.escape_default())
    } else if let Some(why) = taken(name) {
        why.to_string()
    } else if let Err(why) = plain_component(name) {
        why
    } else {
        return Ok(());
    };
    Err((why, suggestion()))
}

/// Why a well-formed crate name cannot be used, if it cannot.
fn taken(name: &str) -> Option<&'static str> {
    let name = name.replace('-', "_");
    if KEYWORDS.contains(&name.as_str()) {
        Some("is a Rust keyword")
    } else if TAKEN.contains(&name.as_str()) {
        Some("is reserved by Rust, cargo or paster")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_that_leave_their_folder_or_a_system_are_refused() {
        let bad = [
            "", ".", "..", "a/b", "/etc", "a\\b", "..\\x", "nul\0l", "a\nb", "c:", "C:evil", "a:stream",
            "con", "NUL.txt", "Com1", "aux .h", "tail.", "tail ", "what?", "a*", "<b>", "\u{7f}", ".git",
            ".GIT", "GIT~1",
        ];
        for name in bad {
            assert!(plain_component(name).is_err(), "{name:?} passed");
        }
        for name in
            ["a", ".gitignore", "...a", "my file.txt", "größe", "console", "comet", "-rf", "a'b", "$(x)"]
        {
            assert_eq!(plain_component(name), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn crate_names_are_checked_with_a_suggestion() {
        let check = |name: &str| crate_name(name).err().map(|(why, near)| format!("{why} -> {near}"));
        assert_eq!(check("blog"), None);
        assert_eq!(check("my-blog_2"), None);
        assert_eq!(check("2048").as_deref(), Some("starts with a digit -> app-2048"));
        assert_eq!(check("async").as_deref(), Some("is a Rust keyword -> async-app"));
        assert_eq!(check("test").as_deref(), Some("is reserved by Rust, cargo or paster -> test-app"));
        assert_eq!(
            check("proc-macro").as_deref(),
            Some("is reserved by Rust, cargo or paster -> proc-macro-app")
        );
        assert_eq!(check("a b").as_deref(), Some("contains ` `: use letters, digits, `-` and `_` -> a-b"));
        assert_eq!(
            check("größe").as_deref(),
            Some("contains `\\u{f6}`: use letters, digits, `-` and `_` -> gr-e")
        );
        assert_eq!(check("").as_deref(), Some("is empty -> app"));
        assert_eq!(check("-x").as_deref(), Some("does not start with a letter -> x"));
        for bad in ["", "1", "test", "fn", "a/b", "..", "-", "ünï", "_", "std"] {
            let (_, near) = crate_name(bad).unwrap_err();
            assert_eq!(crate_name(&near), Ok(()), "the suggestion for {bad:?}");
        }
    }
}
