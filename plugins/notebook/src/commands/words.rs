//! The words of a command line: names, and options with two hyphens.

use super::{Result, fail};

/// The words that are not yet used.
pub(super) struct Words {
    words: Vec<String>,
}

impl Words {
    pub(super) fn new(words: Vec<String>) -> Words {
        Words { words }
    }

    /// The next word that is not an option.
    pub(super) fn next(&mut self) -> Option<String> {
        let at = self.words.iter().position(|word| !word.starts_with("--") || word == "--help")?;
        Some(self.words.remove(at))
    }

    /// The next word, which is needed.
    /// # Errors
    /// If there is none.
    pub(super) fn need(&mut self, what: &str) -> Result<String> {
        match self.next() {
            Some(word) => Ok(word),
            None => fail(format!("{what} is missing: `help` shows how commands are used")),
        }
    }

    /// Whether the option `--name` is given.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        let at = self.words.iter().position(|word| word.strip_prefix("--") == Some(name));
        at.map(|at| self.words.remove(at)).is_some()
    }

    /// The value of `--name VALUE` or `--name=VALUE`.
    /// # Errors
    /// If the value is missing.
    pub(super) fn value(&mut self, name: &str) -> Result<Option<String>> {
        let joined = format!("--{name}=");
        if let Some(at) = self.words.iter().position(|word| word.starts_with(&joined)) {
            return Ok(Some(self.words.remove(at)[joined.len()..].to_owned()));
        }
        let Some(at) = self.words.iter().position(|word| word.strip_prefix("--") == Some(name)) else {
            return Ok(None);
        };
        if at + 1 == self.words.len() {
            return fail(format!("`--{name}` needs a value"));
        }
        self.words.remove(at);
        Ok(Some(self.words.remove(at)))
    }

    /// The same as a number.
    /// # Errors
    /// Also if it is not one.
    pub(super) fn number(
        &mut self,
        name: &str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<u64> {
        let Some(text) = self.value(name)? else { return Ok(default) };
        match text.parse().ok().filter(|number| range.contains(number)) {
            Some(number) => Ok(number),
            None => fail(format!(
                "`--{name}` must be a number from {} to {}, not `{text}`",
                range.start(),
                range.end()
            )),
        }
    }

    /// # Errors
    /// If words are left.
    pub(super) fn end(&self) -> Result<()> {
        match self.words.first() {
            None => Ok(()),
            Some(word) => fail(format!("unexpected `{word}`: `help` shows how commands are used")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_may_be_anywhere() {
        let words = |text: &str| Words::new(text.split(' ').map(str::to_owned).collect());
        let mut line = words("add --role admin ann --json --days=3");
        assert!(line.flag("json") && !line.flag("json"));
        assert_eq!(line.value("role").unwrap().as_deref(), Some("admin"));
        assert_eq!(line.number("days", 90, 1..=365).unwrap(), 3);
        assert_eq!(
            (line.next().as_deref(), line.next().as_deref(), line.next()),
            (Some("add"), Some("ann"), None)
        );
        assert!(line.end().is_ok() && line.need("NAME").is_err());
        assert!(words("a --bad").end().is_err() && words("--role").value("role").is_err());
        assert!(words("--days 0").number("days", 1, 1..=365).is_err());
    }
}
