//! `paster create`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::output::{note, print};
use crate::config::without_bom;
use crate::error::{Error, Result};
use crate::ops::create::{CreateRequest, Created, Prepared, prepare};
use crate::scaffold::{
    Action, AnswerSource, Kind, ProvidedAnswers, Question, Skeleton, Step, Var, built_in_names,
};

/// Creates an application from a skeleton.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster create --list-templates                list the built-in skeletons
  paster create blog --template axum            a Rust application in ./blog
  paster create --template notebook             a notebook server in ./notebook
  paster create site -t static port=9000        answer a question in advance
  paster create site -t static --list-variables show what it would ask
  paster create site -t ./my-skeleton --dry-run show what it would write, from your own skeleton")]
pub(super) struct Args {
    /// The directory to create [default: the skeleton's name], and answers
    #[arg(value_name = "NAME] [KEY=VALUE")]
    words: Vec<String>,
    /// The skeleton: the name of a built-in one, or the path of a directory
    #[arg(short, long, value_name = "SKELETON")]
    template: Option<String>,
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
    /// Write into a directory that is not empty; replaced files are kept as *.bak
    #[arg(long)]
    force: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        if self.list_templates {
            return self.list_templates();
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
            return self.list_variables(&Skeleton::open(&skeleton)?);
        }
        let (target, arguments) = split_words(&self.words)?;
        let (file, file_name) = match &self.answers {
            Some(path) => (read_answers(path)?, path.display().to_string()),
            None => (Map::new(), String::new()),
        };
        let request =
            CreateRequest { target, skeleton, given: ProvidedAnswers { arguments, file, file_name } };
        let prepared = prepare(&request, &mut |question| if interactive { ask(question) } else { Ok(None) })?;
        if self.diff {
            return self.print_diff(&prepared);
        }
        if self.dry_run {
            return self.print_plan(&prepared);
        }
        prepared.refuse_used(self.force)?;
        let created = prepared.write()?;
        self.print_created(&prepared, &created)
    }

    fn list_templates(&self) -> Result<ExitCode> {
        let skeletons = built_in_names().map(Skeleton::open).collect::<Result<Vec<_>>>()?;
        let about = skeletons.iter().map(|skeleton| &skeleton.manifest.about);
        if self.json {
            let list: Vec<_> = about
                .map(|about| json!({"name": about.name, "summary": about.summary, "version": about.version}))
                .collect();
            return print_json(&list.into());
        }
        let width =
            skeletons.iter().map(|skeleton| skeleton.manifest.about.name.len()).max().unwrap_or_default();
        print(&about.map(|about| format!("{:width$}  {}\n", about.name, about.summary)).collect::<String>())
    }

    fn list_variables(&self, skeleton: &Skeleton) -> Result<ExitCode> {
        let vars = &skeleton.manifest.vars;
        if self.json {
            return print_json(&vars.iter().map(variable_json).collect::<Vec<_>>().into());
        }
        if vars.is_empty() {
            return print(&format!("the skeleton `{}` asks no questions\n", skeleton.manifest.about.name));
        }
        let name_width = vars.iter().map(|var| var.name.len()).max().unwrap_or_default();
        let kind_width = vars.iter().map(|var| kind_name(var.kind).len()).max().unwrap_or_default();
        let line = |var: &Var| {
            let mut line = format!("{:name_width$}  {:kind_width$}", var.name, kind_name(var.kind));
            for part in describe(var) {
                line += &format!("  {part}");
            }
            line + "\n"
        };
        print(&vars.iter().map(line).collect::<String>())
    }

    fn print_plan(&self, prepared: &Prepared) -> Result<ExitCode> {
        if self.json {
            return print_json(&result_json(prepared, None));
        }
        let mut text = format!(
            "would create `{}` from the skeleton `{}`; nothing was written\n",
            prepared.target.display(),
            prepared.skeleton.manifest.about.name
        );
        let answers = prepared.answers.vars.iter();
        let questions: Vec<_> = answers
            .filter_map(|answer| Some((answer, prepared.skeleton.manifest.var(&answer.name)?)))
            .filter(|(answer, var)| answer.how == AnswerSource::Default && var.ask.is_some())
            .collect();
        if !questions.is_empty() {
            text += "would ask on a terminal:\n";
            for (answer, var) in questions {
                let ask = var.ask.as_deref().unwrap_or_default();
                text += &format!("  {}: {ask} [{}]\n", answer.name, answer.shown());
            }
        }
        text += "files:\n";
        for step in &prepared.plan.steps {
            text += &format!(
                "  {:9} {:>7}  {}\n",
                action_name(step.action),
                step.file.bytes.len(),
                step.file.path
            );
        }
        if prepared.plan.needs_force() {
            text +=
                &format!("`{}` is not empty: writing into it needs `--force`\n", prepared.target.display());
        }
        print(&text)
    }

    fn print_diff(&self, prepared: &Prepared) -> Result<ExitCode> {
        let changed =
            || prepared.plan.steps.iter().filter(|step| !matches!(step.action, Action::Same | Action::Keep));
        if self.json {
            let list: Vec<_> =
                changed().map(|step| json!({"path": step.file.path, "diff": diff(step)})).collect();
            return print_json(&list.into());
        }
        print(&changed().map(diff).collect::<String>())
    }

    fn print_created(&self, prepared: &Prepared, created: &Created) -> Result<ExitCode> {
        if self.json {
            return print_json(&result_json(prepared, Some(created)));
        }
        let count = |action| prepared.plan.steps.iter().filter(|step| step.action == action).count();
        let (same, kept) = (count(Action::Same), count(Action::Keep));
        let written = prepared.plan.steps.len() - same - kept;
        let files = |count| if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
        let name = &prepared.skeleton.manifest.about.name;
        let target = prepared.target.display();
        if written == 0 {
            let all = files(same + kept);
            return print(&format!("`{target}` is up to date with the skeleton `{name}`: {all}\n"));
        }
        let mut text = format!("created `{target}` from the skeleton `{name}`: {}", files(written));
        if same > 0 {
            text += &format!(", {same} unchanged");
        }
        if kept > 0 {
            text += &format!(", {kept} kept");
        }
        text += "\n";
        for (path, kept) in &created.written.backups {
            text += &format!("  the old `{path}` is now `{kept}`\n");
        }
        for notice in &created.notices {
            text += &format!("  {notice}\n");
        }
        if !prepared.next.is_empty() {
            text += "next:\n";
            for line in &prepared.next {
                text += &format!("  {line}\n");
            }
        }
        print(&text)
    }
}

