//! `cargo xtask sanitize`: runs the plugin border under Miri, AddressSanitizer and ThreadSanitizer, with a
//! nightly toolchain.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{root, target};

/// One sanitizer.
struct Watch {
    name: &'static str,
    /// The requirement: a command of the nightly toolchain that must succeed, and the component that provides
    /// it.
    needs: Option<(&'static [&'static str], &'static str)>,
    /// Compiler flags.
    flags: &'static str,
    /// Arguments for cargo before those of a run.
    cargo: &'static [&'static str],
    /// The runs: cargo's arguments, then those of the tests.
    runs: &'static [&'static [&'static str]],
}

const ABI: &[&str] = &["test", "-p", "paster-abi", "--features", "http", "--lib"];
const SDK: &[&str] = &["test", "-p", "paster-sdk", "--test", "border", "--test", "middleware"];
/// Real libraries in a real host, all built with the sanitizer.
const HOST: &[&str] =
    &["test", "-p", "paster", "--test", "it", "--", "border::", "border_middleware::", "libraries::"];

const WATCHES: &[Watch] = &[
    Watch {
        name: "miri",
        needs: Some((&["cargo", "miri", "--version"], "miri")),
        flags: "",
        cargo: &["miri"],
        runs: &[ABI, SDK],
    },
    // A loaded library takes the sanitizer from the program, which must export it.
    Watch {
        name: "address",
        needs: None,
        flags: "-Zsanitizer=address -Clink-arg=-Wl,--export-dynamic",
        cargo: &[],
        runs: &[ABI, SDK, HOST],
    },
    Watch {
        name: "thread",
        // The standard library must be built with it too, or its synchronisation is not seen.
        needs: Some((&["sh", "-c", "test -d \"$(rustc --print sysroot)/lib/rustlib/src/rust\""], "rust-src")),
        flags: "-Zsanitizer=thread",
        cargo: &["-Zbuild-std"],
        runs: &[ABI, SDK],
    },
];

/// Runs all sanitizers, or the named ones. Returns whether none found a fault.
pub(crate) fn run(names: &[&str]) -> Result<bool> {
    if let Some(unknown) = names.iter().find(|name| !WATCHES.iter().any(|watch| watch.name == **name)) {
        let known: Vec<&str> = WATCHES.iter().map(|watch| watch.name).collect();
        bail!("unknown sanitizer `{unknown}`; known: {}", known.join(", "));
    }
    let version = nightly(&["rustc", "-vV"]).output().context("rustup runs the nightly toolchain")?;
    if !version.status.success() {
        bail!("there is no nightly toolchain: `rustup toolchain install nightly --component miri,rust-src`");
    }
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc has no host")?;
    let (mut passed, mut failed, mut left) = (0, 0, 0);
    for watch in WATCHES.iter().filter(|watch| names.is_empty() || names.contains(&watch.name)) {
        if let Some((test, component)) = watch.needs
            && !nightly(test).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
        {
            println!("=== {}: not run: `rustup component add --toolchain nightly {component}`", watch.name);
            left += 1;
            continue;
        }
        for arguments in watch.runs {
            println!("=== {}: cargo {}", watch.name, arguments.join(" "));
            let status = nightly(&["cargo"])
                .args(watch.cargo)
                .args(*arguments)
                .env("CARGO_TARGET_DIR", target().join("sanitize").join(watch.name))
                .env("CARGO_BUILD_TARGET", host)
                .env("RUSTFLAGS", watch.flags)
                // Timers and sockets need the system.
                .env("MIRIFLAGS", "-Zmiri-disable-isolation")
                // Plugins and the threads that serve them live as long as the process.
                .env("ASAN_OPTIONS", "detect_leaks=0")
                .env("TSAN_OPTIONS", "halt_on_error=1")
                .status()
                .context("cargo of the nightly toolchain")?;
            *if status.success() { &mut passed } else { &mut failed } += 1;
        }
    }
    println!("{passed} passed, {failed} failed, {left} not run");
    Ok(failed == 0)
}

/// A command of the nightly toolchain, not of the toolchain that runs this program.
fn nightly(words: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly"]).args(words).current_dir(root());
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command
}
