//! `paster config fmt`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::super::output::{note, print};
use crate::config::formatted;
use crate::error::{Error, Errors, Result, Source};
use crate::ops::format::FormattedFile;

/// Lays config files out in the standard way: spaces, blank lines and line breaks. Keys, values and comments keep their
/// content and order.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster config fmt                        format ./server.toml
  paster config fmt server.toml conf/*.toml
  paster config fmt --check --diff         show what would change
  paster config fmt - < server.toml        from standard input to standard output

Exit codes: 0 done, 1 a file is not formatted (--check), 78 a file is not TOML.")]
pub(in crate::cli) struct Args {
    /// The files, directories with a `server.toml`, or `-` for standard input [default: server.toml]
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    files: Vec<PathBuf>,

    /// Change no files, and list those that are not formatted
    #[arg(long)]
    check: bool,

    /// Change no files, and print the changes as a diff
    #[arg(long)]
    diff: bool,
}

impl Args {
    pub(in crate::cli) fn run(self) -> Result<ExitCode> {
        if self.files.iter().any(|file| file == Path::new("-")) {
            return self.standard_input();
        }
        let default = vec![PathBuf::from("server.toml")];
        let files = if self.files.is_empty() { default } else { self.files };
        let (mut errors, mut differ) = (Vec::new(), false);
        for file in files {
            let found = match FormattedFile::read(&file) {
                Ok(found) => found,
                Err(found) => {
                    errors.extend(found);
                    continue;
                }
            };
            if !found.differs() {
                continue;
            }
            differ = true;
            if self.diff {
                print(&found.diff())?;
            }
            if self.check {
                note(&format!("`{}` is not formatted\n", found.file.display()));
            }
            if !self.diff && !self.check {
                found.write()?;
                note(&format!("formatted `{}`\n", found.file.display()));
            }
        }
        Errors::check(errors)?;
        Ok(if self.check && differ { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn standard_input(self) -> Result<ExitCode> {
        if self.files.len() > 1 || self.diff {
            return Err(Error::usage("`-` cannot be combined with other files or `--diff`").into());
        }
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|cause| Error::new("cannot read standard input").because(cause))?;
        let after = formatted(Source::File("<stdin>".into()), &text)?;
        match self.check {
            true if after != text => {
                note("standard input is not formatted\n");
                Ok(ExitCode::FAILURE)
            }
            true => Ok(ExitCode::SUCCESS),
            false => print(&after),
        }
    }
}
