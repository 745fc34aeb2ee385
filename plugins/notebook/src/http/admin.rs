//! `/admin`: accounts, groups, invitations, running kernels, the largest notebooks, errors, and the
//! audit log.

use axum::extract::Form;
use axum::response::Response;
use serde::Deserialize;

use super::error::{ApiError, Result, blocking};
use super::errors;
use super::forms::{Visitor, problem, shown_time};
use super::largest;
use super::pages::escape;
use crate::identity::Role;
use crate::kernel::wire::KernelModel;
use crate::quota::megabytes;
use crate::sessions::Session;
use crate::store::{Account, AuditEntry};

/// How many entries of the audit log the page shows.
const AUDIT: u32 = 200;
const ROLES: [Role; 3] = [Role::Guest, Role::User, Role::Admin];

pub(super) async fn show(visitor: Visitor) -> Result<Response> {
    visitor.administrator()?;
    page(&visitor, "").await
}

pub(super) async fn page(visitor: &Visitor, notice: &str) -> Result<Response> {
    let store = &visitor.notebook.store;
    let sessions = visitor.notebook.sessions.list().await.unwrap_or_default();
    let accounts = store.accounts()?;
    let uses = uses(visitor, &accounts, &sessions).await?;
    let accounts: String =
        accounts.iter().zip(uses).map(|(account, used)| account_row(visitor, account, &used)).collect();
    let groups: String = store.groups()?.iter().map(|group| group_row(visitor, group)).collect();
    let prewarmed = visitor.notebook.link.prewarmed().await.map_or(0, |kernels| kernels.len());
    let kernels: String = sessions.iter().map(|session| kernel_row(visitor, session)).collect();
    let kernels = match kernels.is_empty() {
        true => "<p>No kernels are running.</p>".to_owned(),
        false => format!(
            "<table><tr><th>Notebook</th><th>Kernel</th><th>State</th><th>Last used</th><th></th></tr>{kernels}</table>"
        ),
    };
    let errors = errors::section(visitor).await?;
    let largest = largest::section(visitor).await?;
    let audit: String = store.audit_log(AUDIT)?.iter().map(audit_row).collect();
    let body = format!(
        "{notice}<h2>Accounts</h2>\
         <table><tr><th>Name</th><th>Role</th><th>Since</th><th>Uses</th><th></th></tr>{accounts}</table>\
         <h2>Invite</h2><p>Creates a link for one new account. It is valid for a week.</p>\
         {invite}<label>Role <select name=\"role\">{roles}</select></label><button>Make a link</button></form>\
         <h2>Groups</h2>{groups}\
         {member}<label>Group <input name=\"group\" maxlength=\"60\" required></label><label>Login name <input name=\"name\" required></label>\
         <button name=\"member\" value=\"1\">Add to the group</button></form>\
         <h2>Kernels</h2>{kernels}<p class=\"faint\">Started in advance: {prewarmed}. Limits: {limits}.</p>{largest}{errors}\
         <h2>What happened</h2><table><tr><th>When (UTC)</th><th>Who</th><th>From</th><th>What</th></tr>{audit}</table>",
        invite = visitor.form("admin/invite"),
        roles = role_options(Role::User),
        member = visitor.form("admin/groups"),
        limits = escape(&visitor.notebook.kernel_limits),
    );
    Ok(visitor.page("Administration", &body))
}

fn role_options(chosen: Role) -> String {
    let option = |role: &Role| {
        let selected = if *role == chosen { " selected" } else { "" };
        format!("<option value=\"{}\"{selected}>{}</option>", role.name(), role.words())
    };
    ROLES.iter().map(option).collect()
}

/// The disk space and kernels that each account uses, with their limits.
async fn uses(
    visitor: &Visitor,
    accounts: &[Account],
    sessions: &[(Session, KernelModel)],
) -> Result<Vec<String>> {
    let Some(quota) = visitor.notebook.quota.clone() else { return Ok(Vec::new()) };
    let names: Vec<String> = accounts.iter().map(|account| account.name.clone()).collect();
    let (sizes, named) = (quota.clone(), names.clone());
    let sizes = blocking(move || {
        Ok::<_, ApiError>(named.iter().map(|name| sizes.used_bytes(name)).collect::<Vec<u64>>())
    })
    .await?;
    let of = |limit: Option<String>| limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
    let disk_limit = of(quota.disk_bytes().map(megabytes));
    let kernel_limit = of(quota.kernels().map(|count| count.to_string()));
    let used = |(name, bytes): (&String, u64)| {
        let kernels = sessions
            .iter()
            .filter(|(session, _)| session.path.split('/').next() == Some(name.as_str()))
            .count();
        format!("{}{disk_limit}, {kernels}{kernel_limit} kernels", megabytes(bytes))
    };
    Ok(names.iter().zip(sizes).map(used).collect())
}

fn account_row(visitor: &Visitor, account: &Account, used: &str) -> String {
    let id = account.id.to_string();
    let (active, word) = if account.active { ("0", "Suspend") } else { ("1", "Activate") };
    let role = account.role.name();
    format!(
        "<tr><td>{}{}</td><td>{}<input type=\"hidden\" name=\"id\" value=\"{id}\"><input type=\"hidden\" name=\"active\" value=\"{}\">\
         <select name=\"role\" aria-label=\"Role of {}\">{}</select> <button class=\"plain\">Change</button></form></td>\
         <td>{}</td><td>{}</td><td>{}{} <a href=\"{}admin/delete?id={id}\">Delete</a></td></tr>",
        escape(&account.name),
        if account.active { "" } else { " <span class=\"faint\">suspended</span>" },
        visitor.form("admin/accounts"),
        u8::from(account.active),
        escape(&account.name),
        role_options(account.role),
        shown_time(account.created),
        escape(used),
        visitor.button("admin/accounts", &[("id", &id), ("role", role), ("active", active)], word, "plain"),
        visitor.button("admin/invite", &[("user", &id), ("role", role)], "New password", "plain"),
        escape(&visitor.place.base()),
    )
}

