//! `/handover/PATH`: offers a notebook or folder to another owner. `/ask/PATH`: asks the owner for access. `/requests/PATH`:
//! grants or declines access.

use axum::extract::{Form, Path};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::email::mail_notice;
use super::error::{ApiError, Result, blocking};
use super::forms::{Visitor, level_options, problem, shown_time};
use super::pages::escape;
use super::percent::encode;
use crate::access::Level;
use crate::files::RelativePath;
use crate::identity::{Principal, Role};
use crate::store::{Account, NewNotice, Subject};

/// The longest message to an owner, in bytes.
const MESSAGE_BYTES: usize = 1000;
/// The levels that can be asked for.
const ASKED: [Level; 4] = [Level::View, Level::Comment, Level::Run, Level::Edit];

/// In the extensions of a refusal: the path that its reader may ask for.
#[derive(Debug, Clone)]
pub(super) struct AskFor(pub(super) String);

/// Refuses a page. The response does not reveal whether the path exists.
pub(super) fn refusal(error: ApiError, principal: &Principal, path: &RelativePath) -> Response {
    let mut response = error.into_response();
    if principal.user.is_some() {
        response.extensions_mut().insert(AskFor(path.to_string()));
    }
    response
}

/// The parts of the page `/share/PATH` about other owners and requests.
pub(super) fn sections(visitor: &Visitor, path: &RelativePath) -> Result<String> {
    let store = &visitor.notebook.store;
    let address = encode(path.as_str());
    let (requests_at, handover_at) = (format!("requests/{address}"), format!("handover/{address}"));
    let rows: String = store
        .access_requests(path)?
        .iter()
        .map(|request| {
            let (name, level) = (request.name.as_str(), request.level.name());
            format!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}{}</td></tr>",
                escape(name),
                request.level.words(),
                escape(&request.text),
                shown_time(request.at),
                visitor.button(&requests_at, &[("name", name), ("level", level)], "Allow", ""),
                visitor.button(&requests_at, &[("name", name), ("level", "")], "Decline", "plain"),
            )
        })
        .collect();
    let requests = match rows.is_empty() {
        true => String::new(),
        false => format!(
            "<h2>Requests</h2><table><tr><th>Who</th><th>Wants to</th><th>Message</th><th>When (UTC)</th><th></th></tr>{rows}</table>"
        ),
    };
    let offer = match store.offered_to(path)? {
        Some(name) => format!(
            "<p>It is offered to <b>{}</b>, who has not accepted yet. {}</p>",
            escape(&name),
            visitor.button(&handover_at, &[("withdraw", "true")], "Take the offer back", "plain")
        ),
        None => format!(
            "{}<label>Login name <input name=\"to\" maxlength=\"60\" required></label><button class=\"plain\">Offer it</button></form>\
             <p class=\"faint\">When they accept, it moves to their folder, its kernel is shut down, and you keep the right to edit it.</p>",
            visitor.form(&handover_at)
        ),
    };
    Ok(format!("{requests}<h2>Another owner</h2>{offer}"))
}

#[derive(Deserialize)]
pub(super) struct HandoverForm {
    to: Option<String>,
    #[serde(default)]
    withdraw: bool,
    #[serde(default)]
    accept: bool,
    #[serde(default)]
    decline: bool,
}

pub(super) async fn handover(
    visitor: Visitor,
    Path(path): Path<String>,
    Form(form): Form<HandoverForm>,
) -> Result<Response> {
    let path = RelativePath::parse(&path)?;
    if form.accept || form.decline {
        return answer(&visitor, &path, form.accept).await;
    }
    visitor.notebook.may(&visitor.principal, Level::Manage, &path)?;
    visitor.notebook.files.facts(&path)?;
    if path.is_root()
        || path.parent().is_some_and(|parent| parent.is_root())
            && visitor.notebook.store.account(path.as_str())?.is_some()
    {
        return Err(ApiError::bad("the folder of an account stays with it"));
    }
    let share = format!("share/{}", encode(path.as_str()));
    if form.withdraw {
        visitor.notebook.store.offer(&path, None, "").await?;
        return Ok(visitor.back(&share));
    }
    let to = form.to.unwrap_or_default();
    let account = visitor
        .notebook
        .store
        .account(to.trim())?
        .filter(|account| account.active && account.role != Role::Guest);
    let Some(account) = account.filter(|account| account.id != visitor.user) else {
        let message = format!("`{}` has no folder: check the login name", to.trim());
        return Ok(visitor.page("Another owner", &problem(&message)));
    };
    visitor.notebook.store.offer(&path, Some(account.id), &visitor.principal.name).await?;
    notify(&visitor, &path, vec![account.id], "offer", "").await?;
    visitor.audit("offer", &format!("{path} to {}", account.name)).await?;
    Ok(visitor.back(&share))
}

async fn notify(
    visitor: &Visitor,
    path: &RelativePath,
    to: Vec<i64>,
    kind: &'static str,
    text: &str,
) -> Result<()> {
    let author = visitor.principal.name.clone();
    let notice = NewNotice { kind, author, thread: None, text: text.to_owned() };
    mail_notice(&visitor.notebook, path.as_str(), &to, &notice);
    Ok(visitor.notebook.store.notify(path, to, notice).await?)
}

