//! The commands for accounts, groups, invitations, tokens, sessions, kernels and the audit log.

use std::time::Duration;

use serde_json::{Value, json};

use super::table::table;
use super::words::Words;
use super::{CommandError, Printed, Result, code_address, fail, time};
use crate::access::Level;
use crate::account_removal::Notebooks;
use crate::accounts::{Accounts, new_secret};
use crate::files::{FileError, RelativePath};
use crate::identity::Role;
use crate::state::{Notebook, Shared};
use crate::store::Account;

fn role(word: &str) -> Result<Role> {
    match Role::parse(word) {
        Some(role) => Ok(role),
        None => fail(format!("there is no role `{word}`: use guest, user or admin")),
    }
}

fn unknown<T>(group: &str, command: &str) -> Result<T> {
    fail(format!("there is no command `{group} {command}`: `help` lists them"))
}

pub(super) async fn users(notebook: &Shared, accounts: &Accounts, words: &mut Words) -> Result<Printed> {
    match words.need("the command")?.as_str() {
        "list" => list_users(notebook, words).await,
        "add" => add_user(notebook, accounts, words).await,
        "role" => {
            let account = notebook.account_named(&words.need("NAME")?)?;
            let role = role(&words.need("ROLE")?)?;
            words.end()?;
            set(notebook, &account, role, account.active, "set role").await
        }
        "suspend" => {
            let account = notebook.account_named(&words.need("NAME")?)?;
            words.end()?;
            set(notebook, &account, account.role, false, "suspend account").await
        }
        "activate" => {
            let account = notebook.account_named(&words.need("NAME")?)?;
            words.end()?;
            set(notebook, &account, account.role, true, "activate account").await
        }
        "reset" => {
            let account = notebook.account_named(&words.need("NAME")?)?;
            words.end()?;
            let address = code_address(accounts, account.role, Some(account.id)).await?;
            notebook.audit_command("make password link", &account.name).await?;
            Ok(password_address(&account.name, &address))
        }
        "reset-second-factor" => {
            let account = notebook.account_named(&words.need("NAME")?)?;
            words.end()?;
            notebook.store.remove_second_factor(account.id).await?;
            notebook.audit_command("remove second factor", &account.name).await?;
            Ok(Printed::new(
                format!("{} can log in with the password alone", account.name),
                json!({"name": account.name}),
            ))
        }
        "delete" => delete_user(notebook, words).await,
        other => unknown("users", other),
    }
}

fn password_address(name: &str, address: &str) -> Printed {
    let text =
        format!("{name} can set a password at this address of the notebook, once, within a week:\n{address}");
    Printed::new(text, json!({"name": name, "address": address}))
}

async fn list_users(notebook: &Notebook, words: &Words) -> Result<Printed> {
    words.end()?;
    let sessions = notebook.sessions.list().await.unwrap_or_default();
    let (mut rows, mut shown) = (Vec::new(), Vec::new());
    for account in notebook.store.accounts()? {
        let home = RelativePath::parse(&account.name).ok().filter(|_| account.role != Role::Guest);
        let kernels = sessions.iter().filter(|(session, _)| {
            RelativePath::parse(&session.path)
                .is_ok_and(|path| home.as_ref().is_some_and(|home| path.is_below(home)))
        });
        let kernels = kernels.count();
        let files = notebook.files.clone();
        let bytes = tokio::task::spawn_blocking(move || home.map_or(0, |home| files.disk_bytes(&home)));
        let bytes = bytes.await.unwrap_or(0);
        let state = if account.active { "active" } else { "suspended" };
        rows.push(vec![
            account.name.clone(),
            account.role.name().to_owned(),
            state.to_owned(),
            format!("{:.1} MB", bytes as f64 / 1e6),
            kernels.to_string(),
            time(account.created)[..10].to_owned(),
        ]);
        shown.push(json!({
            "name": account.name, "role": account.role.name(), "active": account.active, "created": time(account.created),
            "disk_bytes": bytes, "kernels": kernels,
        }));
    }
    Ok(Printed::new(table(&["NAME", "ROLE", "STATE", "DISK", "KERNELS", "SINCE"], rows), json!(shown)))
}

