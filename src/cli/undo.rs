//! `paster undo`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::output::print;
use crate::error::Result;
use crate::ops::scaffold::undo::prepare;
use crate::scaffold::UndoAction;

/// Reverts the last create, add or update of an application.
///
/// Removes created files, and restores the old content of changed files. Files that you changed since then are not touched.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster undo --dry-run    show what would happen
  paster undo blog         for the application in ./blog")]
pub(super) struct Args {
    /// The directory of the application
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Show what would happen, without doing it
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let undo = prepare(&self.dir)?;
        if !self.dry_run {
            undo.write()?;
        }
        if self.json {
            let result = json!({"undone": undo.command(), "dry_run": self.dry_run, "files": undo.files});
            return print(&format!("{result:#}\n"));
        }
        let verb = if self.dry_run { "would undo" } else { "undid" };
        let mut text = format!("{verb} `paster {}` in `{}`\n", undo.command(), self.dir.display());
        for file in &undo.files {
            let (action, why) = match file.action {
                UndoAction::Remove => ("remove", ""),
                UndoAction::Restore => ("restore", ""),
                UndoAction::Keep => ("keep", "  (changed since then)"),
            };
            text += &format!("  {action:8} {}{why}\n", file.path);
        }
        print(&text)
    }
}
