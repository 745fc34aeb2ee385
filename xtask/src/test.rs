//! `cargo xtask test`: checks and tests everything, and sums the results into one line.

mod failures;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};

use self::failures::Failures;
use crate::{cargo, licences, root, setup, target};

/// The variable for the longest wait in a test, in seconds. All tests at once keep a machine busy, so they
/// get more time than a single test.
const PATIENCE: &str = "PASTER_TEST_PATIENCE_SECS";

/// Number of passed and failed tests so far.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    failures: Failures,
}

impl Tally {
    /// Runs a check that has no tests: it counts as one.
    fn check(&mut self, what: &str, command: &mut Command) {
        let passed = stream(what, command, |_| ());
        self.count(what, passed);
    }

    fn count(&mut self, what: &str, passed: bool) {
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
            self.failures.add(what);
        }
    }

    /// Counts the outcome of a check.
    fn outcome(&mut self, what: &str, outcome: Result<bool>) {
        let passed = matches!(outcome, Ok(true));
        match outcome {
            Ok(true) => println!("=== {what}: passed"),
            Ok(false) => println!("=== {what}: FAILED"),
            Err(error) => println!("=== {what}: FAILED: {error:#}"),
        }
        self.count(what, passed);
    }

    /// Runs a test command and reads its lines with `count`. A command that fails without a failed test
    /// counts as one failure.
    fn tests(&mut self, what: &str, command: &mut Command, count: fn(&str) -> Option<(u64, u64)>) {
        let (mut passed, mut failed) = (0, 0);
        let failures = &mut self.failures;
        let succeeded = stream(what, command, |line| {
            failures.read(line);
            if let Some((more_passed, more_failed)) = count(line) {
                passed += more_passed;
                failed += more_failed;
            }
        });
        if (!succeeded || passed == 0) && failed == 0 {
            failed = 1;
            self.failures.add(what);
        }
        self.passed += passed;
        self.failed += failed;
    }
}

/// Installs, builds, checks and tests everything, and prints the last line. `quick` skips the browser tests.
/// Returns whether everything passed.
pub(crate) fn run(quick: bool) -> Result<bool> {
    let begun = Instant::now();
    setup::programs()?;
    // These are mostly downloads, and the compiler has the processors meanwhile.
    let environments = std::thread::spawn(setup::environments);
    let web = root().join("plugins/notebook/web");
    let mut tally = Tally::default();
    let patience = std::env::var(PATIENCE).unwrap_or_else(|_| "120".to_owned());
    let npm = |arguments: &[&str]| {
        let mut command = setup::npm(&web);
        command.args(arguments);
        command
    };
    tally.check("npm ci", &mut npm(&["ci", "--no-audit", "--no-fund"]));
    tally.check("npm run build", &mut npm(&["run", "build"]));
    tally.check("npm run check", &mut npm(&["run", "check"]));
    tally.check("cargo fmt", cargo().args(["fmt", "--all", "--check"]));
    let clippy = |arguments: &[&str]| {
        let mut command = cargo();
        command.args(["clippy", "--locked"]).args(arguments).args(["--", "-D", "warnings"]);
        command
    };
    tally.check("cargo clippy", &mut clippy(&["--workspace", "--all-targets", "--features=paster/full"]));
    // The tests are compiled with all features.
    tally.check("cargo clippy without features", &mut clippy(&["-p", "paster", "--no-default-features"]));
    checks_of_the_workspace(&mut tally);
    let ready = environments.join().map_err(|_| anyhow!("the installation panicked"))??;
    tally.tests(
        "cargo test",
        cargo()
            .args(["test", "--workspace", "--features=paster/full", "--locked", "--no-fail-fast"])
            // Tests mostly wait for programs that they have started.
            .env("RUST_TEST_THREADS", threads())
            .env("PASTER_TEST_PYTHON", &ready.python)
            .env("PASTER_TEST_NODE_MODULES", &ready.modules)
            .env("PASTER_TEST_WHEELS", &ready.wheels)
            .env("PASTER_TEST_JUPYTER", &ready.jupyter)
            .env("PASTER_TEST_TAPLO", &ready.taplo)
            .env("PASTER_TEST_S3", &ready.s3)
            .env("PASTER_TEST_BUILD", "--workspace --features=paster/full --lib --tests")
            .env(PATIENCE, &patience)
            .env("CARGO_TARGET_DIR", target()),
        cargo_line,
    );
    if !quick {
        tally.tests(
            "npm test",
            npm(&["test"])
                .env("PASTER_BIN", target().join("debug/paster"))
                .env("PASTER_TEST_PYTHON", &ready.python)
                .env("PASTER_TEST_JUPYTER", &ready.jupyter)
                .env("CHROMIUM", &ready.chromium)
                .env(PATIENCE, &patience)
                .env("CARGO_TARGET_DIR", target()),
            node_line,
        );
    }
    print!("{}", tally.failures.text());
    eprintln!("took {} s", begun.elapsed().as_secs());
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0)
}

