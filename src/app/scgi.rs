//! `scgi`: an application behind SCGI.
//!
//! # Source
//! SCGI, 2008-06-23: <https://python.ca/scgi/protocol.txt>.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::request::Parts;
use http_body::Body as _;
use schemars::JsonSchema;
use serde::Deserialize;

use super::hand_off;
use super::upstream::{
    Address, CgiAnswer, Decoded, FailureReason, Gateway, GatewayOptions, GatewayProtocol, Group, Member,
    Outgoing, ProbeUpstreams, Protocol, ResponseHead, UpstreamExchange, UpstreamFailure, UpstreamOptions,
    addresses, check_variables, send_probe, start_probes,
};
use crate::app::{AppLink, Builder};
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

impl Options {
    /// The options for upstreams that paster has started, at these addresses.
    pub(super) fn of_processes(
        upstreams: Vec<ConfigAddress>,
        passing: GatewayOptions,
        upstream: UpstreamOptions,
    ) -> Options {
        Options { upstreams, passing, upstream }
    }
}

/// The apps that the upstreams may hand requests to.
pub(super) fn links(options: &Options) -> Vec<AppLink> {
    hand_off::links(&options.upstream.hand_off)
}

/// Creates the app; connects to nothing yet.
pub(super) fn build(options: Options, table: &Table, builder: &mut Builder<'_>) -> Result<App> {
    let mut errors = Vec::new();
    let addresses = addresses(table, &options.upstreams, Address::socket, &mut errors);
    check_variables(table, "params", &options.passing.params, &mut errors);
    let hand_off = options.upstream.check(table, addresses.len(), builder, &mut errors);
    Errors::check(errors)?;
    let group = Group::new(table.name(), addresses, options.upstream, None, builder.context.development);
    let app = Arc::new(ScgiApp(Gateway {
        group: Arc::new(group),
        hand_off,
        spool_limit: options.passing.spool_limit_bytes,
        variables: options.passing.params,
    }));
    if !builder.context.checking {
        start_probes(&app, builder.context);
    }
    Ok(App::from_call(move |request| {
        let app = app.clone();
        Box::pin(async move { app.0.answer(&*app, request).await })
    }))
}

/// The upstreams as an app.
struct ScgiApp(Gateway);

impl GatewayProtocol for ScgiApp {
    type Protocol = Scgi;

    async fn send(
        &self,
        gateway: &Gateway,
        parts: &Parts,
        variables: Variables,
        body: Body,
    ) -> Result<(UpstreamExchange<Scgi>, ResponseHead), UpstreamFailure> {
        let length = body.size_hint().exact().unwrap_or(0);
        let head = head(length, &variables).map_err(UpstreamFailure::Client)?;
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

impl ProbeUpstreams for ScgiApp {
    fn group(&self) -> &Arc<Group> {
        &self.0.group
    }

    async fn probe(&self, member: &Arc<Member>, parts: Parts) -> Result<(), String> {
        let head = head(0, &self.0.probe_variables(&parts)).map_err(|error| error.to_string())?;
        send_probe(&self.0.group, member, |out, _| write(&head, out)).await
    }
}

/// One request and its response, which ends the connection.
struct Scgi(CgiAnswer);

impl Protocol for Scgi {
    fn data(&mut self, data: Bytes, out: &mut Outgoing) {
        out.push(data);
    }

    fn end(&mut self, _: Option<HeaderMap>, _: &mut Outgoing) {}

    fn decode(&mut self, input: &mut BytesMut, ended: bool) -> Result<Decoded, FailureReason> {
        self.0.plain(input, ended)
    }
}
