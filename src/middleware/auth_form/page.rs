//! The page of `auth_form`.

use handlebars::Handlebars;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use crate::body::{Body, Response};
use crate::error::{BoxError, Error};

/// The page that paster brings.
const PAGE: &str = include_str!("login.html.hbs");
const NAME: &str = "login";

const CONTENT_SECURITY_POLICY: HeaderName = HeaderName::from_static("content-security-policy");

/// What a template gets.
#[derive(Debug, Default, Serialize)]
pub(super) struct PageValues<'a> {
    /// The heading.
    pub(super) title: &'a str,
    /// Where the form is sent.
    pub(super) action: String,
    /// The path to return to.
    pub(super) next: &'a str,
    /// The name that was entered, or the user who is logged in.
    pub(super) user: &'a str,
    /// What is wrong.
    pub(super) error: Option<&'a str>,
    /// Whether this is the page to log out.
    pub(super) logout: bool,
}

/// A template.
pub(super) struct FormPage {
    templates: Handlebars<'static>,
    is_own: bool,
}

impl FormPage {
    /// The page of a template, or paster's.
    /// # Errors
    /// What is wrong with the template.
    pub(super) fn new(template: Option<&str>) -> Result<FormPage, Error> {
        let mut templates = Handlebars::new();
        templates.set_strict_mode(true);
        let compiled = templates.register_template_string(NAME, template.unwrap_or(PAGE));
        compiled.map_err(|cause| Error::config("the template of the page is not valid").because(cause))?;
        let page = FormPage { templates, is_own: template.is_none() };
        // A wrong name in it is found before the first visitor.
        let sample = PageValues { error: Some("wrong"), ..PageValues::default() };
        match page.render(&sample) {
            Ok(_) => Ok(page),
            Err(cause) => Err(Error::config("the template of the page is not valid").because(cause)),
        }
    }

    fn render(&self, values: &PageValues<'_>) -> Result<String, BoxError> {
        Ok(self.templates.render(NAME, values)?)
    }

    /// The response with the page.
    /// # Errors
    /// When the template cannot be filled in.
    pub(super) fn respond(&self, status: StatusCode, values: &PageValues<'_>) -> Result<Response, BoxError> {
        let mut response = Response::new(Body::from(self.render(values)?));
        *response.status_mut() = status;
        let headers: &mut HeaderMap = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let policy = match self.is_own {
            true => {
                "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
            }
            false => "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        };
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        Ok(response)
    }
}
