//! `paster create`: makes a directory with an application from a skeleton and some answers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};

use super::python_environment::PythonEnvironment;
use super::sdk;
use crate::config::{Sources, without_bom};
use crate::error::{Error, Result};
use crate::scaffold::{
    Answers, Plan, PostAction, ProvidedAnswers, Question, Skeleton, Written, plain_component, render, resolve,
};

/// What to create.
#[derive(Debug, Clone, Default)]
pub struct CreateRequest {
    /// The directory to create; `None` for the skeleton's name.
    pub target: Option<PathBuf>,
    /// The name of a built-in skeleton, or the path of a directory.
    pub skeleton: String,
    /// Answers given in advance.
    pub given: ProvidedAnswers,
}

/// Everything that is found out before anything is written.
#[derive(Debug)]
pub struct Prepared {
    /// The skeleton.
    pub skeleton: Skeleton,
    /// The directory to create, as the user named it.
    pub target: PathBuf,
    /// The project's name: the name of the directory.
    pub project: String,
    /// All answers.
    pub answers: Answers,
    /// What happens to each file.
    pub plan: Plan,
    /// The actions after the files are written.
    pub posts: Vec<PostAction>,
    /// Suggestions for the user, one per line.
    pub next: Vec<String>,
    /// The copy of the sdk that the project builds against.
    sdk: Option<sdk::Copy>,
}

/// The result.
#[derive(Debug, Default)]
pub struct Created {
    /// What was written.
    pub written: Written,
    /// The actions that were done.
    pub done: Vec<PostAction>,
    /// The actions that were skipped, and why.
    pub notices: Vec<String>,
    /// The command that makes the virtual environment, if it was not made.
    pub first: Option<String>,
}

