//! What `paster create`, `add` and `update` print.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::cli::output::print;
use crate::error::Result;
use crate::ops::scaffold::create::{Created, PreparedProject};
use crate::ops::scaffold::{SkeletonLayer, shown};
use crate::scaffold::{
    Action, Answer, AnswerSource, PlanStep, Skeleton, Var, VariableKind, addition_names, built_in_names,
};

/// What is done to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Doing {
    /// It is created.
    Create,
    /// Something is added to it.
    Add,
}

/// Lists the built-in skeletons.
pub(in crate::cli) fn templates(doing: Doing, json: bool) -> Result<ExitCode> {
    let skeletons = match doing {
        Doing::Create => built_in_names().map(Skeleton::open).collect::<Result<Vec<_>>>()?,
        Doing::Add => additions()?,
    };
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

/// The built-in skeletons that can be added to a project.
fn additions() -> Result<Vec<Skeleton>> {
    let mut found = addition_names().map(Skeleton::open_addition).collect::<Result<Vec<_>>>()?;
    let all = built_in_names().map(Skeleton::open).collect::<Result<Vec<_>>>()?;
    found.extend(all.into_iter().filter(|skeleton| skeleton.manifest.about.adds));
    found.sort_by(|left, right| left.manifest.about.name.cmp(&right.manifest.about.name));
    Ok(found)
}

/// Lists the variables of a skeleton.
pub(in crate::cli) fn variables(skeleton: &Skeleton, json: bool) -> Result<ExitCode> {
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
pub(in crate::cli) fn plan(prepared: &PreparedProject, doing: Doing, json: bool) -> Result<ExitCode> {
    if json {
        return print_json(&result_json(prepared, None));
    }
    let (target, names) = (prepared.target.display(), prepared.skeleton_names());
    let mut text = match doing {
        Doing::Create => {
            format!("would create `{target}` from the skeleton `{names}`; nothing was written\n")
        }
        Doing::Add => format!("would add the skeleton `{names}` to `{target}`; nothing was written\n"),
    };
    let questions: Vec<_> = answers(prepared)
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
    for argv in &prepared.programs {
        text += &format!("would run: {}\n", shown(argv));
    }
    if doing == Doing::Create && prepared.plan.needs_force() {
        text += &format!("`{}` is not empty: writing into it needs `--force`\n", prepared.target.display());
    }
    print(&text)
}

/// Reports that a plan was written to `file`.
pub(in crate::cli) fn planned(prepared: &PreparedProject, file: &Path, json: bool) -> Result<ExitCode> {
    if json {
        return print_json(&result_json(prepared, None));
    }
    let (target, file) = (prepared.target.display(), file.display().to_string());
    let changed = prepared.plan.steps.iter().filter(|step| step.action.changes()).count();
    let apply = ["paster", "create", "--apply", &file].map(str::to_owned);
    print(&format!(
        "planned `{target}` from the skeleton `{}`: {changed} files; nothing was written there\n\n  {}\n",
        prepared.skeleton_names(),
        shown(&apply)
    ))
}

/// Prints what would change.
pub(in crate::cli) fn diffs(prepared: &PreparedProject, json: bool) -> Result<ExitCode> {
    diffs_of(&prepared.plan.steps, json)
}

/// Prints what these steps would change.
pub(in crate::cli) fn diffs_of(steps: &[PlanStep], json: bool) -> Result<ExitCode> {
    let changed = || steps.iter().filter(|step| step.action.changes());
    if json {
        let list: Vec<_> =
            changed().map(|step| json!({"path": step.file.path, "diff": diff(step)})).collect();
        return print_json(&list.into());
    }
    print(&changed().map(diff).collect::<String>())
}

/// All answers with their variables.
fn answers(prepared: &PreparedProject) -> impl Iterator<Item = (&Answer, &Var)> {
    fn of_layer(layer: &SkeletonLayer) -> Vec<(&Answer, &Var)> {
        let vars = layer.answers.vars.iter();
        vars.filter_map(|answer| Some((answer, layer.skeleton.manifest.var(&answer.name)?))).collect()
    }
    prepared.layers.iter().flat_map(of_layer)
}

/// Prints what was written.
pub(in crate::cli) fn created(
    prepared: &PreparedProject,
    created: &Created,
    doing: Doing,
    json: bool,
) -> Result<ExitCode> {
    if json {
        return print_json(&result_json(prepared, Some(created)));
    }
    let count = |action| prepared.plan.steps.iter().filter(|step| step.action == action).count();
    let (same, kept) = (count(Action::Same), count(Action::Keep));
    let written = prepared.plan.steps.len() - same - kept;
    let files = |count| if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
    let name = prepared.skeleton_names();
    let target = prepared.target.display();
    if written == 0 {
        let all = files(same + kept);
        return print(&format!("`{target}` is up to date with the skeleton `{name}`: {all}\n"));
    }
    let mut text = match doing {
        Doing::Create => format!("created `{target}` from the skeleton `{name}`: {}", files(written)),
        Doing::Add => format!("added the skeleton `{name}` to `{target}`: {}", files(written)),
    };
    if same > 0 {
        text += &format!(", {same} unchanged");
    }
    if kept > 0 {
        text += &format!(", {kept} kept");
    }
    text += "\n";
    if doing == Doing::Add {
        for step in prepared.plan.steps.iter().filter(|step| step.action.changes()) {
            text += &format!("  {:9} {}\n", action_name(step.action), step.file.path);
        }
    }
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

fn kind_name(kind: VariableKind) -> &'static str {
    match kind {
        VariableKind::String => "string",
        VariableKind::Int => "int",
        VariableKind::Bool => "bool",
        VariableKind::List => "list",
        VariableKind::Secret => "secret",
        VariableKind::CrateName => "crate_name",
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

pub(in crate::cli) fn action_name(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Same => "same",
        Action::Overwrite => "overwrite",
        Action::Keep => "keep",
        Action::Update => "update",
        Action::Merge => "merge",
        Action::Conflict => "conflict",
        Action::Delete => "delete",
        Action::StayDeleted => "deleted",
    }
}

/// One file's change as a unified diff.
fn diff(step: &PlanStep) -> String {
    let path = &step.file.path;
    let (new, new_name) = match step.action {
        Action::Delete => (&[][..], "/dev/null".to_owned()),
        _ => (step.file.bytes.as_slice(), format!("b/{path}")),
    };
    let (old, old_name) = match &step.existing {
        Some((bytes, _)) => (bytes.as_slice(), format!("a/{}", step.renamed_from.as_ref().unwrap_or(path))),
        None => (&[][..], "/dev/null".to_owned()),
    };
    match (std::str::from_utf8(old), std::str::from_utf8(new)) {
        (Ok(old), Ok(new)) if !old.contains('\0') && !new.contains('\0') => {
            similar::TextDiff::from_lines(old, new).unified_diff().header(&old_name, &new_name).to_string()
        }
        _ => format!("Binary files {old_name} and {new_name} differ\n"),
    }
}

/// The result as JSON, or the plan if `created` is `None`.
fn result_json(prepared: &PreparedProject, created: Option<&Created>) -> Value {
    let files: Vec<_> = prepared
        .plan
        .steps
        .iter()
        .map(|step| json!({"path": step.file.path, "action": step.action, "bytes": step.file.bytes.len()}))
        .collect();
    let answers: Map<_, _> = answers(prepared)
        .map(|(answer, _)| {
            let value = if answer.secret { Value::Null } else { answer.value.clone() };
            (answer.name.clone(), json!({"value": value, "from": answer.how}))
        })
        .collect();
    let mut result = json!({
        "target": prepared.target.display().to_string(),
        "project": prepared.project,
        "skeleton": prepared.skeleton().manifest.about.name,
        "with": prepared.layers.iter().skip(1).map(|layer| &layer.skeleton.manifest.about.name).collect::<Vec<_>>(),
        "dry_run": created.is_none(),
        "needs_force": prepared.plan.needs_force(),
        "answers": answers,
        "files": files,
        "post": prepared.posts,
        "programs": prepared.programs,
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

pub(in crate::cli) fn print_json(value: &Value) -> Result<ExitCode> {
    print(&format!("{value:#}\n"))
}