/// How many tests run at a time: twice as many as there are processors, unless `RUST_TEST_THREADS` says otherwise.
fn threads() -> String {
    let usual = || (2 * std::thread::available_parallelism().map_or(1, usize::from)).to_string();
    std::env::var("RUST_TEST_THREADS").unwrap_or_else(|_| usual())
}

/// Runs the checks that need only cargo. Returns whether all passed.
pub(crate) fn check() -> bool {
    let mut tally = Tally::default();
    checks_of_the_workspace(&mut tally);
    println!("{} passed, {} failed", tally.passed, tally.failed);
    tally.failed == 0
}

/// Checks what the compiler and the tests do not see: the docs, the fuzz targets, and the sources of
/// dependencies.
fn checks_of_the_workspace(tally: &mut Tally) {
    tally.check(
        "cargo doc",
        cargo()
            // With the features of clippy, dependencies need not be checked again.
            .args(["doc", "--workspace", "--no-deps", "--locked", "--quiet", "--features=paster/full"])
            .env("RUSTDOCFLAGS", "-D warnings")
            .env("CARGO_TARGET_DIR", target()),
    );
    let fuzz = root().join("fuzz/Cargo.toml");
    tally.check(
        "cargo check in fuzz",
        cargo()
            .args(["check", "--locked", "--quiet", "--manifest-path"])
            .arg(&fuzz)
            .env("CARGO_TARGET_DIR", target().join("fuzz"))
            // Nothing is linked, so libFuzzer's C++ code need not be compiled.
            .env("CUSTOM_LIBFUZZER_PATH", "/nonexistent/libfuzzer.a"),
    );
    for manifest in [root().join("Cargo.toml"), fuzz] {
        let outcome = licences::check(&mut cargo(), &manifest, &root().join("deny.toml"));
        tally.outcome(&format!("licences of {}", manifest.display()), outcome);
    }
}

/// Runs a command and prints its output line by line. Returns whether it succeeded.
fn stream(what: &str, command: &mut Command, mut each: impl FnMut(&str)) -> bool {
    let begun = Instant::now();
    println!("=== {what}");
    let outcome = (|| -> Result<bool> {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start")?;
        let stdout = child.stdout.take().context("no output")?;
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            each(&line);
        }
        Ok(child.wait()?.success())
    })();
    let seconds = begun.elapsed().as_secs();
    match outcome {
        Ok(true) => println!("=== {what}: passed in {seconds} s"),
        Ok(false) => println!("=== {what}: FAILED in {seconds} s"),
        Err(ref error) => println!("=== {what}: FAILED: {error:#}"),
    }
    outcome.unwrap_or(false)
}

/// Reads `test result: ok. 12 passed; 1 failed; …` of libtest.
fn cargo_line(line: &str) -> Option<(u64, u64)> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |word: &str| -> Option<u64> {
        let before = rest.split(word).next()?.trim_end();
        before.rsplit([' ', ';']).next()?.parse().ok()
    };
    Some((number("passed")?, number("failed")?))
}

/// Reads `# pass 12` and `# fail 1` of node's test runner with the TAP reporter, or with `ℹ` of the spec
/// reporter.
fn node_line(line: &str) -> Option<(u64, u64)> {
    let rest = line.strip_prefix("# ").or_else(|| line.strip_prefix("ℹ "))?;
    if let Some(count) = rest.strip_prefix("pass ") {
        return Some((count.trim().parse().ok()?, 0));
    }
    Some((0, rest.strip_prefix("fail ")?.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_of_runners_are_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(super::cargo_line(line), Some((12, 3)));
        assert_eq!(super::cargo_line("running 3 tests"), None);
        assert_eq!(super::node_line("# pass 7"), Some((7, 0)));
        assert_eq!(super::node_line("# fail 2"), Some((0, 2)));
        assert_eq!(super::node_line("# tests 9"), None);
    }
}
