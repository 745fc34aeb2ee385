//! `paster config import`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::super::output::{note, print};
use crate::error::{Error, Result};
use crate::ops::import::{ImportInput, SOURCES, import};

/// Exit code if a config was printed, but something of the other one is not in it.
const INCOMPLETE: u8 = 3;

/// Prints the config of another server as a config for paster.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster config import site.ini > server.toml          PasteDeploy
  paster config import gunicorn.conf.py > server.toml  read without running it
  paster config import --from gunicorn -- shop:app --workers 2 --bind 0.0.0.0:8000
  paster config import --from uvicorn -- main:app --port 8000
  paster config import /etc/nginx/sites-enabled/site
  paster config import Caddyfile
  paster config import Procfile

Relative paths are those of the file: save the result in its directory. Settings that could not be converted are listed on standard
error and in comments of the result.

Exit codes: 0 everything was converted, 3 a part was not, 78 the file is not valid.")]
pub(in crate::cli) struct Args {
    /// The file
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,

    /// The server that it is for [default: detected from its name and content]
    #[arg(long, value_name = "SOURCE", value_parser = clap::builder::PossibleValuesParser::new(names()))]
    from: Option<String>,

    /// The arguments of `gunicorn` or `uvicorn`, instead of a file
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

fn names() -> Vec<&'static str> {
    SOURCES.iter().map(|source| source.name).collect()
}

impl Args {
    pub(in crate::cli) fn run(self) -> Result<ExitCode> {
        let input = match (self.file, self.arguments.as_slice()) {
            (Some(file), []) => ImportInput::read(&file)?,
            (None, [_, ..]) => ImportInput::of_arguments(self.arguments),
            (Some(_), _) => return Err(Error::usage("a file and arguments cannot be combined").into()),
            (None, []) => {
                let error = Error::usage("there is nothing to import");
                return Err(error.help("name a file: `paster config import site.ini`").into());
            }
        };
        let imported = import(&input, self.from.as_deref())?;
        for lost in &imported.lost {
            note(&format!("note: {lost}\n"));
        }
        print(&imported.text)?;
        Ok(if imported.lost.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
    }
}
