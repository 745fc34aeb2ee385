//! Middleware that counts requests and measures the application.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::{HeaderValue, Request, Response};
use paster_sdk::{Body, BoxError, Host, Middleware, Next};
use schemars::JsonSchema;
use serde::Deserialize;

/// The table `[middleware.NAME.settings]` of `server.toml`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Path that shows the number of visits.
    path: String,
}

paster_sdk::plugin! {
    settings: Settings,
    middleware: create,
}

/// What every request can access.
struct Visits {
    settings: Settings,
    count: AtomicU64,
}

/// Creates the middleware: once at the start, and again for each new generation of the code.
async fn create(settings: Settings, host: Host) -> Result<Middleware, BoxError> {
    let saved = host.saved_state().and_then(|state| Some(u64::from_le_bytes(state.try_into().ok()?)));
    let visits = Arc::new(Visits { settings, count: saved.unwrap_or_default().into() });
    let at_end = visits.clone();
    let middleware = Middleware::from_fn(move |request, next| {
        let visits = visits.clone();
        async move { visits.handle(request, next).await }
    });
    Ok(middleware.save_state(move || at_end.count.load(Ordering::Relaxed).to_le_bytes().to_vec()))
}

impl Visits {
    async fn handle(&self, request: Request<Body>, next: Next) -> Result<Response<Body>, BoxError> {
        if request.uri().path() == self.settings.path {
            return Ok(Response::new(self.report().into()));
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        // Passes the request on. You can change the request before. The body of the response is streamed.
        let mut response = next.run(request).await?;
        let timing = format!("app;dur={:.1}", began.elapsed().as_secs_f64() * 1000.0);
        response.headers_mut().insert("server-timing", HeaderValue::from_str(&timing)?);
        Ok(response)
    }

    fn report(&self) -> String {
        match self.count.load(Ordering::Relaxed) {
            1 => "1 visit so far\n".to_owned(),
            count => format!("{count} visits so far\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use paster_sdk::App;
    use paster_sdk::test::{Setup, TestMiddleware};
    use serde_json::json;

    use super::*;

    /// The middleware around an application without pages.
    fn middleware(saved: Option<Vec<u8>>) -> TestMiddleware {
        let mut setup = Setup::default();
        setup.settings = json!({ "path": "/visits" });
        setup.saved_state = saved;
        let app = App::service(tower::service_fn(|_: Request<Body>| async {
            let mut response = Response::new(Body::from("no such page"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok::<_, BoxError>(response)
        }));
        TestMiddleware::with(create, setup).unwrap().around(app)
    }

    #[test]
    fn the_application_is_measured() {
        let answer = middleware(None).get("/page");
        assert_eq!((answer.status, answer.text()), (StatusCode::NOT_FOUND, "no such page"));
        assert!(answer.header("server-timing").unwrap().starts_with("app;dur="));
    }

    #[test]
    fn the_count_survives_a_reload() {
        let old = middleware(None);
        old.get("/page");
        assert_eq!(old.get("/visits").text(), "1 visit so far\n");
        let new = middleware(old.save_state());
        new.get("/page");
        assert_eq!(new.get("/visits").text(), "2 visits so far\n");
    }
}
