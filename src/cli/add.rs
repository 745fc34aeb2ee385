//! `paster add`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::create::report::{self, Doing};
use super::create::{ask, given, on_terminal, show_programs, split_words};
use crate::error::{Error, Result};
use crate::ops::scaffold::add::{AddRequest, prepare};
use crate::scaffold::Skeleton;

/// Adds a part to an application: a route, a middleware, a task, deployment files.
///
/// Adds tables to server.toml key by key, and leaves everything else in it unchanged.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster add --list-templates               list what can be added
  paster add route path=/docs to=static     serve the directory docs at /docs
  paster add middleware kind=compress       add a middleware to the application
  paster add task request='POST /sweep'     a task that runs every hour
  paster add python path=/api               a Python application at /api
  paster add production --dry-run           show what it would write: systemd, containers, CI
  paster add ./my-skeleton --diff           from your own skeleton

`paster undo` reverts it.")]
pub(super) struct Args {
    /// What to add (see --list-templates), and answers
    #[arg(value_name = "SKELETON] [KEY=VALUE")]
    words: Vec<String>,
    /// The directory of the application
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// List the built-in skeletons that can be added
    #[arg(long)]
    list_templates: bool,
    /// List the variables of the skeleton
    #[arg(long)]
    list_variables: bool,
    /// Read answers from a TOML or JSON file; KEY=VALUE arguments override it
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Use the defaults without asking
    #[arg(long)]
    defaults: bool,
    /// Show what would be written, without writing it
    #[arg(long)]
    dry_run: bool,
    /// Show what would change as a unified diff, without writing it
    #[arg(long)]
    diff: bool,
    /// Replace files that exist and cannot be merged; the old ones are kept as *.bak
    #[arg(long)]
    force: bool,
    /// Let the skeleton run programs after the files are written; without it, such a skeleton is refused
    #[arg(long)]
    trust: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        if self.list_templates {
            return report::templates(Doing::Add, self.json);
        }
        let (skeleton, arguments) = split_words(&self.words)?;
        let Some(skeleton) = skeleton.as_deref().and_then(|name| name.to_str()) else {
            return Err(Error::usage("nothing to add")
                .help("`paster add --list-templates` lists what can be added")
                .into());
        };
        if self.list_variables {
            return report::variables(&Skeleton::open_addition(skeleton)?, self.json);
        }
        let interactive = !self.defaults && !self.dry_run && !self.diff && !self.json && on_terminal();
        let request = AddRequest {
            target: self.dir,
            skeleton: skeleton.to_owned(),
            given: given(arguments, self.answers.as_deref())?,
            trust: self.trust,
            force: self.force,
        };
        let prepared = prepare(&request, &mut |question| if interactive { ask(question) } else { Ok(None) })?;
        if self.diff {
            return report::diffs(&prepared, self.json);
        }
        if self.dry_run {
            return report::plan(&prepared, Doing::Add, self.json);
        }
        show_programs(&prepared.programs);
        let created = prepared.write()?;
        report::created(&prepared, &created, Doing::Add, self.json)
    }
}
