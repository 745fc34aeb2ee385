//! Handlebars as skeletons use it: strict, without HTML escaping, with helpers for letter case and quoting.
//!
//! A template sees the answers as plain JSON and nothing else: no files, no environment, no partials.

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError,
    RenderErrorReason, Renderable, TemplateErrorReason, no_escape,
};
use heck::{ToKebabCase, ToLowerCamelCase, ToSnakeCase, ToTitleCase, ToUpperCamelCase};
use serde_json::{Map, Value};

use super::location;
use super::values::{text, truthy};
use crate::error::Error;
use crate::registry::nearest;

/// Our helpers with one value in and one out.
type Convert = fn(&Value) -> Result<Value, String>;

const CONVERT: [(&str, Convert); 14] = [
    ("snake", |value| Ok(text(value).to_snake_case().into())),
    ("kebab", |value| Ok(text(value).to_kebab_case().into())),
    ("camel", |value| Ok(text(value).to_lower_camel_case().into())),
    ("pascal", |value| Ok(text(value).to_upper_camel_case().into())),
    ("title", |value| Ok(text(value).to_title_case().into())),
    ("upper", |value| Ok(text(value).to_uppercase().into())),
    ("lower", |value| Ok(text(value).to_lowercase().into())),
    ("plural", |value| Ok(plural(&text(value)).into())),
    ("html", |value| Ok(html_escaped(&text(value)).into())),
    ("json", |value| Ok(value.to_string().into())),
    ("toml_str", |value| Ok(quoted(&text(value)).into())),
    ("config_str", |value| Ok(quoted(&text(value).replace("${", "$${")).into())),
    ("py_str", |value| Ok(quoted(&text(value)).into())),
    ("shell_str", |value| shell_quoted(&text(value)).map(Value::from)),
];

/// Every name that a template reads as a helper. A variable cannot have one of these names.
pub(super) const HELPERS: [&str; 31] = [
    "snake",
    "kebab",
    "camel",
    "pascal",
    "title",
    "upper",
    "lower",
    "plural",
    "html",
    "json",
    "toml_str",
    "config_str",
    "py_str",
    "shell_str",
    "in",
    "default",
    "eq",
    "ne",
    "and",
    "or",
    "not",
    "gt",
    "gte",
    "lt",
    "lte",
    "len",
    "if",
    "unless",
    "each",
    "with",
    "lookup",
];

/// Renders the templates of one skeleton.
pub(super) struct Engine(Handlebars<'static>);

impl Engine {
    pub(super) fn new() -> Engine {
        let mut engine = Handlebars::new();
        engine.set_strict_mode(true);
        engine.register_escape_fn(no_escape);
        for (name, convert) in CONVERT {
            engine.register_helper(name, Box::new(Converter { name, convert }));
        }
        engine.register_helper("in", Box::new(In));
        engine.register_helper("default", Box::new(OrDefault));
        engine.register_helper("if", Box::new(When { name: "if", positive: true }));
        engine.register_helper("unless", Box::new(When { name: "unless", positive: false }));
        engine.unregister_helper("log");
        Engine(engine)
    }

    /// Renders `template`, the content of the file `name`.
    /// # Errors
    /// An error in the template, with file, line and column: its syntax, an unknown variable or helper.
    pub(super) fn render(&self, name: &str, template: &str, values: &Value) -> Result<String, Error> {
        self.0.render_template(template, values).map_err(|error| {
            let fault = fault(&error, values);
            fault
                .error
                .at(fault.position.map(|(line, column)| location::of_line(name, template, line, column, 1)))
        })
    }
}

struct Fault {
    error: Error,
    position: Option<(usize, usize)>,
}

/// Turns a handlebars error into one for users.
fn fault(error: &RenderError, values: &Value) -> Fault {
    let mut position = error.line_no.zip(error.column_no);
    let error = match error.reason() {
        RenderErrorReason::MissingVariable(path) => unknown_variable(path.as_deref().unwrap_or("?"), values),
        RenderErrorReason::HelperNotFound(name) => {
            // A misspelt variable with arguments looks the same as a misspelt helper.
            let known = HELPERS.into_iter().chain(names(values));
            with_nearest(Error::new(format!("unknown helper `{name}`")), name, known)
        }
        RenderErrorReason::TemplateError(error) => {
            position = error.pos().or(position);
            Error::new(format!("a template is wrong: {}", syntax(error.reason())))
        }
        RenderErrorReason::ParamNotFoundForIndex(name, index) => {
            Error::new(format!("the helper `{name}` is missing argument {}", index + 1))
        }
        RenderErrorReason::PartialNotFound(name) => {
            Error::new(format!("a template includes `{name}`: skeletons have no partials"))
        }
        RenderErrorReason::Other(why) => Error::new(format!("a template cannot be rendered: {why}")),
        other => Error::new(format!("a template cannot be rendered: {}", lower_first(&other.to_string()))),
    };
    Fault { error, position }
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

/// The value of parameter `index`. A missing variable is an error, as strict mode requires.
fn parameter<'a>(name: &'static str, helper: &'a Helper<'_>, index: usize) -> Result<&'a Value, RenderError> {
    let found = helper.param(index).ok_or(RenderErrorReason::ParamNotFoundForIndex(name, index))?;
    if found.is_value_missing() {
        return Err(RenderError::strict_error(found.relative_path()));
    }
    Ok(found.value())
}

