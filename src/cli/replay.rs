//! `paster replay`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::output::{note, print};
use super::source::SourceArgs;
use crate::error::Result;
use crate::escape;
use crate::ops::replay::{Replay, Summary, replay};

/// Sends recorded requests to an application in this process, and shows how the responses differ.
///
/// The middleware `record` writes requests and their responses to a file. No server is needed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster replay requests.jsonl                     compare with the app of ./server.toml
  paster replay requests.jsonl new/server.toml --ignore x-build
  paster replay requests.jsonl --json | jq .target

Fields that change each time, such as Date, ETag and Set-Cookie, are not compared.
Exit codes: 0 all responses are the same, 1 some differ, 2 the file is not a recording, 78 config error.")]
pub(super) struct Args {
    /// The file that `record` has written
    #[arg(value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,

    #[command(flatten)]
    source: SourceArgs,

    /// Ask this app of the config [default: the app of the server `main`]
    #[arg(long, value_name = "NAME")]
    app: Option<String>,

    /// Do not compare this field of responses; may be repeated
    #[arg(long, value_name = "FIELD")]
    ignore: Vec<String>,

    /// Print one JSON object per difference
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let asked =
            Replay { file: self.file, sources: self.source.sources()?, app: self.app, ignore: self.ignore };
        let json = self.json;
        let Summary { same, different, skipped } =
            replay(&asked, &|text| note(&format!("{text}\n")), &mut |difference| {
                let text = match json {
                    true => format!("{}\n", json!(difference)),
                    false => {
                        difference.text().lines().map(|line| escape::text(line.to_owned()) + "\n").collect()
                    }
                };
                print(&text).map(drop)
            })?;
        let skipped = match skipped {
            0 => String::new(),
            count => format!(", {count} not sent: their bodies were too long to be recorded"),
        };
        note(&format!("{different} of {} responses differ{skipped}\n", same + different));
        Ok(if different > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
