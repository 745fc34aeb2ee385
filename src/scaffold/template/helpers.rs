//! The helpers of templates: `{{snake project}}`, `{{toml_str heading}}`.

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError,
    RenderErrorReason, Renderable,
};
use heck::{ToKebabCase, ToLowerCamelCase, ToSnakeCase, ToTitleCase, ToUpperCamelCase};
use serde_json::Value;

use crate::scaffold::values::{text, truthy};

/// Our helpers with one value in and one out.
type Convert = fn(&Value) -> Result<Value, String>;

const CONVERT: [(&str, Convert); 15] = [
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
    ("rust_str", |value| Ok(rust_quoted(&text(value)).into())),
    ("shell_str", |value| shell_quoted(&text(value)).map(Value::from)),
];

/// Every name that a template reads as a helper. A variable cannot have one of these names.
pub(in crate::scaffold) const HELPERS: [&str; 32] = [
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
    "rust_str",
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

/// Helpers that quote a value for another language. What they return may stand anywhere in a file of that language.
pub(in crate::scaffold) const QUOTING: [&str; 7] =
    ["html", "json", "toml_str", "config_str", "py_str", "rust_str", "shell_str"];

/// Registers all of them, in place of those of handlebars that are less strict.
pub(super) fn register(engine: &mut Handlebars<'static>) {
    for (name, convert) in CONVERT {
        engine.register_helper(name, Box::new(Converter { name, convert }));
    }
    engine.register_helper("in", Box::new(In));
    engine.register_helper("default", Box::new(OrDefault));
    engine.register_helper("if", Box::new(When { name: "if", positive: true }));
    engine.register_helper("unless", Box::new(When { name: "unless", positive: false }));
    engine.unregister_helper("log");
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

/// A string literal of Rust.
fn rust_quoted(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        // Also what changes the direction of text, which rustc refuses in literals.
        c if c.is_control()
            || ('\u{200e}'..='\u{200f}').contains(&c)
            || ('\u{202a}'..='\u{2069}').contains(&c) =>
        {
            format!("\\u{{{:x}}}", u32::from(c))
        }
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
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
