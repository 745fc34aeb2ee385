//! `paster check`.

use std::process::ExitCode;

use serde_json::json;

use super::output::{note, print};
use super::report;
use super::source::SourceArgs;
use crate::error::{Errors, Result};
use crate::ops::check::{Checked, check, fix};

/// Reports all errors of a config, without listening.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster check                             check ./server.toml
  paster check site/server.toml --profile production
  paster check --online                    connect to upstreams and stores too
  paster check --fix                       fix what needs no decision, then check
  paster check --json | jq '.errors[].file'

Exit codes: 0 no errors, 1 an address cannot be reached (--online), 78 config error.")]
pub(super) struct Args {
    #[command(flatten)]
    source: SourceArgs,

    /// Also connect to every upstream and store
    #[arg(long)]
    online: bool,

    /// First fix the files: old names of options, the formatting, and secrets that every user can read
    #[arg(long)]
    fix: bool,

    /// Print the result as JSON on standard output
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let sources = self.source.sources();
        let fixed = match &sources {
            Ok(sources) if self.fix => fix(sources),
            _ => Ok(Vec::new()),
        };
        let (fixed, result) = match (fixed, sources) {
            (Ok(fixed), Ok(sources)) => (fixed, check(&sources, self.online)),
            (Err(errors), _) | (_, Err(errors)) => (Vec::new(), Err(errors)),
        };
        if self.json {
            let (value, code) = match &result {
                Ok(checked) => {
                    let mut value = serde_json::to_value(checked).unwrap_or_default();
                    value["ok"] = true.into();
                    (value, ExitCode::SUCCESS)
                }
                Err(errors) => (
                    json!({ "ok": false, "errors": report::values(errors) }),
                    ExitCode::from(Errors::exit_code(errors)),
                ),
            };
            let mut value = value;
            if self.fix {
                value["fixed"] = fixed.into();
            }
            print(&format!("{value:#}\n"))?;
            return Ok(code);
        }
        note(&fixed.iter().map(|done| format!("fixed: {done}\n")).collect::<String>());
        let checked = result?;
        let notes: String = checked.notes.iter().map(|text| format!("note: {text}\n")).collect();
        print(&format!("{}\n{notes}", summary(&checked)))
    }
}

fn summary(checked: &Checked) -> String {
    let count = |number: usize, one: &str, many: &str| match number {
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    };
    let mut parts = vec![
        count(checked.servers.len(), "server", "servers"),
        count(checked.apps.len(), "app", "apps"),
        count(checked.middleware.len(), "middleware table", "middleware tables"),
        count(checked.resources.len(), "resource", "resources"),
    ];
    parts.retain(|part| !part.starts_with("0 "));
    format!("ok: {}", parts.join(", "))
}
