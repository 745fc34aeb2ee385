//! `/share/PATH`: the rights on a notebook or folder. `/shared`: what others share with the user. `/join`: a link to a
//! notebook.

use std::time::Duration;

use axum::extract::{Form, Path, Query};
use axum::response::Response;
use serde::Deserialize;

use super::error::{ApiError, Result};
use super::forms::{Visitor, level_options, problem, shown_time};
use super::handover;
use super::pages::escape;
use super::percent::encode;
use super::published::settings_form;
use crate::access::Level;
use crate::accounts::{hash_of, in_future, new_secret};
use crate::files::RelativePath;
use crate::identity::Role;
use crate::store::Subject;

/// Maximum lifetime of a link, in days.
const LINK_DAYS: std::ops::RangeInclusive<u64> = 1..=90;

pub(super) async fn show(visitor: Visitor, Path(path): Path<String>) -> Result<Response> {
    let path = managed(&visitor, &path)?;
    page(&visitor, &path, "")
}

/// The path. Checks that the user may share it.
fn managed(visitor: &Visitor, path: &str) -> Result<RelativePath> {
    let path = RelativePath::parse(path)?;
    visitor.notebook.may(&visitor.principal, Level::Manage, &path)?;
    visitor.notebook.files.facts(&path)?;
    Ok(path)
}

fn page(visitor: &Visitor, path: &RelativePath, notice: &str) -> Result<Response> {
    let store = &visitor.notebook.store;
    let here = format!("share/{}", encode(path.as_str()));
    let rights: String = store
        .rights_on(path)?
        .iter()
        .map(|(subject, level)| {
            let (kind, name) = subject_fields(subject);
            let fields = [("kind", kind), ("name", name), ("level", "")];
            let shown = match subject {
                Subject::User(name) => escape(name),
                Subject::Group(name) => format!("the group {}", escape(name)),
                Subject::Everyone => "everyone with an account".to_owned(),
            };
            format!(
                "<tr><td>{shown}</td><td>{}</td><td>{}</td></tr>",
                level.words(),
                visitor.button(&here, &fields, "Remove", "plain")
            )
        })
        .collect();
    let rights = match rights.is_empty() {
        true => "<p>Only you and administrators can see it.</p>".to_owned(),
        false => format!("<table><tr><th>Who</th><th>May</th><th></th></tr>{rights}</table>"),
    };
    let links: String = store
        .links_to(path)?
        .iter()
        .map(|(id, level, expires)| {
            let remove = visitor.button(&here, &[("remove_link", &id.to_string())], "Delete", "plain");
            format!("<tr><td>{}</td><td>{}</td><td>{remove}</td></tr>", level.words(), shown_time(*expires))
        })
        .collect();
    let links = match links.is_empty() {
        true => String::new(),
        false => format!("<table><tr><th>May</th><th>Ends</th><th></th></tr>{links}</table>"),
    };
    let published = published(visitor, path)?;
    let app = app(visitor, path)?;
    let levels = level_options(levels(path), Level::View);
    let others = handover::sections(visitor, path)?;
    let kind = if path.is_notebook() { "notebooks" } else { "tree" };
    let body = format!(
        "{notice}<p><a href=\"{base}{kind}/{address}\">{path}</a></p>{rights}\
         <h2>Share it</h2>{form}<label>With <select name=\"kind\"><option value=\"user\">a person</option>\
         <option value=\"group\">a group</option><option value=\"everyone\">everyone with an account</option></select></label>\
         <label>Name <input name=\"name\" maxlength=\"60\"></label><label>They may <select name=\"level\">{levels}</select></label>\
         <button>Share</button></form>\
         <p class=\"faint\">Running a cell is running a program: who may run or edit can also read and change the other files in the folder of the notebook.</p>\
         <h2>Share by link</h2>{links}{form}<label>Who opens it may <select name=\"link\">{levels}</select></label>\
         <label>Days <input name=\"days\" type=\"number\" min=\"1\" max=\"90\" value=\"7\" required></label><button>Make a link</button></form>\
         <p class=\"faint\">It works for people with an account.</p>{app}{published}{others}",
        base = escape(&visitor.place.base()),
        address = escape(&encode(path.as_str())),
        path = escape(path.as_str()),
        form = visitor.form(&here),
    );
    Ok(visitor.page(&format!("Share {}", path.name()), &body))
}

/// The levels at which a path can be shared. Only notebooks are apps.
fn levels(path: &RelativePath) -> &'static [Level] {
    if path.is_notebook() { &Level::ALL } else { &Level::ALL[1..] }
}

/// A level of a form.
fn level_of(path: &RelativePath, name: &str) -> Result<Level> {
    let level = Level::parse(name).ok_or_else(|| ApiError::bad("there is no such level"))?;
    match levels(path).contains(&level) {
        true => Ok(level),
        false => Err(ApiError::bad("only a notebook can be shared as an app")),
    }
}

