//! Port 80 beside 443: redirects clients to HTTPS, and answers ACME challenges.

use std::future::ready;
use std::sync::Arc;

use http::header::LOCATION;
use http::{HeaderValue, Method, StatusCode};

use crate::body::{App, Request, Response};
use crate::environ::Environ;
use crate::server::gate::reply;
use crate::server::tls::Terminator;

/// The path of ACME challenges, RFC 8555 section 8.3.
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// Answers plain requests to the addresses `from`; all other requests go to `next`.
pub(super) fn wrap(next: App, from: Arc<[String]>, port: u16, tls: Option<Arc<Terminator>>) -> App {
    next.within(|next| {
        App::from_call(move |request: Request| {
            let answer = match request.extensions().get::<Environ>() {
                Some(environ) if !environ.secure && from.iter().any(|listen| **listen == *environ.listen) => {
                    Some(
                        challenge(&request, tls.as_deref())
                            .unwrap_or_else(|| redirect(&request, environ, port)),
                    )
                }
                _ => None,
            };
            match answer {
                Some(answer) => Box::pin(ready(Ok(answer))),
                None => next.handle(request),
            }
        })
    })
}

fn challenge(request: &Request, tls: Option<&Terminator>) -> Option<Response> {
    let token = request.uri().path().strip_prefix(CHALLENGES)?;
    let answer = tls?.http_challenge(token)?;
    (*request.method() == Method::GET).then(|| Response::new(answer.into()))
}

/// 308 keeps the method, RFC 9110 section 15.4.9.
fn redirect(request: &Request, environ: &Environ, port: u16) -> Response {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let target = if target == "*" { "/" } else { target };
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let mut response = reply::plain(StatusCode::PERMANENT_REDIRECT, "");
    if let Ok(location) = HeaderValue::from_str(&format!("https://{}{port}{target}", environ.host)) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}
