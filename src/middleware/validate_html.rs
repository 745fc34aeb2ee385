//! `validate_html`: finds the errors in the HTML that an app writes, with html5ever.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use html5ever::interface::{ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::{StrTendril, TendrilSink};
use html5ever::tokenizer::TokenizerOpts;
use html5ever::tree_builder::TreeBuilderOpts;
use html5ever::{Attribute, ExpandedName, ParseOpts, QualName, parse_document};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use http::{Method, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::body::{App, Response};
use crate::config::Table;
use crate::context::Context;
use crate::error::Result;

/// Options of a `[middleware.NAME]` table with `use = "validate_html"`.
///
/// For development. Each page is parsed as in a browser. Errors, such as unclosed and misplaced tags, are written to the log
/// with their lines, and the response field `X-HTML-Errors` contains their number. The
/// page is not changed. Put it inside of `compress`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Maximum length of a page in bytes; longer ones are not checked.
    max_bytes: u64,
    /// Maximum number of logged errors per page.
    max_errors: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { max_bytes: 1024 * 1024, max_errors: 20 }
    }
}

const HTML_ERRORS: HeaderName = HeaderName::from_static("x-html-errors");

/// Wraps `next`.
pub(super) fn build(options: Options, _: &Table, _: &Context, next: App) -> Result<App> {
    let Options { max_bytes, max_errors } = options;
    Ok(App::from_call(move |request| {
        let line = format!("{} {}", request.method(), request.uri().path());
        let head = *request.method() == Method::HEAD;
        let response = next.handle(request);
        Box::pin(async move {
            let response = response.await?;
            if head
                || !is_html(&response)
                || response.body().size_hint().upper().is_none_or(|most| most > max_bytes)
            {
                return Ok(response);
            }
            let (mut head, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            let page = body.clone();
            let found = tokio::task::spawn_blocking(move || errors(&String::from_utf8_lossy(&page))).await?;
            for (number, error) in found.iter().take(max_errors) {
                tracing::warn!(request = line, line = number, "HTML: {error}");
            }
            if found.len() > max_errors {
                tracing::warn!(request = line, "HTML: {} more errors", found.len() - max_errors);
            }
            head.headers.insert(HTML_ERRORS, found.len().into());
            Ok(Response::from_parts(head, body.into()))
        })
    }))
}

/// Whether the response is a page that can be read.
fn is_html(response: &Response) -> bool {
    let media = response.headers().get(CONTENT_TYPE).map_or(&b""[..], |media| media.as_bytes());
    let media = media.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let plain = !response.headers().contains_key(CONTENT_ENCODING);
    plain && media.eq_ignore_ascii_case(b"text/html") && response.status() != StatusCode::PARTIAL_CONTENT
}

/// The errors of a page, each with its line.
fn errors(page: &str) -> Vec<(u64, String)> {
    let options = ParseOpts {
        tokenizer: TokenizerOpts { exact_errors: true, ..TokenizerOpts::default() },
        tree_builder: TreeBuilderOpts { exact_errors: true, ..TreeBuilderOpts::default() },
    };
    parse_document(ErrorSink::default(), options).one(StrTendril::from(page))
}

/// Collects errors and builds no tree.
struct ErrorSink {
    document: Rc<HtmlNode>,
    line: Cell<u64>,
    errors: RefCell<Vec<(u64, String)>>,
}

/// A node, of which the parser asks only for its name.
struct HtmlNode {
    name: QualName,
    /// The contents of a `template`.
    contents: Option<Rc<HtmlNode>>,
}

impl HtmlNode {
    fn new(name: QualName, contents: Option<Rc<HtmlNode>>) -> Rc<HtmlNode> {
        Rc::new(HtmlNode { name, contents })
    }

    fn nameless() -> Rc<HtmlNode> {
        HtmlNode::new(QualName::new(None, "".into(), "".into()), None)
    }
}

impl Default for ErrorSink {
    fn default() -> Self {
        ErrorSink { document: HtmlNode::nameless(), line: Cell::new(1), errors: RefCell::default() }
    }
}

impl TreeSink for ErrorSink {
    type Handle = Rc<HtmlNode>;
    type Output = Vec<(u64, String)>;
    type ElemName<'a> = ExpandedName<'a>;

    fn finish(self) -> Self::Output {
        self.errors.into_inner()
    }

    fn parse_error(&self, message: Cow<'static, str>) {
        self.errors.borrow_mut().push((self.line.get(), message.into_owned()));
    }

    fn set_current_line(&self, line: u64) {
        self.line.set(line);
    }

    fn get_document(&self) -> Rc<HtmlNode> {
        self.document.clone()
    }

    fn elem_name<'a>(&'a self, target: &'a Rc<HtmlNode>) -> ExpandedName<'a> {
        target.name.expanded()
    }

    fn create_element(&self, name: QualName, _: Vec<Attribute>, flags: ElementFlags) -> Rc<HtmlNode> {
        HtmlNode::new(name, flags.template.then(HtmlNode::nameless))
    }

    fn create_comment(&self, _: StrTendril) -> Rc<HtmlNode> {
        HtmlNode::nameless()
    }

    fn create_pi(&self, _: StrTendril, _: StrTendril) -> Rc<HtmlNode> {
        HtmlNode::nameless()
    }

    fn get_template_contents(&self, target: &Rc<HtmlNode>) -> Rc<HtmlNode> {
        target.contents.clone().unwrap_or_else(|| target.clone())
    }

    fn same_node(&self, one: &Rc<HtmlNode>, other: &Rc<HtmlNode>) -> bool {
        Rc::ptr_eq(one, other)
    }

    fn append(&self, _: &Rc<HtmlNode>, _: NodeOrText<Rc<HtmlNode>>) {}
    fn append_before_sibling(&self, _: &Rc<HtmlNode>, _: NodeOrText<Rc<HtmlNode>>) {}
    fn append_based_on_parent_node(&self, _: &Rc<HtmlNode>, _: &Rc<HtmlNode>, _: NodeOrText<Rc<HtmlNode>>) {}
    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}
    fn set_quirks_mode(&self, _: QuirksMode) {}
    fn add_attrs_if_missing(&self, _: &Rc<HtmlNode>, _: Vec<Attribute>) {}
    fn remove_from_parent(&self, _: &Rc<HtmlNode>) {}
    fn reparent_children(&self, _: &Rc<HtmlNode>, _: &Rc<HtmlNode>) {}
}
