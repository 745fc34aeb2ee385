//! Renders a skeleton's files in memory: names and contents.

use std::collections::BTreeMap;

use super::answers::Answers;
use super::compose::compose;
use super::manifest::{FileRule, PostAction, condition, permissions, without_hbs};
use super::merge::MergeKind;
use super::names::plain_component;
use super::source::Skeleton;
use super::template::Engine;
use crate::error::{Error, Errors, Result};

/// The most bytes that all files of a skeleton may become.
const BYTES: usize = 256 << 20;

/// The folder in which a project remembers its skeletons.
pub(super) const STATE_FOLDER: &str = ".paster";

/// A file ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The skeleton's name and the file's path in it. A file that was `files/a` and is rendered to another path was
    /// renamed.
    pub source: String,
    /// The path below the target, with `/` between components. Each component was checked to be plain.
    pub path: String,
    /// Its content.
    pub bytes: Vec<u8>,
    /// The permission bits before the user's umask applies; exact if `exact_mode` is set.
    pub mode: u32,
    /// Whether a `chmod` set the mode, so that the umask does not apply.
    pub exact_mode: bool,
    /// Whether an existing file is left unchanged.
    pub once: bool,
    /// How it is merged with an existing file.
    pub merge: MergeKind,
    /// Patterns of keys that it may overwrite in a merge.
    pub replaced: Vec<String>,
    /// Whether a secret answer is in it: then no copy of it is kept.
    pub secret: bool,
}

/// Renders all files of `skeleton`, in order of path.
/// # Errors
/// All errors together: in templates with file and line, names that are not plain components, two files with
/// the same name, rules for files that do not exist.
pub fn render(skeleton: &Skeleton, answers: &Answers) -> Result<Vec<Rendered>> {
    let engine = Engine::with_partials(&skeleton.partials, &skeleton.place("partials"))?;
    let hidden = answers.without_secrets();
    let mut faults = Vec::new();
    let mut bytes = 0;
    let mut files = BTreeMap::<String, Rendered>::new();
    for rule in &skeleton.manifest.files {
        if !skeleton.files.iter().any(|file| file.source_path() == rule.path) {
            faults.push(Error::new(format!(
                "`[[file]]` names `{}`, which the skeleton does not contain",
                rule.path
            )));
        }
    }
    // Paths, including folders, as a case-insensitive file system sees them. Each with whether it is a file,
    // and its first spelling.
    let mut seen = BTreeMap::<String, (bool, String)>::new();
    for file in &skeleton.files {
        let rule = skeleton.manifest.files.iter().find(|rule| rule.path == file.source_path());
        match render_one(&engine, skeleton, file, rule, answers, hidden.as_ref()) {
            Ok(None) => {}
            Ok(Some(rendered)) => match claim(&mut seen, &rendered.path) {
                Ok(()) => {
                    bytes += rendered.bytes.len();
                    if bytes > BYTES {
                        return Err(Error::new(format!(
                            "the rendered files of the skeleton `{}` are larger than 256 MiB",
                            skeleton.manifest.about.name
                        ))
                        .into());
                    }
                    files.insert(rendered.path.clone(), rendered);
                }
                Err(other) => faults.push(Error::new(format!(
                    "two files of the skeleton become `{}` and `{other}`, which are the same name on some systems",
                    rendered.path
                ))),
            },
            Err(errors) => faults.extend(errors),
        }
    }
    if !skeleton.below.is_empty() {
        Errors::check(std::mem::take(&mut faults))?;
        files = merge_below(&engine, skeleton, answers, hidden.as_ref(), files)?;
    }
    faults.extend(change_modes(&engine, skeleton, answers, &mut files).err().into_iter().flatten());
    Errors::check(faults)?;
    Ok(files.into_values().collect())
}

/// Merges `files` into those of the skeletons that this one extends.
fn merge_below(
    engine: &Engine,
    skeleton: &Skeleton,
    answers: &Answers,
    hidden: Option<&Answers>,
    files: BTreeMap<String, Rendered>,
) -> Result<BTreeMap<String, Rendered>> {
    let mut layers = Vec::new();
    for file in &skeleton.below {
        let source = file.source_path();
        let same = |rule: &&FileRule| without_hbs(&rule.path) == without_hbs(&source);
        let rule = skeleton.manifest.files.iter().find(same);
        layers.push(render_one(engine, skeleton, file, rule, answers, hidden)?.into_iter().collect());
    }
    layers.push(files.into_values().collect());
    Ok(compose(layers)?.into_iter().map(|file| (file.path.clone(), file)).collect())
}

