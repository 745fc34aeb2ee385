//! One connection, from its first byte to its end or its hand-over.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::Version;
use http_body::Body as _;
use tokio::time::Instant;

use super::admit::{Belief, Welcome, refused_head, rejection};
use super::exchange::{Broken, GatewayExchange, ResponseState};
use super::inbox::GatewayBody;
use super::protocol::ServerProtocol;
use super::shared::GatewayConn;
use super::stream::{GatewayStream, NextHead};
use crate::body::{Body, RefusedHead};
use crate::codec::Variables;
use crate::codec::variables::Split;
use crate::server::accept::{HandedOver, IncomingConn, ListenerId, ServerBase};
use crate::server::eviction::IdleKind;
use crate::server::gate::{Admitted, HostCache, Rejection, reply};
use crate::server::requests::RequestGuard;
use crate::server::throughput::since;

/// Serves one connection until it ends, is handed over, or passes the time limit.
pub(super) async fn take<P: ServerProtocol>(open: GatewayConn<P>, incoming: IncomingConn, place: ListenerId) {
    tokio::select! {
        biased; // a request that is answered at once waits for nothing else
        () = serve(&open, incoming, place) => {}
        () = open.shared.base.over() => {}
    }
}

async fn serve<P: ServerProtocol>(open: &GatewayConn<P>, incoming: IncomingConn, place: ListenerId) {
    let GatewayConn { shared, idling, .. } = open;
    let base = &shared.base;
    let (stream, read, mut accepted, mut idle) = match incoming {
        IncomingConn::Accepted(stream, at) => (stream, Bytes::new(), Some(at), IdleKind::Silent),
        IncomingConn::HandedOver(HandedOver { stream, read, .. }) => (stream, read, None, IdleKind::Kept),
    };
    let mut memory = HostCache::default();
    let peer = stream.peer();
    let mut stream = GatewayStream::<P>::new(stream, read, &base.limits);
    loop {
        let next = stream.next_head(base, idling, idle).await;
        idling.stay();
        idle = IdleKind::Kept;
        let exchange = match next {
            NextHead::Request(variables) => {
                let guard = base.requests.take(Instant::now().into_std());
                let fronts = &shared.fronts;
                let split = Split::Path;
                let welcome =
                    fronts.admit(&variables, split, Belief::Listed, peer, &place.listen, &mut memory);
                let client = || fronts.client(&variables, Belief::Listed, peer);
                begin(&mut stream, base, guard, &variables, welcome, client, accepted.take())
            }
            NextHead::Refused(fault) => {
                let guard = base.requests.take(Instant::now().into_std());
                let client = shared.fronts.client(&Variables::new(), Belief::Listed, peer);
                if !stream.protocol.answers() {
                    guard.refused(&rejection(fault), client, RefusedHead::default(), 0);
                    return;
                }
                refuse(&mut stream, guard, rejection(fault), client, RefusedHead::default())
            }
            NextHead::Idle => match stream.hand_over(base, &place).await {
                Some(back) => {
                    stream = back;
                    continue;
                }
                None => return,
            },
            NextHead::Closed => return stream.linger(idling).await,
            NextHead::Gone => return,
        };
        match drive(&mut stream, exchange, base).await {
            GatewayEnd::Keep if !base.closes_connections() => {}
            GatewayEnd::Keep | GatewayEnd::Close => return,
            GatewayEnd::Linger => return stream.linger(idling).await,
            GatewayEnd::Reset => return stream.socket.reset_on_close(),
        }
    }
}

/// How a request ended.
enum GatewayEnd {
    /// The connection may go on.
    Keep,
    Close,
    /// The peer may still be sending.
    Linger,
    /// The response was cut off: it must not be mistaken for a complete one.
    Reset,
}