struct Converter {
    name: &'static str,
    convert: Convert,
}

impl HelperDef for Converter {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<handlebars::ScopedJson<'rc>, RenderError> {
        let value = (self.convert)(parameter(self.name, helper, 0)?)
            .map_err(|why| RenderErrorReason::Other(format!("{}: {why}", self.name)))?;
        Ok(handlebars::ScopedJson::Derived(value))
    }
}

/// `(in item list)`: whether the list contains the item.
struct In;

impl HelperDef for In {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<handlebars::ScopedJson<'rc>, RenderError> {
        let item = parameter("in", helper, 0)?;
        let list = parameter("in", helper, 1)?
            .as_array()
            .ok_or_else(|| RenderErrorReason::Other("in: the second argument is not a list".into()))?;
        Ok(handlebars::ScopedJson::Derived(list.contains(item).into()))
    }
}

/// `(default value other)`: the value, or the other one if it is empty.
struct OrDefault;

impl HelperDef for OrDefault {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<handlebars::ScopedJson<'rc>, RenderError> {
        let value = parameter("default", helper, 0)?;
        let other = parameter("default", helper, 1)?;
        let value = if text(value).is_empty() { other } else { value };
        Ok(handlebars::ScopedJson::Derived(value.clone()))
    }
}

/// `{{#if}}` and `{{#unless}}`. The ones of handlebars treat an unknown variable as false, even in strict
/// mode.
struct When {
    name: &'static str,
    positive: bool,
}

impl HelperDef for When {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc Context,
        render: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let holds = truthy(parameter(self.name, helper, 0)?) == self.positive;
        let template = if holds { helper.template() } else { helper.inverse() };
        template.map_or(Ok(()), |template| template.render(registry, context, render, out))
    }
}

/// English plural of the last word.
fn plural(word: &str) -> String {
    let ends = |endings: &[&str]| endings.iter().any(|ending| word.ends_with(ending));
    if word.is_empty() {
        String::new()
    } else if word.ends_with('y') && !ends(&["ay", "ey", "iy", "oy", "uy"]) {
        format!("{}ies", &word[..word.len() - 1])
    } else if ends(&["s", "x", "z", "ch", "sh"]) {
        format!("{word}es")
    } else {
        format!("{word}s")
    }
}

/// A string literal that TOML (as a basic string), Python and JSON all accept.
fn quoted(text: &str) -> String {
    // JSON does not escape DEL, and TOML refuses it.
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// Text escaped for HTML, including quoted attributes.
fn html_escaped(text: &str) -> String {
    let pairs = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;"), ("'", "&#39;")];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// A word for a POSIX shell.
fn shell_quoted(text: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err("a shell word cannot contain a NUL".into());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
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
        files/a.hbs:1:13: a template is wrong: `if` is closed by `unless` []
        files/a.hbs:1:13: a template is wrong: invalid syntax []
        files/a.hbs:1:1: a template includes `/etc/passwd`: skeletons have no partials []
        files/a.hbs:1:1: a template includes `passwd`: skeletons have no partials []
        files/a.hbs:1:1: unknown helper `log` []
        files/a.hbs:1:1: a template cannot be rendered: in: the second argument is not a list []
        "#);
    }
}
