//! Handlebars as skeletons use it: strict, without HTML escaping, with helpers for letter case and quoting.
//!
//! A template sees the answers as plain JSON and nothing else: no files, no environment. It may include the
//! partials of its skeleton.

mod helpers;
mod usage;

use std::collections::BTreeMap;
use std::io::{self, Write};

use handlebars::{Handlebars, RenderError, RenderErrorReason, TemplateErrorReason, no_escape};
use serde_json::{Map, Value};

pub(super) use self::helpers::{HELPERS, QUOTING};
pub(super) use self::usage::{TemplateUsage, UsedValue};
use super::location;
use crate::error::{Error, Result};
use crate::registry::nearest;

/// Renders the templates of one skeleton.
pub(super) struct Engine(Handlebars<'static>);

impl Engine {
    pub(super) fn new() -> Engine {
        let mut engine = Handlebars::new();
        engine.set_strict_mode(true);
        engine.register_escape_fn(no_escape);
        helpers::register(&mut engine);
        Engine(engine)
    }

    /// The same, with partials by name; `place` is their folder.
    /// # Errors
    /// A partial that cannot be parsed, or that includes itself.
    pub(super) fn with_partials(partials: &BTreeMap<String, String>, place: &str) -> Result<Engine> {
        let mut engine = Engine::new();
        let mut includes = BTreeMap::new();
        for (name, partial) in partials {
            let place = format!("{place}/{name}.hbs");
            includes.insert(name.as_str(), engine.usage(&place, partial)?.partials);
            engine.0.register_partial(name, partial).map_err(|error| {
                Error::new(format!("a template is not valid: {}", syntax(error.reason())))
                    .at(error.pos().map(|(line, column)| location::of_line(&place, partial, line, column, 1)))
            })?;
        }
        for name in includes.keys() {
            if reaches(&includes, name, name, &mut Vec::new()) {
                return Err(Error::new(format!("the partial `{place}/{name}.hbs` includes itself")).into());
            }
        }
        Ok(engine)
    }

    /// Renders `template`, the content of the file `name`.
    /// # Errors
    /// An error in the template, with file, line and column: its syntax, an unknown variable or helper. A result that
    /// is too large.
    pub(super) fn render(&self, name: &str, template: &str, values: &Value) -> Result<String, Error> {
        self.usage(name, template)?;
        let mut out = LimitedText(Vec::new());
        match self.0.render_template_to_write(template, values, &mut out) {
            Ok(()) => Ok(String::from_utf8_lossy(&out.0).into_owned()),
            Err(error) => {
                let fault = fault(&error, values);
                let place =
                    fault.position.map(|(line, column)| location::of_line(name, template, line, column, 1));
                Err(fault.error.at(place))
            }
        }
    }

    /// What `template` uses.
    /// # Errors
    /// Its syntax; parts of Handlebars that could run for ever, such as partials defined in place.
    pub(super) fn usage(&self, name: &str, template: &str) -> Result<TemplateUsage, Error> {
        let parsed = handlebars::Template::compile(template).map_err(|error| {
            Error::new(format!("a template is not valid: {}", syntax(error.reason())))
                .at(error.pos().map(|(line, column)| location::of_line(name, template, line, column, 1)))
        })?;
        TemplateUsage::of(&parsed).map_err(|why| Error::new(format!("`{name}` {why}")))
    }
}

/// Whether `from` includes `to`, perhaps through others.
fn reaches<'a>(
    includes: &'a BTreeMap<&str, Vec<String>>,
    from: &str,
    to: &str,
    seen: &mut Vec<&'a str>,
) -> bool {
    includes.get(from).into_iter().flatten().any(|next| {
        if next == to {
            return true;
        }
        let new = !seen.contains(&next.as_str());
        seen.push(next);
        new && reaches(includes, next, to, seen)
    })
}

/// The most bytes that one template may become.
const RENDERED_BYTES: usize = 32 << 20;

/// Text in memory, up to that limit.
struct LimitedText(Vec<u8>);

