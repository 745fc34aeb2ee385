//! `/api/comments/PATH`: threads of comments at the cells of a notebook. `/api/inbox`: a user's notices.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::email::mail_notice;
use super::error::{ApiError, Result, object};
use super::history::time;
use crate::access::Level;
use crate::files::RelativePath;
use crate::identity::{Authentication, Principal};
use crate::protocol::ServerFrame;
use crate::state::{Notebook, Shared};
use crate::store::{Account, Comment, NewNotice, Thread};

/// The longest comment and the longest quote of a cell, in bytes.
const TEXT_BYTES: usize = 20_000;
const QUOTE_CHARS: usize = 200;
/// Maximum number of threads per notebook.
const THREADS: usize = 2000;

pub(super) async fn list(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(path): Path<String>,
) -> Result<Json<Value>> {
    let path = RelativePath::parse(&path)?;
    notebook.may(&principal, Level::View, &path)?;
    notebook.files.facts(&path)?;
    let threads: Vec<Value> = notebook.store.threads(&path)?.iter().map(thread_json).collect();
    Ok(Json(json!({"threads": threads})))
}

fn thread_json(thread: &Thread) -> Value {
    let comment = |comment: &Comment| {
        json!({
            "id": comment.id, "author": comment.author, "at": time(comment.at), "edited": comment.edited.map(time),
            "text": comment.text,
        })
    };
    let resolved = thread.resolved.as_ref().map(|(at, by)| json!({"at": time(*at), "by": by}));
    let comments: Vec<Value> = thread.comments.iter().map(comment).collect();
    json!({"id": thread.id, "cell": thread.cell, "quote": thread.quote, "resolved": resolved, "comments": comments})
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum CommentChange {
    /// Resolve or reopen a thread.
    Resolve { thread: i64, resolved: bool },
    /// Reply.
    Reply { thread: i64, text: String },
    /// Edit one's own comment.
    Edit { comment: i64, text: String },
    /// Begin a thread at a cell, or at the whole notebook without one.
    Begin {
        text: String,
        #[serde(default)]
        cell: String,
        #[serde(default)]
        quote: String,
    },
}

pub(super) async fn change(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(path): Path<String>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Value>)> {
    let path = RelativePath::parse(&path)?;
    notebook.may(&principal, Level::Comment, &path)?;
    notebook.files.facts(&path)?;
    let change: CommentChange = serde_json::from_value(object(body)?.into()).map_err(|_| {
        ApiError::bad(
            "the body must be {text, cell?, quote?}, {thread, text}, {thread, resolved} or {comment, text}",
        )
    })?;
    let (store, name) = (&notebook.store, &principal.name);
    let missing = || ApiError::missing("this comment no longer exists");
    let mut status = StatusCode::OK;
    match change {
        CommentChange::Begin { text, cell, quote } => {
            let text = check(&text)?;
            if store.threads(&path)?.len() >= THREADS {
                return Err(ApiError::bad(format!(
                    "the notebook already has {THREADS} threads: delete some first"
                )));
            }
            let quote: String = quote.chars().take(QUOTE_CHARS).collect();
            let cell: String = cell.chars().take(64).collect();
            let thread = store.add_thread(&path, &cell, &quote, name, text).await?;
            tell(&notebook, &principal, &path, thread, text).await?;
            status = StatusCode::CREATED;
        }
        CommentChange::Reply { thread, text } => {
            let text = check(&text)?;
            if !store.add_comment(&path, thread, name, text).await? {
                return Err(missing());
            }
            tell(&notebook, &principal, &path, thread, text).await?;
            status = StatusCode::CREATED;
        }
        CommentChange::Resolve { thread, resolved } => {
            if !store.resolve_thread(&path, thread, resolved.then_some(name)).await? {
                return Err(missing());
            }
        }
        CommentChange::Edit { comment, text } => {
            if !store.change_comment(&path, comment, Some(name), Some(check(&text)?)).await? {
                return Err(ApiError::missing("this comment no longer exists, or someone else wrote it"));
            }
        }
    }
    notebook.documents.tell(&path, ServerFrame::Commented);
    let threads: Vec<Value> = store.threads(&path)?.iter().map(thread_json).collect();
    Ok((status, Json(json!({"threads": threads}))))
}

fn check(text: &str) -> Result<&str> {
    let text = text.trim();
    if text.is_empty() || text.len() > TEXT_BYTES {
        return Err(ApiError::bad(format!("a comment must have 1 to {TEXT_BYTES} bytes")));
    }
    Ok(text)
}

#[derive(Deserialize)]
pub(super) struct CommentDeleteQuery {
    comment: i64,
}

/// Deletes the user's own comment. Users who manage the notebook can delete any comment.
pub(super) async fn delete(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(path): Path<String>,
    Query(query): Query<CommentDeleteQuery>,
) -> Result<StatusCode> {
    let path = RelativePath::parse(&path)?;
    notebook.may(&principal, Level::Comment, &path)?;
    let manages = notebook.access.may(&principal, Level::Manage, &path).is_ok();
    let author = (!manages).then_some(principal.name.as_str());
    if !notebook.store.change_comment(&path, query.comment, author, None).await? {
        return Err(ApiError::missing("this comment no longer exists, or someone else wrote it"));
    }
    notebook.documents.tell(&path, ServerFrame::Commented);
    Ok(StatusCode::NO_CONTENT)
}

/// Notifies the mentioned people, the authors in the thread, and the owner of the notebook, except those who may not see it.
async fn tell(
    notebook: &Notebook,
    principal: &Principal,
    path: &RelativePath,
    thread: i64,
    text: &str,
) -> Result<()> {
    if principal.user.is_none() {
        return Ok(());
    }
    let mentioned = mentions(text);
    let threads = notebook.store.threads(path)?;
    let writers: BTreeSet<&str> = threads
        .iter()
        .filter(|known| known.id == thread)
        .flat_map(|known| known.comments.iter().map(|comment| comment.author.as_str()))
        .collect();
    let owner = path.as_str().split('/').next().unwrap_or_default();
    let mut told: [Vec<i64>; 3] = Default::default();
    for account in notebook.store.accounts()? {
        let kind = match account.name.as_str() {
            name if name == principal.name => continue,
            name if mentioned.contains(name) => 0,
            name if writers.contains(name) => 1,
            name if name == owner => 2,
            _ => continue,
        };
        if notebook.access.account_may(&account, Level::View, path) {
            told[kind].push(account.id);
        }
    }
    for (kind, accounts) in ["mention", "reply", "comment"].into_iter().zip(told) {
        let notice =
            NewNotice { kind, author: principal.name.clone(), thread: Some(thread), text: text.to_owned() };
        mail_notice(notebook, path.as_str(), &accounts, &notice);
        notebook.store.notify(path, accounts, notice).await?;
    }
    Ok(())
}

/// The login names after `@`.
fn mentions(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices('@') {
        // An email address is not a mention.
        if text[..at].ends_with(|c: char| c.is_alphanumeric()) {
            continue;
        }
        let name: String = text[at + 1..].chars().take_while(|c| is_name(*c)).collect();
        names.insert(name.trim_end_matches('-').to_ascii_lowercase());
    }
    names.remove("");
    names
}

/// The people whom a comment on a notebook can mention.
pub(super) async fn people(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(path): Path<String>,
) -> Result<Json<Value>> {
    let path = RelativePath::parse(&path)?;
    notebook.may(&principal, Level::Comment, &path)?;
    let accounts: Vec<Account> =
        if principal.user.is_some() { notebook.store.accounts()? } else { Vec::new() };
    let names: Vec<&str> = accounts
        .iter()
        .filter(|account| account.active && notebook.access.account_may(account, Level::View, &path))
        .map(|account| account.name.as_str())
        .collect();
    Ok(Json(json!({"people": names})))
}

/// The account of the user. A token has no inbox.
fn account(principal: &Principal) -> Result<i64> {
    match (principal.user, &principal.authentication) {
        (Some(user), Authentication::Session(_) | Authentication::Server) => Ok(user),
        _ => Err(ApiError::missing("only accounts that use a browser have an inbox")),
    }
}

pub(super) async fn inbox(State(notebook): State<Shared>, principal: Principal) -> Result<Json<Value>> {
    let account = account(&principal)?;
    let mut notices = notebook.store.notices(account)?;
    // A right may have been revoked since. An offer shows the name of a notebook that is not shared.
    notices.retain(|notice| {
        notice.kind == "offer"
            || RelativePath::parse(&notice.path)
                .is_ok_and(|path| notebook.access.may(&principal, Level::View, &path).is_ok())
    });
    let unread = notices.iter().filter(|notice| !notice.seen).count();
    let shown: Vec<Value> = notices
        .iter()
        .map(|notice| {
            json!({
                "id": notice.id, "at": time(notice.at), "kind": notice.kind, "author": notice.author, "path": notice.path,
                "thread": notice.thread, "text": notice.text, "read": notice.seen,
            })
        })
        .collect();
    Ok(Json(json!({"notices": shown, "unread": unread})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadQuery {
    /// The notice; all notices if missing.
    read: Option<i64>,
}

/// Marks notices as read.
pub(super) async fn read(
    State(notebook): State<Shared>,
    principal: Principal,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<StatusCode> {
    let account = account(&principal)?;
    let ReadQuery { read } = serde_json::from_value(object(body)?.into())
        .map_err(|error| ApiError::bad(format!("`read` must be the number of a notice: {error}")))?;
    notebook.store.notices_seen(account, read).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_after_an_at_sign_are_mentions() {
        let names: Vec<String> =
            mentions("@bob, look; (@carl-2) mail a@dan.org @Eve- @ @bob").into_iter().collect();
        assert_eq!(names, ["bob", "carl-2", "eve"]);
    }
}
