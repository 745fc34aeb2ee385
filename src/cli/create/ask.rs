//! Asks the user on the terminal.

use serde_json::Value;

use crate::cli::output::note;
use crate::error::{Error, Result};
use crate::ops::python_environment::PythonEnvironment;
use crate::scaffold::{Question, Skeleton, VariableKind, built_in_names};

/// Asks which built-in skeleton to use.
pub(super) fn ask_for_skeleton() -> Result<String> {
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
pub(in crate::cli) fn ask(question: &Question<'_>) -> Result<Option<Value>> {
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
        VariableKind::Bool => {
            let mut prompt = inquire::Confirm::new(message);
            prompt.default = question.default.as_ref().and_then(Value::as_bool);
            prompt.prompt().map(Value::from)
        }
        VariableKind::List if !labels.is_empty() => {
            let chosen = question.default.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
            let indices: Vec<_> = (0..labels.len())
                .filter(|index| chosen.contains(&var.choices[*index].0.as_str().into()))
                .collect();
            inquire::MultiSelect::new(message, labels).with_default(&indices).raw_prompt().map(|chosen| {
                chosen.into_iter().map(|option| Value::from(var.choices[option.index].0.clone())).collect()
            })
        }
        VariableKind::String if !labels.is_empty() => {
            let start = var.choices.iter().position(|(name, _)| Some(name) == default.as_ref());
            inquire::Select::new(message, labels)
                .with_starting_cursor(start.unwrap_or_default())
                .raw_prompt()
                .map(|chosen| Value::from(var.choices[chosen.index].0.clone()))
        }
        VariableKind::Secret => loop {
            let typed = inquire::Password::new(message).without_confirmation().prompt();
            match typed.map(|typed| question.read(&typed)) {
                Ok(Ok(value)) => break Ok(value),
                Ok(Err(why)) => note(&format!("  {why}\n")),
                Err(error) => break Err(error),
            }
        },
        VariableKind::String | VariableKind::CrateName | VariableKind::Int | VariableKind::List => loop {
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

/// Asks whether to make the virtual environment.
pub(super) fn ask_to_install(environment: &PythonEnvironment) -> Result<bool> {
    let folder = environment.folder.display();
    let question = format!("Install its packages into {folder} with {}?", environment.installer);
    let answer = inquire::Confirm::new(&question).with_default(true).prompt();
    Ok(answer.map_err(|error| match error {
        inquire::InquireError::OperationCanceled | inquire::InquireError::OperationInterrupted => {
            Error::new("cancelled: the packages are not installed").help(environment.command())
        }
        other => unanswered(&other),
    })?)
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
