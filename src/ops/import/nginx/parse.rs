//! The syntax of nginx's config: directives with words, and blocks of them.
//!
//! No parser crate is maintained: `nginx-config` had its last release in 2018.
//!
//! # Source
//! nginx, "Beginner's Guide", and `ngx_conf_read_token` of its source.

use crate::error::{Error, Result};
use crate::ops::import::ImportInput;

/// A directive: `listen 80 default_server;`, or with a block, `server { … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) args: Vec<String>,
    /// The line, from 1.
    pub(super) line: usize,
    /// What is in its braces.
    pub(super) block: Vec<Directive>,
}

impl Directive {
    pub(super) fn arg(&self, index: usize) -> &str {
        self.args.get(index).map_or("", String::as_str)
    }

    pub(super) fn is_on(&self) -> bool {
        self.arg(0) == "on"
    }

    /// As it is written, without its block.
    pub(super) fn shown(&self) -> String {
        let mut text = self.name.clone();
        for arg in &self.args {
            text += " ";
            text += arg;
        }
        text
    }
}

#[derive(Debug, PartialEq, Eq)]
enum NginxToken {
    Word(String),
    Open,
    Close,
    End,
}

/// The directives of a file.
/// # Errors
/// Braces, quotes and semicolons that are missing, with their line.
pub(super) fn parse(input: &ImportInput) -> Result<Vec<Directive>> {
    let tokens = tokens(input)?;
    let mut tokens = tokens.into_iter();
    let mut stack: Vec<(Directive, usize)> = Vec::new();
    let mut here: Vec<Directive> = Vec::new();
    let mut above: Vec<Vec<Directive>> = Vec::new();
    let mut words: Vec<(String, usize)> = Vec::new();
    let mut last = 1;
    for (token, line) in tokens.by_ref() {
        last = line;
        let directive = |words: &mut Vec<(String, usize)>| {
            let mut words = std::mem::take(words).into_iter();
            let (name, line) = words.next()?;
            Some(Directive { name, args: words.map(|(word, _)| word).collect(), line, block: Vec::new() })
        };
        match token {
            NginxToken::Word(word) => words.push((word, line)),
            NginxToken::End => match directive(&mut words) {
                Some(directive) => here.push(directive),
                None => return Err(input.error(line, "unexpected `;`").into()),
            },
            NginxToken::Open => match directive(&mut words) {
                Some(directive) => {
                    stack.push((directive, line));
                    above.push(std::mem::take(&mut here));
                }
                None => return Err(input.error(line, "unexpected `{`").into()),
            },
            NginxToken::Close => {
                if let Some((word, line)) = words.first() {
                    let error = input.error(*line, format!("`{word}` is not ended by `;`"));
                    return Err(error.into());
                }
                let (Some((mut directive, _)), Some(outer)) = (stack.pop(), above.pop()) else {
                    return Err(input.error(line, "unexpected `}`").into());
                };
                directive.block = std::mem::replace(&mut here, outer);
                here.push(directive);
            }
        }
    }
    match (words.first(), stack.last()) {
        (Some((word, line)), _) => Err(input.error(*line, format!("`{word}` is not ended by `;`")).into()),
        (None, Some((directive, line))) => {
            Err(input.error(*line, format!("the block of `{}` is not closed", directive.name)).into())
        }
        (None, None) if here.is_empty() => Err(Error::config("there are no directives")
            .at(input.error(last, "").origin.map(|origin| *origin))
            .into()),
        (None, None) => Ok(here),
    }
}

fn tokens(input: &ImportInput) -> Result<Vec<(NginxToken, usize)>> {
    let (mut tokens, mut line) = (Vec::new(), 1);
    let mut chars = input.text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' => line += 1,
            c if c.is_whitespace() => {}
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            ';' => tokens.push((NginxToken::End, line)),
            // A program of another language.
            '{' if matches!(tokens.last(), Some((NginxToken::Word(word), _)) if word.ends_with("_by_lua_block")) =>
            {
                let mut depth = 1;
                for c in chars.by_ref() {
                    line += usize::from(c == '\n');
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    if depth == 0 {
                        break;
                    }
                }
                tokens.push((NginxToken::End, line));
            }
            '{' => tokens.push((NginxToken::Open, line)),
            '}' => tokens.push((NginxToken::Close, line)),
            quote @ ('"' | '\'') => {
                let (mut word, start) = (String::new(), line);
                loop {
                    match chars.next() {
                        None => return Err(input.error(start, "a quote is not closed").into()),
                        Some(c) if c == quote => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\'' | '\\')) => word.push(c),
                            Some(c) => word.extend(['\\', c]),
                            None => {}
                        },
                        Some(c) => {
                            line += usize::from(c == '\n');
                            word.push(c);
                        }
                    }
                }
                tokens.push((NginxToken::Word(word), start));
            }
            c => {
                let mut word = String::from(c);
                // `${name}` is a part of a word.
                let mut in_name = false;
                while let Some(&next) = chars.peek() {
                    let opens = next == '{' && word.ends_with('$');
                    if next.is_whitespace()
                        || next == ';'
                        || (next == '{' && !opens)
                        || (next == '}' && !in_name)
                    {
                        break;
                    }
                    in_name = if opens { true } else { in_name && next != '}' };
                    chars.next();
                    word.push(next);
                    if next == '\\'
                        && let Some(escaped) = chars.next_if(|c| *c != '\n')
                    {
                        word.push(escaped);
                    }
                }
                tokens.push((NginxToken::Word(word), line));
            }
        }
    }
    Ok(tokens)
}

/// `10m` in bytes: nginx counts in powers of 1024.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, scale) = match text.to_ascii_lowercase() {
        text if text.ends_with('k') => (text.trim_end_matches('k').to_owned(), 1 << 10),
        text if text.ends_with('m') => (text.trim_end_matches('m').to_owned(), 1 << 20),
        text if text.ends_with('g') => (text.trim_end_matches('g').to_owned(), 1 << 30),
        text => (text, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

/// `1m30s` or `75` in whole seconds, at least one.
pub(super) fn seconds(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    // nginx's `M` and `y` are those of humantime; so are the others.
    let duration = humantime::parse_duration(text).ok()?;
    Some(duration.as_secs().max(1))
}
