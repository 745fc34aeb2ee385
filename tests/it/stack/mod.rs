//! The catalogue of middleware: what each kind does to requests and responses.

mod caching;
mod credentials;
mod devtools;
mod errors;
mod fields;
mod limits;
mod only;
mod paths;
mod recording;
mod serve;
mod tokens;

use http::Request;
use http::request::Builder;
use http_body_util::BodyExt;
use paster::body::{App, Body};
use paster::context::Context;
use paster::environ::Environ;
use paster::middleware::{MIDDLEWARE, MiddlewareBuilder};

use crate::local::{Answer, Local, environ, load};
use crate::support::folder;

/// An app `main` that responds with `hello`, behind the `middleware` from the tables that follow.
pub(crate) fn hello(middleware: &str, tables: &str) -> String {
    format!("[app.main]\nuse = \"respond\"\nbody = \"hello\"\nmiddleware = {middleware}\n{tables}\n")
}

/// Calls the app `main`, with changed facts about the request.
fn send(local: &Local, request: Builder, body: impl Into<Body>, change: impl FnOnce(&mut Environ)) -> Answer {
    let mut request: Request<Body> = request.body(body.into()).unwrap();
    let host = request.headers().get("host").map_or("localhost", |host| host.to_str().unwrap()).to_owned();
    let mut environ = environ(&host);
    change(&mut environ);
    request.extensions_mut().insert(environ);
    let app = local.app();
    local.block_on(async move {
        let (head, body) = app.handle(request).await.unwrap().into_parts();
        Answer::from_parts(head, body.collect().await.unwrap().to_bytes())
    })
}

/// A request from this address.
fn from(address: &str) -> impl FnOnce(&mut Environ) + use<> {
    let address = address.parse().unwrap();
    move |environ| environ.client = Some(address)
}

/// A request over TLS.
fn secure(environ: &mut Environ) {
    environ.secure = true;
}

/// A middleware of the kind with these options around `app`, as the assembler builds it.
fn wrap(options: &str, kind: &str, app: App) -> App {
    let entry = MIDDLEWARE.iter().find(|entry| entry.name == kind).unwrap();
    let folder = folder(&[("server.toml", &format!("[middleware.m]\nuse = \"{kind}\"\n{options}"))]);
    let table = load(folder.path()).unwrap().table("middleware", "m").unwrap();
    let context = &Context::alone(false);
    let mut builder = MiddlewareBuilder {
        context,
        app: "main",
        resolve: &mut |name, _| panic!("no app `{name}`"),
        instances: &std::cell::RefCell::default(),
    };
    entry.kind.build(&table, &mut builder, app).unwrap()
}
