//! The smallest middleware as a plugin: a layer of tower-http.

use http::HeaderValue;
use http::header::HeaderName;
use paster_sdk::{BoxError, Host, Middleware};
use tower_http::set_header::SetResponseHeaderLayer;

/// The table `[middleware.NAME.settings]`.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// What search engines shall do with the pages: `noindex`.
    robots: String,
}

async fn create(settings: Settings, _host: Host) -> Result<Middleware, BoxError> {
    let robots = HeaderValue::from_str(&settings.robots)?;
    let name = HeaderName::from_static("x-robots-tag");
    Ok(Middleware::layer(SetResponseHeaderLayer::if_not_present(name, robots)))
}

paster_sdk::plugin! { settings: Settings, middleware: create }

#[cfg(test)]
mod tests {
    use paster_sdk::test::TestMiddleware;
    use serde_json::json;

    use super::*;

    #[test]
    fn responses_tell_what_search_engines_shall_do() {
        let middleware = TestMiddleware::create(create, json!({ "robots": "noindex" })).unwrap();
        assert_eq!(middleware.get("/").header("x-robots-tag"), Some("noindex"));
        assert!(TestMiddleware::create(create, json!({ "robots": "two\nlines" })).is_err());
    }
}
