//! Name-value pairs, and parse errors, for all codecs.

use std::fmt;

/// Why bytes cannot be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairsError {
    /// Longer than the limit allows.
    TooLong,
    /// A violation of the specification: the broken rule, in a few words.
    Malformed(&'static str),
}

impl fmt::Display for PairsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PairsError::TooLong => "longer than the limit",
            PairsError::Malformed(rule) => rule,
        })
    }
}

impl std::error::Error for PairsError {}

/// Shorthand for a broken rule.
pub(super) const fn malformed<T>(rule: &'static str) -> Result<T, PairsError> {
    Err(PairsError::Malformed(rule))
}

/// Names with values in the order of arrival; names may repeat. One buffer holds them all.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables {
    bytes: Vec<u8>,
    /// Ends of each name and its value in `bytes`.
    ends: Vec<(usize, usize)>,
}

impl Variables {
    /// An empty list.
    pub fn new() -> Variables {
        Variables::default()
    }

    /// Appends one.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.bytes.extend_from_slice(name.as_ref());
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(value.as_ref());
        self.ends.push((middle, self.bytes.len()));
    }

    /// Appends one and removes all others with the same name.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.remove(name.as_ref());
        self.push(name, value);
    }

    /// Removes all with this name.
    pub fn remove(&mut self, name: impl AsRef<[u8]>) {
        let name = name.as_ref();
        if self.iter().any(|(known, _)| known == name) {
            let mut left = Variables::new();
            self.iter().filter(|(known, _)| *known != name).for_each(|(name, value)| left.push(name, value));
            *self = left;
        }
    }

    /// The value of a name; the last one if the name is repeated.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let name = name.as_ref();
        (0..self.ends.len())
            .rev()
            .map(|index| self.at(index))
            .find(|(known, _)| *known == name)
            .map(|(_, v)| v)
    }

    /// The value of a name as text, if it is UTF-8.
    pub fn text(&self, name: impl AsRef<[u8]>) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Names with their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        (0..self.ends.len()).map(|index| self.at(index))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn at(&self, index: usize) -> (&[u8], &[u8]) {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before].1);
        let (middle, end) = self.ends[index];
        (&self.bytes[start..middle], &self.bytes[middle..end])
    }
}

impl fmt::Debug for Variables {
    /// Only the names: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()))
            .finish()
    }
}

/// Parses a `CONTENT_LENGTH`: only digits, and no overflow.
pub(super) fn parse_length(value: &[u8]) -> Result<u64, PairsError> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match text.map(str::parse) {
        Some(Ok(length)) => Ok(length),
        _ => malformed("CONTENT_LENGTH is not a number"),
    }
}
