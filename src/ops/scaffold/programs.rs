//! Programs that a skeleton runs after the files are written: only if the user trusts it.

use std::path::Path;
use std::process::Command;

use super::layer::SkeletonLayer;
use crate::error::{Error, Result};

/// The programs of a skeleton.
/// # Errors
/// Without trust, an error that shows them.
pub(super) fn trusted(layer: &SkeletonLayer, trust: bool) -> Result<Vec<Vec<String>>> {
    let programs = layer.skeleton.programs(&layer.answers)?;
    if programs.is_empty() || trust {
        return Ok(programs);
    }
    let name = &layer.skeleton.manifest.about.name;
    let mut error = Error::new(format!("the skeleton `{name}` runs programs with your rights"));
    for argv in &programs {
        error = error.help(format!("it runs: {}", shown(argv)));
    }
    Err(error.help("if you trust it, add `--trust`; nothing was written").into())
}

/// Runs one program in `folder`, with the terminal of paster.
/// # Errors
/// A program that cannot be started or that fails. The files exist then.
pub(super) fn run(argv: &[String], folder: &Path) -> Result<()> {
    let shown = shown(argv);
    let fault = || Error::new(format!("`{shown}` failed; the files were written"));
    let Some((program, args)) = argv.split_first() else { return Ok(()) };
    let mut command = Command::new(program);
    // Standard output is for the result.
    command.args(args).current_dir(folder).stdout(std::io::stderr());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(fault().because(status.to_string()).into()),
        Err(error) => Err(fault().because(error).into()),
    }
}

/// A command line, as a shell reads it; control characters are visible.
pub fn shown(argv: &[String]) -> String {
    let words =
        argv.iter().map(|word| shlex::try_quote(word).map_or_else(|_| format!("{word:?}"), Into::into));
    let line = words.collect::<Vec<String>>().join(" ");
    line.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}
