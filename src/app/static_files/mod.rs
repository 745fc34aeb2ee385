//! `static`: the files of a directory.
//!
//! A request's path becomes plain names ([`relative`]), which [`tree`] opens beneath the directory. Files of
//! up to 64 KiB are answered from [`cache`]. Larger ones become a body that refers to the file, which a
//! server may send without reading it.

mod cache;
mod conditional;
mod listing;
mod page;
mod tree;

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, HeaderValue, LOCATION};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::Deserialize;

use super::media::{compressible, media_type};
use crate::app::Builder;
use crate::body::{App, Request, Response, text_response};
use crate::config::{ServedPath, Table, item};
use crate::environ::Environ;
use crate::error::{BoxError, Errors, Result};
use cache::PageCache;
use page::{CachedContent, Encoding, Encodings};
use tree::{FoundFile, OpenFile, ServedTree};

/// Options of an `[app.NAME]` table with `use = "static"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// The directory to serve. Symbolic links, and names that start with a dot (except `.well-known`), are not served.
    publish_dir: ServedPath,
    /// Index files of a directory, in order of preference.
    #[serde(default = "index_html")]
    index: Vec<String>,
    /// List directories that have no index file.
    #[serde(default)]
    listing: bool,
    /// Serve `page.html.br`, `.zst` or `.gz` instead of `page.html` to clients that accept it, unless it is
    /// older.
    #[serde(default = "yes")]
    precompressed: bool,
    /// The `Cache-Control` field of every response, for example `public, max-age=3600`.
    cache_control: Option<String>,
    /// Size of the cache for files of up to 64 KiB, in bytes; 0 disables it.
    #[serde(default = "sixteen_mib")]
    cache_bytes: usize,
}

impl Options {
    /// The defaults, for this directory.
    pub(super) fn new(publish_dir: ServedPath) -> Options {
        Options {
            publish_dir,
            index: index_html(),
            listing: false,
            precompressed: yes(),
            cache_control: None,
            cache_bytes: sixteen_mib(),
        }
    }
}

fn index_html() -> Vec<String> {
    vec!["index.html".into()]
}

fn yes() -> bool {
    true
}

fn sixteen_mib() -> usize {
    16 * 1024 * 1024
}

/// The directory as an app.
struct StaticFiles {
    tree: ServedTree,
    index: Vec<String>,
    listing: bool,
    precompressed: bool,
    cache_control: Option<HeaderValue>,
    cache: PageCache,
}

/// The result of a look-up on disk.
enum Looked {
    /// A file.
    Page(Arc<CachedContent>),
    /// A different response, which is not cached.
    Other(Response),
}

/// Creates the app.
pub(super) fn build(options: Options, table: &Table, builder: &mut Builder<'_>) -> Result<App> {
    let mut errors = Vec::new();
    // A developer wants to see a change at once; in production one check per second is enough.
    let trust = if builder.context.development { Duration::ZERO } else { tree::TRUST };
    for (place, name) in options.index.iter().enumerate() {
        if relative(&format!("/{name}")).is_none() || name.contains(['/', '%']) {
            let error = table.error(item("index", place), format!("`{name}` is not a plain file name"));
            errors.push(error.help("write a name such as `index.html`"));
        }
    }
    let cache_control = options.cache_control.as_deref().map(HeaderValue::try_from).transpose();
    if cache_control.is_err() {
        errors.push(
            table.error("cache_control", "a header must not contain line breaks or control characters"),
        );
    }
    let tree = ServedTree::open(&options.publish_dir, trust).inspect_err(|error| {
        let message = format!("cannot open the directory `{}` to serve", options.publish_dir.display());
        let why = std::io::Error::new(error.kind(), error.to_string());
        errors.push(table.error("publish_dir", message).because(why).help("create it, or correct the path"));
    });
    Errors::check(errors)?;
    let (Ok(tree), Ok(cache_control)) = (tree, cache_control) else { unreachable!("checked above") };
    let files = Arc::new(StaticFiles {
        tree,
        index: options.index,
        listing: options.listing,
        precompressed: options.precompressed,
        cache_control,
        cache: PageCache::new(options.cache_bytes, trust),
    });
    Ok(App::from_call(move |request| Box::pin(std::future::ready(files.answer(&request)))))
}

