//! `/view/PATH`: a file in a frame, as in Jupyter Server.

use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, header};

use super::error::{Result, blocking};
use super::location::RequestLocation;
use super::pages::escape;
use super::percent::encode;
use crate::access::Level;
use crate::files::RelativePath;
use crate::identity::Principal;
use crate::state::Shared;

const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; frame-ancestors 'self'";

pub(super) async fn show(
    State(notebook): State<Shared>,
    principal: Principal,
    place: RequestLocation,
    Path(path): Path<String>,
) -> Result<Response> {
    let path = RelativePath::parse(&path)?;
    notebook.may(&principal, Level::View, &path)?;
    let (files, looked) = (notebook.files.clone(), path.clone());
    blocking(move || files.open_file(&looked)).await?;
    // The frame's own policy allows the file nothing.
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>\
         <style>html,body,iframe{{margin:0;border:0;width:100%;height:100%;display:block}}</style></head>\
         <body><iframe title=\"{0}\" sandbox=\"allow-scripts\" src=\"{}files/{}\"></iframe></body></html>\n",
        escape(path.name()),
        escape(&place.base()),
        encode(path.as_str()),
    );
    let mut response = Html(page).into_response();
    let headers = response.headers_mut();
    // Jupyter's clients compare the whole value.
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    Ok(response)
}