async fn add_user(notebook: &Notebook, accounts: &Accounts, words: &mut Words) -> Result<Printed> {
    let role = role(&words.value("role")?.unwrap_or_else(|| "user".to_owned()))?;
    let name = words.need("NAME")?;
    words.end()?;
    // A random password that nobody knows. The address sets another one.
    let hash =
        accounts.prepare(&name, new_secret()).await.map_err(|error| CommandError(error.to_string()))?;
    let home = RelativePath::parse(&name).map_err(|error| CommandError(error.to_string()))?;
    if notebook.store.account(&name)?.is_some() {
        return fail(format!("there is an account `{name}` already"));
    }
    if role == Role::User && notebook.files.facts(&home).is_ok() {
        return fail(format!(
            "the folder `{name}` already exists, and its files would belong to the account: rename it first"
        ));
    }
    let Some(user) = notebook.store.add_account(&name, role, hash).await? else {
        return fail(format!("there is an account `{name}` already"));
    };
    if role != Role::Guest {
        match notebook.files.make_dir(&home) {
            Ok(()) | Err(FileError::Exists(_)) => {}
            Err(error) => {
                return fail(format!("the account was created, but its folder could not be: {error}"));
            }
        }
    }
    let address = code_address(accounts, role, Some(user)).await?;
    notebook.audit_command("create account", &name).await?;
    Ok(password_address(&name, &address))
}

async fn set(
    notebook: &Notebook,
    account: &Account,
    role: Role,
    active: bool,
    what: &str,
) -> Result<Printed> {
    if !notebook.store.set_account(account.id, role, active).await? {
        return fail(format!(
            "`{}` is the last administrator: make another account an administrator first",
            account.name
        ));
    }
    notebook.audit_command(what, &format!("{} {}", account.name, role.name())).await?;
    let state = if active { "active" } else { "suspended" };
    let text = format!("{} is {} and has the role {}", account.name, state, role.name());
    Ok(Printed::new(text, json!({"name": account.name, "role": role.name(), "active": active})))
}

async fn delete_user(notebook: &Shared, words: &mut Words) -> Result<Printed> {
    let (to, trash) = (words.value("to")?, words.flag("trash"));
    let account = notebook.account_named(&words.need("NAME")?)?;
    words.end()?;
    let notebooks = match (to, trash) {
        (Some(to), false) => Notebooks::To(notebook.account_named(&to)?),
        (None, true) => Notebooks::Trash,
        _ => {
            return fail(
                "choose what happens to the notebooks: `--to NAME` gives them to an account, `--trash` deletes them",
            );
        }
    };
    let moved = notebook.remove_account(&account, notebooks, "").await.map_err(CommandError)?;
    notebook.audit_command("delete account", &account.name).await?;
    let text = match &moved {
        Some(path) => format!("{} was deleted; its notebooks are in {path}", account.name),
        None => format!("{} was deleted", account.name),
    };
    Ok(Printed::new(text, json!({"name": account.name, "moved_to": moved})))
}

pub(super) async fn groups(notebook: &Notebook, words: &mut Words) -> Result<Printed> {
    let command = words.need("the command")?;
    if command == "list" {
        words.end()?;
        let groups = notebook.store.groups()?;
        let rows = groups.iter().map(|(group, members)| vec![group.clone(), members.join(", ")]).collect();
        let shown: Vec<Value> =
            groups.iter().map(|(group, members)| json!({"name": group, "members": members})).collect();
        return Ok(Printed::new(table(&["GROUP", "MEMBERS"], rows), json!(shown)));
    }
    let is_member = match command.as_str() {
        "add" => true,
        "remove" => false,
        other => return unknown("groups", other),
    };
    let group = words.need("GROUP")?;
    let account = notebook.account_named(&words.need("NAME")?)?;
    words.end()?;
    if group.trim().is_empty() || group.len() > 200 || group.contains(char::is_control) {
        return fail("the name of the group is empty, is too long, or contains control characters");
    }
    notebook.store.set_member(group.trim(), account.id, is_member).await?;
    let what = if is_member { "add to group" } else { "remove from group" };
    notebook.audit_command(what, &format!("{} {group}", account.name)).await?;
    let state = if is_member { "is in" } else { "is not in" };
    let text = format!("{} {state} the group {group}", account.name);
    Ok(Printed::new(text, json!({"group": group, "name": account.name, "member": is_member})))
}