impl StaticFiles {
    fn answer(&self, request: &Request) -> Result<Response, BoxError> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response =
                text_response(StatusCode::METHOD_NOT_ALLOWED, "A file can be read with GET and HEAD.\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Ok(response);
        }
        let accepted = match self.precompressed {
            true => Encodings::accepted(request.headers()),
            false => Encodings::default(),
        };
        let path = request.uri().path();
        if let Some(page) = self.cache.fresh(accepted, path) {
            return Ok(page.answer(request));
        }
        let Some(name) = relative(path) else { return Ok(not_found()) };
        match self.look_up(request, &name, accepted)? {
            Looked::Page(page) => Ok(page.answer(request)),
            Looked::Other(response) => {
                self.cache.forget(accepted, path);
                Ok(response)
            }
        }
    }

    /// Looks up the file on disk; `name` is the request's path as plain names.
    fn look_up(&self, request: &Request, name: &Path, accepted: Encodings) -> Result<Looked, BoxError> {
        let path = request.uri().path();
        let response = match self.tree.find(name)? {
            FoundFile::File(opened) if !path.ends_with('/') => {
                return self.file(path, name, opened, accepted);
            }
            FoundFile::Directory(_) if !path.ends_with('/') => to_directory(request),
            FoundFile::Directory(directory) => {
                for index in &self.index {
                    let name = name.join(index);
                    if let FoundFile::File(opened) = self.tree.find(&name)? {
                        return self.file(path, &name, opened, accepted);
                    }
                }
                match self.listing {
                    true => listing::page(request, &directory)?,
                    false => not_found(),
                }
            }
            FoundFile::File(_) | FoundFile::Nothing => not_found(),
            FoundFile::Forbidden => text_response(StatusCode::FORBIDDEN, "This file cannot be read.\n"),
        };
        Ok(Looked::Other(response))
    }

    /// The page of a file, or of its best precompressed variant, for the request's `path`.
    fn file(
        &self,
        path: &str,
        name: &Path,
        plain: OpenFile,
        accepted: Encodings,
    ) -> Result<Looked, BoxError> {
        let media = media_type(name);
        let varies = self.precompressed && media.to_str().is_ok_and(compressible);
        let (opened, encoding) = match varies {
            true => self.precompressed(name, plain, accepted)?,
            false => (plain, None),
        };
        if let Some(page) = self.cache.still(accepted, path, &opened.version) {
            return Ok(Looked::Page(page));
        }
        let small = opened.version.size <= page::CACHE_LIMIT_BYTES;
        let keep = small && self.cache.keeps() && !opened.version.is_hot();
        let mut page = CachedContent::new(opened, media, encoding, small)?;
        if varies {
            page.vary_by_encoding();
        }
        if let Some(value) = &self.cache_control {
            page.cache_control(value.clone());
        }
        let page = Arc::new(page);
        match keep {
            true => self.cache.put(accepted, path, page.clone()),
            false => self.cache.forget(accepted, path),
        }
        Ok(Looked::Page(page))
    }

    fn precompressed(
        &self,
        name: &Path,
        plain: OpenFile,
        accepted: Encodings,
    ) -> Result<(OpenFile, Option<Encoding>), BoxError> {
        for encoding in accepted.iter() {
            let mut sibling = name.as_os_str().to_owned();
            sibling.push(encoding.ending());
            if let FoundFile::File(opened) = self.tree.find(Path::new(&sibling))?
                && opened.version.is_as_new_as(&plain.version)
            {
                return Ok((opened, Some(encoding)));
            }
        }
        Ok((plain, None))
    }
}

fn not_found() -> Response {
    text_response(StatusCode::NOT_FOUND, "There is no such file.\n")
}

/// Redirects `dir` to `dir/`. The target is a path on this host: [`relative`] has refused paths that begin
/// with `//`.
fn to_directory(request: &Request) -> Response {
    let mount = request.extensions().get::<Environ>().map_or("", |environ| &environ.script_name);
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("{mount}{}/{query}", request.uri().path());
    let mut response = text_response(StatusCode::MOVED_PERMANENTLY, format!("See {target}\n"));
    if let Ok(target) = HeaderValue::try_from(target) {
        response.headers_mut().insert(LOCATION, target);
    }
    response
}

/// A request's path as plain names, percent-decoded. `None` if it names something that is never served:
/// empty, dot and hidden names, and names with a slash, a backslash or a control byte. One trailing slash is
/// allowed.
fn relative(path: &str) -> Option<PathBuf> {
    let mut names = PathBuf::new();
    if path == "/" {
        return Some(names);
    }
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    for (depth, segment) in path.split('/').enumerate() {
        let name: Vec<u8> = percent_decode_str(segment).collect();
        let hidden = name.first() == Some(&b'.') && (depth > 0 || name != b".well-known");
        if name.is_empty()
            || hidden
            || name.iter().any(|byte| byte.is_ascii_control() || b"/\\".contains(byte))
        {
            return None;
        }
        names.push(std::ffi::OsString::from_vec(name));
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn paths() {
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(relative(path), expected.map(PathBuf::from), "{path}");
        };
        check("/", Some(""));
        check("/a/b.txt", Some("a/b.txt"));
        check("/a%20b/", Some("a b"));
        check("/%D0%B6", Some("ж"));
        check("/.well-known/acme", Some(".well-known/acme"));
        check("/100%", Some("100%"));
        for path in [
            "",
            "a",
            "//",
            "//evil.example/",
            "/a//b",
            "/.",
            "/..",
            "/a/../b",
            "/a/%2e%2e/b",
            "/a/.%2E/b",
            "/..%2fetc",
            "/..%5cetc",
            "/\\evil",
            "/a%00",
            "/a%0a",
            "/.git/config",
            "/a/.env",
            "/a/.well-known",
            "/.well-known/.hidden",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn encodings_by_our_preference() {
        let check = |field: &'static str, expected: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::ACCEPT_ENCODING, HeaderValue::from_static(field));
            let endings: Vec<_> = Encodings::accepted(&headers).iter().map(Encoding::ending).collect();
            assert_eq!(endings, expected, "{field}");
        };
        check("gzip, deflate, br, zstd", &[".br", ".zst", ".gz"]);
        check("gzip;q=1.0, br;q=0", &[".gz"]);
        check("*", &[".br", ".zst", ".gz"]);
        check("br;q=0.000, *;q=0.5", &[".zst", ".gz"]);
        check("identity", &[]);
        check("GZIP", &[".gz"]);
        check("", &[]);
    }
}
