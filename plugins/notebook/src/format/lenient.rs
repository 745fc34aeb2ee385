//! Reads text that is almost JSON, as Python's `json` writes it: bare `NaN` and `Infinity`, integers of any size, lone
//! surrogates, deep nesting, byte order marks. Marked strings represent what JSON values cannot, and [`super::write`] writes
//! them back unchanged.
//!
//! # Source
//! RFC 8259; Python, module `json`, section "Standard Compliance and Interoperability".

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::Value;

use super::FormatError;

/// A string that begins with this character is a number that does not fit: `NaN`, or too large.
pub(super) const ODD_NUMBER: char = '\u{10f7ff}';
/// Lone surrogates are held by the last characters of the last private area, from this one on.
pub(super) const SURROGATES: u32 = 0x10_f800;
/// How deep values may be nested.
const MAX_DEPTH: usize = 512;
/// What the ordinary stack is enough for.
const SHALLOW: usize = 100;
/// The stack for deeper values, in bytes.
const STACK: usize = 64 << 20;

/// Where the parts of a notebook are in its text.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// The values of the outermost object, by their keys as written in the file.
    pub(super) members: Vec<(String, Range<usize>)>,
    /// The items of the list `cells`.
    pub(super) cells: Vec<Range<usize>>,
    depth: usize,
}

/// The text of a file.
/// # Errors
/// [`FormatError`] with the position of the first byte that is not UTF-8.
pub(super) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, FormatError> {
    let wide = |unit: fn([u8; 2]) -> u16| {
        let units = bytes[2..].chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units)
            .map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect::<String>()
    };
    match bytes {
        [0xff, 0xfe, ..] => Ok(wide(u16::from_le_bytes).into()),
        [0xfe, 0xff, ..] => Ok(wide(u16::from_be_bytes).into()),
        _ => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| {
                let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
                FormatError(format!("it is not UTF-8 text: see line {line}, byte {}", error.valid_up_to()))
            })
        }
    }
}

/// Parses a text, and returns the positions of its parts.
/// # Errors
/// [`FormatError`] with the line and the column.
pub(super) fn parse(text: &str) -> Result<(Value, Layout), FormatError> {
    let (json, layout) = scan(text);
    if layout.depth > MAX_DEPTH {
        return Err(FormatError(format!("its values are nested deeper than {MAX_DEPTH} levels")));
    }
    let read = || {
        let mut reader = serde_json::Deserializer::from_str(&json);
        reader.disable_recursion_limit();
        let value = Value::deserialize(&mut reader)?;
        reader.end().map(|()| value)
    };
    let value = if layout.depth <= SHALLOW {
        read()
    } else {
        std::thread::scope(|scope| {
            let reading = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, read);
            let reading = reading
                .map_err(|error| FormatError(format!("there is not enough memory to read it: {error}")))?;
            reading.join().map_err(|_| FormatError("it cannot be read".to_owned()))
        })?
    };
    Ok((value.map_err(|error| FormatError(format!("it is not JSON: {error}")))?, layout))
}

/// Turns a text into JSON without checking it. Errors remain.
fn scan(text: &str) -> (Cow<'_, str>, Layout) {
    let mut layout = Layout::default();
    let mut scan = Scan { text, out: String::new(), copied: 0, stack: Vec::new(), key: None, is_key: true };
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        at = match bytes[at] {
            byte if byte.is_ascii_whitespace() => at + 1,
            b'"' => scan.string(at, &mut layout),
            b'{' | b'[' => {
                scan.stack.push((bytes[at], at));
                layout.depth = layout.depth.max(scan.stack.len());
                scan.is_key = bytes[at] == b'{';
                at + 1
            }
            b'}' | b']' => {
                if let Some((_, start)) = scan.stack.pop() {
                    scan.value(start..at + 1, &mut layout);
                }
                at + 1
            }
            b',' => {
                scan.is_key = scan.stack.last().is_some_and(|(kind, _)| *kind == b'{');
                at + 1
            }
            b':' => {
                scan.is_key = false;
                at + 1
            }
            _ => scan.literal(at, &mut layout),
        };
    }
    if scan.copied == 0 {
        return (text.into(), layout);
    }
    scan.out.push_str(&text[scan.copied..]);
    (scan.out.into(), layout)
}

struct Scan<'a> {
    text: &'a str,
    out: String,
    /// How much of `text` is in `out`.
    copied: usize,
    /// The open brackets, with their places.
    stack: Vec<(u8, usize)>,
    /// The key of the outermost object whose value comes.
    key: Option<String>,
    /// Whether a string here is a key.
    is_key: bool,
}

impl Scan<'_> {
    fn replace(&mut self, range: Range<usize>, new: &str) {
        self.out.push_str(&self.text[self.copied..range.start]);
        self.out.push_str(new);
        self.copied = range.end;
    }

    /// A value ends. Its brackets are no longer on the stack.
    fn value(&mut self, range: Range<usize>, layout: &mut Layout) {
        match self.stack.len() {
            1 => layout.members.extend(self.key.take().map(|key| (key, range))),
            2 if self.key.as_deref() == Some("cells") && self.stack[1].0 == b'[' => layout.cells.push(range),
            _ => {}
        }
    }

    fn string(&mut self, start: usize, layout: &mut Layout) -> usize {
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        while at < bytes.len() && bytes[at] != b'"' {
            at += match bytes[at] {
                b'\\' => self.escape(at),
                _ => 1,
            };
        }
        let end = (at + 1).min(bytes.len());
        if self.is_key && self.stack.len() == 1 {
            self.key = self.text.get(start + 1..at).map(str::to_owned);
        } else if !self.is_key {
            self.value(start..end, layout);
        }
        end
    }

    /// An escape in a string. Returns its length.
    fn escape(&mut self, at: usize) -> usize {
        let unit = |at: usize| {
            let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
            u32::from_str_radix(digits, 16).ok()
        };
        match (unit(at), unit(at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(lone @ 0xd800..=0xdfff), _) => {
                let held = char::from_u32(SURROGATES + lone - 0xd800).unwrap_or(char::REPLACEMENT_CHARACTER);
                self.replace(at..at + 6, held.encode_utf8(&mut [0; 4]));
                6
            }
            // The escaped character too, so that an escaped quote does not end the string.
            _ => 2,
        }
    }

    fn literal(&mut self, start: usize, layout: &mut Layout) -> usize {
        let rest = &self.text[start..];
        let length =
            rest.find(|c: char| c.is_ascii_whitespace() || ",:{}[]\"".contains(c)).unwrap_or(rest.len());
        let word = &rest[..length];
        if is_odd_number(word) {
            self.replace(start..start + length, &format!("\"{ODD_NUMBER}{word}\""));
        }
        self.value(start..start + length, layout);
        start + length
    }
}

/// Whether a word is a number that JSON does not have, or that a value cannot hold.
pub(super) fn is_odd_number(word: &str) -> bool {
    if matches!(word, "NaN" | "Infinity" | "-Infinity") {
        return true;
    }
    let digits = word.strip_prefix('-').unwrap_or(word);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // `1e400`; what does not begin as a number is not one.
        let begins = digits.starts_with(|c: char| c.is_ascii_digit())
            && word.bytes().all(|b| b"0123456789+-.eE".contains(&b));
        return begins && word.parse::<f64>().is_ok_and(f64::is_infinite);
    }
    let is_canonical = digits == "0" || !digits.starts_with('0');
    is_canonical && word.parse::<i64>().is_err() && word.parse::<u64>().is_err()
}