/// Records a path and its folders. Fails with the path that is in the way.
pub(super) fn claim(seen: &mut BTreeMap<String, (bool, String)>, path: &str) -> Result<(), String> {
    let folders = path.match_indices('/').map(|(at, _)| (&path[..at], false));
    for (part, is_file) in folders.chain([(path, true)]) {
        match seen.get(&part.to_lowercase()) {
            Some((was_file, first)) if *was_file || is_file || first != part => return Err(first.clone()),
            Some(_) => {}
            None => {
                seen.insert(part.to_lowercase(), (is_file, part.to_owned()));
            }
        }
    }
    Ok(())
}

fn render_one(
    engine: &Engine,
    skeleton: &Skeleton,
    file: &super::SkeletonFile,
    rule: Option<&FileRule>,
    answers: &Answers,
    hidden: Option<&Answers>,
) -> Result<Option<Rendered>> {
    let source = file.source_path();
    let place = skeleton.place(&source);
    if !holds(rule.and_then(|rule| rule.when.as_deref()), answers, &format!("the condition of `{source}`"))? {
        return Ok(None);
    }
    let (path, is_template) = match file.path.strip_suffix(".hbs") {
        Some(path) => (path, true),
        None => (file.path.as_str(), false),
    };
    let Some(path) = render_path(engine, &place, path, answers)? else { return Ok(None) };
    let mut secret = false;
    let bytes = if is_template {
        let text = std::str::from_utf8(&file.bytes)
            .map_err(|error| Error::new(format!("the template `{place}` is not UTF-8")).because(error))?;
        let rendered = engine.render(&place, text, &answers.values)?;
        secret = match hidden {
            Some(hidden) => engine.render(&place, text, &hidden.values).ok().as_ref() != Some(&rendered),
            None => false,
        };
        rendered.into_bytes()
    } else {
        file.bytes.to_vec()
    };
    Ok(Some(Rendered {
        source: format!("{}:{source}", skeleton.manifest.about.name),
        path,
        bytes,
        mode: if file.executable { 0o777 } else { 0o666 },
        exact_mode: false,
        once: rule.is_some_and(|rule| rule.once),
        merge: rule.map(|rule| rule.merge).unwrap_or_default(),
        replaced: rule.map(|rule| rule.replace.clone()).unwrap_or_default(),
        secret,
    }))
}

/// Renders a path component by component; `None` if one is empty.
fn render_path(engine: &Engine, place: &str, path: &str, answers: &Answers) -> Result<Option<String>> {
    let mut names = Vec::new();
    for template in components(path) {
        let name = engine.render(place, template, &answers.values)?;
        if name.is_empty() {
            return Ok(None);
        }
        plain_component(&name).map_err(|why| {
            Error::new(format!(
                "`{}` in the skeleton would become `{}`, which {why}",
                place,
                name.escape_debug()
            ))
        })?;
        names.push(name);
    }
    if names.first().is_some_and(|name| name.eq_ignore_ascii_case(STATE_FOLDER)) {
        return Err(Error::new(format!(
            "`{place}` in the skeleton would be in `.paster`, which belongs to paster"
        ))
        .into());
    }
    Ok(Some(names.join("/")))
}

/// The components of a path of templates. A `/` inside `{{…}}`, or between a block's start and end, does not
/// separate components.
fn components(path: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut at, mut blocks, mut inside) = (0, 0, 0_usize, false);
    while let Some(rest) = path.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(tag) = rest.strip_prefix("{{") {
            inside = true;
            match tag.as_bytes().first() {
                Some(b'#') => blocks += 1,
                Some(b'/') => blocks = blocks.saturating_sub(1),
                _ => {}
            }
            at += 2;
            // The character after the braces may be the `/` of an end tag.
            at += tag.chars().next().map_or(0, char::len_utf8);
            continue;
        }
        if rest.starts_with("}}") {
            inside = false;
            at += 2;
            continue;
        }
        if rest.starts_with('/') && !inside && blocks == 0 {
            found.push(&path[start..at]);
            start = at + 1;
        }
        at += rest.chars().next().map_or(1, char::len_utf8);
    }
    found.push(&path[start..]);
    found
}

