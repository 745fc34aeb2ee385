//! `paster skeleton`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::create::report::{self, Doing};
use super::create::split_words;
use super::output::{note, print};
use crate::error::Result;
use crate::ops::scaffold::create::{CreateRequest, prepare};
use crate::ops::scaffold::skeleton;
use crate::scaffold::{ProvidedAnswers, addition_names};

/// Creates, checks and tests skeletons.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster skeleton new my-skeleton      a small skeleton to start from, in ./my-skeleton
  paster skeleton check my-skeleton    find its errors, and what no test covers
  paster skeleton test my-skeleton     create, build, check and serve a project for each of its tests
  paster create site -t ./my-skeleton  use it")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Creates a small skeleton to start from
    New(New),
    /// Reports the errors of a skeleton
    Check(CheckArgs),
    /// Runs the tests of a skeleton
    Test(TestArgs),
}

#[derive(Debug, clap::Args)]
struct New {
    /// The directory to create, and answers
    #[arg(value_name = "DIR] [KEY=VALUE", required = true)]
    words: Vec<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 no errors, 1 errors, or warnings with --strict.")]
struct CheckArgs {
    /// The skeleton, as for `paster create --template`
    #[arg(default_value = ".")]
    skeleton: String,
    /// Also fail on warnings: unused variables, values without quotes, missing tests
    #[arg(long)]
    strict: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct TestArgs {
    /// The skeleton, as for `paster create --template`
    #[arg(default_value = ".")]
    skeleton: String,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::New(new) => new.run(),
            Command::Check(check) => check.run(),
            Command::Test(test) => test.run(),
        }
    }
}

impl New {
    fn run(self) -> Result<ExitCode> {
        let (target, arguments) = split_words(&self.words)?;
        let request = CreateRequest {
            target: target.or_else(|| Some(PathBuf::from("my-skeleton"))),
            skeleton: "skeleton".into(),
            given: ProvidedAnswers { arguments, ..ProvidedAnswers::default() },
            ..CreateRequest::default()
        };
        let prepared = prepare(&request, &mut |_| Ok(None))?;
        prepared.refuse_used(false)?;
        let created = prepared.write()?;
        report::created(&prepared, &created, Doing::Create, self.json)
    }
}

impl CheckArgs {
    fn run(self) -> Result<ExitCode> {
        // A name may be that of a built-in skeleton for `paster add`.
        let address = match addition_names().any(|name| name == self.skeleton) {
            true => format!("add/{}", self.skeleton),
            false => self.skeleton,
        };
        let checked = skeleton::check(&address)?;
        let about = &checked.skeleton.manifest.about;
        if self.json {
            let result = json!({"name": about.name, "version": about.version, "findings": checked.findings});
            print(&format!("{result:#}\n"))?;
        } else {
            for finding in &checked.findings {
                note(&format!("warning: {}: {}\n", finding.place, finding.message));
            }
            let files = counted(checked.skeleton.files.len(), "file");
            let tests = counted(checked.skeleton.manifest.tests.len(), "test");
            let findings = counted(checked.findings.len(), "finding");
            print(&format!("`{}` is a skeleton: {files}, {tests}; {findings}\n", about.name))?;
        }
        Ok(ExitCode::from(u8::from(self.strict && !checked.findings.is_empty())))
    }
}

impl TestArgs {
    fn run(self) -> Result<ExitCode> {
        let count = skeleton::test::run(&self.skeleton, &mut |number, project| {
            note(&format!("test {number} ({project}): ok\n"));
        })?;
        let tests = counted(count, "test");
        print(&format!("`{}`: {tests} passed\n", self.skeleton))
    }
}

/// `no files`, `1 file`, `2 files`.
fn counted(count: usize, what: &str) -> String {
    match count {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        many => format!("{many} {what}s"),
    }
}
