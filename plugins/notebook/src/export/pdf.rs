//! Prints a page with the browser of the machine. The page has no scripts and no network access, and the browser uses a
//! temporary profile.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Names of programs that print pages in the same way.
const BROWSERS: [&str; 5] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge"];
/// How long printing may take.
const LIMIT: Duration = Duration::from_secs(60);
/// What a printed page may load: what is inside it.
const POLICY: &str = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
    style-src 'unsafe-inline'; img-src data:; font-src data:\">";

/// Why a notebook cannot be printed.
#[derive(Debug, thiserror::Error)]
pub enum PdfError {
    /// No browser.
    #[error(
        "exporting to PDF needs a browser on the server: install Chromium (on Debian: `sudo apt install chromium`)"
    )]
    NoBrowser,
    /// The browser failed.
    #[error("the browser could not print the notebook: {0}")]
    Failed(String),
}

impl From<io::Error> for PdfError {
    fn from(error: io::Error) -> PdfError {
        PdfError::Failed(error.to_string())
    }
}

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let found = |name: &str| folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    BROWSERS.iter().find_map(|name| found(name))
}

/// Whether there is a browser that prints.
pub(super) fn has_browser() -> bool {
    browser().is_some()
}

/// The PDF of an HTML page.
pub(super) fn print(page: &str) -> Result<Vec<u8>, PdfError> {
    let browser = browser().ok_or(PdfError::NoBrowser)?;
    let folder = tempfile::tempdir()?;
    let (source, target) = (folder.path().join("page.html"), folder.path().join("page.pdf"));
    std::fs::write(&source, page.replacen("<head>", &format!("<head>{POLICY}"), 1))?;
    let mut command = Command::new(browser);
    command.args(["--headless", "--disable-gpu", "--no-pdf-header-footer", "--disable-extensions"]);
    // The policy of the page forbids scripts. The browser itself needs them to print.
    command.arg("--host-resolver-rules=MAP * ~NOTFOUND");
    // The browser's own sandbox does not work for root, whom distributions' containers run everything as.
    if rustix::process::geteuid().is_root() {
        command.arg("--no-sandbox");
    }
    command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
    command.arg(format!("--print-to-pdf={}", target.display())).arg(format!("file://{}", source.display()));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PASTER_")) {
        command.env_remove(name);
    }
    run(command.stdin(Stdio::null()).stdout(Stdio::null()), &folder.path().join("log"))?;
    Ok(std::fs::read(&target)?)
}

fn run(command: &mut Command, log: &Path) -> Result<(), PdfError> {
    let mut child = command.stderr(std::fs::File::create(log)?).spawn()?;
    let end = Instant::now() + LIMIT;
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
                return Err(PdfError::Failed(format!("it ended with {status}: {last}")));
            }
            None if Instant::now() > end => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(PdfError::Failed(format!("it took longer than {} s", LIMIT.as_secs())));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