pub(super) async fn invitations(
    notebook: &Notebook,
    accounts: &Accounts,
    words: &mut Words,
) -> Result<Printed> {
    match words.need("the command")?.as_str() {
        "list" => {
            words.end()?;
            let open = notebook.store.invitations()?;
            let rows = open.iter().map(|one| {
                vec![
                    one.id.to_string(),
                    one.role.name().to_owned(),
                    one.user.clone().unwrap_or_default(),
                    time(one.expires),
                ]
            });
            let rows = rows.collect();
            let shown: Vec<Value> = open
                .iter()
                .map(|one| json!({"number": one.id, "role": one.role.name(), "new_password_of": one.user, "expires": time(one.expires)}))
                .collect();
            Ok(Printed::new(table(&["NUMBER", "ROLE", "NEW PASSWORD OF", "ENDS"], rows), json!(shown)))
        }
        "add" => {
            let role = role(&words.value("role")?.unwrap_or_else(|| "user".to_owned()))?;
            words.end()?;
            let address = code_address(accounts, role, None).await?;
            notebook.audit_command("invite", role.name()).await?;
            let text = format!(
                "one account with the role {} can be created at this address of the notebook, within a week:\n{address}",
                role.name()
            );
            Ok(Printed::new(text, json!({"role": role.name(), "address": address})))
        }
        "remove" => {
            let number = number(&words.need("NUMBER")?)?;
            words.end()?;
            if !notebook.store.remove_invitation(number).await? {
                return fail(format!("there is no invitation {number}: it was used, or has expired"));
            }
            notebook.audit_command("remove invitation", &number.to_string()).await?;
            Ok(Printed::new(format!("invitation {number} was removed"), json!({"number": number})))
        }
        other => unknown("invitations", other),
    }
}

fn number(word: &str) -> Result<i64> {
    match word.parse() {
        Ok(number) => Ok(number),
        Err(_) => fail(format!("`{word}` is not a number")),
    }
}

pub(super) async fn tokens(notebook: &Notebook, accounts: &Accounts, words: &mut Words) -> Result<Printed> {
    let command = words.need("the command")?;
    let level = words.value("level")?.unwrap_or_else(|| "edit".to_owned());
    let days = words.number("days", 90, 1..=365)?;
    let account = notebook.account_named(&words.need("NAME")?)?;
    match command.as_str() {
        "list" => {
            words.end()?;
            let tokens = notebook.store.tokens_of(account.id)?;
            let rows = tokens.iter().map(|token| {
                vec![
                    token.id.to_string(),
                    token.name.clone(),
                    token.level.name().to_owned(),
                    time(token.expires),
                ]
            });
            let rows = rows.collect();
            let shown: Vec<Value> = tokens
                .iter()
                .map(|token| json!({"number": token.id, "name": token.name, "level": token.level, "expires": time(token.expires)}))
                .collect();
            Ok(Printed::new(table(&["NUMBER", "NAME", "LEVEL", "ENDS"], rows), json!(shown)))
        }
        "add" => {
            let name = words.need("TOKEN")?;
            words.end()?;
            let Some(level) = Level::parse(&level) else {
                return fail(format!("there is no level `{level}`"));
            };
            let life = Duration::from_secs(days * 24 * 3600);
            let token = accounts.add_token(account.id, &name, level, life).await?;
            notebook.audit_command("create token", &format!("{} {name}", account.name)).await?;
            Ok(Printed::new(
                token.clone(),
                json!({"name": name, "token": token, "level": level, "days": days}),
            ))
        }
        "remove" => {
            let number = number(&words.need("NUMBER")?)?;
            words.end()?;
            notebook.store.remove_token(account.id, number).await?;
            notebook.audit_command("delete token", &account.name).await?;
            Ok(Printed::new(format!("token {number} was deleted"), json!({"number": number})))
        }
        other => unknown("tokens", other),
    }
}

