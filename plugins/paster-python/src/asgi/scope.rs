//! The scope of a request.

use paster_frames::{Pairs, SESSION};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::latin1;
use crate::queue::Job;

/// The scope of a request, without `asgi` and `state`.
pub(super) fn scope<'py>(py: Python<'py>, job: &Job) -> PyResult<Bound<'py, PyDict>> {
    let scope = PyDict::new(py);
    let headers = PyList::empty(py);
    let mut kind = "http";
    let (mut script, mut path, mut target) = (&b""[..], &b""[..], &b""[..]);
    let (mut secure, mut host, mut port) = (false, &b""[..], 0_u16);
    let (mut client, mut client_port, mut protocols) = (&b""[..], 0_u16, &b""[..]);
    let number =
        |value: &[u8]| std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    for pair in Pairs::new(&job.head) {
        let (name, value) = pair.map_err(|error| PyValueError::new_err(error.to_string()))?;
        match name {
            b"REQUEST_METHOD" => scope.set_item("method", latin1(py, value))?,
            b"SCRIPT_NAME" => script = value,
            b"PATH_INFO" => path = value,
            b"REQUEST_URI" => target = value,
            b"QUERY_STRING" => scope.set_item("query_string", PyBytes::new(py, value))?,
            b"SERVER_PROTOCOL" => {
                let version = value.strip_prefix(b"HTTP/").unwrap_or(value);
                scope.set_item(
                    "http_version",
                    latin1(py, version.strip_suffix(b".0").filter(|v| *v != b"1").unwrap_or(version)),
                )?;
            }
            b"HTTPS" => secure = value == b"on",
            b"SERVER_NAME" => host = value,
            b"SERVER_PORT" => port = number(value),
            b"REMOTE_ADDR" => client = value,
            b"REMOTE_PORT" => client_port = number(value),
            name if name == SESSION.as_bytes() => {
                scope.set_item("session", PyString::new(py, &String::from_utf8_lossy(value)))?;
            }
            b"PASTER_WEBSOCKET" => {
                kind = "websocket";
                protocols = value;
            }
            b"CONTENT_TYPE" => headers.append(header(py, b"content-type", value)?)?,
            b"CONTENT_LENGTH" => headers.append(header(py, b"content-length", value)?)?,
            _ => {
                if let Some(field) = name.strip_prefix(b"HTTP_") {
                    let field: Vec<u8> = field
                        .iter()
                        .map(|byte| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() })
                        .collect();
                    headers.append(header(py, &field, value)?)?;
                }
            }
        }
    }
    let utf8 = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    scope.set_item("type", kind)?;
    let scheme = match (kind, secure) {
        ("websocket", true) => "wss",
        ("websocket", false) => "ws",
        (_, true) => "https",
        (_, false) => "http",
    };
    scope.set_item("scheme", scheme)?;
    scope.set_item("path", utf8(&[script, path].concat()))?;
    scope.set_item(
        "raw_path",
        PyBytes::new(py, target.split(|byte| *byte == b'?').next().unwrap_or_default()),
    )?;
    scope.set_item("root_path", utf8(script))?;
    scope.set_item("headers", headers)?;
    scope.set_item("server", (utf8(host), port))?;
    let is_address = client != b"unix:" && !client.is_empty();
    scope.set_item("client", is_address.then(|| (utf8(client), client_port)))?;
    if kind == "websocket" {
        let protocols = utf8(protocols);
        let protocols: Vec<_> = protocols.split(',').map(str::trim).filter(|one| !one.is_empty()).collect();
        scope.set_item("subprotocols", protocols)?;
        scope.del_item("method")?;
        let extensions = PyDict::new(py);
        extensions.set_item("websocket.http.response", PyDict::new(py))?;
        scope.set_item("extensions", extensions)?;
    } else {
        let extensions = PyDict::new(py);
        extensions.set_item("http.response.pathsend", PyDict::new(py))?;
        scope.set_item("extensions", extensions)?;
    }
    Ok(scope)
}

fn header<'py>(py: Python<'py>, name: &[u8], value: &[u8]) -> PyResult<Bound<'py, PyTuple>> {
    PyTuple::new(py, [PyBytes::new(py, name), PyBytes::new(py, value)])
}
