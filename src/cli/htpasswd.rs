//! `paster htpasswd`.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use super::output::print;
use crate::error::{Error, Result};
use crate::middleware::password::{self, Hash};
use crate::ops::htpasswd::{HtpasswdOutcome, change, check_name};

/// Maximum length of a line on standard input, in bytes.
const LINE_LIMIT: u64 = 4096;

/// Adds, changes or deletes a user in a password file of `auth_basic`.
///
/// Asks for the password twice. Only the owner can read a new file, so run the command as the user who starts the server, or
/// as the user of its workers. A running server reloads the file automatically.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster htpasswd users ann                        ask for ann's password
  pass show ann | paster htpasswd users ann --stdin
  paster htpasswd users ann --delete")]
pub(super) struct Args {
    /// The password file; created if it does not exist
    file: PathBuf,
    /// Name of the user
    user: String,
    /// Read the password from the first line of standard input
    #[arg(long)]
    stdin: bool,
    /// Delete the user
    #[arg(long, conflicts_with_all = ["stdin", "algorithm"])]
    delete: bool,
    /// Hash algorithm for the password
    #[arg(long, value_enum, default_value_t)]
    algorithm: HashChoice,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum HashChoice {
    /// argon2id
    #[default]
    Argon2,
    /// bcrypt, which other servers can read too
    Bcrypt,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        check_name(&self.user)?;
        let hash = if self.delete { None } else { Some(self.hash()?) };
        let outcome = match change(&self.file, &self.user, hash.as_ref())? {
            HtpasswdOutcome::Added => "added",
            HtpasswdOutcome::Changed => "changed the password of",
            HtpasswdOutcome::Deleted => "deleted",
        };
        print(&format!("{outcome} user `{}` in {}\n", self.user, self.file.display()))
    }

    fn hash(&self) -> Result<Hash> {
        let algorithm = match self.algorithm {
            HashChoice::Argon2 => password::Algorithm::Argon2,
            HashChoice::Bcrypt => password::Algorithm::Bcrypt,
        };
        let password = match self.stdin {
            true => first_line()?,
            false => ask()?.into_bytes(),
        };
        Ok(Hash::new(algorithm, &password)?)
    }
}

/// Asks twice, without echo.
fn ask() -> Result<String, Error> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::new("there is no terminal to ask for the password on")
            .help("write it to standard input, with `--stdin`"));
    }
    inquire::Password::new("Password:")
        .with_display_mode(inquire::PasswordDisplayMode::Hidden)
        .with_custom_confirmation_message("Again:")
        .with_custom_confirmation_error_message("the passwords differ")
        .prompt()
        .map_err(|error| Error::new("no password was given").because(error))
}

fn first_line() -> Result<Vec<u8>, Error> {
    let mut line = Vec::new();
    let read = std::io::stdin().lock().take(LINE_LIMIT).read_to_end(&mut line);
    read.map_err(|error| Error::new("cannot read the password from standard input").because(error))?;
    line.truncate(line.iter().position(|byte| *byte == b'\n').unwrap_or(line.len()));
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}
