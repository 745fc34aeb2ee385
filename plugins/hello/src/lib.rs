//! The smallest plugin, meant to be copied: an axum router, one setting and a `create`.

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use paster_sdk::ws::{WebSocket, WebSocketUpgrade};

/// The table `[app.NAME.settings]` of `server.toml`.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What `/` answers.
    #[serde(default = "greeting")]
    pub greeting: String,
}

fn greeting() -> String {
    "Hello, world!".to_owned()
}

impl Default for Settings {
    fn default() -> Self {
        Settings { greeting: greeting() }
    }
}

paster_sdk::plugin! {
    settings: Settings,
    create: create,
}

async fn create(settings: Settings, host: paster_sdk::Host) -> Result<paster_sdk::App, paster_sdk::BoxError> {
    tracing::debug!(generation = host.generation(), "created");
    Ok(paster_sdk::App::router(router(settings)))
}

/// The application itself. It also works without paster.
pub fn router(settings: Settings) -> Router {
    Router::new()
        .route("/", get(hello))
        .route("/json", get(json))
        .route("/stream", get(stream))
        .route("/echo", post(echo))
        .route("/ws", any(web_socket))
        .with_state(settings.greeting.into())
}

/// The greeting: 13 bytes by default.
async fn hello(State(greeting): State<axum::body::Bytes>) -> Response {
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], greeting).into_response()
}

/// About 10 KB of JSON, created on each request.
async fn json() -> axum::Json<Vec<Item>> {
    axum::Json((0..90).map(Item::numbered).collect())
}

/// One item of `/json`.
#[derive(serde::Serialize)]
struct Item {
    id: u32,
    name: String,
    tags: [&'static str; 3],
    price: f64,
    in_stock: bool,
}

impl Item {
    fn numbered(id: u32) -> Item {
        let name = format!("item number {id:04}");
        Item {
            id,
            name,
            tags: ["small", "plain", "there to be copied"],
            price: f64::from(id) * 1.25,
            in_stock: true,
        }
    }
}

/// How much `/stream` sends.
#[derive(serde::Deserialize)]
struct Amount {
    bytes: u64,
}

/// `?bytes=` zero bytes in pieces of 64 KiB. Each is made after the client has read the one before.
async fn stream(Query(Amount { bytes }): Query<Amount>) -> Body {
    static PIECE: [u8; 64 << 10] = [0; 64 << 10];
    Body::from_stream(futures_util::stream::unfold(bytes, |left| async move {
        let count = left.min(PIECE.len() as u64);
        let piece = axum::body::Bytes::from_static(&PIECE[..count as usize]);
        (count > 0).then(|| (Ok::<_, std::convert::Infallible>(piece), left - count))
    }))
}

/// Sends the request's body back as it arrives.
async fn echo(request: Request) -> Body {
    request.into_body()
}

/// A WebSocket that echoes every message. The SDK does the rest: handshake, origin, pings, limits and the
/// close.
async fn web_socket(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |mut socket: WebSocket| {
        while let Some(Ok(message)) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use paster_sdk::test::TestApp;
    use serde_json::json;

    use super::create;

    #[test]
    fn the_greeting_is_a_setting() {
        let app = TestApp::create(create, json!({})).expect("the default settings are enough");
        let answer = app.get("/");
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "Hello, world!"));
        let app = TestApp::create(create, json!({ "greeting": "Moin!" })).expect("the settings are right");
        assert_eq!(app.get("/").text(), "Moin!");
        let error = TestApp::create(create, json!({ "greetings": "Moin!" })).expect_err("a misspelt key");
        assert!(error.to_string().contains("unknown field `greetings`"), "{error}");
    }

    #[test]
    fn a_body_comes_back() {
        let app = TestApp::create(create, json!({})).expect("the default settings are enough");
        let request = Request::post("/echo").body("a body").expect("the request is valid");
        assert_eq!(app.send(request).text(), "a body");
        assert_eq!(app.get("/stream?bytes=100000").body.len(), 100_000);
        assert_eq!(app.get("/ws").header("sec-websocket-version"), Some("13"));
        assert_eq!(app.get("/nothing").status.as_u16(), 404);
    }
}