/// Accepts or declines an offer.
async fn answer(visitor: &Visitor, path: &RelativePath, accept: bool) -> Result<Response> {
    let notebook = &visitor.notebook;
    let gone = || ApiError::missing("this offer was taken back");
    let offers = notebook.store.offers(visitor.user)?;
    let offer = offers.into_iter().find(|offer| offer.path == path.as_str()).ok_or_else(gone)?;
    if !accept {
        notebook.store.offer(path, None, "").await?;
        visitor.audit("decline offer", path.as_str()).await?;
        return Ok(visitor.back("inbox"));
    }
    let from = notebook.store.account(&offer.author)?.ok_or_else(gone)?;
    let home = visitor.principal.home().ok_or_else(|| ApiError::bad("a guest has no folder"))?;
    let home = RelativePath::parse(home)?;
    // The person who offered it may have lost the right to do so.
    if !notebook.access.account_may(&from, Level::Manage, path) {
        return Err(gone());
    }
    notebook.close_kernels_below(path).await.map_err(ApiError::unavailable)?;
    let (files, name) = (notebook.files.clone(), path.clone());
    let to = blocking(move || {
        let (stem, ext) = name.split_name();
        files.free_path(&home, |number| match number {
            0 => format!("{stem}{ext}"),
            number => format!("{stem} ({number}){ext}"),
        })
    })
    .await?;
    notebook.rename(path, &to).await?;
    let store = &notebook.store;
    store.offer(&to, None, "").await?;
    store.set_right(&to, &Subject::User(from.name.clone()), Some(Level::Edit)).await?;
    store.set_right(&to, &Subject::User(visitor.principal.name.clone()), None).await?;
    notify(visitor, &to, vec![from.id], "granted", "accepted the offer").await?;
    visitor.audit("take over", &format!("{path} as {to}")).await?;
    let kind = if to.is_notebook() { "notebooks" } else { "tree" };
    Ok(visitor.back(&format!("{kind}/{}", encode(to.as_str()))))
}

/// Asks what to send to the owner.
pub(super) async fn ask(visitor: Visitor, Path(path): Path<String>) -> Result<Response> {
    let path = RelativePath::parse(&path)?;
    let body = format!(
        "<p>Asks the owner of <b>{}</b> for access.</p>{}\
         <label>I want to <select name=\"level\">{}</select></label>\
         <label>Message <input name=\"message\" maxlength=\"{MESSAGE_BYTES}\"></label><button>Send</button></form>",
        escape(path.as_str()),
        visitor.form(&format!("ask/{}", encode(path.as_str()))),
        level_options(&ASKED, Level::View),
    );
    Ok(visitor.page("Ask for access", &body))
}

#[derive(Deserialize)]
pub(super) struct AskForm {
    level: String,
    #[serde(default)]
    message: String,
}

/// Sends the request. The response does not reveal whether the path exists.
pub(super) async fn send_request(
    visitor: Visitor,
    Path(path): Path<String>,
    Form(form): Form<AskForm>,
) -> Result<Response> {
    let path = RelativePath::parse(&path)?;
    let notebook = &visitor.notebook;
    let level = Level::parse(&form.level).filter(|level| ASKED.contains(level));
    let level = level.ok_or_else(|| ApiError::bad("there is no such level"))?;
    let message = form.message.trim();
    if message.len() > MESSAGE_BYTES {
        return Err(ApiError::bad(format!("the message must have at most {MESSAGE_BYTES} bytes")));
    }
    let has = notebook.access.level(&visitor.principal, &path);
    let exists = !path.is_root() && notebook.files.facts(&path).is_ok();
    if exists
        && has.is_none_or(|has| has < level)
        && notebook.store.request_access(&path, visitor.user, level, message).await?
    {
        let owners = owners(&visitor, &path)?;
        notify(&visitor, &path, owners, "request", &format!("{}: {message}", level.words())).await?;
        visitor.audit("ask for access", path.as_str()).await?;
    }
    let body = "<p>If there is a notebook or folder at this address, its owner was asked. The reply will be in your inbox.</p>";
    Ok(visitor.page("Ask for access", body))
}

/// The people who can answer a request: the owner of the folder, or else the administrators.
fn owners(visitor: &Visitor, path: &RelativePath) -> Result<Vec<i64>> {
    let owner = path.as_str().split('/').next().unwrap_or_default();
    let accounts: Vec<Account> =
        visitor.notebook.store.accounts()?.into_iter().filter(|account| account.active).collect();
    let owned = accounts.iter().find(|account| account.name == owner && account.role != Role::Guest);
    Ok(match owned {
        Some(owner) => vec![owner.id],
        None => {
            accounts.iter().filter(|account| account.role == Role::Admin).map(|account| account.id).collect()
        }
    })
}

#[derive(Deserialize)]
pub(super) struct RequestForm {
    name: String,
    /// Empty if declined.
    level: String,
}

/// Grants or declines a request.
pub(super) async fn answer_request(
    visitor: Visitor,
    Path(path): Path<String>,
    Form(form): Form<RequestForm>,
) -> Result<Response> {
    let path = RelativePath::parse(&path)?;
    let notebook = &visitor.notebook;
    notebook.may(&visitor.principal, Level::Manage, &path)?;
    let account = notebook.store.account(&form.name)?;
    let account = account.ok_or_else(|| ApiError::missing("there is no such account"))?;
    if notebook.store.end_request(&path, &account.name).await?
        && let Some(level) = Level::parse(&form.level)
    {
        let subject = Subject::User(account.name.clone());
        notebook.store.set_right(&path, &subject, Some(level)).await?;
        notify(&visitor, &path, vec![account.id], "granted", &format!("you may {} it", level.words()))
            .await?;
        visitor.audit("share", &format!("{path} user {} {}", account.name, level.name())).await?;
    }
    Ok(visitor.back(&format!("share/{}", encode(path.as_str()))))
}