/// The name, if there is one, and the answers.
type Words = (Option<PathBuf>, Vec<(String, String)>);

/// Splits `NAME` and `KEY=VALUE` arguments, in any order. What starts like `key=` is an answer; the rest is a
/// name.
fn split_words(words: &[String]) -> Result<Words> {
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

/// Reads the table in an answers file: JSON if its name ends in `.json`, TOML otherwise.
fn read_answers(path: &Path) -> Result<Map<String, Value>> {
    let shown = path.display();
    let text = std::fs::read(path)
        .and_then(|bytes| String::from_utf8(without_bom(bytes)).map_err(std::io::Error::other))
        .map_err(|error| Error::usage(format!("cannot read the answers in `{shown}`")).because(error))?;
    let table = if path.extension().is_some_and(|ending| ending == "json") {
        serde_json::from_str(&text).map_err(|error| error.to_string())
    } else {
        toml_edit::de::from_str(&text).map_err(|error| error.to_string().trim_end().to_owned())
    };
    Ok(table.map_err(|error| Error::usage(format!("cannot read the answers in `{shown}`")).because(error))?)
}

fn on_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

fn ask_for_skeleton() -> Result<String> {
    let skeletons = built_in_names().map(Skeleton::open).collect::<Result<Vec<_>>>()?;
    let lines = skeletons.iter().map(|skeleton| {
        let about = &skeleton.manifest.about;
        format!("{}: {}", about.name, about.summary)
    });
    let chosen =
        inquire::Select::new("Skeleton", lines.collect()).raw_prompt().map_err(|error| unanswered(&error))?;
    Ok(skeletons[chosen.index].manifest.about.name.clone())
}

/// Asks one question, and asks again until the answer is valid.
fn ask(question: &Question<'_>) -> Result<Option<Value>> {
    let var = question.var;
    let message = var.ask.as_deref().unwrap_or(&var.name);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let default = question.default.as_ref().map(text);
    let labels: Vec<_> = var
        .choices
        .iter()
        .map(|(name, label)| if name == label { name.clone() } else { format!("{name}: {label}") })
        .collect();
    let answer = match var.kind {
        Kind::Bool => {
            let mut prompt = inquire::Confirm::new(message);
            prompt.default = question.default.as_ref().and_then(Value::as_bool);
            prompt.prompt().map(Value::from)
        }
        Kind::List if !labels.is_empty() => {
            let chosen = question.default.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
            let indices: Vec<_> = (0..labels.len())
                .filter(|index| chosen.contains(&var.choices[*index].0.as_str().into()))
                .collect();
            inquire::MultiSelect::new(message, labels).with_default(&indices).raw_prompt().map(|chosen| {
                chosen.into_iter().map(|option| Value::from(var.choices[option.index].0.clone())).collect()
            })
        }
        Kind::String if !labels.is_empty() => {
            let start = var.choices.iter().position(|(name, _)| Some(name) == default.as_ref());
            inquire::Select::new(message, labels)
                .with_starting_cursor(start.unwrap_or_default())
                .raw_prompt()
                .map(|chosen| Value::from(var.choices[chosen.index].0.clone()))
        }
        Kind::Secret => loop {
            let typed = inquire::Password::new(message).without_confirmation().prompt();
            match typed.map(|typed| question.read(&typed)) {
                Ok(Ok(value)) => break Ok(value),
                Ok(Err(why)) => note(&format!("  {why}\n")),
                Err(error) => break Err(error),
            }
        },
        Kind::String | Kind::CrateName | Kind::Int | Kind::List => loop {
            let mut prompt = inquire::Text::new(message);
            prompt.default = default.as_deref();
            match prompt.prompt().map(|typed| question.read(&typed)) {
                Ok(Ok(value)) => break Ok(value),
                Ok(Err(why)) => note(&format!("  {why}\n")),
                Err(error) => break Err(error),
            }
        },
    };
    Ok(Some(answer.map_err(|error| unanswered(&error))?))
}

fn unanswered(error: &inquire::InquireError) -> Error {
    match error {
        inquire::InquireError::OperationCanceled | inquire::InquireError::OperationInterrupted => {
            Error::new("cancelled: nothing was written")
        }
        other => Error::new(format!("cannot ask: {other}"))
            .help("use `--defaults` to accept the defaults without questions"),
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::String => "string",
        Kind::Int => "int",
        Kind::Bool => "bool",
        Kind::List => "list",
        Kind::Secret => "secret",
        Kind::CrateName => "crate_name",
    }
}

/// The details of a variable, besides its name and kind.
fn describe(var: &Var) -> Vec<String> {
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut parts = Vec::new();
    parts.extend(var.ask.clone());
    parts.extend(var.default.as_ref().map(|value| format!("[default: {}]", shown(value))));
    parts.extend(var.value.as_ref().map(|value| format!("[derived: {}]", shown(value))));
    if !var.choices.is_empty() {
        let names: Vec<_> = var.choices.iter().map(|(name, _)| name.as_str()).collect();
        parts.push(format!("[one of: {}]", names.join(", ")));
    }
    parts.extend(var.range.map(|[least, most]| format!("[{least} to {most}]")));
    parts.extend(var.pattern.as_ref().map(|pattern| format!("[matches {pattern}]")));
    parts.extend(var.when.as_ref().map(|when| format!("[when {when}]")));
    parts
}

fn variable_json(var: &Var) -> Value {
    json!({
        "name": var.name, "type": kind_name(var.kind), "ask": var.ask, "default": var.default, "value": var.value,
        "choices": var.choices.iter().cloned().map(|(name, label)| (name, label.into())).collect::<Map<_, _>>(),
        "pattern": var.pattern, "range": var.range, "when": var.when,
    })
}

fn action_name(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Same => "same",
        Action::Overwrite => "overwrite",
        Action::Keep => "keep",
    }
}