pub(super) async fn sessions(notebook: &Notebook, words: &mut Words) -> Result<Printed> {
    let command = words.need("the command")?;
    let account = notebook.account_named(&words.need("NAME")?)?;
    match command.as_str() {
        "list" => {
            words.end()?;
            let sessions = notebook.store.sessions_of(account.id)?;
            let rows = sessions.iter().map(|one| {
                vec![one.id.to_string(), one.address.clone(), time(one.created), one.agent.clone()]
            });
            let rows = rows.collect();
            let shown: Vec<Value> = sessions
                .iter()
                .map(|one| json!({"number": one.id, "address": one.address, "since": time(one.created), "browser": one.agent}))
                .collect();
            Ok(Printed::new(table(&["NUMBER", "ADDRESS", "SINCE", "BROWSER"], rows), json!(shown)))
        }
        "end" => {
            let number = number(&words.need("NUMBER")?)?;
            words.end()?;
            notebook.store.end_session(account.id, number).await?;
            notebook.audit_command("end session", &account.name).await?;
            Ok(Printed::new(format!("session {number} has ended"), json!({"number": number})))
        }
        other => unknown("sessions", other),
    }
}

pub(super) async fn kernels(notebook: &Notebook, words: &mut Words) -> Result<Printed> {
    let listed = notebook.sessions.list().await.map_err(|problem| CommandError(problem.message))?;
    match words.need("the command")?.as_str() {
        "list" => {
            words.end()?;
            let rows = listed.iter().map(|(session, kernel)| {
                let state = format!("{:?}", kernel.state).to_lowercase();
                vec![
                    session.id.clone(),
                    session.path.clone(),
                    kernel.name.clone(),
                    state,
                    kernel.last_activity.clone(),
                ]
            });
            let rows = rows.collect();
            let shown: Vec<Value> = listed
                .iter()
                .map(|(session, kernel)| {
                    json!({"number": session.id, "path": session.path, "kernel": kernel.name, "state": kernel.state, "last_used": kernel.last_activity})
                })
                .collect();
            Ok(Printed::new(
                table(&["NUMBER", "NOTEBOOK", "KERNEL", "STATE", "LAST USED"], rows),
                json!(shown),
            ))
        }
        "stop" => {
            let id = words.need("NUMBER")?;
            words.end()?;
            let Some((session, _)) = listed.iter().find(|(session, _)| session.id == id) else {
                return fail(format!("there is no kernel `{id}`: `kernels list` shows them"));
            };
            notebook.sessions.close(&session.id).await.map_err(|problem| CommandError(problem.message))?;
            notebook.audit_command("shut down kernel", &session.path).await?;
            Ok(Printed::new(
                format!("the kernel of {} was shut down", session.path),
                json!({"path": session.path}),
            ))
        }
        other => unknown("kernels", other),
    }
}

pub(super) async fn notebooks(notebook: &Notebook, words: &mut Words) -> Result<Printed> {
    let (count, command) = (words.number("count", 20, 1..=100_000)?, words.need("the command")?);
    words.end()?;
    if command != "list" {
        return unknown("notebooks", &command);
    }
    let largest = notebook.library.largest(usize::try_from(count).unwrap_or(usize::MAX)).await?;
    let row = |(path, bytes): &(String, u64)| vec![crate::quota::megabytes(*bytes), path.clone()];
    let shown: Value = largest.iter().map(|(path, bytes)| json!({"path": path, "bytes": bytes})).collect();
    Ok(Printed::new(table(&["SIZE", "NOTEBOOK"], largest.iter().map(row).collect()), shown))
}

pub(super) fn audit(notebook: &Notebook, words: &mut Words) -> Result<Printed> {
    let count = words.number("count", 100, 1..=100_000)?;
    words.end()?;
    let entries = notebook.store.audit_log(u32::try_from(count).unwrap_or(u32::MAX))?;
    let rows = entries.iter().map(|entry| {
        vec![
            time(entry.at),
            entry.user.clone(),
            entry.address.clone(),
            format!("{} {}", entry.action, entry.target),
        ]
    });
    let rows = rows.collect();
    let shown: Vec<Value> = entries
        .iter()
        .map(|entry| json!({"at": time(entry.at), "user": entry.user, "address": entry.address, "action": entry.action, "target": entry.target}))
        .collect();
    Ok(Printed::new(table(&["WHEN", "WHO", "FROM", "WHAT"], rows), json!(shown)))
}
