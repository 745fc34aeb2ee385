//! One connection's socket, and the bytes before and after the protocol.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use super::idle::Idling;
use super::out::Out;
use super::protocol::{RequestEvent, ServerProtocol};
use crate::codec::{PairsError, Variables};
use crate::server::accept::{HandedOver, ListenerId, ServerBase};
use crate::server::control::{Idle, PhaseName};
use crate::server::eviction::IdleKind;
use crate::server::options::ServerLimits;
use crate::server::stream::SocketStream;
use crate::server::throughput::Timer;

/// Bytes of a head that are read at once.
pub(super) const HEAD_READ_BYTES: usize = 4 * 1024;
/// The app is not asked for more while this many bytes wait to be written.
pub(super) const WAITING_BYTES: usize = 64 * 1024;
/// Longest wait for the peer's end of stream after ours, and the most bytes read in that time.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_LIMIT_BYTES: usize = 256 * 1024;

/// One connection and what was read from it.
pub(super) struct GatewayStream<P> {
    pub(super) socket: SocketStream,
    pub(super) read: BytesMut,
    pub(super) out: Out,
    /// Upper bound of the bytes in `out` that answer records of the connection itself, not a request.
    pub(super) replies: usize,
    pub(super) protocol: P,
    /// The peer's end of stream was seen.
    pub(super) ended: bool,
    pub(super) timer: Timer,
}

/// The next event on a connection.
pub(super) enum NextHead {
    Request(Variables),
    Refused(PairsError),
    /// Nothing has begun, and the generation is retired.
    Idle,
    /// The protocol asks to close it.
    Closed,
    /// The peer has gone or is too late, or the time limit has passed.
    Gone,
}

impl<P: ServerProtocol> GatewayStream<P> {
    /// `read` are the bytes that were already read.
    pub(super) fn new(socket: SocketStream, read: Bytes, limits: &ServerLimits) -> GatewayStream<P> {
        GatewayStream {
            socket,
            read: read.into(),
            out: Out::default(),
            replies: 0,
            protocol: P::new(limits.head_bytes, limits.connections),
            ended: false,
            timer: Timer::default(),
        }
    }

    /// Waits for the next head; until then the connection is idle in the given way.
    pub(super) async fn next_head(&mut self, base: &ServerBase, idling: &Idling, idle: IdleKind) -> NextHead {
        let since = Instant::now();
        let mut head_since = None;
        loop {
            let turn = base.turn();
            if self.protocol.is_between() && self.read.is_empty() && self.out.len() == 0 {
                match base.stage() {
                    PhaseName::Retired if P::KEEPS && !base.hand_over.is_closed() => return NextHead::Idle,
                    PhaseName::Draining | PhaseName::Over => return NextHead::Gone,
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
    ) -> Poll<NextHead> {
        loop {
            match self.protocol.next(&mut self.read, &mut self.out) {
                Ok(Some(RequestEvent::Head(variables))) => return Poll::Ready(NextHead::Request(variables)),
                Ok(Some(RequestEvent::Close)) => return Poll::Ready(NextHead::Closed),
                Ok(Some(RequestEvent::Body(_) | RequestEvent::End | RequestEvent::Abort)) => continue,
                Ok(None) => {}
                Err(fault) => return Poll::Ready(NextHead::Refused(fault)),
            }
            while self.out.len() > 0 {
                match self.out.poll_write(&mut self.socket, cx) {
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(NextHead::Gone),
                    Poll::Pending => break,
                }
            }
            if self.out.len() > WAITING_BYTES {
                break;
            }
            self.read.reserve(HEAD_READ_BYTES);
            match poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.read) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(NextHead::Gone),
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
            if kind == IdleKind::Head || !self.socket.has_unread() {
                return Poll::Ready(NextHead::Gone);
            }
            idling.stay();
        }
        if self.timer.poll(cx, deadline) { Poll::Ready(NextHead::Gone) } else { Poll::Pending }
    }

    /// Passes an idle connection to the next generation, or returns it if no generation takes it.
    pub(super) async fn hand_over(self, base: &ServerBase, place: &ListenerId) -> Option<Self> {
        let GatewayStream { socket, read, out, replies, protocol, ended, timer } = self;
        let idle = |socket, server| Idle {
            server,
            listener: place.index,
            socket,
            read: read.freeze(),
            peer: None, // the receiver asks the socket again
            secure: false,
        };
        let HandedOver { stream: socket, read, .. } = base.pass_on(socket.into_fd(), idle).await?;
        Some(GatewayStream { socket, read: read.into(), out, replies, protocol, ended, timer })
    }

    /// Ends our side and reads for a while what the peer still sends: closing at once would reset the
    /// connection, and could lose the response. A full server waits for a shorter time.
    pub(super) async fn linger(mut self, idling: &Idling) {
        let since = Instant::now().into_std();
        let reading = async {
            while self.out.len() > 0 {
                poll_fn(|cx| self.out.poll_write(&mut self.socket, cx)).await?;
            }
            self.socket.shutdown().await?;
            let mut count = self.read.len();
            while count < LINGER_LIMIT_BYTES {
                self.read.clear();
                self.read.reserve(HEAD_READ_BYTES);
                match poll_fn(|cx| poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.read)).await? {
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
