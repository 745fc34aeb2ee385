//! Maintenance tasks of this repository. `cargo xtask help` lists them.

mod bench;
mod dist;
mod docs;
mod jupyter;
mod licences;
mod sanitize;
mod setup;
mod test;

use std::process::{Command, ExitCode};

const HELP: &str = "\
Maintenance tasks of this repository:

  cargo xtask test [--quick]     install what the tests need, check and test everything; ends with `N passed, N failed`
  cargo xtask check              only check the docs, the fuzz targets, and the licences of all dependencies
  cargo xtask setup              only install what the tests need
  cargo xtask docs               build the site of docs/ with mdBook into target/book, and look for dead links; installs mdBook
                                 if there is none
  cargo xtask bench [NAME…]      measure paster and its peers in one run and print the tables (needs nginx, caddy and wrk)
  cargo xtask dist [--profile P] build the packages: an archive, a wheel, and on Debian a .deb; prints their paths
                   [--out DIR]   default: the profile `dist`, and target/packages
                   [--from DIR]  packs the files that are built in DIR instead of building them
  cargo xtask sanitize [NAME…]   run the plugin border under miri, address and thread (needs a nightly toolchain)

  --quick skips the browser tests
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["test"] => test::run(false),
        ["test", "--quick"] => test::run(true),
        ["check"] => Ok(test::check()),
        ["setup"] => setup::everything().map(|_| true),
        ["docs"] => docs::build(),
        ["sanitize", names @ ..] => sanitize::run(names),
        ["bench", names @ ..] => bench::run(names),
        ["dist", options @ ..] => dist::run(options),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(true)
        }
        _ => {
            eprint!("error: unknown task `{}`\n\n{HELP}", arguments.join(" "));
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The cargo that runs this program, in the repository's root. It does not see the variables that `cargo run` sets for this
/// program: it would run build scripts that track them, such as that of `ring`, again, and compile everything that depends on
/// them.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "OUT_DIR" {
            command.env_remove(&name);
        }
    }
    command
}

/// The repository's root.
fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Into::into).unwrap_or_default()
}

/// Cargo's target directory.
fn target() -> std::path::PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}
