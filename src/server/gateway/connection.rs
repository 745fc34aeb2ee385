//! One connection, from its first byte to its end or its hand-over.

use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Version;
use http_body::Body as _;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use super::admit::{Belief, Welcome, refused_head, rejection};
use super::exchange::{Broken, Exchange, State};
use super::idle::Idling;
use super::inbox::GatewayBody;
use super::out::Out;
use super::{Event, Open, Protocol};
use crate::body::{Body, RefusedHead};
use crate::codec::variables::Split;
use crate::codec::{Fault, Variables};
use crate::server::accept::{HandedOver, IncomingConn, ListenerId, ServerBase, Stage};
use crate::server::control::Idle;
use crate::server::eviction::IdleKind;
use crate::server::gate::{Admitted, HostCache, Rejection, reply};
use crate::server::requests::RequestGuard;
use crate::server::stream::Stream;
use crate::server::throughput::{Timer, since};

/// Bytes of a head that are read at once.
pub(super) const HEAD_READ_BYTES: usize = 4 * 1024;
/// The app is not asked for more while this many bytes wait to be written.
pub(super) const WAITING_BYTES: usize = 64 * 1024;
/// Longest wait for the peer's end of stream after ours, and the most bytes read in that time.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_LIMIT_BYTES: usize = 256 * 1024;

/// Serves one connection until it ends, is handed over, or passes the time limit.
pub(super) async fn take<P: Protocol>(open: Open<P>, incoming: IncomingConn, place: ListenerId) {
    tokio::select! {
        biased; // a request that is answered at once waits for nothing else
        () = serve(&open, incoming, place) => {}
        () = open.shared.base.over() => {}
    }
}

async fn serve<P: Protocol>(open: &Open<P>, incoming: IncomingConn, place: ListenerId) {
    let Open { shared, idling, .. } = open;
    let base = &shared.base;
    let (stream, read, mut accepted, mut idle) = match incoming {
        IncomingConn::Accepted(stream, at) => (stream, Bytes::new(), Some(at), IdleKind::Silent),
        IncomingConn::HandedOver(HandedOver { stream, read, .. }) => (stream, read, None, IdleKind::Kept),
    };
    let mut line = Line {
        stream,
        read: read.into(),
        out: Out::default(),
        replies: 0,
        protocol: P::new(base.limits.head_bytes, base.limits.connections),
        ended: false,
        timer: Timer::default(),
    };
    let mut memory = HostCache::default();
    let peer = line.stream.peer();
    loop {
        let next = line.next_head(base, idling, idle).await;
        idling.stay();
        idle = IdleKind::Kept;
        let exchange = match next {
            Next::Request(variables) => {
                let guard = base.requests.take(Instant::now().into_std());
                let fronts = &shared.fronts;
                let split = Split::Path;
                let welcome =
                    fronts.admit(&variables, split, Belief::Listed, peer, &place.listen, &mut memory);
                let client = || fronts.client(&variables, Belief::Listed, peer);
                line.begin(base, guard, &variables, welcome, client, accepted.take())
            }
            Next::Refused(fault) => {
                let guard = base.requests.take(Instant::now().into_std());
                let client = shared.fronts.client(&Variables::new(), Belief::Listed, peer);
                if !line.protocol.answers() {
                    guard.refused(&rejection(fault), client, RefusedHead::default(), 0);
                    return;
                }
                line.refuse(guard, rejection(fault), client, RefusedHead::default())
            }
            Next::Idle => match line.hand_over(base, &place).await {
                Some(back) => {
                    line = back;
                    continue;
                }
                None => return,
            },
            Next::Closed => return line.linger(idling).await,
            Next::Gone => return,
        };
        match line.drive(exchange, base).await {
            End::Keep if !base.closes_connections() => {}
            End::Keep | End::Close => return,
            End::Linger => return line.linger(idling).await,
            End::Reset => return line.stream.reset_on_close(),
        }
    }
}

/// One connection and what was read from it.
pub(super) struct Line<P> {
    pub(super) stream: Stream,
    pub(super) read: BytesMut,
    pub(super) out: Out,
    /// Upper bound of the bytes in `out` that answer records of the connection itself, not a request.
    pub(super) replies: usize,
    pub(super) protocol: P,
    /// The peer's end of stream was seen.
    pub(super) ended: bool,
    pub(super) timer: Timer,
}

