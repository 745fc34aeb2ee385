//! `/api/notebooks`: lists of notebooks from all folders (mine, shared with me, published, starred, archived), searches in
//! them, and each user's stars, tags and archive.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{ApiError, Result, object};
use crate::access::Level;
use crate::clock;
use crate::files::RelativePath;
use crate::identity::Principal;
use crate::state::{Notebook, Shared};
use crate::store::{FileVersion, Marks, MarksChange};

/// Maximum number of notebooks that a search finds.
const FOUND: u32 = 1000;
/// Maximum number of tags per notebook, and maximum length of a tag in bytes.
const TAGS: usize = 32;
const TAG_BYTES: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    #[serde(default)]
    view: View,
    /// Words and phrases in double quotes.
    #[serde(default)]
    q: String,
    tag: Option<String>,
    sort: Option<Sort>,
    #[serde(default)]
    order: Order,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum View {
    #[default]
    Mine,
    Shared,
    Published,
    Starred,
    Archived,
    All,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sort {
    Name,
    Modified,
    Size,
    Relevance,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    #[default]
    Asc,
    Desc,
}

/// A notebook in a list.
struct Listed {
    path: RelativePath,
    version: FileVersion,
    level: Level,
    marks: Marks,
    slug: Option<String>,
    /// Its rank among the results of a search, and the part that matches.
    rank: usize,
    snippet: Vec<(String, bool)>,
}

impl Listed {
    fn json(&self) -> Value {
        let modified = Duration::from_nanos(self.version.modified.max(0).cast_unsigned());
        let snippet: Vec<Value> =
            self.snippet.iter().map(|(text, matches)| json!({"text": text, "match": matches})).collect();
        json!({
            "path": self.path.as_str(),
            "name": self.path.split_name().0,
            "last_modified": clock::rfc3339(SystemTime::UNIX_EPOCH + modified),
            "size": self.version.size,
            "level": self.level,
            "starred": self.marks.starred,
            "archived": self.marks.archived,
            "tags": self.marks.tags,
            "published": self.slug,
            "snippet": snippet,
        })
    }

    fn is_in(&self, view: View, home: Option<&RelativePath>, shared: &[RelativePath]) -> bool {
        let is_mine = home.is_some_and(|home| self.path.is_below(home));
        let is_shared =
            !is_mine && shared.iter().any(|shared| self.path == *shared || self.path.is_below(shared));
        match view {
            View::Mine => is_mine && !self.marks.archived,
            View::Shared => is_shared && !self.marks.archived,
            View::Published => self.slug.is_some() && self.level == Level::Manage && (is_mine || is_shared),
            View::Starred => self.marks.starred,
            View::Archived => self.marks.archived,
            View::All => true,
        }
    }
}

/// The account in the tables: 0 for the single user.
fn account(principal: &Principal) -> i64 {
    principal.user.unwrap_or(0)
}

/// The folder with the principal's own notebooks; `None` for guests.
fn home(principal: &Principal) -> Option<RelativePath> {
    match principal.user {
        None => Some(RelativePath::default()),
        Some(_) => principal.home().and_then(|home| RelativePath::parse(home).ok()),
    }
}

pub(super) async fn list(
    State(notebook): State<Shared>,
    principal: Principal,
    query: std::result::Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Value>> {
    let Query(query) = query.map_err(|rejection| ApiError::bad(rejection.body_text()))?;
    let complete = notebook.library.refresh().await;
    let visible = visible(&notebook, &principal, &query.q)?;
    let shared: Vec<RelativePath> = match principal.user {
        Some(user) => notebook.store.shared_with(user)?,
        None => Vec::new(),
    }
    .into_iter()
    .filter_map(|(path, _)| RelativePath::parse(&path).ok())
    .collect();
    let home = home(&principal);
    let mut listed: Vec<Listed> =
        visible.into_iter().filter(|listed| listed.is_in(query.view, home.as_ref(), &shared)).collect();
    let mut tags: BTreeMap<&str, usize> = BTreeMap::new();
    for tag in listed.iter().flat_map(|listed| &listed.marks.tags) {
        *tags.entry(tag).or_default() += 1;
    }
    let tags: Vec<Value> = tags.iter().map(|(tag, count)| json!({"name": tag, "count": count})).collect();
    if let Some(tag) = &query.tag {
        listed.retain(|listed| listed.marks.tags.contains(tag));
    }
    sort(&mut listed, query.sort, query.order, !query.q.trim().is_empty());
    let notebooks: Vec<Value> = listed.iter().map(Listed::json).collect();
    Ok(Json(json!({"notebooks": notebooks, "tags": tags, "complete": complete})))
}

/// The notebooks that match the search and that the principal may see.
fn visible(notebook: &Notebook, principal: &Principal, words: &str) -> Result<Vec<Listed>> {
    let store = &notebook.store;
    let mut marks = store.marks(account(principal))?;
    let slugs = store.published_paths()?;
    // By path: the rank and the matching part.
    let mut found: Option<HashMap<_, _>> = None;
    if !words.trim().is_empty() {
        let ranked = store.search(words, FOUND)?.into_iter().enumerate();
        found = Some(ranked.map(|(rank, found)| (found.path, (rank, found.snippet))).collect());
    }
    let mut visible = Vec::new();
    for (path, version) in store.indexed()? {
        let (rank, snippet) = match &mut found {
            Some(found) => match found.remove(&path) {
                Some(found) => found,
                None => continue,
            },
            None => (0, Vec::new()),
        };
        let Ok(relative) = RelativePath::parse(&path) else { continue };
        let Some(level) = notebook.access.level(principal, &relative) else { continue };
        // A search in the code must not tell what it contains.
        if found.is_some() && level < Level::View {
            continue;
        }
        let marks = marks.remove(&path).unwrap_or_default();
        visible.push(Listed {
            path: relative,
            version,
            level,
            marks,
            slug: slugs.get(&path).cloned(),
            rank,
            snippet,
        });
    }
    Ok(visible)
}

fn sort(listed: &mut [Listed], by: Option<Sort>, order: Order, searched: bool) {
    let by = by.unwrap_or(if searched { Sort::Relevance } else { Sort::Name });
    listed.sort_by(|a, b| {
        let key = |listed: &Listed| listed.path.name().to_lowercase();
        let first = match by {
            Sort::Name => key(a).cmp(&key(b)),
            Sort::Modified => a.version.modified.cmp(&b.version.modified),
            Sort::Size => a.version.size.cmp(&b.version.size),
            Sort::Relevance => a.rank.cmp(&b.rank),
        };
        let first = if order == Order::Desc { first.reverse() } else { first };
        first.then_with(|| a.path.cmp(&b.path))
    });
}

/// One notebook, in the form of the lists.
pub(super) async fn show(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(path): Path<String>,
) -> Result<Json<Value>> {
    let path = RelativePath::parse(&path)?;
    notebook.may(&principal, Level::App, &path)?;
    notebook.library.refresh().await;
    let missing = || ApiError::missing(format!("`{path}` is not a notebook"));
    let version = notebook.store.indexed()?.remove(path.as_str()).ok_or_else(missing)?;
    let level = notebook.access.level(&principal, &path).ok_or_else(missing)?;
    let marks = notebook.store.marks(account(&principal))?.remove(path.as_str()).unwrap_or_default();
    let slug = notebook.store.published_paths()?.remove(path.as_str());
    Ok(Json(Listed { path, version, level, marks, slug, rank: 0, snippet: Vec::new() }.json()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes {
    starred: Option<bool>,
    archived: Option<bool>,
    tags: Option<Vec<String>>,
}

/// Changes the user's marks on a notebook.
pub(super) async fn change(
    state: State<Shared>,
    principal: Principal,
    Path(path): Path<String>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Json<Value>> {
    let State(notebook) = &state;
    let relative = RelativePath::parse(&path)?;
    notebook.may(&principal, Level::App, &relative)?;
    if !relative.is_notebook() || notebook.files.facts(&relative)?.is_dir {
        return Err(ApiError::bad(format!("`{relative}` is not a notebook")));
    }
    let changes: Changes = serde_json::from_value(object(body)?.into())
        .map_err(|error| ApiError::bad(format!("cannot read the change: {error}")))?;
    let tags = changes.tags.map(check_tags).transpose()?;
    let change = MarksChange { starred: changes.starred, archived: changes.archived, tags };
    notebook.store.set_marks(account(&principal), &relative, change).await?;
    show(state, principal, Path(path)).await
}

fn check_tags(tags: Vec<String>) -> Result<Vec<String>> {
    let tags: HashSet<String> =
        tags.iter().map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect();
    if tags.len() > TAGS {
        return Err(ApiError::bad(format!("a notebook can have at most {TAGS} tags")));
    }
    if let Some(tag) = tags.iter().find(|tag| tag.len() > TAG_BYTES || tag.contains(char::is_control)) {
        return Err(ApiError::bad(format!(
            "the tag `{tag}` is longer than {TAG_BYTES} bytes or contains control characters"
        )));
    }
    Ok(tags.into_iter().collect())
}
