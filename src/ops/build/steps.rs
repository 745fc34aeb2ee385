//! Front-end steps before cargo: `npm ci`, a bundler. They are defined in the plugin's `Cargo.toml`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::cargo::CargoPackage;
use super::child::{ProcessGroup, find_program, lines};
use super::stamp;
use super::types::{BuildProgress, BuildStep};
use crate::error::Error;

/// Runs the steps whose outputs are missing or older than their inputs, in order. Returns whether all
/// required steps could run.
/// # Errors
/// A step that fails, with its output.
pub(super) async fn run(
    package: &CargoPackage,
    tell: &(dyn Fn(BuildProgress) + Send + Sync),
) -> Result<bool, Error> {
    let mut whole = true;
    for step in &package.steps {
        let dir = package.folder().join(&step.dir);
        let record = record(package, step);
        let state = stamp::digest(&step.inputs.iter().map(|input| dir.join(input)).collect::<Vec<_>>());
        if is_fresh(step, &dir, &record, &state) {
            continue;
        }
        if let Some(program) = step.needs.as_ref().filter(|program| find_program(program).is_none()) {
            let default = format!("`{program}` is not installed: skipped `{}`", step.run.join(" "));
            tell(BuildProgress::Warning(step.without.clone().unwrap_or(default)));
            whole = false;
            continue;
        }
        // An interrupted step leaves outputs that look fresh.
        write(&record, "begun");
        run_one(step, &dir, tell).await?;
        write(&record, &state);
    }
    Ok(whole)
}

/// Failures are ignored: without the record, the next start compares times.
fn write(record: &Path, state: &str) {
    let folder = record.parent().unwrap_or(record);
    let _ = fs::create_dir_all(folder).and_then(|()| fs::write(record, state));
}

/// The file that records the inputs of a step's last run.
fn record(package: &CargoPackage, step: &BuildStep) -> PathBuf {
    let name = format!("{} {:?} {:?}", package.manifest.display(), step.dir, step.run);
    package.target.join("steps").join(stamp::hex(&Sha256::digest(name)[..12]))
}

fn is_fresh(step: &BuildStep, dir: &Path, record: &Path, state: &str) -> bool {
    let times: Option<Vec<SystemTime>> = step
        .outputs
        .iter()
        .map(|output| fs::metadata(dir.join(output)).and_then(|found| found.modified()).ok())
        .collect();
    let Some(times) = times else { return false };
    match fs::read_to_string(record) {
        Ok(recorded) => recorded == state,
        // Built by hand, or part of a package: compare times.
        Err(_) => {
            let inputs: Vec<_> = step.inputs.iter().map(|input| dir.join(input)).collect();
            let newest = stamp::files(&inputs)
                .iter()
                .filter_map(|file| fs::metadata(file).ok()?.modified().ok())
                .max();
            newest.is_none_or(|newest| times.iter().all(|time| *time >= newest))
        }
    }
}

async fn run_one(
    step: &BuildStep,
    dir: &Path,
    tell: &(dyn Fn(BuildProgress) + Send + Sync),
) -> Result<(), Error> {
    let line = step.run.join(" ");
    tell(BuildProgress::At { text: line.clone(), done: None });
    let failed = |cause: std::io::Error| {
        let error = Error::new(format!("cannot run `{line}` in `{}`", dir.display()));
        error.because(cause)
    };
    let (program, arguments) = step.run.split_first().ok_or_else(|| {
        Error::config("`run` of a step in `package.metadata.paster.build` does not name a program")
    })?;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let group = ProcessGroup::of(&child);
    let (mut out, mut err) = (lines(child.stdout.take()), lines(child.stderr.take()));
    let mut output = String::new();
    loop {
        let text = tokio::select! {
            Some(text) = out.recv() => text,
            Some(text) = err.recv() => text,
            else => break,
        };
        output += &text;
        output.push('\n');
    }
    let status = child.wait().await.map_err(failed)?;
    group.ended();
    if status.success() {
        return Ok(());
    }
    let error = Error::new(format!("`{line}` failed in `{}` ({status})", dir.display()));
    Err(error.with_output(output.trim_end()))
}
