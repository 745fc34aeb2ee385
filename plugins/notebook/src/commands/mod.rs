//! The command line: `paster run APP -- WORD …`. It has the functions of the page *Administration*, and backups.

mod backup;
mod errors;
mod people;
mod restore;
mod schedules;
mod table;
mod words;

use serde_json::{Value, json};

use self::words::Words;
use crate::accounts::Accounts;
use crate::clock;
use crate::state::{Notebook, Shared};
use crate::store::{Account, StoreError};

const HELP: &str = "\
Commands of the notebook:
  users list                              list the accounts, with their use of disk and kernels
  users add NAME [--role ROLE]            make an account; prints the address where its password is set
  users role NAME ROLE                    change its role: guest, user or admin
  users suspend NAME                      end its sessions, and refuse its logins and tokens
  users activate NAME                     allow them again
  users reset NAME                        print an address where a new password is set
  users reset-second-factor NAME          its logins no longer ask for a code
  users delete NAME --to NAME             delete it, and give its notebooks to another account
  users delete NAME --trash               delete it, and move its notebooks to the trash
  groups list                             list the groups with their members
  groups add GROUP NAME                   put an account into a group
  groups remove GROUP NAME                take it out
  invitations list                        list the links for new accounts that were not used yet
  invitations add [--role ROLE]           print an address where one new account is made
  invitations remove NUMBER               make it useless
  tokens list NAME                        list the tokens of an account
  tokens add NAME TOKEN [--level LEVEL] [--days DAYS]
                                          make one and print it; LEVEL: app, view, comment, run, edit, manage
  tokens remove NAME NUMBER               delete one
  sessions list NAME                      list the browsers in which an account is logged in
  sessions end NAME NUMBER                log one out
  kernels list                            list the running kernels
  kernels stop NUMBER                     shut one down
  notebooks list [--count COUNT]          list the largest notebooks with their sizes
  schedules list                          list the scheduled runs
  schedules add PATH CRON [--zone ZONE] [--parameters JSON] [--missed MISSED] [--alert ALERT] [--as NAME]
                                          run a notebook by a cron expression; ZONE: local, utc; MISSED: run, skip;
                                          ALERT: failure, always, never
  schedules pause ID                      pause a schedule; `resume` continues it
  schedules run ID                        run it now
  schedules runs ID                       list its runs
  schedules delete ID                     delete it with its results
  errors list                             list recent errors, which `mail.errors_to` sends by email
  errors test                             send a test email to those addresses
  audit [--count COUNT]                   show the newest lines of the audit log
  backup DIRECTORY                        copy the database and all files into a new directory, while the server runs
  restore DIRECTORY                       put a backup into this notebook, which must be new
  restore DIRECTORY --database            put only its database, for example from SQLite to PostgreSQL

Each command takes --json.";

/// Why a command failed, for users.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CommandError(String);

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> CommandError {
        CommandError(error.to_string())
    }
}

type Result<T, E = CommandError> = std::result::Result<T, E>;

fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(CommandError(message.into()))
}

/// What a command prints: text, or JSON with `--json`.
struct Printed {
    text: String,
    json: Value,
}

impl Printed {
    fn new(text: impl Into<String>, json: Value) -> Printed {
        Printed { text: text.into(), json }
    }
}

/// Runs a command. Returns what it prints.
/// # Errors
/// [`CommandError`], also for an unknown command.
pub async fn run(notebook: &Shared, words: Vec<String>) -> Result<String> {
    let mut words = Words::new(words);
    let json = words.flag("json");
    let printed = perform(notebook, &mut words).await?;
    Ok(if json { format!("{:#}", printed.json) } else { printed.text })
}

async fn perform(notebook: &Shared, words: &mut Words) -> Result<Printed> {
    let group = words.next().unwrap_or_else(|| "help".to_owned());
    match group.as_str() {
        "help" | "--help" | "-h" => Ok(Printed::new(HELP, json!({"help": HELP}))),
        "backup" => backup::run(notebook, words).await,
        "restore" => restore::run(notebook, words).await,
        "kernels" => people::kernels(notebook, words).await,
        "schedules" => schedules::schedules(notebook, words).await,
        "audit" => people::audit(notebook, words),
        "notebooks" => people::notebooks(notebook, words).await,
        "errors" => errors::errors(notebook, words).await,
        "users" | "groups" | "invitations" | "tokens" | "sessions" => {
            let Some(accounts) = &notebook.accounts else {
                return fail(
                    "this notebook has one user, with a token: set `users = \"accounts\"` in its settings",
                );
            };
            match group.as_str() {
                "users" => people::users(notebook, accounts, words).await,
                "groups" => people::groups(notebook, words).await,
                "invitations" => people::invitations(notebook, accounts, words).await,
                "tokens" => people::tokens(notebook, accounts, words).await,
                _ => people::sessions(notebook, words).await,
            }
        }
        other => fail(format!("there is no command `{other}`: `help` lists them")),
    }
}

impl Notebook {
    fn account_named(&self, name: &str) -> Result<Account> {
        match self.store.account(name)? {
            Some(account) => Ok(account),
            None => fail(format!("there is no account `{name}`: `users list` shows them")),
        }
    }

    /// Adds an action on the command line to the audit log.
    async fn audit_command(&self, action: &str, target: &str) -> Result<()> {
        Ok(self.store.audit("", "command line", action, target).await?)
    }
}

/// The address where a code is used, below the notebook's own.
async fn code_address(accounts: &Accounts, role: crate::identity::Role, user: Option<i64>) -> Result<String> {
    Ok(format!("/signup?code={}", accounts.invite(role, user).await?))
}

fn time(millis: i64) -> String {
    let since = std::time::Duration::from_millis(millis.max(0).cast_unsigned());
    clock::rfc3339(std::time::SystemTime::UNIX_EPOCH + since)
}