impl Write for LimitedText {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > RENDERED_BYTES {
            return Err(io::Error::other("the result is larger than 32 MiB"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct TemplateError {
    error: Error,
    position: Option<(usize, usize)>,
}

/// Turns a handlebars error into one for users.
fn fault(error: &RenderError, values: &Value) -> TemplateError {
    let mut position = error.line_no.zip(error.column_no);
    let error = match error.reason() {
        RenderErrorReason::MissingVariable(Some(path)) => unknown_variable(path, values),
        RenderErrorReason::MissingVariable(None) => Error::new("a key or variable does not exist"),
        RenderErrorReason::HelperNotFound(name) => {
            // A misspelt variable with arguments looks the same as a misspelt helper.
            let known = HELPERS.into_iter().chain(names(values));
            with_nearest(Error::new(format!("unknown helper `{name}`")), name, known)
        }
        RenderErrorReason::TemplateError(error) => {
            position = error.pos().or(position);
            Error::new(format!("a template is not valid: {}", syntax(error.reason())))
        }
        RenderErrorReason::ParamNotFoundForIndex(name, index) => {
            Error::new(format!("the helper `{name}` is missing argument {}", index + 1))
        }
        RenderErrorReason::PartialNotFound(name) => {
            Error::new(format!("a template includes `{name}`, which is not in `partials`"))
        }
        RenderErrorReason::IOError(why) => Error::new(format!("a template cannot be rendered: {why}")),
        RenderErrorReason::Other(why) => Error::new(format!("a template cannot be rendered: {why}")),
        other => Error::new(format!("a template cannot be rendered: {}", lower_first(&other.to_string()))),
    };
    TemplateError { error, position }
}

fn unknown_variable(path: &str, values: &Value) -> Error {
    with_nearest(Error::new(format!("unknown variable `{path}`")), path, names(values))
}

fn with_nearest<'a>(error: Error, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    match nearest(name, known) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error,
    }
}

fn names(values: &Value) -> impl Iterator<Item = &str> {
    values.as_object().into_iter().flat_map(Map::keys).map(String::as_str)
}

fn syntax(reason: &TemplateErrorReason) -> String {
    match reason {
        TemplateErrorReason::MismatchingClosedHelper(open, close)
        | TemplateErrorReason::MismatchingClosedDecorator(open, close) => {
            format!("`{open}` is closed by `{close}`")
        }
        TemplateErrorReason::InvalidSyntax(_) => "invalid syntax".into(),
        other => lower_first(&other.to_string()),
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(template: &str) -> String {
        let values = json!({
            "project": "Demo App", "port": 8080, "tls": true, "none": "", "parts": ["a", "b"],
            "odd": "a\"b\\c\n'$(x)'\u{7f}", "user": {"name": "Ada"},
        });
        match Engine::new().render("files/a.hbs", template, &values) {
            Ok(text) => text,
            Err(error) => {
                let place = error.origin.as_ref().map(ToString::to_string).unwrap_or_default();
                format!("{place}: {error} {:?}", error.helps)
            }
        }
    }

    #[test]
    fn cases_and_conditions() {
        for (template, expected) in [
            (
                "{{snake project}} {{kebab project}} {{camel project}} {{pascal project}}",
                "demo_app demo-app demoApp DemoApp",
            ),
            ("{{upper project}}|{{lower project}}|{{title (snake project)}}", "DEMO APP|demo app|Demo App"),
            (
                "{{plural 'box'}} {{plural 'entry'}} {{plural 'day'}} {{plural 'cat'}}",
                "boxes entries days cats",
            ),
            ("{{#if (and tls (eq port 8080))}}a{{else}}b{{/if}}", "a"),
            ("{{#if none}}a{{else if (ne port 1)}}b{{/if}}{{#unless tls}}c{{/unless}}", "b"),
            ("{{#if (in 'a' parts)}}in{{/if}}{{#if (or none (not tls))}}x{{/if}}", "in"),
            ("{{default none 'x'}} {{default port 1}} {{user.name}}", "x 8080 Ada"),
            ("{{#each parts}}[{{this}}]{{/each}}", "[a][b]"),
            ("<&\"'> {{project}}", "<&\"'> Demo App"),
        ] {
            assert_eq!(check(template), expected, "{template}");
        }
    }

    #[test]
    fn quoting_survives_odd_text() {
        let odd = "a\"b\\c\n'$(x)'\u{7f}";
        let toml: toml_edit::DocumentMut = format!("x = {}", check("{{toml_str odd}}")).parse().unwrap();
        assert_eq!(toml["x"].as_str(), Some(odd));
        assert_eq!(serde_json::from_str::<String>(&check("{{json odd}}")).unwrap(), odd);
        let shell = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!("printf %s {}", check("{{shell_str odd}}")))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(shell.stdout).unwrap(), odd);
        assert_eq!(
            check("{{json parts}} {{json tls}} {{toml_str port}} {{py_str 'é'}}"),
            r#"["a","b"] true "8080" "é""#
        );
    }

    #[test]
    fn faults_say_where() {
        let faults = [
            "a\n{{projet}}",
            "{{#if tsl}}x{{/if}}",
            "{{snake}}",
            "{{snake projet}}",
            "{{snack project}}",
            "{{user.nam}}",
            "{{#if tls}}x{{/unless}}",
            "{{#if tls}}x",
            "{{> /etc/passwd}}",
            "{{> passwd}}",
            "{{log project}}",
            "{{in 'a' project}}",
        ];
        insta::assert_snapshot!(faults.map(check).join("\n"), @r#"
        files/a.hbs:2:1: unknown variable `projet` ["did you mean `project`?"]
        files/a.hbs:1:1: unknown variable `tsl` ["did you mean `tls`?"]
        files/a.hbs:1:1: the helper `snake` is missing argument 1 []
        files/a.hbs:1:1: unknown variable `projet` ["did you mean `project`?"]
        files/a.hbs:1:1: unknown helper `snack` ["did you mean `snake`?"]
        files/a.hbs:1:1: unknown variable `user.nam` []
        files/a.hbs:1:13: a template is not valid: `if` is closed by `unless` []
        files/a.hbs:1:13: a template is not valid: invalid syntax []
        files/a.hbs:1:1: a template includes `/etc/passwd`, which is not in `partials` []
        files/a.hbs:1:1: a template includes `passwd`, which is not in `partials` []
        files/a.hbs:1:1: unknown helper `log` []
        files/a.hbs:1:1: a template cannot be rendered: in: the second argument is not a list []
        "#);
    }
}
