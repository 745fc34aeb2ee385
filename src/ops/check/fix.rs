//! `paster check --fix`: fixes what can be fixed without a decision.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::secrets::open_secrets;
use crate::config::{Config, Sources};
use crate::error::{Error, Origin, Result, Source};
use crate::ops::format::FormattedFile;
use crate::ops::schema::tables;

/// Fixes the files of a config: permissions of secrets, old names of options, and the formatting. Returns what was done.
/// # Errors
/// If the config cannot be read, or a file cannot be written.
pub fn fix(sources: &Sources) -> Result<Vec<String>> {
    let (config, errors) = Config::read(sources);
    let Some(config) = config else {
        crate::error::Errors::check(errors)?;
        return Err(Error::config("the config is invalid").into());
    };
    let mut done = Vec::new();
    for secret in open_secrets(&config) {
        let failed = |cause| {
            Error::new(format!("cannot change the mode of `{}`", secret.path.display())).because(cause)
        };
        secret.fix().map_err(failed)?;
        done.push(format!("other users can no longer read `{}`", secret.path.display()));
    }
    rename(&config, &mut done)?;
    let own = config
        .files()
        .iter()
        .filter(|file| file.extension().is_some_and(|end| end == "toml") && file.is_file());
    for file in own {
        // Another error of the file is reported by the check.
        let Ok(formatted) = FormattedFile::read(file) else { continue };
        if formatted.differs() {
            formatted.write()?;
            done.push(format!("formatted `{}`", crate::error::shown(file)));
        }
    }
    Ok(done)
}

/// Writes the current names of options in place of old ones.
fn rename(config: &Config, done: &mut Vec<String>) -> Result<()> {
    let mut by_file: BTreeMap<PathBuf, Vec<(Origin, String, String)>> = BTreeMap::new();
    for (table, _) in tables(config) {
        for (origin, old, new) in table.old_keys() {
            if let Source::File(file) = &origin.source {
                by_file.entry(file.clone()).or_default().push((origin, old, new));
            }
        }
    }
    for (file, mut renames) in by_file {
        let failed =
            |what: &str, cause| Error::new(format!("cannot {what} `{}`", file.display())).because(cause);
        let text = std::fs::read_to_string(&file).map_err(|cause| failed("read", cause))?;
        let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
        // From the end of a line, so that the other places stay.
        renames.sort_by_key(|(origin, ..)| std::cmp::Reverse((origin.line, origin.column)));
        renames.dedup();
        for (origin, old, new) in &renames {
            let Some(line) = (origin.line as usize).checked_sub(1).and_then(|index| lines.get_mut(index))
            else {
                continue;
            };
            let start = (origin.column as usize).saturating_sub(1);
            let Some((at, _)) = line.char_indices().nth(start) else { continue };
            let quoted = ["", "\"", "'"]
                .into_iter()
                .find(|quote| line[at..].starts_with(&format!("{quote}{old}{quote}")));
            if let Some(quote) = quoted {
                line.replace_range(at..at + old.len() + 2 * quote.len(), new);
                done.push(format!("{}:{}: `{old}` is `{new}` now", crate::error::shown(&file), origin.line));
            }
        }
        let target = file.canonicalize().unwrap_or_else(|_| file.clone());
        crate::ops::replace_file::replace(&target, &lines.join("\n"))
            .map_err(|cause| failed("write", cause))?;
    }
    Ok(())
}
