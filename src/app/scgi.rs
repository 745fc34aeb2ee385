//! `scgi`: an application behind SCGI.
//!
//! # Source
//! SCGI, 2008-06-23: <https://python.ca/scgi/protocol.txt>.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, Method};
use http_body::Body as _;
use schemars::JsonSchema;
use serde::Deserialize;

use super::hand_off::HandOff;
use super::upstream::{
    Address, Balance, CgiAnswer, Decoded, Exchange, Failure, Gateway, Group, Head, HealthOptions, Outgoing,
    Plan, PoolOptions, Protocol, Question, Reason, Sends, Timeouts, addresses, ask, check_variables,
    question_parts, watch,
};
use crate::app::Builder;
use crate::body::{App, Body};
use crate::codec::Variables;
use crate::codec::scgi::encode_head;
use crate::config::Table;
use crate::error::{BoxError, Errors, Result};

/// Options of an `[app.NAME]` table with `use = "scgi"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Addresses of the upstreams: `127.0.0.1:4000`, `unix:/run/app.sock`.
    upstreams: Vec<String>,
    /// How one of several upstreams is chosen.
    #[serde(default)]
    balance: Balance,
    /// Variables to add to those of RFC 3875, or to put in their place.
    #[serde(default)]
    params: BTreeMap<String, String>,
    /// Longest body of a request that does not say its length, in bytes: it is kept, beyond 64 KiB in a file without a
    /// name, as the length is sent first. (`body_limit` comes before it.)
    #[serde(default = "one_gib")]
    spool_limit_bytes: u64,
    /// From a prefix to the name of an app: where an upstream answers with `X-Accel-Redirect: /protected/a.pdf`, the
    /// app at `/protected` is asked for `/a.pdf` and answers instead. No client reaches an app by this.
    #[serde(default)]
    hand_off: BTreeMap<String, String>,
    /// How long upstreams are waited for.
    #[serde(default)]
    timeouts: Timeouts,
    /// The connections to each upstream; SCGI keeps none for a second request.
    #[serde(default)]
    pool: PoolOptions,
    /// When an upstream counts as out of order.
    #[serde(default)]
    health: HealthOptions,
}

pub(super) fn one_gib() -> u64 {
    1 << 30
}

/// Makes the app; connects to nothing yet.
pub(super) fn build(table: &Table, builder: &mut Builder<'_>) -> Result<App> {
    let options: Options = table.options()?;
    let mut errors = Vec::new();
    let addresses = addresses(table, &options.upstreams, Address::socket, &mut errors);
    check_variables(table, "params", &options.params, &mut errors);
    super::upstream::check_health(table, &options.health, &mut errors);
    let hand_off = HandOff::new(table, &options.hand_off, builder, &mut errors);
    Errors::check(errors)?;
    let group = Arc::new(Group::new(Plan {
        app: table.name().to_owned(),
        addresses,
        balance: options.balance,
        timeouts: options.timeouts,
        pool: options.pool,
        health: options.health,
        tls: None,
        development: builder.context.development,
    }));
    let gateway = Arc::new(Gateway {
        group,
        hand_off,
        spool_limit: options.spool_limit_bytes,
        variables: options.params,
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

impl Sends for Kind {
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

/// The question of active health checks: a GET.
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

/// One request and its answer: the connection ends with it.
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
