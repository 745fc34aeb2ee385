//! What `paster create` prints.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::cli::output::print;
use crate::error::Result;
use crate::ops::create::{Created, Prepared};
use crate::scaffold::{Action, AnswerSource, Kind, Skeleton, Step, Var, built_in_names};

/// Lists the built-in skeletons.
pub(super) fn templates(json: bool) -> Result<ExitCode> {
    let skeletons = built_in_names().map(Skeleton::open).collect::<Result<Vec<_>>>()?;
    let about = skeletons.iter().map(|skeleton| &skeleton.manifest.about);
    if json {
        let list: Vec<_> = about
            .map(|about| json!({"name": about.name, "summary": about.summary, "version": about.version}))
            .collect();
        return print_json(&list.into());
    }
    let width = skeletons.iter().map(|skeleton| skeleton.manifest.about.name.len()).max().unwrap_or_default();
    print(&about.map(|about| format!("{:width$}  {}\n", about.name, about.summary)).collect::<String>())
}

/// Lists the variables of a skeleton.
pub(super) fn variables(skeleton: &Skeleton, json: bool) -> Result<ExitCode> {
    let vars = &skeleton.manifest.vars;
    if json {
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

/// Prints what would be asked and written.
pub(super) fn plan(prepared: &Prepared, json: bool) -> Result<ExitCode> {
    if json {
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
        text +=
            &format!("  {:9} {:>7}  {}\n", action_name(step.action), step.file.bytes.len(), step.file.path);
    }
    if prepared.plan.needs_force() {
        text += &format!("`{}` is not empty: writing into it needs `--force`\n", prepared.target.display());
    }
    print(&text)
}

/// Prints what would change.
pub(super) fn diffs(prepared: &Prepared, json: bool) -> Result<ExitCode> {
    let changed =
        || prepared.plan.steps.iter().filter(|step| !matches!(step.action, Action::Same | Action::Keep));
    if json {
        let list: Vec<_> =
            changed().map(|step| json!({"path": step.file.path, "diff": diff(step)})).collect();
        return print_json(&list.into());
    }
    print(&changed().map(diff).collect::<String>())
}

/// Prints what was written.
pub(super) fn created(prepared: &Prepared, created: &Created, json: bool) -> Result<ExitCode> {
    if json {
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
        for line in created.first.iter().chain(&prepared.next) {
            text += &format!("  {line}\n");
        }
    }
    print(&text)
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
        result["next"] = created.first.iter().chain(&prepared.next).cloned().collect();
        result["needs_force"] = false.into();
    }
    result
}

fn print_json(value: &Value) -> Result<ExitCode> {
    print(&format!("{value:#}\n"))
}
