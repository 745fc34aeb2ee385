//! What the kinds of application that call another program share: addresses, choice among several, pools,
//! limits, health, retries and error pages.
//!
//! [`run`] sends a request through a [`Group`] in some [`Protocol`]; [`exchange`] moves the bytes. Each kind
//! has its own protocol and options. Nothing here depends on one of them.

mod address;
mod balance;
mod cgi;
mod clock;
mod dns;
mod exchange;
mod failure;
mod group;
mod health;
mod member;
mod options;
mod outgoing;
mod probe;
mod program;
mod protocol;
mod request_writer;
mod response;
mod response_reader;
mod run;
mod spool;
mod stream;

pub use address::reach;
pub(super) use address::{Address, UpstreamTarget};
pub(super) use cgi::{CgiAnswer, Gateway, GatewayProtocol};
pub(super) use dns::{NameOptions, Names};
pub(super) use exchange::{UpstreamExchange, UpstreamStop};
pub(super) use failure::{FailureReason, UpstreamFailure, UpstreamFault};
pub(super) use group::{ConnectionLease, Group};
pub(super) use member::{Member, UpstreamConnection};
pub(super) use options::{
    GatewayOptions, HealthOptions, PoolOptions, Secs, Timeouts, UpstreamOptions, duration, one_gib, secs,
};
pub(super) use outgoing::Outgoing;
pub(super) use probe::{ProbeUpstreams, check_status, send_probe, start_probes};
pub(super) use program::{Program, plain_text};
pub(super) use protocol::{Decoded, KeepAlive, Protocol, ResponseHead};
pub(super) use response::into_response;
pub(super) use run::{may_repeat, run};
pub(super) use stream::{Stream, Tls};

use std::collections::BTreeMap;

use crate::config::{ConfigAddress, Table, item};
use crate::error::Error;

/// Parses the list `upstreams` of a table.
pub(super) fn addresses(
    table: &Table,
    texts: &[ConfigAddress],
    parse: fn(&str) -> Result<Address, String>,
    errors: &mut Vec<Error>,
) -> Vec<Address> {
    if texts.is_empty() {
        errors.push(table.error("upstreams", "there is no upstream").help("list at least one"));
    }
    if texts.len() > group::MOST {
        let message = format!("more than {} upstreams", group::MOST);
        errors.push(table.error("upstreams", message).help("put some of them behind a second proxy"));
    }
    let mut found = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match parse(text) {
            Ok(address) => found.push(address),
            Err(why) => {
                let message = format!("`{}` is not the address of an upstream: {why}", &**text);
                errors.push(table.error(item("upstreams", index), message));
            }
        }
    }
    found
}

/// Checks the variables that the config adds.
pub(super) fn check_variables(
    table: &Table,
    key: &str,
    variables: &BTreeMap<String, String>,
    errors: &mut Vec<Error>,
) {
    for (name, value) in variables {
        let at = crate::config::join(key, name);
        if name.is_empty() || name.contains(['=', '\0']) {
            let error = Error::config(format!("`{name}` is not a variable name")).at(table.key_origin(&at));
            errors.push(error.help("write one such as `APP_ENV`"));
        }
        if value.contains('\0') {
            errors.push(table.error(&at, "a variable must not contain a NUL"));
        }
    }
}
