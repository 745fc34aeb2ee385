//! The packages that a Python project needs.

use std::sync::LazyLock;

use regex::Regex;

use super::contents::Contents;

/// Whether the Python project needs `package` to run: development dependencies do not count.
pub(super) fn depends_on(contents: &Contents, package: &str) -> bool {
    let is_it = |line: &str| requirement(line).is_some_and(|name| name == package);
    let listed = |name: &str| contents.text(name).is_some_and(|text| text.lines().any(is_it));
    let project = contents.toml("pyproject.toml").unwrap_or_default();
    let dependencies = project.get("project").and_then(|project| project.get("dependencies"));
    let entries = dependencies.and_then(|list| list.as_array()).into_iter().flatten();
    let poetry =
        project.get("tool").and_then(|tool| tool.get("poetry")).and_then(|poetry| poetry.get("dependencies"));
    let pipfile = contents.toml("Pipfile").unwrap_or_default();
    let tables = [poetry, pipfile.get("packages")];
    let names =
        tables.into_iter().flatten().filter_map(|table| table.as_table()).flat_map(|table| table.keys());
    listed("requirements.txt")
        || entries.filter_map(|entry| entry.as_str()).any(is_it)
        || names.map(String::as_str).any(is_it)
        || contents.text("setup.py").is_some_and(|text| quoted(&text).any(is_it))
        || contents.text("setup.cfg").is_some_and(|text| text.lines().any(is_it))
}

/// The normalized name in a line of requirements (PEP 508): `Django[argon2]>=5` is `django`.
fn requirement(line: &str) -> Option<String> {
    static NAME: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*($|[\[<>=!~;@(#])").expect("it is valid")
    });
    let name = NAME.captures(line)?.get(1)?.as_str();
    Some(name.to_ascii_lowercase().replace(['_', '.'], "-"))
}

/// The texts between quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split(['"', '\'']).skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::requirement;

    #[test]
    fn requirements_are_names() {
        let check =
            |line: &str, expected: Option<&str>| assert_eq!(requirement(line).as_deref(), expected, "{line}");
        check("Django[argon2]>=5  # the site", Some("django"));
        check("zope.interface", Some("zope-interface"));
        check("django-stubs==5", Some("django-stubs"));
        check("flask @ https://example.org/flask.whl", Some("flask"));
        check("# flask", None);
        check("-r base.txt", None);
        check("", None);
    }
}
