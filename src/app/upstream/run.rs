//! Sends a request to one of several upstreams: which one, when to retry, and the response if all fail.

use std::sync::Arc;
use std::time::Instant;

use http::Method;

use super::exchange::{UpstreamExchange, UpstreamStop};
use super::failure::{FailureReason, UpstreamFailure};
use super::group::Group;
use super::member::Member;
use super::outgoing::Outgoing;
use super::protocol::{Protocol, ResponseHead};
use crate::body::Body;

/// Whether a request may be sent a second time (RFC 9110, section 9.2.2).
pub(in crate::app) fn may_repeat(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// Sends a request, to the `preferred` upstream if it can be used; `write` puts its head into the buffer, for each upstream
/// that is tried.
///
/// If no connection can be made, nothing was sent, and the next upstream is tried. A request that was sent is
/// sent again only if it `repeats`, none of its body was taken and no byte of a response arrived. If the
/// connection was a kept one, it goes over a new connection to whichever upstream is next; otherwise to one
/// that was not tried. When no upstream can be reached, or the last one has ended without reading the request, it goes on for
/// the group's `patience`.
/// # Errors
/// The last failure.
pub(in crate::app) async fn run<P: Protocol>(
    group: &Arc<Group>,
    preferred: Option<usize>,
    body: Body,
    repeats: bool,
    mut write: impl FnMut(&Member, &mut Outgoing, &Body) -> P + Send,
) -> Result<(UpstreamExchange<P>, ResponseHead), UpstreamFailure> {
    let mut body = body;
    let mut tried = 0u64;
    let mut fresh = false;
    let began = Instant::now();
    loop {
        let lease = group.lease(tried, preferred).await.map_err(UpstreamFailure::Upstream)?;
        let member = lease.member.clone();
        let kept = if fresh { None } else { member.take() };
        let was_kept = kept.is_some();
        let connection = match kept {
            Some(connection) => connection,
            None => match group.connect(&member).await {
                Ok(connection) => connection,
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
            },
        };
        let mut exchange =
            UpstreamExchange::new(group.clone(), lease, connection, body, None, |out, body| {
                write(&member, out, body)
            });
        let reason = match exchange.head().await {
            Ok(head) => {
                member.succeeded();
                return Ok((exchange, head));
            }
            Err(UpstreamStop::Client(error)) => return Err(UpstreamFailure::Client(error)),
            Err(UpstreamStop::Upstream(reason)) => reason,
        };
        let lost = matches!(reason, FailureReason::Closed | FailureReason::Reset | FailureReason::Broken(_));
        let again = match exchange.take_untouched() {
            Some(again) if repeats && lost && !exchange.has_answer() => again,
            _ => {
                group.failed(&member);
                return Err(UpstreamFailure::Upstream(member.fault(reason)));
            }
        };
        body = again;
        if was_kept {
            // It was closed at the moment of reuse, which is nobody's fault.
            fresh = true;
            continue;
        }
        fresh = false;
        group.failed(&member);
        tried |= 1 << member.slot;
        // A socket that is closed before it is accepted, or with unread data, is reset.
        let unread = matches!(reason, FailureReason::Reset);
        if let Err(failure) = group.next(&member, tried, reason) {
            if !unread {
                return Err(failure);
            }
            drop(exchange); // others may use its place meanwhile
            group.wait_for_start(began, failure).await?;
            tried = 0;
        }
    }
}
