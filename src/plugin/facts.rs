//! The properties of a request that a middleware in a plugin may change before it passes the request on.

use std::borrow::Cow;
use std::sync::Arc;

use http::Extensions;
use http::uri::Authority;
use paster_abi as abi;

use crate::environ::{Environ, RemoteUser, RequestId};

/// Sets the properties in `extensions` that differ from those in `raw`.
/// # Errors
/// If one is not valid.
/// # Safety
/// Everything that `raw` borrows must live for the call.
pub(super) unsafe fn change(extensions: &mut Extensions, raw: &abi::Request) -> Result<(), String> {
    // SAFETY: guaranteed by the caller, for all slices.
    let (host, script_name, user, auth_type, groups, id) = unsafe {
        (
            text("host", &raw.host)?,
            text("script_name", &raw.script_name)?,
            text("user", &raw.user)?,
            text("auth_type", &raw.auth_type)?,
            text("groups", &raw.groups)?,
            text("request_id", &raw.request_id)?,
        )
    };
    if let Some(environ) = extensions.get_mut::<Environ>() {
        let client = raw.client.ip();
        if client != environ.client {
            environ.client = client;
            environ.relayed = false;
        }
        environ.secure = raw.flags & abi::REQUEST_SECURE != 0;
        environ.port = (raw.host_port != 0).then_some(raw.host_port);
        if *host != *environ.host {
            environ.host = valid_host(host)?;
        }
        if *script_name != *environ.script_name {
            if !script_name.is_empty() && (!script_name.starts_with('/') || script_name.ends_with('/')) {
                return Err("`script_name` must be empty, or begin but not end with `/`".to_owned());
            }
            environ.script_name = script_name.into();
        }
    }
    set_user(extensions, user, auth_type, groups);
    if id.is_empty() {
        extensions.remove::<RequestId>();
    } else if extensions.get::<RequestId>().is_none_or(|known| *known.0 != *id) {
        extensions.insert(RequestId(id.into()));
    }
    Ok(())
}

fn set_user(extensions: &mut Extensions, name: &str, auth_type: &str, groups: &str) {
    if name.is_empty() {
        extensions.remove::<RemoteUser>();
        return;
    }
    let same =
        |user: &RemoteUser| *user.name == *name && user.auth_type == auth_type && *user.groups == *groups;
    if !extensions.get::<RemoteUser>().is_some_and(same) {
        let user = RemoteUser {
            name: name.into(),
            auth_type: Cow::Owned(auth_type.to_owned()),
            groups: Arc::default(),
        };
        extensions.insert(user.with_groups(groups.split(',')));
    }
}

fn valid_host(host: &str) -> Result<Arc<str>, String> {
    let host = host.to_ascii_lowercase();
    match host.parse::<Authority>() {
        Ok(authority) if authority.host() == host => Ok(host.into()),
        _ => Err(format!("`host` is not a host without a port: `{host}`")),
    }
}

/// # Safety
/// The slice must live for `'a`.
unsafe fn text<'a>(name: &str, slice: &abi::Slice) -> Result<&'a str, String> {
    // SAFETY: guaranteed by the caller.
    let bytes: &'a [u8] = unsafe { slice.bytes() };
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(|c: char| c.is_control()) => Ok(text),
        _ => Err(format!("`{name}` is not UTF-8 without control characters")),
    }
}
