//! `paster create`.

mod ask;
pub(super) mod report;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Map;

pub(super) use self::ask::ask;
use self::ask::{ask_for_skeleton, ask_to_install};
use self::report::Doing;
use super::output::note;
use crate::error::{Error, Result};
use crate::ops::scaffold::create::{CreateRequest, PreparedProject, prepare, read_answers};
use crate::ops::scaffold::plan_file::{self, PlanFile};
use crate::ops::scaffold::shown;
use crate::scaffold::{PostAction, ProvidedAnswers, Question, Skeleton, built_in_names};

/// Creates an application from a skeleton.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster create --list-templates                list the built-in skeletons
  paster create blog --template axum            a Rust application in ./blog
  paster create blog -t django --install        a Django project, with its packages in ./blog/.venv
  paster create --template notebook             a notebook server in ./notebook
  paster create site -t static port=9000        answer a question in advance
  paster create site -t static --list-variables show what it would ask
  paster create blog -t axum --with production  with deployment files: systemd, containers, CI
  paster create site -t ./my-skeleton --dry-run show what it would write, from your own skeleton
  paster create site -t static --plan plan.json write a plan to a file
  paster create --apply plan.json               carry out the plan, unless something changed
  paster create site -t https://example.org/skeletons.git#site@v2
                                                from the folder `site` of a git repository, at the tag v2
  paster create site -t crate:web-skeletons#site   from the folder `skeletons/site` of a Rust package

`paster add` adds to a project, `paster update` merges a newer skeleton into it, and `paster undo` reverts the last change.")]
pub(super) struct Args {
    /// The directory to create [default: the skeleton's name], and answers
    #[arg(value_name = "NAME] [KEY=VALUE")]
    words: Vec<String>,
    /// The skeleton: the name of a built-in one, the path of a directory or archive, the URL of a git repository, or
    /// crate:NAME; then #FOLDER and @REVISION
    #[arg(short, long, value_name = "SKELETON")]
    template: Option<String>,
    /// Add this skeleton too (see `paster add --list-templates`)
    #[arg(long, value_name = "SKELETON")]
    with: Vec<String>,
    /// List the built-in skeletons
    #[arg(long)]
    list_templates: bool,
    /// List the variables of the skeleton
    #[arg(long, requires = "template")]
    list_variables: bool,
    /// Read answers from a TOML or JSON file; KEY=VALUE arguments override it
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Use the defaults without asking
    #[arg(long)]
    defaults: bool,
    /// Show what would be asked and written, without writing it
    #[arg(long)]
    dry_run: bool,
    /// Show what would change in the directory as a unified diff, without writing it
    #[arg(long)]
    diff: bool,
    /// Write a plan to a file, for --apply, without changing anything
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dry_run", "diff", "apply", "list_variables"])]
    plan: Option<PathBuf>,
    /// Carry out a plan, unless the skeletons or the directory have changed since; give secrets again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["template", "with", "force", "list_variables"])]
    apply: Option<PathBuf>,
    /// Write into a directory that is not empty; replaced files are kept as *.bak
    #[arg(long)]
    force: bool,
    /// Let the skeleton run programs after the files are written; without it, such a skeleton is refused
    #[arg(long)]
    trust: bool,
    /// For a Python application: create its virtual environment and install its packages, without asking
    #[arg(long, overrides_with = "no_install")]
    install: bool,
    /// For a Python application: do not ask about its virtual environment, and do not create it
    #[arg(long)]
    no_install: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        if self.list_templates {
            return report::templates(Doing::Create, self.json);
        }
        if let Some(file) = &self.apply {
            return self.apply(file);
        }
        let interactive = !self.defaults && !self.dry_run && !self.diff && !self.json && on_terminal();
        let skeleton = match &self.template {
            Some(skeleton) => skeleton.clone(),
            None if interactive => ask_for_skeleton()?,
            None => {
                let names: Vec<_> = built_in_names().map(|name| format!("`{name}`")).collect();
                return Err(Error::usage("no skeleton given")
                    .help(format!(
                        "add `--template` with one of {}, or the path of a directory",
                        names.join(", ")
                    ))
                    .into());
            }
        };
        if self.list_variables {
            return report::variables(&Skeleton::open(&skeleton)?, self.json);
        }
        let (target, arguments) = split_words(&self.words)?;
        let given = given(arguments, self.answers.as_deref())?;
        let mut request =
            CreateRequest { target, skeleton, with: self.with.clone(), given, trust: self.trust };
        if self.plan.is_some() {
            request.target = Some(absolute_target(&request)?);
        }
        let prepared = prepare(&request, &mut |question| if interactive { ask(question) } else { Ok(None) })?;
        if self.diff {
            return report::diffs(&prepared, self.json);
        }
        if self.dry_run {
            return report::plan(&prepared, Doing::Create, self.json);
        }
        prepared.refuse_used(self.force)?;
        if let Some(file) = &self.plan {
            plan_file::plan(&prepared, self.force).write(file)?;
            return report::planned(&prepared, file, self.json);
        }
        self.write(&prepared, interactive)
    }

    /// Carries out the plan in `file`.
    fn apply(&self, file: &Path) -> Result<ExitCode> {
        let plan = PlanFile::read(file)?;
        let (target, arguments) = split_words(&self.words)?;
        if let Some(target) = target {
            return Err(Error::usage(format!(
                "unexpected `{}`: the plan names the directory",
                target.display()
            ))
            .into());
        }
        let given = given(arguments, self.answers.as_deref())?;
        let interactive = !self.defaults && !self.json && on_terminal();
        let mut ask = |question: &Question<'_>| if interactive { ask(question) } else { Ok(None) };
        let prepared = plan.prepare(given, self.trust, &mut ask)?;
        if self.diff {
            return report::diffs(&prepared, self.json);
        }
        if self.dry_run {
            return report::plan(&prepared, Doing::Create, self.json);
        }
        prepared.refuse_used(plan.force())?;
        self.write(&prepared, interactive)
    }

    /// Writes the project, and reports the result.
    fn write(&self, prepared: &PreparedProject, interactive: bool) -> Result<ExitCode> {
        show_programs(&prepared.programs);
        let mut created = prepared.write()?;
        let environment = prepared.python_environment();
        if let Some(environment) = environment.as_ref().filter(|environment| !environment.folder.exists()) {
            if self.install || (!self.no_install && interactive && ask_to_install(environment)?) {
                environment.make(self.json)?;
                created.done.push(PostAction::PythonEnvironment);
            } else {
                created.first = Some(environment.command());
            }
        }
        report::created(prepared, &created, Doing::Create, self.json)
    }
}