/// Passes a request through the gate to the app.
fn begin<P: ServerProtocol>(
    stream: &mut GatewayStream<P>,
    base: &ServerBase,
    mut guard: RequestGuard,
    variables: &Variables,
    welcome: Result<Welcome, Rejection>,
    client: impl Fn() -> Option<IpAddr>,
    accepted: Option<std::time::Instant>,
) -> GatewayExchange {
    let welcome = match welcome {
        Ok(welcome) => welcome,
        Err(rejection) => {
            return refuse(stream, guard, rejection, client(), refused_head(variables));
        }
    };
    let mut exchange = GatewayExchange {
        state: ResponseState::Ended(false),
        inbox: Arc::default(),
        left: welcome.content_length,
        body_over: false,
        admitted: welcome.admitted,
    };
    if guard.is_too_many() {
        let response = reply::full(reply::FULL.reason);
        guard.refused_with(&reply::FULL, client(), refused_head(variables), &response);
        exchange.send(stream, response, guard);
        return exchange;
    }
    // Nearly always the body is empty or short and arrived together with the head.
    if exchange.take(stream).is_some() {
        exchange.state = ResponseState::Ended(stream.protocol.end(&mut stream.out));
        return exchange;
    }
    let request_body = GatewayBody::new(exchange.inbox.clone(), base.limits.body_pace, exchange.whole());
    let body = if request_body.is_end_stream() { Body::empty() } else { Body::new(request_body) };
    if let Some(accepted) = accepted {
        base.load.served.first_calls.add(accepted.elapsed());
    }
    let work = guard.begin(welcome.request.map(|()| body));
    exchange.state = ResponseState::Working(work, guard);
    exchange
}

fn refuse<P: ServerProtocol>(
    stream: &mut GatewayStream<P>,
    guard: RequestGuard,
    rejection: Rejection,
    client: Option<IpAddr>,
    head: RefusedHead<'_>,
) -> GatewayExchange {
    let mut exchange = GatewayExchange {
        state: ResponseState::Ended(false),
        inbox: Arc::default(),
        left: None,
        body_over: false,
        admitted: Admitted { head: head.method == "HEAD", upgrade: false },
    };
    let response = reply::rejection(rejection, Version::HTTP_2);
    guard.refused_with(&rejection, client, head, &response);
    exchange.send(stream, response, guard);
    exchange
}

/// Drives a request to its end.
async fn drive<P: ServerProtocol>(
    stream: &mut GatewayStream<P>,
    mut exchange: GatewayExchange,
    base: &ServerBase,
) -> GatewayEnd {
    let mut written = 0;
    let (mut stalled, mut half_closed) = (None, None);
    poll_fn(|cx| {
        exchange.inbox.reading.register(cx.waker());
        loop {
            let answered = match exchange.poll_answer(stream, cx) {
                Ok(progress) => progress,
                Err(Broken) => return Poll::Ready(GatewayEnd::Reset),
            };
            let mut blocked = false;
            while stream.out.len() > 0 && !blocked {
                match stream.out.poll_write(&mut stream.socket, cx) {
                    Poll::Ready(Ok(count)) => written += count as u64,
                    Poll::Ready(Err(_)) => return Poll::Ready(GatewayEnd::Close),
                    Poll::Pending => blocked = true,
                }
            }
            if stream.out.len() == 0 {
                stream.replies = 0;
            }
            if let ResponseState::Ended(keep) = exchange.state
                && stream.out.len() == 0
            {
                return Poll::Ready(match (keep, exchange.body_over || stream.ended) {
                    (true, _) => GatewayEnd::Keep,
                    (false, true) => GatewayEnd::Close,
                    (false, false) => GatewayEnd::Linger,
                });
            }
            let read = match exchange.poll_read(stream, cx) {
                Ok(progress) => progress,
                Err(Broken) => return Poll::Ready(GatewayEnd::Close),
            };
            if read || (answered && !blocked) {
                continue;
            }
            let stall = since(&mut stalled, blocked, written).map(|since| since + base.limits.write_stall);
            let closed = since(&mut half_closed, stream.ended, written);
            let closed = closed.map(|since| since + base.limits.half_close);
            let Some(deadline) = [stall, closed].into_iter().flatten().min() else {
                return Poll::Pending;
            };
            if !stream.timer.poll(cx, deadline) {
                return Poll::Pending;
            }
            return Poll::Ready(GatewayEnd::Reset);
        }
    })
    .await
}
