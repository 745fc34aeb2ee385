//! The caches of a generation, as the control socket and the metrics see them.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::body::BoxFuture;
use crate::metrics::Counts;

/// Which stored responses to delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purge {
    /// Those of this URL of this app.
    Url {
        /// Name of the app.
        app: String,
        /// `http://example.org/a?b`.
        url: String,
    },
    /// Those whose path matches: `*` stands for any characters. Without a `?` in it, of any query.
    Path(String),
    /// Those with this tag (`Cache-Groups`, `Cache-Tag` or `Surrogate-Key`).
    Tag(String),
    /// Those of this app and this origin with one of these groups (RFC 9875, section 3).
    Groups {
        /// Name of the app.
        app: String,
        /// `http://example.org`.
        origin: String,
        /// The groups.
        groups: Vec<String>,
    },
    /// All.
    All,
}

impl Purge {
    /// Whether it names the response of `app` to `url` with these tags.
    pub fn matches(&self, app: &str, url: &str, tags: &[String]) -> bool {
        match self {
            Purge::Url { app: of, url: named } => of == app && named == url,
            Purge::Path(pattern) => {
                let path = url.splitn(4, '/').nth(3).unwrap_or_default();
                let path = match pattern.contains('?') {
                    true => path,
                    false => path.split('?').next().unwrap_or_default(),
                };
                glob(pattern.trim_start_matches('/'), path)
            }
            Purge::Tag(tag) => tags.contains(tag),
            Purge::Groups { app: of, origin, groups } => {
                let rest = url.strip_prefix(origin.as_str());
                of == app
                    && rest.is_some_and(|rest| rest.starts_with('/'))
                    && tags.iter().any(|tag| groups.contains(tag))
            }
            Purge::All => true,
        }
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any characters.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

/// A stored response, for `paster cache list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CachedResponse {
    /// Name of the middleware table.
    pub cache: String,
    /// Name of the app.
    pub app: String,
    /// The URL.
    pub url: String,
    /// The request fields that select it, with their values: those that `Vary` names.
    pub vary: Vec<(String, Option<String>)>,
    /// The status.
    pub status: u16,
    /// Length of the body in bytes.
    pub bytes: u64,
    /// Its age in seconds.
    pub age_secs: u64,
    /// How long it is still fresh, in seconds; negative if it is stale.
    pub ttl_secs: i64,
    /// Its tags.
    pub tags: Vec<String>,
    /// The worker whose memory has it; `None` for one on disk, which all workers share.
    pub worker: Option<u32>,
}

/// A cache, as the control socket sees it.
pub trait ManagedCache: Send + Sync {
    /// Deletes stored responses, and keeps those from being stored that are on their way. Returns how many
    /// were deleted.
    fn purge(self: Arc<Self>, purge: Purge) -> BoxFuture<u64>;

    /// The first `most` stored responses, by URL.
    fn list(self: Arc<Self>, most: usize) -> BoxFuture<Vec<CachedResponse>>;

    /// Adds its counts.
    fn count(&self, counts: &mut Counts);
}

/// The caches of a generation.
#[derive(Default)]
pub struct Caches(Mutex<Vec<Arc<dyn ManagedCache>>>);

impl Caches {
    /// Adds a cache.
    pub fn add(&self, cache: Arc<dyn ManagedCache>) {
        self.0.lock().push(cache);
    }

    /// Adds the counts of all caches.
    pub fn count(&self, counts: &mut Counts) {
        self.0.lock().iter().for_each(|cache| cache.count(counts));
    }

    /// Deletes stored responses of all caches; returns how many.
    pub async fn purge(&self, purge: &Purge) -> u64 {
        let caches = self.0.lock().clone();
        let mut sum = 0;
        for cache in caches {
            sum += cache.purge(purge.clone()).await;
        }
        sum
    }

    /// The first `most` stored responses, by URL.
    pub async fn list(&self, most: usize) -> Vec<CachedResponse> {
        let caches = self.0.lock().clone();
        let mut all = Vec::new();
        for cache in caches {
            all.extend(cache.list(most).await);
        }
        all.sort_by(|a, b| a.url.cmp(&b.url));
        all.truncate(most);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_purge_names() {
        let check = |purge: &Purge, url: &str, expected: bool| {
            assert_eq!(purge.matches("main", url, &["news".to_owned()]), expected, "{purge:?} {url}");
        };
        let path = |pattern: &str| Purge::Path(pattern.to_owned());
        check(&path("/a"), "http://x/a?b=1", true);
        check(&path("/a?b=1"), "http://x/a?b=1", true);
        check(&path("/a?b=1"), "http://x/a?b=2", false);
        check(&path("/a"), "http://x/a/b", false);
        check(&path("/a*"), "https://x:1/a/b", true);
        check(&path("/a*c/*d"), "http://x/abc/d", true);
        check(&path("/"), "http://x/", true);
        check(&path("*.png"), "http://x/a/b.png?1", true);
        check(&Purge::Tag("news".into()), "http://x/", true);
        check(&Purge::Tag("old".into()), "http://x/", false);
        let group = |origin: &str| Purge::Groups {
            app: "main".into(),
            origin: origin.into(),
            groups: vec!["news".into()],
        };
        check(&group("http://x"), "http://x/", true);
        check(&group("http://x"), "http://x.y/", false);
        check(&Purge::Url { app: "other".into(), url: "http://x/".into() }, "http://x/", false);
    }
}
