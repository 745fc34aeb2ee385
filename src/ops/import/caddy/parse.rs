//! The syntax of a Caddyfile: lines of words, and blocks in braces.
//!
//! # Source
//! Caddy, "Caddyfile Concepts": <https://caddyserver.com/docs/caddyfile/concepts>.

use crate::error::Result;
use crate::ops::import::ImportInput;

/// A line with its block: `reverse_proxy /api/* localhost:9000 { … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CaddyLine {
    /// Its words. Variables of the environment are references of paster's config.
    pub(super) words: Vec<String>,
    /// The line, from 1.
    pub(super) line: usize,
    /// What is in its braces; `None` without braces.
    pub(super) block: Option<Vec<CaddyLine>>,
}

impl CaddyLine {
    pub(super) fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    pub(super) fn args(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    pub(super) fn arg(&self, index: usize) -> &str {
        self.args().get(index).map_or("", String::as_str)
    }

    pub(super) fn inner(&self) -> &[CaddyLine] {
        self.block.as_deref().unwrap_or_default()
    }

    pub(super) fn shown(&self) -> String {
        self.words.join(" ")
    }
}

/// The lines of a file.
/// # Errors
/// Braces and quotes that are not closed, with their line.
pub(super) fn parse(input: &ImportInput) -> Result<Vec<CaddyLine>> {
    let mut lines = words(input)?.into_iter();
    let (found, _) = block(input, &mut lines, None)?;
    Ok(found)
}

/// The lines up to the `}` of the block that begins at the line `open`.
fn block(
    input: &ImportInput,
    lines: &mut impl Iterator<Item = (Vec<String>, usize)>,
    open: Option<usize>,
) -> Result<(Vec<CaddyLine>, bool)> {
    let mut found = Vec::new();
    while let Some((mut words, line)) = lines.next() {
        match words.last().map(String::as_str) {
            Some("{") => {
                words.pop();
                let (inner, closed) = block(input, lines, Some(line))?;
                if !closed {
                    return Err(input.error(line, "the block is not closed by `}`").into());
                }
                found.push(CaddyLine { words, line, block: Some(inner) });
            }
            Some("}") if words.len() == 1 => match open {
                Some(_) => return Ok((found, true)),
                None => return Err(input.error(line, "unexpected `}`").into()),
            },
            _ => found.push(CaddyLine { words, line, block: None }),
        }
    }
    Ok((found, false))
}

/// The words of each line that has some.
fn words(input: &ImportInput) -> Result<Vec<(Vec<String>, usize)>> {
    let (mut lines, mut words, mut line) = (Vec::new(), Vec::new(), 1);
    let mut chars = input.text.chars().peekable();
    let mut start = 1;
    while let Some(c) = chars.next() {
        match c {
            '\n' => {
                if !words.is_empty() {
                    lines.push((std::mem::take(&mut words), start));
                }
                line += 1;
                start = line;
            }
            c if c.is_whitespace() => {}
            '\\' if chars.peek() == Some(&'\n') => {
                chars.next();
                line += 1;
            }
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            quote @ ('"' | '`') => {
                let (mut word, first) = (String::new(), line);
                loop {
                    match chars.next() {
                        None => return Err(input.error(first, "a quote is not closed").into()),
                        Some(c) if c == quote => break,
                        Some('\\') if quote == '"' && chars.peek() == Some(&'"') => word.extend(chars.next()),
                        Some(c) => {
                            line += usize::from(c == '\n');
                            word.push(c);
                        }
                    }
                }
                words.push(variables(&word));
            }
            c => {
                let mut word = String::from(c);
                while let Some(next) = chars.next_if(|c| !c.is_whitespace()) {
                    word.push(next);
                }
                if word.starts_with("<<") {
                    return Err(input
                        .error(line, "here-documents are not supported: write the text in quotes")
                        .into());
                }
                words.push(variables(&word));
            }
        }
    }
    if !words.is_empty() {
        lines.push((words, start));
    }
    Ok(lines)
}

/// `{$NAME:default}` as a reference of paster's config. Any other `${` is a part of the text.
fn variables(word: &str) -> String {
    let word = word.replace("${", "$${");
    let mut text = String::new();
    let mut rest = word.as_str();
    while let Some((before, after)) = rest.split_once("{$") {
        let Some((name, end)) = after.split_once('}') else { break };
        text += before;
        match name.split_once(':') {
            Some((name, default)) => text += &format!("${{env:{name}:-{default}}}"),
            None => text += &format!("${{env:{name}}}"),
        }
        rest = end;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_blocks() {
        let text = "a.org, b.org {\n\t# c\n\troot * \"/srv/a b\"\n\treverse_proxy {$UP:x:1} {\n\t\theader_up X `y\"`\n\t}\n}\n";
        let lines = parse(&ImportInput { path: "x".into(), text: text.to_owned(), ..ImportInput::default() })
            .unwrap();
        assert_eq!(lines.len(), 1);
        let inner = lines[0].inner();
        assert_eq!(lines[0].words, ["a.org,", "b.org"]);
        assert_eq!(inner[0].words, ["root", "*", "/srv/a b"]);
        assert_eq!(inner[1].words, ["reverse_proxy", "${env:UP:-x:1}"]);
        assert_eq!((inner[1].inner()[0].words[2].as_str(), inner[1].inner()[0].line), ("y\"", 5));
    }

    #[test]
    fn what_is_not_closed() {
        for text in ["a {\n b {\n }\n", "}\n", "a \"b\n", "a <<END\nb\nEND\n"] {
            assert!(
                parse(&ImportInput { path: "x".into(), text: text.to_owned(), ..ImportInput::default() })
                    .is_err(),
                "{text}"
            );
        }
    }
}