/// One file's change as a unified diff.
fn diff(step: &Step) -> String {
    let path = &step.file.path;
    let new_name = format!("b/{path}");
    let (old, old_name) = match &step.existing {
        Some((bytes, _)) => (bytes.as_slice(), format!("a/{path}")),
        None => (&[][..], "/dev/null".to_owned()),
    };
    match (std::str::from_utf8(old), std::str::from_utf8(&step.file.bytes)) {
        (Ok(old), Ok(new)) if !old.contains('\0') && !new.contains('\0') => {
            similar::TextDiff::from_lines(old, new).unified_diff().header(&old_name, &new_name).to_string()
        }
        _ => format!("Binary files {old_name} and {new_name} differ\n"),
    }
}

/// The result as JSON, or the plan if `created` is `None`.
fn result_json(prepared: &Prepared, created: Option<&Created>) -> Value {
    let files: Vec<_> = prepared
        .plan
        .steps
        .iter()
        .map(|step| json!({"path": step.file.path, "action": step.action, "bytes": step.file.bytes.len()}))
        .collect();
    let answers: Map<_, _> = prepared
        .answers
        .vars
        .iter()
        .map(|answer| {
            let value = if answer.secret { Value::Null } else { answer.value.clone() };
            (answer.name.clone(), json!({"value": value, "from": answer.how}))
        })
        .collect();
    let mut result = json!({
        "target": prepared.target.display().to_string(),
        "project": prepared.project,
        "skeleton": prepared.skeleton.manifest.about.name,
        "dry_run": created.is_none(),
        "needs_force": prepared.plan.needs_force(),
        "answers": answers,
        "files": files,
        "post": prepared.posts,
        "next": prepared.next,
    });
    if let Some(created) = created {
        let backups: Map<_, _> =
            created.written.backups.iter().map(|(path, kept)| (path.clone(), kept.clone().into())).collect();
        result["post"] = json!(created.done);
        result["backups"] = backups.into();
        result["notices"] = json!(created.notices);
        result["needs_force"] = false.into();
    }
    result
}

fn print_json(value: &Value) -> Result<ExitCode> {
    print(&format!("{value:#}\n"))
}
