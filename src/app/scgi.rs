//! `scgi`: an application behind SCGI.
//!
//! # Source
//! SCGI, 2008-06-23: <https://python.ca/scgi/protocol.txt>.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, Method};
use http_body::Body as _;
use schemars::JsonSchema;
use serde::Deserialize;

use super::upstream::{
    Address, CgiAnswer, Decoded, Exchange, Failure, Gateway, GatewayOptions, GatewayProtocol, Group, Head,
    Outgoing, Protocol, Question, Reason, UpstreamOptions, addresses, ask, check_variables, question_parts,
    watch,
};
use crate::app::Builder;
use crate::body::{App, Body};
use crate::codec::Variables;
use crate::codec::scgi::encode_head;
use crate::config::{ConfigAddress, Table};
use crate::error::{BoxError, Errors, Result};

/// Options of an `[app.NAME]` table with `use = "scgi"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Addresses of the upstreams: `127.0.0.1:4000`, `unix:/run/app.sock`.
    upstreams: Vec<ConfigAddress>,
    #[serde(flatten)]
    passing: GatewayOptions,
    #[serde(flatten)]
    upstream: UpstreamOptions,
}

/// Creates the app; connects to nothing yet.
pub(super) fn build(table: &Table, builder: &mut Builder<'_>) -> Result<App> {
    let options: Options = table.options()?;
    let mut errors = Vec::new();
    let addresses = addresses(table, &options.upstreams, Address::socket, &mut errors);
    check_variables(table, "params", &options.passing.params, &mut errors);
    let hand_off = options.upstream.check(table, builder, &mut errors);
    Errors::check(errors)?;
    let group = Group::new(table.name(), addresses, options.upstream, None, builder.context.development);
    let gateway = Arc::new(Gateway {
        group: Arc::new(group),
        hand_off,
        spool_limit: options.passing.spool_limit_bytes,
        variables: options.passing.params,
    });
    if !builder.context.checking {
        watch(&gateway.group, &question(&gateway));
    }
    Ok(App::from_call(move |request| {
        let gateway = gateway.clone();
        Box::pin(async move { gateway.answer(&Kind, request).await })
    }))
}

struct Kind;

impl GatewayProtocol for Kind {
    type Protocol = Scgi;

    async fn send(
        &self,
        gateway: &Gateway,
        parts: &Parts,
        variables: Variables,
        body: Body,
    ) -> Result<(Exchange<Scgi>, Head), Failure> {
        let length = body.size_hint().exact().unwrap_or(0);
        let head = head(length, &variables).map_err(Failure::Client)?;
        gateway.send(parts, body, |_, out| write(&head, out)).await
    }
}

fn head(length: u64, variables: &Variables) -> Result<Vec<u8>, BoxError> {
    encode_head(length, variables).map_err(Into::into)
}

fn write(head: &[u8], out: &mut Outgoing) -> Scgi {
    out.put(head);
    Scgi(CgiAnswer::default())
}

/// The request of active health checks: a GET.
fn question(gateway: &Arc<Gateway>) -> Question {
    let gateway = Arc::downgrade(gateway);
    Arc::new(move |group, index| {
        let gateway = gateway.clone();
        Box::pin(async move {
            let Some(gateway) = gateway.upgrade() else { return Ok(()) };
            let parts = question_parts(&group, Method::GET);
            let variables = gateway.question(&parts);
            let head = head(0, &variables).map_err(|error| error.to_string())?;
            ask(&group, index, |out, _| write(&head, out)).await
        })
    })
}

/// One request and its response, which ends the connection.
struct Scgi(CgiAnswer);

impl Protocol for Scgi {
    fn data(&mut self, data: Bytes, out: &mut Outgoing) {
        out.push(data);
    }

    fn end(&mut self, _: Option<HeaderMap>, _: &mut Outgoing) {}

    fn decode(&mut self, input: &mut BytesMut, ended: bool) -> Result<Decoded, Reason> {
        self.0.plain(input, ended)
    }
}