/// Whether a condition is true; `what` is the start of its error message.
pub(super) fn holds(when: Option<&str>, answers: &Answers, what: &str) -> Result<bool> {
    let values = answers.values.as_object();
    let outcome = condition(when).and_then(|condition| match (condition, values) {
        (Some(condition), Some(values)) => condition.holds(values),
        _ => Ok(true),
    });
    Ok(outcome.map_err(|why| Error::new(format!("{what} fails: {why}")))?)
}

/// Applies the `chmod` actions before writing, so that a file never exists with other permissions.
fn change_modes(
    engine: &Engine,
    skeleton: &Skeleton,
    answers: &Answers,
    files: &mut BTreeMap<String, Rendered>,
) -> Result<()> {
    for post in skeleton.manifest.posts.iter().filter(|post| post.action == PostAction::Chmod) {
        let (Some(path), Some(mode)) = (&post.path, post.mode.as_deref().and_then(permissions)) else {
            continue;
        };
        if !holds(post.when.as_deref(), answers, "the condition of a `chmod`")? {
            continue;
        }
        let path = engine.render(&skeleton.place("skeleton.toml"), path, &answers.values)?;
        let file = files.get_mut(&path).ok_or_else(|| {
            Error::new(format!("`chmod` names `{path}`, which the skeleton does not contain"))
        })?;
        file.mode = mode;
        file.exact_mode = true;
    }
    Ok(())
}

impl Skeleton {
    /// What to do after the files are written, without `chmod`, which is part of the files.
    /// # Errors
    /// A condition that cannot be evaluated.
    pub fn posts(&self, answers: &Answers) -> Result<Vec<PostAction>> {
        let mut found = Vec::new();
        let data = |action| !matches!(action, PostAction::Chmod | PostAction::Run);
        for post in self.manifest.posts.iter().filter(|post| data(post.action)) {
            if holds(post.when.as_deref(), answers, "the condition of a `[[post]]`")? {
                found.push(post.action);
            }
        }
        Ok(found)
    }

    /// The programs to run after the files are written, each with its arguments. They run only if the user trusts the
    /// skeleton.
    /// # Errors
    /// A condition that cannot be evaluated; an error in the template of an argument.
    pub fn programs(&self, answers: &Answers) -> Result<Vec<Vec<String>>> {
        let engine = Engine::new();
        let place = self.place("skeleton.toml");
        let mut found = Vec::new();
        for post in self.manifest.posts.iter().filter(|post| post.action == PostAction::Run) {
            if holds(post.when.as_deref(), answers, "the condition of a `[[post]]`")? {
                let words = post.argv.iter().map(|word| engine.render(&place, word, &answers.values));
                found.push(words.collect::<Result<Vec<_>, _>>()?);
            }
        }
        Ok(found)
    }

    /// The lines with the next steps.
    /// # Errors
    /// An error in one of the templates.
    pub fn next(&self, answers: &Answers) -> Result<Vec<String>> {
        let engine = Engine::new();
        let place = self.place("skeleton.toml");
        let lines = self.manifest.about.next.iter();
        Ok(lines.map(|line| engine.render(&place, line, &answers.values)).collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::components;

    #[test]
    fn a_slash_within_braces_divides_nothing() {
        for (path, expected) in [
            ("a/b.txt", vec!["a", "b.txt"]),
            ("{{a}}/b", vec!["{{a}}", "b"]),
            ("{{#if x}}a{{/if}}/b", vec!["{{#if x}}a{{/if}}", "b"]),
            ("x/{{#if x}}a/b{{else}}c{{/if}}.rs", vec!["x", "{{#if x}}a/b{{else}}c{{/if}}.rs"]),
            ("{{default x 'a/b'}}/c", vec!["{{default x 'a/b'}}", "c"]),
            ("a//b", vec!["a", "", "b"]),
        ] {
            assert_eq!(components(path), expected);
        }
    }
}