/// Opens the skeleton, answers its questions, renders it and compares it with the target. Writes nothing.
///
/// `ask` asks the user one question, or returns `None` if there is nobody to ask.
/// # Errors
/// Faults of the command line (names, answers) and of the skeleton; obstacles at the target.
pub fn prepare(
    request: &CreateRequest,
    ask: &mut dyn FnMut(&Question<'_>) -> Result<Option<Value>>,
) -> Result<Prepared> {
    let skeleton = Skeleton::open(&request.skeleton)?;
    let target = request.target.clone().unwrap_or_else(|| PathBuf::from(&skeleton.manifest.about.name));
    let project = project_name(&target)?;
    let copy =
        if sdk::checkout().is_none() && skeleton.mentions("paster_sdk") { sdk::Copy::find() } else { None };
    let built_in = built_in(&skeleton, &target, &project, copy.as_ref());
    let answers = resolve(&skeleton.manifest, built_in, &request.given, ask)?;
    let sdk = copy.filter(|copy| {
        let folder = copy.sdk();
        answers.vars.iter().any(|answer| answer.value.as_str().map(Path::new) == Some(&folder))
    });
    let plan = Plan::new(&target, render(&skeleton, &answers)?)?;
    let posts = skeleton.posts(&answers)?;
    let next = skeleton.next(&answers)?;
    Ok(Prepared { skeleton, target, project, answers, plan, posts, next, sdk })
}

impl Prepared {
    /// Returns an error for a directory with other files in it, unless `force`.
    /// # Errors
    /// With the options that the user has.
    pub fn refuse_used(&self, force: bool) -> Result<()> {
        if force || !self.plan.needs_force() {
            return Ok(());
        }
        Err(Error::new(format!("`{}` is not empty", self.target.display()))
            .help("choose another name")
            .help("see what would change there with `--diff`")
            .help("write into it with `--force`; replaced files are kept as `*.bak`")
            .into())
    }

    /// How the project's virtual environment is made, if it is to have one.
    pub fn python_environment(&self) -> Option<PythonEnvironment> {
        let wanted = self.posts.contains(&PostAction::PythonEnvironment);
        wanted.then(|| PythonEnvironment::of(&self.target))
    }

    /// Writes the files and does the actions that follow, except the virtual environment.
    /// # Errors
    /// When a file cannot be written: then nothing was written. When a check of the result fails: then the
    /// files exist.
    pub fn write(&self) -> Result<Created> {
        let copied = match &self.sdk {
            Some(sdk) => sdk.write()?,
            None => false,
        };
        let mut created = Created { written: self.plan.write()?, ..Created::default() };
        if let (true, Some(sdk)) = (copied, &self.sdk) {
            created.notices.push(format!("the sources of the SDK are in `{}`", sdk.sdk().display()));
        }
        for post in &self.posts {
            match post {
                PostAction::GitInit => match git_init(&self.target) {
                    Ok(()) => created.done.push(*post),
                    Err(why) => created.notices.push(format!("no git repository: {why}")),
                },
                PostAction::Check => {
                    let sources =
                        Sources { file: Some(self.target.join("server.toml")), ..Sources::default() };
                    super::check::check(&sources, false)?;
                    created.done.push(*post);
                }
                PostAction::Chmod => {}             // done when the files are written
                PostAction::PythonEnvironment => {} // see `python_environment`
            }
        }
        Ok(created)
    }
}

/// Reads the table in an answers file: JSON if its name ends in `.json`, TOML otherwise.
/// # Errors
/// If it cannot be read or parsed.
pub fn read_answers(path: &Path) -> Result<Map<String, Value>> {
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

/// The last component of the target, which must be a name.
fn project_name(target: &Path) -> Result<String> {
    let shown = target.display();
    let absolute = std::path::absolute(target)
        .map_err(|error| Error::usage(format!("`{shown}` cannot hold a project")).because(error))?;
    let name = absolute.file_name().filter(|_| !target.ends_with(".."));
    let name = name.ok_or_else(|| Error::usage(format!("`{shown}` does not end with a name")))?;
    let name = name.to_str().ok_or_else(|| Error::usage(format!("the name of `{shown}` is not UTF-8")))?;
    plain_component(name).map_err(|why| {
        let kept: String =
            name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
        let error = Error::usage(format!("`{}` cannot name a project: it {why}", name.escape_debug()));
        let near = kept.trim_end_matches('.').to_owned();
        if plain_component(&near).is_ok() { error.help(format!("`{near}` would work")) } else { error }
    })?;
    Ok(name.to_owned())
}

/// The variables that every skeleton may use.
fn built_in(
    skeleton: &Skeleton,
    target: &Path,
    project: &str,
    copy: Option<&sdk::Copy>,
) -> Map<String, Value> {
    let checkout = sdk::checkout();
    let paster_sdk = match &checkout {
        Some(checkout) => Some(format!("{}/plugins/paster-sdk", checkout.display())),
        None => copy.and_then(|copy| copy.sdk().to_str().map(str::to_owned)),
    };
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    let year = now.split('-').next().and_then(|year| year.parse::<i64>().ok()).unwrap_or_default();
    // Running git takes time: do it only if a template uses its values.
    let user = |key: &str| if skeleton.mentions("user.") { git_config(key) } else { String::new() };
    let values = json!({
        "project": project,
        "target": target.display().to_string(),
        "year": year,
        "user": {"name": user("user.name"), "email": user("user.email")},
        "checkout": checkout.map(|root| root.display().to_string()).unwrap_or_default(),
        "paster": env!("CARGO_PKG_VERSION"),
        "paster_sdk": paster_sdk.unwrap_or_default(),
    });
    match values {
        Value::Object(values) => values,
        _ => Map::new(),
    }
}

fn git_config(key: &str) -> String {
    let output = git().args(["config", "--get", key]).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    text.and_then(|text| String::from_utf8(text).ok()).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Makes a git repository of `target`. No argument contains a name from the user, so none can be taken for an
/// option.
fn git_init(target: &Path) -> Result<(), String> {
    let absolute = std::path::absolute(target).map_err(|error| error.to_string())?;
    if absolute.join(".git").exists() {
        return Ok(());
    }
    if absolute.ancestors().skip(1).any(|folder| folder.join(".git").exists()) {
        return Err("the directory is in a repository already".into());
    }
    let output =
        git().args(["init", "--quiet"]).current_dir(target).output().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "git is not installed".to_string(),
            _ => error.to_string(),
        })?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// git, without variables that would point it to another repository.
fn git() -> Command {
    let mut git = Command::new("git");
    git.stdin(Stdio::null());
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
        git.env_remove(name);
    }
    git
}