/// The notebook as an app.
fn app(visitor: &Visitor, path: &RelativePath) -> Result<String> {
    if !path.is_notebook() {
        return Ok(String::new());
    }
    let address = encode(path.as_str());
    let (allowed, other, button) = match visitor.notebook.store.app_controls(path)? {
        true => ("can use its controls", "false", "Do not allow the controls"),
        false => ("see the saved state of its controls", "true", "Allow the controls"),
    };
    Ok(format!(
        "<h2>App</h2><p><a href=\"{base}app/{address}\">Open as app</a> shows the notebook without its code, as people see it who may \
         only open it as an app. They {allowed}.</p>{}\
         <p class=\"faint\">If you allow the controls, each person runs your cells in a separate sandbox. It can read the folder of the \
         notebook, but not change it. People can only change the values of the controls.</p>",
        visitor.button(&format!("share/{address}"), &[("app_controls", other)], button, "plain"),
        base = escape(&visitor.place.base()),
    ))
}

/// The publication of a notebook.
fn published(visitor: &Visitor, path: &RelativePath) -> Result<String> {
    if !path.is_notebook() {
        return Ok(String::new());
    }
    let action = format!("publish/{}", encode(path.as_str()));
    let Some(publication) = visitor.notebook.store.publication_of(path)? else {
        return Ok(format!(
            "<h2>Publish it</h2><p>Creates a page with a copy of the notebook in its present state. Anyone who knows the address can read it without an account.</p>{}",
            visitor.button(&action, &[], "Publish", "")
        ));
    };
    let address = format!("{}pub/{}", visitor.place.base(), publication.slug);
    Ok(format!(
        "<h2>Published</h2><p><a href=\"{address}\">{address}</a> shows the notebook as of {} (UTC). Everyone can read it.</p>{}{}{}",
        shown_time(publication.at),
        settings_form(visitor, &action, &publication),
        visitor.button(&action, &[], "Publish the newest version", ""),
        visitor.button(&action, &[("unpublish", "true")], "Take it back", "plain"),
        address = escape(&address),
    ))
}

fn subject_fields(subject: &Subject) -> (&'static str, &str) {
    match subject {
        Subject::User(name) => ("user", name),
        Subject::Group(name) => ("group", name),
        Subject::Everyone => ("everyone", ""),
    }
}

#[derive(Deserialize)]
pub(super) struct ShareForm {
    kind: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    level: String,
    link: Option<String>,
    days: Option<u64>,
    remove_link: Option<i64>,
    app_controls: Option<bool>,
}

pub(super) async fn change(
    visitor: Visitor,
    Path(path): Path<String>,
    Form(form): Form<ShareForm>,
) -> Result<Response> {
    let path = managed(&visitor, &path)?;
    let here = format!("share/{}", encode(path.as_str()));
    if let Some(link) = form.remove_link {
        visitor.notebook.store.remove_link(&path, link).await?;
        visitor.audit("delete link", path.as_str()).await?;
        return Ok(visitor.back(&here));
    }
    if let Some(allowed) = form.app_controls {
        if !path.is_notebook() {
            return Err(ApiError::bad("only a notebook can be shared as an app"));
        }
        visitor.notebook.store.set_app_controls(&path, allowed).await?;
        let what = if allowed { "allow app controls" } else { "forbid app controls" };
        visitor.audit(what, path.as_str()).await?;
        return Ok(visitor.back(&here));
    }
    if let Some(level) = &form.link {
        return make_link(&visitor, &path, level, form.days).await;
    }
    let name = form.name.trim().to_owned();
    let subject = match form.kind.as_deref() {
        Some("user") => Subject::User(name),
        Some("group") => Subject::Group(name),
        Some("everyone") => Subject::Everyone,
        _ => return Err(ApiError::bad("`kind` must be user, group or everyone")),
    };
    let level = match form.level.as_str() {
        "" => None,
        level => Some(level_of(&path, level)?),
    };
    if level.is_some() && !exists(&visitor, &subject)? {
        return page(&visitor, &path, &problem("there is no such person or group: check the name"));
    }
    visitor.notebook.store.set_right(&path, &subject, level).await?;
    let (kind, name) = subject_fields(&subject);
    let what = level.map_or("take back right", |_| "share");
    visitor.audit(what, &format!("{path} {kind} {name} {}", level.map_or("", Level::name))).await?;
    Ok(visitor.back(&here))
}

fn exists(visitor: &Visitor, subject: &Subject) -> Result<bool> {
    let store = &visitor.notebook.store;
    Ok(match subject {
        Subject::User(name) => store.account(name)?.is_some(),
        Subject::Group(name) => store.groups()?.iter().any(|(group, _)| group.eq_ignore_ascii_case(name)),
        Subject::Everyone => true,
    })
}