/// What comes next on a connection.
enum Next {
    Request(Variables),
    Refused(Fault),
    /// Nothing has begun, and the generation is retired.
    Idle,
    /// The protocol asks to close it.
    Closed,
    /// The peer has gone or is too late, or the time limit has passed.
    Gone,
}

/// How a request ended.
enum End {
    /// The connection may go on.
    Keep,
    Close,
    /// The peer may still be sending.
    Linger,
    /// What was sent must not be mistaken for a complete response.
    Reset,
}

impl<P: Protocol> Line<P> {
    /// Waits for the next head; until then the connection is idle in the given way.
    async fn next_head(&mut self, base: &ServerBase, idling: &Idling, idle: IdleKind) -> Next {
        let since = Instant::now();
        let mut head_since = None;
        loop {
            let turn = base.turn();
            if self.protocol.is_between() && self.read.is_empty() && self.out.len() == 0 {
                match base.stage() {
                    Stage::Retired if P::KEEPS && !base.hand_over.is_closed() => return Next::Idle,
                    Stage::Draining | Stage::Over => return Next::Gone,
                    _ => {}
                }
            }
            tokio::select! {
                biased;
                next = poll_fn(|cx| self.poll_head(cx, base, (since, &mut head_since), (idling, idle))) => return next,
                () = turn => {}
            }
        }
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        base: &ServerBase,
        (since, head_since): (Instant, &mut Option<Instant>),
        (idling, idle): (&Idling, IdleKind),
    ) -> Poll<Next> {
        loop {
            match self.protocol.next(&mut self.read, &mut self.out) {
                Ok(Some(Event::Head(variables))) => return Poll::Ready(Next::Request(variables)),
                Ok(Some(Event::Close)) => return Poll::Ready(Next::Closed),
                Ok(Some(Event::Body(_) | Event::End | Event::Abort)) => continue,
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Next::Refused(fault)),
            }
            while self.out.len() > 0 {
                match self.out.poll_write(&mut self.stream, cx) {
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Next::Gone),
                    Poll::Pending => break,
                }
            }
            if self.out.len() > WAITING_BYTES {
                break;
            }
            self.read.reserve(HEAD_READ_BYTES);
            match poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::Gone),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break,
            }
        }
        let (deadline, kind) = if self.protocol.is_between() && self.read.is_empty() {
            *head_since = None;
            (since + base.limits.idle_time, idle)
        } else {
            (*head_since.get_or_insert_with(Instant::now) + base.limits.head_time, IdleKind::Head)
        };
        idling.rest(cx, kind, since.into_std());
        if idling.is_evicted() {
            if kind == IdleKind::Head || !self.stream.has_unread() {
                return Poll::Ready(Next::Gone);
            }
            idling.stay();
        }
        if self.timer.poll(cx, deadline) { Poll::Ready(Next::Gone) } else { Poll::Pending }
    }

    /// Passes an idle connection to the next generation, or returns it if no generation takes it.
    async fn hand_over(self, base: &ServerBase, place: &ListenerId) -> Option<Self> {
        let Line { stream, read, out, replies, protocol, ended, timer } = self;
        let idle = |socket, server| Idle {
            server,
            listener: place.index,
            socket,
            read: read.freeze(),
            peer: None, // the receiver asks the socket again
            secure: false,
        };
        let HandedOver { stream, read, .. } = base.pass_on(stream.into_fd(), idle).await?;
        Some(Line { stream, read: read.into(), out, replies, protocol, ended, timer })
    }

    /// Passes a request through the gate to the app.
    fn begin(
        &mut self,
        base: &ServerBase,
        mut guard: RequestGuard,
        variables: &Variables,
        welcome: Result<Welcome, Rejection>,
        client: impl Fn() -> Option<IpAddr>,
        accepted: Option<std::time::Instant>,
    ) -> Exchange {
        let welcome = match welcome {
            Ok(welcome) => welcome,
            Err(rejection) => {
                return self.refuse(guard, rejection, client(), refused_head(variables));
            }
        };
        let mut exchange = Exchange {
            state: State::Ended(false),
            inbox: Arc::default(),
            left: welcome.content_length,
            body_over: false,
            admitted: welcome.admitted,
        };
        if guard.is_too_many() {
            let response = reply::full(reply::FULL.reason);
            guard.refused_with(&reply::FULL, client(), refused_head(variables), &response);
            exchange.send(self, response, guard);
            return exchange;
        }
        // Nearly always the body is empty or short and arrived together with the head.
        if exchange.take(self).is_some() {
            exchange.state = State::Ended(self.protocol.end(&mut self.out));
            return exchange;
        }
        let request_body = GatewayBody::new(exchange.inbox.clone(), base.limits.body_pace, exchange.whole());
        let body = if request_body.is_end_stream() { Body::empty() } else { Body::new(request_body) };
        if let Some(accepted) = accepted {
            base.load.served.first_calls.add(accepted.elapsed());
        }
        let work = guard.begin(welcome.request.map(|()| body));
        exchange.state = State::Working(work, guard);
        exchange
    }

    fn refuse(
        &mut self,
        guard: RequestGuard,
        rejection: Rejection,
        client: Option<IpAddr>,
        head: RefusedHead<'_>,
    ) -> Exchange {
        let mut exchange = Exchange {
            state: State::Ended(false),
            inbox: Arc::default(),
            left: None,
            body_over: false,
            admitted: Admitted { head: head.method == "HEAD", upgrade: false },
        };
        let response = reply::rejection(rejection, Version::HTTP_2);
        guard.refused_with(&rejection, client, head, &response);
        exchange.send(self, response, guard);
        exchange
    }

    /// Drives a request to its end.
    async fn drive(&mut self, mut exchange: Exchange, base: &ServerBase) -> End {
        let mut written = 0;
        let (mut stalled, mut half_closed) = (None, None);
        poll_fn(|cx| {
            exchange.inbox.reading.register(cx.waker());
            loop {
                let answered = match exchange.poll_answer(self, cx) {
                    Ok(progress) => progress,
                    Err(Broken) => return Poll::Ready(End::Reset),
                };
                let mut blocked = false;
                while self.out.len() > 0 && !blocked {
                    match self.out.poll_write(&mut self.stream, cx) {
                        Poll::Ready(Ok(count)) => written += count as u64,
                        Poll::Ready(Err(_)) => return Poll::Ready(End::Close),
                        Poll::Pending => blocked = true,
                    }
                }
                if self.out.len() == 0 {
                    self.replies = 0;
                }
                if let State::Ended(keep) = exchange.state
                    && self.out.len() == 0
                {
                    return Poll::Ready(match (keep, exchange.body_over || self.ended) {
                        (true, _) => End::Keep,
                        (false, true) => End::Close,
                        (false, false) => End::Linger,
                    });
                }
                let read = match exchange.poll_read(self, cx) {
                    Ok(progress) => progress,
                    Err(Broken) => return Poll::Ready(End::Close),
                };
                if read || (answered && !blocked) {
                    continue;
                }
                let stall =
                    since(&mut stalled, blocked, written).map(|since| since + base.limits.write_stall);
                let closed = since(&mut half_closed, self.ended, written);
                let closed = closed.map(|since| since + base.limits.half_close);
                let Some(deadline) = [stall, closed].into_iter().flatten().min() else {
                    return Poll::Pending;
                };
                if !self.timer.poll(cx, deadline) {
                    return Poll::Pending;
                }
                return Poll::Ready(End::Reset);
            }
        })
        .await
    }

    /// Ends our side and reads for a while what the peer still sends: closing at once would reset the
    /// connection, and could lose the response. A full server waits for a shorter time.
    async fn linger(mut self, idling: &Idling) {
        let since = Instant::now().into_std();
        let reading = async {
            while self.out.len() > 0 {
                poll_fn(|cx| self.out.poll_write(&mut self.stream, cx)).await?;
            }
            poll_fn(|cx| self.stream.poll_shutdown(cx)).await?;
            let mut count = self.read.len();
            while count < LINGER_LIMIT_BYTES {
                self.read.clear();
                self.read.reserve(HEAD_READ_BYTES);
                match poll_fn(|cx| poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read)).await? {
                    0 => break,
                    more => count += more,
                }
            }
            io::Result::Ok(())
        };
        let mut reading = pin!(reading);
        let reading = poll_fn(|cx| {
            idling.rest(cx, IdleKind::Ending, since);
            if idling.is_evicted() { Poll::Ready(()) } else { reading.as_mut().poll(cx).map(drop) }
        });
        // On a timeout or an error, the connection is closed now.
        let _ = tokio::time::timeout(LINGER_TIME, reading).await;
    }
}