/// The target as an absolute path, so that a plan can be applied from any directory.
fn absolute_target(request: &CreateRequest) -> Result<PathBuf> {
    let named = match &request.target {
        Some(target) => target.clone(),
        None => PathBuf::from(&Skeleton::open(&request.skeleton)?.manifest.about.name),
    };
    std::path::absolute(&named).map_err(|cause| {
        Error::usage(format!("`{}` cannot hold a project", named.display())).because(cause).into()
    })
}

/// The answers that the user gave before any question.
pub(super) fn given(arguments: Vec<(String, String)>, answers: Option<&Path>) -> Result<ProvidedAnswers> {
    let (file, file_name) = match answers {
        Some(path) => (read_answers(path)?, path.display().to_string()),
        None => (Map::new(), String::new()),
    };
    Ok(ProvidedAnswers { arguments, file, file_name, kept: Map::new() })
}

/// Shows the programs that will run.
pub(super) fn show_programs(programs: &[Vec<String>]) {
    for argv in programs {
        note(&format!("will run: {}\n", shown(argv)));
    }
}

/// The name, if there is one, and the answers.
type CreateWords = (Option<PathBuf>, Vec<(String, String)>);

/// Splits `NAME` and `KEY=VALUE` arguments, in any order. What starts like `key=` is an answer; the rest is a
/// name.
pub(super) fn split_words(words: &[String]) -> Result<CreateWords> {
    let mut target = None;
    let mut arguments = Vec::new();
    for word in words {
        match word.split_once('=') {
            Some((key, value)) if key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) => {
                arguments.push((key.to_owned(), value.to_owned()));
            }
            _ if target.is_none() => target = Some(PathBuf::from(word)),
            _ => {
                return Err(Error::usage(format!("unexpected `{word}`: a name was already given"))
                    .help("answers are written KEY=VALUE")
                    .into());
            }
        }
    }
    if let Some(target) = &target
        && target.as_os_str().is_empty()
    {
        return Err(Error::usage("the name is empty").into());
    }
    Ok((target, arguments))
}

pub(super) fn on_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}