async fn make_link(
    visitor: &Visitor,
    path: &RelativePath,
    level: &str,
    days: Option<u64>,
) -> Result<Response> {
    let level = level_of(path, level)?;
    let days = days.filter(|days| LINK_DAYS.contains(days));
    let days = days.ok_or_else(|| ApiError::bad("a link lasts 1 to 90 days"))?;
    let code = new_secret();
    let expires = in_future(Duration::from_secs(days * 24 * 3600));
    visitor.notebook.store.add_link(path, hash_of(&code), level, expires).await?;
    visitor.audit("make link", &format!("{path} {}", level.name())).await?;
    let address = visitor.place.authority.as_deref().unwrap_or("this host");
    let scheme = if visitor.place.secure { "https" } else { "http" };
    let link = format!("{scheme}://{address}{}join?code={code}", visitor.place.base());
    let notice = format!(
        "<p class=\"good\" role=\"status\">Copy the link now. It will not be shown again: <code>{}</code></p>",
        escape(&link)
    );
    page(visitor, path, &notice)
}

#[derive(Deserialize)]
pub(super) struct JoinQuery {
    code: String,
}

/// Asks whether to accept. Opening the address alone must not accept.
pub(super) async fn ask_join(visitor: Visitor, Query(query): Query<JoinQuery>) -> Result<Response> {
    let (path, level) = linked(&visitor, &query.code)?;
    let body = format!(
        "<p>This link lets you <b>{}</b> <b>{}</b>.</p>{}",
        level.words(),
        escape(&path),
        visitor.button(&format!("join?code={}", encode(&query.code)), &[], "Accept", "")
    );
    Ok(visitor.page("A shared notebook", &body))
}

fn linked(visitor: &Visitor, code: &str) -> Result<(String, Level)> {
    let found = visitor.notebook.store.link(hash_of(code))?;
    found.ok_or_else(|| ApiError::missing("this link has expired or was deleted: ask for a new one"))
}

pub(super) async fn join(visitor: Visitor, Query(query): Query<JoinQuery>) -> Result<Response> {
    let (path, level) = linked(&visitor, &query.code)?;
    let path = RelativePath::parse(&path)?;
    let before = visitor.notebook.access.level(&visitor.principal, &path);
    // A link never lowers a level.
    if before.is_none_or(|before| before < level) {
        let subject = Subject::User(visitor.principal.name.clone());
        visitor.notebook.store.set_right(&path, &subject, Some(level)).await?;
        visitor.audit("join by link", path.as_str()).await?;
    }
    let kind = if path.is_notebook() { "notebooks" } else { "tree" };
    Ok(visitor.back(&format!("{kind}/{}", encode(path.as_str()))))
}

/// The page of what others share with the user.
pub(super) async fn list(visitor: Visitor) -> Result<Response> {
    let base = escape(&visitor.place.base());
    let mut rows = String::new();
    for (path, level) in visitor.notebook.store.shared_with(visitor.user)? {
        let Ok(path) = RelativePath::parse(&path) else { continue };
        if is_own(&visitor, &path) || visitor.notebook.files.facts(&path).is_err() {
            continue;
        }
        let kind = if path.is_notebook() { "notebooks" } else { "tree" };
        rows.push_str(&format!(
            "<tr><td><a href=\"{base}{kind}/{}\">{}</a></td><td>{}</td><td>{}</td></tr>",
            escape(&encode(path.as_str())),
            escape(path.as_str()),
            level.words(),
            visitor.button("shared", &[("leave", path.as_str())], "Leave", "plain"),
        ));
    }
    let body = match rows.is_empty() {
        true => "<p>Nobody has shared anything with you yet.</p>".to_owned(),
        false => {
            format!("<table><tr><th>Notebook or folder</th><th>You may</th><th></th></tr>{rows}</table>")
        }
    };
    Ok(visitor.page("Shared with me", &body))
}

fn is_own(visitor: &Visitor, path: &RelativePath) -> bool {
    visitor.principal.role != Role::Guest
        && RelativePath::parse(&visitor.principal.name)
            .is_ok_and(|home| *path == home || path.is_below(&home))
}

#[derive(Deserialize)]
pub(super) struct LeaveForm {
    leave: String,
}

/// Gives up a right that was granted to the user personally.
pub(super) async fn leave(visitor: Visitor, Form(form): Form<LeaveForm>) -> Result<Response> {
    let path = RelativePath::parse(&form.leave)?;
    let subject = Subject::User(visitor.principal.name.clone());
    visitor.notebook.store.set_right(&path, &subject, None).await?;
    visitor.audit("leave", path.as_str()).await?;
    Ok(visitor.back("shared"))
}
