//! `docs/cli.md`: every command with its arguments as Markdown, generated from their doc comments.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// The whole page.
pub(super) fn page(mut program: Command) -> String {
    program.build();
    let mut page = "# Commands\n\n<!-- Written by `paster __man --markdown`. Do not edit: change the doc comments of the \
                    commands. -->\n\n`paster help COMMAND` prints the same. Every command has `--help`.\n\n\
                    | command | what it does |\n|---|---|\n"
        .to_owned();
    for command in visible(&program) {
        let (name, about) = (command.get_name(), text(command.get_about()));
        let _ = writeln!(page, "| [`{name}`](#paster-{name}) | {} |", cell(&about));
    }
    for command in visible(&program) {
        section(&mut page, command, 2);
    }
    page
}

/// The subcommands that are shown, without `help`.
fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

fn section(page: &mut String, command: &Command, level: usize) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let about = text(command.get_long_about().or(command.get_about()));
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let _ =
        write!(page, "\n{} {name}\n\n{}\n\n```text\n{usage}\n```\n", "#".repeat(level), sentences(&about));
    let arguments: Vec<&Arg> = command.get_arguments().filter(|arg| is_shown(arg)).collect();
    if !arguments.is_empty() {
        page.push_str("\n| argument | what it is for |\n|---|---|\n");
    }
    for argument in arguments {
        let _ = writeln!(page, "| {} | {} |", names(argument), purpose(argument));
    }
    let after = text(command.get_after_long_help().or(command.get_after_help()));
    if !after.is_empty() {
        let _ = write!(page, "\n```text\n{}\n```\n", after.trim_end());
    }
    for inner in visible(command) {
        section(page, inner, level + 1);
    }
}

/// `--help` and `--version` are everywhere.
fn is_shown(argument: &Arg) -> bool {
    !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str())
}

/// `-t`, `--template SKELETON`.
fn names(argument: &Arg) -> String {
    let value = match (argument.get_action().takes_values(), argument.get_value_names()) {
        (false, _) => String::new(),
        (true, Some(names)) => names.iter().map(|name| format!(" {name}")).collect(),
        (true, None) => format!(" {}", argument.get_id().as_str().to_uppercase()),
    };
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let mut names: Vec<String> = short.into_iter().chain(long).collect();
    match names.last_mut() {
        Some(last) => last.push_str(&value),
        None => names.push(value.trim_start().to_owned()),
    }
    let names: Vec<String> = names.iter().map(|name| format!("`{}`", cell(name))).collect();
    names.join(", ")
}

/// The help, the values that are allowed, the default and the variable.
fn purpose(argument: &Arg) -> String {
    let mut purpose = cell(&sentences(&text(argument.get_long_help().or(argument.get_help()))));
    let code = |values: Vec<String>| {
        values.iter().map(|value| format!("`{}`", cell(value))).collect::<Vec<_>>().join(", ")
    };
    if argument.get_action().takes_values() {
        let values = argument.get_possible_values();
        if !values.is_empty() && !argument.is_hide_possible_values_set() {
            let values = values.iter().map(|value| value.get_name().to_owned()).collect();
            let _ = write!(purpose, " One of {}.", code(values));
        }
        let defaults = argument.get_default_values();
        if !defaults.is_empty() && !argument.is_hide_default_value_set() {
            let values = defaults.iter().map(|value| value.to_string_lossy().into_owned()).collect();
            let _ = write!(purpose, " Default: {}.", code(values));
        }
    }
    if let Some(variable) = argument.get_env() {
        let _ = write!(purpose, " Variable: `{}`.", variable.to_string_lossy());
    }
    purpose
}

fn text(styled: Option<&clap::builder::StyledStr>) -> String {
    styled.map(ToString::to_string).unwrap_or_default()
}

/// clap removes the full stop of a doc comment of one paragraph.
fn sentences(text: &str) -> String {
    match text.chars().last() {
        Some(last) if last.is_alphanumeric() || "`)".contains(last) => format!("{text}."),
        _ => text.to_owned(),
    }
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}
