//! A fixed response behind eight middlewares, as one writes them by hand with tower and tower-http.
//!
//! `cargo xtask bench stack` compares it with paster, which reads the same stack from a config (`STACK` in
//! `xtask/src/bench/peers.rs`).

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tower::limit::ConcurrencyLimitLayer;
use tower::{BoxError, Service, ServiceBuilder, service_fn};
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

/// The layer of a response field that stays if it is there.
fn set(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

/// The application with its stack.
pub(crate) fn service() -> impl Service<
    Request<Incoming>,
    Response = Response<impl http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static>,
    Error: Into<BoxError>,
    Future: Send + 'static,
> + Clone
+ Send
+ 'static {
    let cors = CorsLayer::new()
        .allow_origin([HeaderValue::from_static("https://app.example")])
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers([CONTENT_TYPE]);
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    let resource = HeaderName::from_static("cross-origin-resource-policy");
    ServiceBuilder::new()
        // request_id
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(PropagateRequestIdLayer::x_request_id())
        // security_headers
        .layer(set(
            CONTENT_SECURITY_POLICY,
            "default-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'; img-src 'self' data:; \
             object-src 'none'",
        ))
        .layer(set(X_FRAME_OPTIONS, "SAMEORIGIN"))
        .layer(set(REFERRER_POLICY, "strict-origin-when-cross-origin"))
        .layer(set(
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=()",
        ))
        .layer(set(opener, "same-origin"))
        .layer(set(resource, "same-origin"))
        .layer(set(X_CONTENT_TYPE_OPTIONS, "nosniff"))
        // cors
        .layer(cors)
        // concurrency_limit
        .layer(ConcurrencyLimitLayer::new(1000))
        // body_limit
        .layer(RequestBodyLimitLayer::new(1 << 20))
        // timeout
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(30)))
        // headers
        .layer(SetResponseHeaderLayer::overriding(
            HeaderName::from_static("x-served-by"),
            HeaderValue::from_static("bench"),
        ))
        // compress
        .layer(CompressionLayer::new())
        .service(service_fn(hello))
}

async fn hello<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"Hello, world!")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}
