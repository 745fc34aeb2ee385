//! `paster update`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::create::report::{action_name, diffs_of, print_json};
use super::create::{ask, given, on_terminal, split_words};
use super::output::print;
use crate::error::Result;
use crate::ops::scaffold::update::{Update, UpdateRequest, prepare};
use crate::scaffold::{Action, LockedSkeleton};

/// Merges newer versions of its skeletons into an application.
///
/// Combines your changes with those of the skeleton. If both changed the same place, the file gets conflict markers as in git.
/// Files that you removed remain removed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster update --check               is the application behind its skeleton?
  paster update --diff                show what would change
  paster update blog                  merge the newer version into ./blog
  paster update port=9000             change an answer
  paster update --template https://example.org/skeletons.git#site@v3
                                      move to another version of the skeleton

.paster contains the skeletons, the answers and the rendered files. Keep it in version control.
`paster undo` reverts the update.
Exit codes: 0 done, or nothing to do; 1 failed, conflicts, or --check and something to do.")]
pub(super) struct Args {
    /// The directory of the application [default: .], and answers that change
    #[arg(value_name = "DIR] [KEY=VALUE")]
    words: Vec<String>,
    /// The new address of the main skeleton
    #[arg(short, long, value_name = "SKELETON")]
    template: Option<String>,
    /// Read answers from a TOML or JSON file; KEY=VALUE arguments override it
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Use the defaults of new questions without asking
    #[arg(long)]
    defaults: bool,
    /// Exit with 1 if there is something to update, without writing it
    #[arg(long)]
    check: bool,
    /// Show what would happen to each file, without writing it
    #[arg(long)]
    dry_run: bool,
    /// Show what would change as a unified diff, without writing it
    #[arg(long)]
    diff: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let (target, arguments) = split_words(&self.words)?;
        let looks = self.check || self.dry_run || self.diff;
        let interactive = !self.defaults && !looks && !self.json && on_terminal();
        let request = UpdateRequest {
            target: target.unwrap_or_else(|| ".".into()),
            skeleton: self.template,
            given: given(arguments, self.answers.as_deref())?,
        };
        let update = prepare(&request, &mut |question| if interactive { ask(question) } else { Ok(None) })?;
        if self.diff {
            return diffs_of(&update.plan.steps, self.json);
        }
        let current = update.is_current()?;
        if !looks && !current {
            update.write()?;
        }
        match self.json {
            true => print_json(&as_json(&update, looks, current))?,
            false => print(&as_text(&update, looks, current))?,
        };
        let conflicts = update.plan.steps.iter().any(|step| step.action == Action::Conflict);
        let failed = if self.check { !current } else { conflicts && !self.dry_run };
        Ok(ExitCode::from(u8::from(failed)))
    }
}

fn as_text(update: &Update, looks: bool, current: bool) -> String {
    let target = update.target.display();
    let names: Vec<_> = update
        .before
        .iter()
        .zip(&update.layers)
        .map(|(before, layer)| {
            let about = &layer.skeleton.manifest.about;
            versions(before, about.version.as_deref())
        })
        .collect();
    let names = names.join(", ");
    if current {
        return format!("`{target}` is up to date: {names}\n");
    }
    let verb = if looks { "would update" } else { "updated" };
    let mut text = format!("{verb} `{target}`: {names}\n");
    let mut conflicts = 0;
    for step in update.steps() {
        let name = match (&step.renamed_from, step.action) {
            (Some(from), Action::Conflict) => format!("conflict  {from} -> {}", step.file.path),
            (Some(from), _) => format!("move      {from} -> {}", step.file.path),
            // Its move is on its own line.
            (None, Action::Delete) if step.note.is_some() => continue,
            (None, action) => format!("{:9} {}", action_name(action), step.file.path),
        };
        let note = step.note.as_ref().map(|note| format!("  ({note})")).unwrap_or_default();
        text += &format!("  {name}{note}\n");
        conflicts += usize::from(step.action == Action::Conflict);
    }
    if conflicts > 0 && !looks {
        text += "next:\n  resolve the places between `<<<<<<<` and `>>>>>>>`\n  or take the update back: paster undo\n";
    }
    text
}

/// A skeleton with its old and its new version.
fn versions(before: &LockedSkeleton, now: Option<&str>) -> String {
    let name = &before.name;
    match (before.version.as_deref(), now) {
        (Some(old), Some(new)) if old != new => format!("{name} {old} -> {new}"),
        (_, Some(new)) => format!("{name} {new}"),
        (_, None) => name.clone(),
    }
}

fn as_json(update: &Update, looks: bool, current: bool) -> Value {
    let skeletons: Vec<_> = update
        .before
        .iter()
        .zip(&update.layers)
        .map(|(before, layer)| {
            let (about, source) = (&layer.skeleton.manifest.about, &layer.skeleton.source);
            json!({
                "name": about.name, "source": source.address,
                "from": {"version": before.version, "revision": before.revision},
                "to": {"version": about.version, "revision": source.revision},
            })
        })
        .collect();
    let files: Vec<_> = update.plan.steps.iter().map(|step| json!({
        "path": step.file.path, "action": step.action, "renamed_from": step.renamed_from, "note": step.note,
    })).collect();
    json!({
        "target": update.target.display().to_string(), "dry_run": looks, "current": current,
        "skeletons": skeletons, "files": files,
    })
}
