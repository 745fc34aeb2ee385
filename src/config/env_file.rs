//! Files of variables, such as `.env`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Error;

/// Reads the variables of a file: `NAME=value`, with `export`, quotes, comments and `${OTHER}`. A later one of the same name
/// counts.
/// # Errors
/// A file that cannot be read, and lines that are not variables, by their number: they may contain a secret.
pub fn read_env_file(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let shown = crate::error::shown(path);
    let text = std::fs::read_to_string(path)
        .map_err(|cause| Error::config(format!("cannot read the variables in `{}`", shown)).because(cause))?;
    let mut variables = BTreeMap::new();
    for variable in dotenvy::from_read_iter(text.as_bytes()) {
        match variable {
            Ok((name, value)) => variables.insert(name, value),
            // What the parser returns is the line, or its value alone.
            Err(dotenvy::Error::LineParse(part, _)) => {
                let part = part.lines().next().unwrap_or_default().trim();
                let number = text.lines().position(|line| !part.is_empty() && line.contains(part));
                let number = number.map_or(String::new(), |at| format!("line {} of ", at + 1));
                let error = Error::config(format!("{number}`{}` is not a variable", shown));
                return Err(error.help("write `NAME=value`; quote a value with spaces or `#`"));
            }
            Err(cause) => {
                let error = Error::config(format!("cannot read the variables in `{}`", shown));
                return Err(error.because(cause));
            }
        };
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BTreeMap<String, String>, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read_env_file(file.path())
    }

    #[test]
    fn quotes_comments_and_references() {
        let text = "# a comment\nA=1\nexport B = two\nC='$A # x'\nD=\"${A}\\n2\" # more\nE=\nA=3\nF=$A\n";
        let found = read(text).unwrap();
        let found: Vec<_> = found.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(found, [("A", "3"), ("B", "two"), ("C", "$A # x"), ("D", "1\n2"), ("E", ""), ("F", "3")]);
    }

    #[test]
    fn errors_do_not_show_the_value() {
        let error = read("A=1\nPASSWORD=geh eim\n").unwrap_err().message;
        assert!(error.starts_with("line 2 of `") && !error.contains("eim"), "{error}");
    }
}
