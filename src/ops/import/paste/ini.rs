//! The `.ini` files of PasteDeploy, as Python's `configparser` reads them.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::ops::import::ImportInput;

/// The kinds of sections that PasteDeploy reads.
const KINDS: [&str; 8] =
    ["app", "application", "composite", "composit", "pipeline", "filter-app", "filter", "server"];

/// A section: `[app:main]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct IniSection {
    /// Its keys in their order, with their values and lines.
    pub(super) entries: Vec<(String, String, usize)>,
    /// The line of its header.
    pub(super) line: usize,
}

impl IniSection {
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.entries.iter().find(|(name, ..)| name == key).map(|(_, value, _)| value.as_str())
    }
}

/// The sections by their whole name. Those of `[DEFAULT]` are in every one.
/// # Errors
/// Lines that are neither a header nor a key, with their place.
pub(super) fn parse(input: &ImportInput) -> Result<BTreeMap<String, IniSection>> {
    let (mut sections, mut name) = (BTreeMap::<String, IniSection>::new(), None::<String>);
    for (index, text) in input.text.lines().enumerate() {
        let line = index + 1;
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if text.starts_with(char::is_whitespace) {
            let section = name.as_ref().and_then(|name| sections.get_mut(name));
            if let Some((_, value, _)) = section.and_then(|section| section.entries.last_mut()) {
                value.push('\n');
                value.push_str(trimmed);
                continue;
            }
        }
        if let Some(header) = trimmed.strip_prefix('[') {
            let Some((header, _)) = header.split_once(']') else {
                return Err(input.error(line, "the header is not closed by `]`").into());
            };
            sections
                .entry(header.trim().to_owned())
                .or_insert_with(|| IniSection { line, ..IniSection::default() });
            name = Some(header.trim().to_owned());
            continue;
        }
        let (Some(at), Some(name)) = (trimmed.find(['=', ':']), &name) else {
            return Err(input.error(line, "this is neither a header nor `key = value`").into());
        };
        // A URL may be a key: `http://example.org/ = app`.
        let at = if trimmed[at..].starts_with("://") { trimmed.find('=').unwrap_or(at) } else { at };
        let entry = (trimmed[..at].trim().to_owned(), trimmed[at + 1..].trim().to_owned(), line);
        if let Some(section) = sections.get_mut(name) {
            section.entries.push(entry);
        }
    }
    let default = sections.remove("DEFAULT").unwrap_or_default();
    // Others are for the logging and for other programs, whose values may have a different syntax.
    let is_pastes = |name: &str| name.split_once(':').is_some_and(|(kind, _)| KINDS.contains(&kind.trim()));
    sections.retain(|name, _| is_pastes(name));
    for section in sections.values_mut() {
        interpolate(section, &default, input)?;
    }
    Ok(sections)
}

/// Replaces `%(name)s`. `%(here)s` is the directory of the file, where relative paths start in a config of paster's too.
fn interpolate(section: &mut IniSection, default: &IniSection, input: &ImportInput) -> Result<()> {
    let own = section.clone();
    for (_, value, line) in &mut section.entries {
        let mut text = value.replace("%(here)s/", "").replace("%(here)s", ".");
        for _ in 0..10 {
            let Some((before, rest)) = text.split_once("%(") else { break };
            let Some((name, after)) = rest.split_once(")s") else { break };
            let found = own.get(name).or_else(|| default.get(name));
            let Some(found) = found else {
                let error: Error = input.error(*line, format!("`%({name})s` is not set"));
                return Err(error.help("set it in this section or in `[DEFAULT]`").into());
            };
            let found = found.replace("%(here)s/", "").replace("%(here)s", ".");
            text = format!("{before}{found}{after}");
        }
        *value = text.replace("%%", "%");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(text: &str) -> ImportInput {
        ImportInput { path: "site.ini".into(), text: text.to_owned(), ..ImportInput::default() }
    }

    #[test]
    fn sections_and_values() {
        let text = "[DEFAULT]\ndata = %(here)s/data\n# c\n[app:main]\nuse = egg:Paste#static\ndocument_root = %(data)s/www\nlist =\n    a\n    b\nhttp://a.org/x = y\nrate: 100%%\n";
        let sections = parse(&input(text)).unwrap();
        let main = &sections["app:main"];
        assert_eq!(main.line, 4);
        assert_eq!(main.get("document_root"), Some("data/www"));
        assert_eq!(main.get("list"), Some("\na\nb"));
        assert_eq!(main.get("http://a.org/x"), Some("y"));
        assert_eq!(main.get("rate"), Some("100%"));
        assert!(parse(&input("[a\n")).is_err() && parse(&input("x\n")).is_err());
        assert!(parse(&input("[app:a]\nb = %(c)s\n")).is_err());
        let logging = "[app:a]\nuse = egg:a\n[formatter_generic]\nformat = %(asctime)s %(message)s\n";
        assert_eq!(parse(&input(logging)).unwrap().keys().collect::<Vec<_>>(), ["app:a"]);
    }
}
