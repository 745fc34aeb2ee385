//! HTTP/2 to upstreams: one connection to each, on which requests run concurrently.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HeaderName, TE};
use http::request::Parts;
use http::{HeaderValue, Uri, Version};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::Mutex;
use tokio::time::{Sleep, sleep};

use super::fields::RewriteRules;
use crate::app::upstream::{
    ConnectionLease, FailureReason, Group, Member, UpstreamFailure, UpstreamFault, check_status, duration,
};
use crate::body::{Body, Response};
use crate::error::BoxError;

/// How often a connection is pinged while requests wait on it, and the time limit for the reply.
const PROBE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// The connection to an upstream.
#[derive(Default)]
struct Http2Connection(Mutex<Option<SendRequest<Sent>>>);

impl Http2Connection {
    /// A handle on the connection to a member, opened if there is none, and whether it existed. A request
    /// that waits for another request's attempt waits no longer than for its own.
    async fn sender(group: &Group, member: &Member) -> Result<(SendRequest<Sent>, bool), FailureReason> {
        let limit = duration(group.timeouts.connect_secs);
        let found =
            tokio::time::timeout(limit, member.attached::<Http2Connection>().connected(group, member)).await;
        found.unwrap_or(Err(FailureReason::ConnectTimeout))
    }

    async fn connected(
        &self,
        group: &Group,
        member: &Member,
    ) -> Result<(SendRequest<Sent>, bool), FailureReason> {
        // Requests that arrive while the connection is being opened wait for it here.
        let mut slot = self.0.lock().await;
        if let Some(sender) = slot.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok((sender.clone(), true));
        }
        let connection = group.connect(member).await?;
        let (sender, driver) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PROBE.0)
            .keep_alive_timeout(PROBE.1)
            .adaptive_window(true)
            .handshake(TokioIo::new(connection.stream))
            .await
            .map_err(FailureReason::Http2)?;
        tokio::spawn(async move {
            // Each request notices the end of the connection itself.
            let _ = driver.await;
        });
        *slot = Some(sender.clone());
        Ok((sender, false))
    }
}

/// Sends a probe: whether the response is 2xx or 3xx.
/// # Errors
/// What is wrong, for the log.
pub(super) async fn probe(
    group: &Arc<Group>,
    member: &Member,
    rewrite: &RewriteRules,
    parts: &Parts,
) -> Result<(), String> {
    let (mut sender, _) =
        Http2Connection::sender(group, member).await.map_err(|reason| reason.to_string())?;
    let sent = Sent { body: Body::empty(), progress: Arc::default() };
    let request = request(rewrite, parts, member, sent).map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    check_status(answer.status())
}

