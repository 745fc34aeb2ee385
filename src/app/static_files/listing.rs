//! The page for a directory without an index file.

use std::fmt::Write;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use handlebars::html_escape;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use rustix::fs::{AtFlags, Dir, FileType};

use crate::body::{Body, Request, Response};
use crate::environ::Environ;

/// Further entries are not shown.
const MOST: usize = 10_000;

/// The characters that are escaped in a link.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'&')
    .add(b'\'')
    .add(b'\\')
    .add(b':');

struct Item {
    name: Vec<u8>,
    folder: bool,
    size: u64,
    /// `None` if the file system gives no meaningful time.
    modified: Option<SystemTime>,
}

/// Lists what may be served from `directory`: only regular files and directories, no hidden names.
pub(super) fn page(request: &Request, directory: &OwnedFd) -> std::io::Result<Response> {
    let mut items = items(directory)?;
    items.sort_by(|a, b| b.folder.cmp(&a.folder).then_with(|| a.name.cmp(&b.name)));
    let mount = request.extensions().get::<Environ>().map_or("", |environ| &environ.script_name);
    let path = format!("{mount}{}", request.uri().path());
    let html = render(&percent_decode_str(&path).decode_utf8_lossy(), &items);
    let mut response = Response::new(Body::from(html));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    Ok(response)
}

fn items(directory: &OwnedFd) -> std::io::Result<Vec<Item>> {
    let mut items = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes().starts_with(b".") {
            continue;
        }
        // It may have been removed since the directory was read.
        let Ok(stat) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let folder = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => true,
            FileType::RegularFile => false,
            _ => continue,
        };
        let seconds = super::tree::known(stat.st_mtime);
        let modified = seconds.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        items.push(Item { name: name.to_bytes().to_vec(), folder, size, modified });
        if items.len() == MOST {
            break;
        }
    }
    Ok(items)
}

fn render(path: &str, items: &[Item]) -> String {
    let path_text = html_escape(path);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Files in {path_text}</title>\n\
         <style>:root{{color-scheme:light dark}}body{{font:1rem/1.5 system-ui,sans-serif;margin:2rem auto;\
         max-width:60rem;padding:0 1rem}}table{{width:100%;border-collapse:collapse}}\
         th,td{{text-align:left;padding:.2rem .5rem}}\
         td.size,th.size{{text-align:right;font-variant-numeric:tabular-nums}}\
         tbody tr:nth-child(odd){{background:#8881}}</style>\n</head>\n<body>\n<main>\n<h1>Files in {path_text}</h1>\n\
         <table>\n<thead><tr><th scope=\"col\">Name</th><th scope=\"col\" class=\"size\">Bytes</th>\
         <th scope=\"col\">Changed</th></tr></thead>\n<tbody>\n"
    );
    if path != "/" {
        html += "<tr><td><a href=\"../\">Parent directory</a></td><td class=\"size\"></td><td></td></tr>\n";
    }
    for item in items {
        let slash = if item.folder { "/" } else { "" };
        let href = percent_encode(&item.name, ESCAPED);
        let name = html_escape(&String::from_utf8_lossy(&item.name));
        let size = if item.folder { String::new() } else { item.size.to_string() };
        let changed = item.modified.map_or_else(String::new, |modified| {
            let changed = humantime::format_rfc3339_seconds(modified).to_string();
            let shown = changed.replace('T', " ").replace('Z', " UTC");
            format!("<time datetime=\"{changed}\">{shown}</time>")
        });
        // Writing to a string does not fail.
        let _ = writeln!(
            html,
            "<tr><td><a href=\"./{href}{slash}\">{name}{slash}</a></td><td class=\"size\">{size}</td>\
             <td>{changed}</td></tr>"
        );
    }
    html += "</tbody>\n</table>\n";
    if items.len() >= MOST {
        let _ = writeln!(html, "<p>Only the first {MOST} entries are shown.</p>");
    }
    html += "</main>\n</body>\n</html>\n";
    html
}