fn group_row(visitor: &Visitor, (group, members): &(String, Vec<String>)) -> String {
    let members: String = members
        .iter()
        .map(|name| {
            let fields = [("group", group.as_str()), ("name", name.as_str()), ("member", "0")];
            format!(
                "<li>{} {}</li>",
                escape(name),
                visitor.button("admin/groups", &fields, "Remove", "plain")
            )
        })
        .collect();
    format!("<h3>{}</h3><ul>{members}</ul>", escape(group))
}

fn kernel_row(visitor: &Visitor, (session, kernel): &(Session, KernelModel)) -> String {
    let used = kernel.last_activity.get(..16).unwrap_or_default().replace('T', " ");
    format!(
        "<tr><td>{}</td><td>{}</td><td>{:?}</td><td>{used}</td><td>{}</td></tr>",
        escape(&session.path),
        escape(&kernel.name),
        kernel.state,
        visitor.button("admin/kernels", &[("session", &session.id)], "Shut down", "plain"),
    )
}

fn audit_row(entry: &AuditEntry) -> String {
    format!(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{} {}</td></tr>",
        shown_time(entry.at),
        escape(&entry.user),
        escape(&entry.address),
        escape(&entry.action),
        escape(&entry.target)
    )
}

#[derive(Deserialize)]
pub(super) struct InviteForm {
    role: String,
    user: Option<i64>,
}

/// Creates a link for a new account, or for a new password of an account.
pub(super) async fn invite(visitor: Visitor, Form(form): Form<InviteForm>) -> Result<Response> {
    visitor.administrator()?;
    let role = Role::parse(&form.role).ok_or_else(|| ApiError::bad("there is no such role"))?;
    let code = visitor.accounts.invite(role, form.user).await?;
    let what = if form.user.is_some() { "make password link" } else { "invite" };
    visitor.audit(what, &form.user.map_or(form.role, |user| user.to_string())).await?;
    let address = visitor.place.authority.as_deref().unwrap_or("this host");
    let scheme = if visitor.place.secure { "https" } else { "http" };
    let link = format!("{scheme}://{address}{}signup?code={code}", visitor.place.base());
    let notice = format!(
        "<p class=\"good\" role=\"status\">Send this link to the person. It can be used once, within a week: <code>{}</code></p>",
        escape(&link)
    );
    page(&visitor, &notice).await
}

#[derive(Deserialize)]
pub(super) struct AccountForm {
    id: i64,
    role: String,
    active: u8,
}

/// Changes a role, suspends an account or activates it.
pub(super) async fn account(visitor: Visitor, Form(form): Form<AccountForm>) -> Result<Response> {
    visitor.administrator()?;
    let role = Role::parse(&form.role).ok_or_else(|| ApiError::bad("there is no such role"))?;
    let store = &visitor.notebook.store;
    let accounts = store.accounts()?;
    let known = accounts.into_iter().find(|account| account.id == form.id);
    let known = known.ok_or_else(|| ApiError::missing("there is no such account"))?;
    if !store.set_account(form.id, role, form.active == 1).await? {
        return page(
            &visitor,
            &problem("this is the last administrator: make another account an administrator first"),
        )
        .await;
    }
    let what = match (known.active, form.active == 1) {
        (true, false) => "suspend account",
        (false, true) => "activate account",
        _ => "set role",
    };
    visitor.audit(what, &format!("{} {}", known.name, role.name())).await?;
    Ok(visitor.back("admin"))
}

#[derive(Deserialize)]
pub(super) struct MemberForm {
    group: String,
    name: String,
    member: u8,
}

/// Adds an account to a group, or removes it.
pub(super) async fn groups(visitor: Visitor, Form(form): Form<MemberForm>) -> Result<Response> {
    visitor.administrator()?;
    let group = form.group.trim();
    if group.is_empty() || group.len() > 200 || group.contains(char::is_control) {
        return Err(ApiError::bad(
            "the name of the group is empty, is too long, or contains control characters",
        ));
    }
    let Some(account) = visitor.notebook.store.account(form.name.trim())? else {
        return page(&visitor, &problem(&format!("there is no account `{}`", form.name.trim()))).await;
    };
    visitor.notebook.store.set_member(group, account.id, form.member == 1).await?;
    let what = if form.member == 1 { "add to group" } else { "remove from group" };
    visitor.audit(what, &format!("{} {group}", account.name)).await?;
    Ok(visitor.back("admin"))
}

#[derive(Deserialize)]
pub(super) struct KernelForm {
    session: String,
}

/// Shuts a kernel down.
pub(super) async fn kernels(visitor: Visitor, Form(form): Form<KernelForm>) -> Result<Response> {
    visitor.administrator()?;
    if let Some((session, _)) = visitor.notebook.sessions.find(&form.session).await? {
        visitor.notebook.sessions.close(&session.id).await?;
        visitor.audit("shut down kernel", &session.path).await?;
    }
    Ok(visitor.back("admin"))
}