/// Sends one request, to the `preferred` upstream if it can be used. Also returns the upstream that has responded.
/// # Errors
/// The failure of the last upstream that was tried, or of the request's body.
pub(super) async fn run(
    group: &Arc<Group>,
    preferred: Option<usize>,
    rewrite: &RewriteRules,
    parts: &Parts,
    body: Body,
    repeats: bool,
) -> Result<(Response, Arc<Member>), UpstreamFailure> {
    let mut body = body;
    let mut tried = 0u64;
    let mut again = true;
    let began = Instant::now();
    loop {
        let lease = group.lease(tried, preferred).await.map_err(UpstreamFailure::Upstream)?;
        let member = lease.member.clone();
        let (mut sender, kept) = match Http2Connection::sender(group, &member).await {
            Ok(found) => found,
            Err(reason) => {
                group.failed(&member);
                tried |= 1 << member.slot;
                if let Err(failure) = group.next(&member, tried, reason) {
                    drop(lease); // others may use its place meanwhile
                    group.wait_for_start(began, failure).await?;
                    tried = 0;
                }
                continue;
            }
        };
        let progress = Arc::new(UploadProgress::default());
        let request = request(rewrite, parts, &member, Sent { body, progress: progress.clone() });
        let request = match request {
            Ok(request) => request,
            Err(error) => return Err(UpstreamFailure::Client(error)),
        };
        let mut answer = Box::pin(async move {
            sender.ready().await.map_err(|error| (error, None))?;
            sender.try_send_request(request).await.map_err(|mut error| {
                let message = error.take_message();
                (error.into_error(), message)
            })
        });
        let Some(answer) = in_time(&mut answer, duration(group.timeouts.head_secs), &progress).await else {
            group.failed(&member);
            return Err(UpstreamFailure::Upstream(member.fault(FailureReason::HeadTimeout)));
        };
        let (error, unsent) = match answer {
            Ok(response) => {
                if let Err(reason) = FailureReason::check_status(response.status().as_u16()) {
                    return Err(UpstreamFailure::Upstream(member.fault(reason)));
                }
                member.succeeded();
                return Ok((response.map(|body| paced(body, group, lease)), member));
            }
            Err(error) => error,
        };
        if progress.failed.load(Relaxed) > 0 {
            return Err(UpstreamFailure::Client(error.into()));
        }
        match unsent.map(|request| request.into_body().body) {
            // The request was not sent because the connection had ended.
            Some(back) if kept && again && (repeats || progress.moved.load(Relaxed) == 0) => {
                body = back;
                again = false;
            }
            _ => {
                group.failed(&member);
                return Err(UpstreamFailure::Upstream(member.fault(FailureReason::Http2(error))));
            }
        }
    }
}

/// Waits for the head; `None` if neither it nor the request's body has moved for `limit`: the client may still
/// be sending.
async fn in_time<F: Future + Unpin>(
    answer: &mut F,
    limit: Duration,
    progress: &UploadProgress,
) -> Option<F::Output> {
    loop {
        let before = progress.moved.load(Relaxed);
        match tokio::time::timeout(limit, &mut *answer).await {
            Ok(answer) => return Some(answer),
            Err(_) if progress.moved.load(Relaxed) != before => {}
            Err(_) => return None,
        }
    }
}

fn request(
    rewrite: &RewriteRules,
    parts: &Parts,
    member: &Member,
    body: Sent,
) -> Result<http::Request<Sent>, BoxError> {
    let (base, mount, own) = rewrite.target(parts, member);
    let scheme = if member.address.tls { "https" } else { "http" };
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(rewrite.host(parts, member))
        .path_and_query(format!("{base}{mount}{own}"))
        .build()?;
    let mut request = http::Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    rewrite.fields(parts, |name, value| {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    });
    // Trailers are passed on, and gRPC requires this field.
    headers.insert(TE, HeaderValue::from_static("trailers"));
    Ok(request)
}

/// The progress of a request body.
#[derive(Default)]
struct UploadProgress {
    moved: AtomicU64,
    failed: AtomicU64,
}

/// A request body that reports its progress.
struct Sent {
    body: Body,
    progress: Arc<UploadProgress>,
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.progress.moved.fetch_add(1, Relaxed);
        if matches!(frame, Some(Err(_))) {
            self.progress.failed.store(1, Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn paced(body: Incoming, group: &Arc<Group>, lease: ConnectionLease) -> Body {
    if body.is_end_stream() {
        return Body::empty();
    }
    Body::new(Paced {
        body,
        limit: duration(group.timeouts.pause_secs),
        wait: None,
        lease,
        group: group.clone(),
    })
}

/// A response body with a limit on its pauses. Dropping it before its end resets the stream.
struct Paced {
    body: Incoming,
    limit: Duration,
    wait: Option<Pin<Box<Sleep>>>,
    lease: ConnectionLease,
    group: Arc<Group>,
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let reason = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Err(error))) => FailureReason::Http2(error),
            Poll::Ready(frame) => {
                this.wait = None;
                return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
            }
            Poll::Pending => {
                let limit = this.limit;
                ready!(this.wait.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx));
                FailureReason::Stalled
            }
        };
        this.group.failed(&this.lease.member);
        let fault: UpstreamFault = this.lease.member.fault(reason);
        Poll::Ready(Some(Err(fault.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
