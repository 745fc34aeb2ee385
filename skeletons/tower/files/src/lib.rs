//! A page and a counter, as a tower service: a function from a request to a response.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use paster_sdk::{App, Body, BoxError, Host};
use schemars::JsonSchema;
use serde::Deserialize;
use tower::{ServiceBuilder, service_fn};

/// The table `[app.NAME.settings]` of `server.toml`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Title of the page.
    title: String,
}

paster_sdk::plugin! {
    settings: Settings,
    create: create,
}

/// What every request can access.
struct Counter {
    settings: Settings,
    requests: AtomicU64,
}

/// Creates the application: once at the start, and again for each new generation of the code.
async fn create(settings: Settings, host: Host) -> Result<App, BoxError> {
    let saved = host.saved_state().and_then(|state| Some(u64::from_le_bytes(state.try_into().ok()?)));
    let counter = Arc::new(Counter { settings, requests: saved.unwrap_or_default().into() });
    let at_end = counter.clone();
    // Any tower layer can wrap the service: time limits, authentication, tracing.
    let service = ServiceBuilder::new()
        .map_response(|mut response: Response<String>| {
            response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
            response
        })
        .service(service_fn(move |request: Request<Body>| {
            let counter = counter.clone();
            async move { Ok::<_, Infallible>(counter.respond(&request)) }
        }));
    Ok(App::service(service).save_state(move || at_end.requests.load(Ordering::Relaxed).to_le_bytes().to_vec()))
}

impl Counter {
    fn respond(&self, request: &Request<Body>) -> Response<String> {
        let count = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/" | "") => respond(StatusCode::OK, "text/html; charset=utf-8", self.page(count)),
            (&Method::GET | &Method::HEAD, "/count") => {
                respond(StatusCode::OK, "text/plain; charset=utf-8", format!("{count} requests so far\n"))
            }
            (_, "/" | "" | "/count") => respond(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "use GET\n".into()),
            _ => respond(StatusCode::NOT_FOUND, "text/plain", "there is no such page\n".into()),
        }
    }

    fn page(&self, count: u64) -> String {
        let title = escaped(&self.settings.title);
        format!(include_str!("page.html"), title = title, style = include_str!("style.css"), count = count)
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Text for HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use paster_sdk::test::{Setup, TestApp};
    use serde_json::json;

    use super::*;

    fn app(saved: Option<Vec<u8>>) -> TestApp {
        let mut setup = Setup::default();
        setup.settings = json!({ "title": "Tom & Co" });
        setup.saved_state = saved;
        TestApp::with(create, setup).unwrap()
    }

    #[test]
    fn the_page_escapes_its_title() {
        let page = app(None).get("/");
        assert_eq!(page.status, StatusCode::OK);
        assert!(page.text().contains("<h1>Tom &amp; Co</h1>"), "{}", page.text());
    }

    #[test]
    fn the_count_survives_a_reload() {
        let old = app(None);
        old.get("/");
        assert_eq!(old.get("/count").text(), "2 requests so far\n");
        let new = app(old.save_state());
        assert_eq!(new.get("/count").text(), "3 requests so far\n");
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        let app = app(None);
        assert_eq!(app.get("/no-such-page").status, StatusCode::NOT_FOUND);
        let post = Request::post("/count").body(String::new()).unwrap();
        assert_eq!(app.send(post).status, StatusCode::METHOD_NOT_ALLOWED);
    }
}
