//! `start_response`, `write`, and sending the response.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use paster_frames::{FilePart, Kind, LARGEST_DATA, Outgoing, ResponseHead, SESSION_CHANGES, push_pair};
use pyo3::exceptions::{PyAssertionError, PyConnectionAbortedError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use super::file_wrapper::FileWrapper;
use super::not_started;
use crate::exchange::Exchange;
use crate::fields::{check_field, is_hop_by_hop};

/// Parts of at least this size are sent without a copy.
const LARGE: usize = 4096;

/// Longest head of a response, in bytes.
const LONGEST_HEAD: usize = 1 << 20;

/// Whether to continue with the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Send the next part.
    On,
    /// Send nothing more.
    Full,
}

/// The response to one request.
pub(super) struct Response {
    pub(super) exchange: Arc<Exchange>,
    is_head: bool,
    /// The session of the request.
    session: Option<Py<PyAny>>,
    state: Mutex<ResponseState>,
}

#[derive(Default)]
struct ResponseState {
    head: Option<Head>,
    /// The head is sent.
    sent: bool,
    /// The response is complete.
    ended: bool,
    /// Number of bytes of the body that have been sent.
    written: u64,
}

/// The arguments of `start_response`.
struct Head {
    /// The encoded [`ResponseHead`].
    payload: Vec<u8>,
    /// `Content-Length`.
    length: Option<u64>,
    /// Whether the status has no body.
    bodiless: bool,
}

impl Response {
    pub(super) fn new(exchange: Arc<Exchange>, is_head: bool, session: Option<Py<PyAny>>) -> Response {
        Response { exchange, is_head, session, state: Mutex::default() }
    }

    /// The application's changes in its session, if the head is not sent yet. This runs Python code, so the state must not be
    /// locked.
    fn session_changes(&self, py: Python<'_>) -> PyResult<Option<Vec<u8>>> {
        match &self.session {
            Some(session) if !self.is_sent() => session.call_method0(py, "_changes")?.extract(py),
            _ => Ok(None),
        }
    }

    fn state(&self) -> MutexGuard<'_, ResponseState> {
        self.state.lock()
    }

    /// Whether the head is sent.
    pub(super) fn is_sent(&self) -> bool {
        self.state().sent
    }

    /// Whether everything is sent.
    pub(super) fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// Adds the length of the body, which is now known, to the head if the application has not set it.
    pub(super) fn announce_length(&self, length: u64) {
        let mut state = self.state();
        if state.sent {
            return;
        }
        if let Some(head) = &mut state.head
            && head.length.is_none()
            && !head.bodiless
        {
            head.length = Some(length);
            push_pair(&mut head.payload, b"Content-Length", length.to_string().as_bytes());
        }
    }

    /// Sends a part of the body, after the head. `last` means that nothing follows. An empty part sends nothing.
    /// # Errors
    /// If
    /// there is no head, or if the part is longer than the head allows.
    pub(super) fn part(&self, py: Python<'_>, part: Bound<'_, PyBytes>, last: bool) -> PyResult<Flow> {
        let length = part.as_bytes().len() as u64;
        let changes = if length == 0 { None } else { self.session_changes(py)? };
        let mut state = self.state();
        let Some(head) = &state.head else { return Err(not_started()) };
        if length == 0 {
            return Ok(Flow::On);
        }
        if self.is_head || head.bodiless {
            return Ok(Flow::Full);
        }
        let left = head.length.map(|all| all.saturating_sub(state.written));
        let used = left.unwrap_or(length).min(length);
        if used == 0 {
            return Ok(Flow::Full);
        }
        state.written += used;
        let full = left == Some(used);
        let end = last || full;
        let first = self.take_head(&mut state, changes);
        state.ended |= end;
        drop(state);
        let used = usize::try_from(used).unwrap_or(usize::MAX);
        let bytes = match used >= LARGE {
            true => Bytes::from_owner(PyBackedBytes::from(part)).slice(..used),
            false => Bytes::copy_from_slice(&part.as_bytes()[..used]),
        };
        self.send(py, first, bytes, end)?;
        Ok(if full { Flow::Full } else { Flow::On })
    }

    /// The head with the changes in the session, if it is not sent yet.
    fn take_head(&self, state: &mut ResponseState, changes: Option<Vec<u8>>) -> Option<Vec<u8>> {
        if std::mem::replace(&mut state.sent, true) {
            return None;
        }
        let mut payload = std::mem::take(&mut state.head.as_mut()?.payload);
        if let Some(changes) = changes {
            push_pair(&mut payload, SESSION_CHANGES.as_bytes(), &changes);
        }
        Some(payload)
    }

    /// Sends `bytes` as far as the worker's credit allows.
    fn send(&self, py: Python<'_>, mut head: Option<Vec<u8>>, mut bytes: Bytes, end: bool) -> PyResult<()> {
        let (exchange, stream) = (&self.exchange, self.exchange.stream);
        let left = |_| PyConnectionAbortedError::new_err("the client has left");
        let mut credit = exchange.try_credit(bytes.len()).map_err(left)?;
        let mut add = |out: &mut Outgoing, part: Bytes, end: bool| {
            if let Some(head) = head.take() {
                out.push(Kind::Response, stream, &head);
            }
            out.push_data(stream, part, end);
        };
        if credit == bytes.len() && credit <= LARGEST_DATA {
            match end {
                true => exchange.connection.send_last(py, |out| add(out, bytes, true)),
                false => exchange.connection.send_attached(py, |out| add(out, bytes, false)),
            }
            return Ok(());
        }
        py.detach(|| {
            loop {
                let part = bytes.split_to(credit);
                let last = end && bytes.is_empty();
                exchange.connection.send(|out| add(out, part, last));
                if bytes.is_empty() {
                    return Ok(());
                }
                credit = exchange.credit(bytes.len())?;
            }
        })
        .map_err(left)
    }

    /// Ends the response.
    /// # Errors
    /// If there is no head, or if the body is shorter than the head states.
    pub(super) fn finish(&self, py: Python<'_>) -> PyResult<()> {
        let changes = self.session_changes(py)?;
        let mut state = self.state();
        let Some(head) = &state.head else { return Err(not_started()) };
        if state.ended {
            return Ok(());
        }
        let has_body = !self.is_head && !head.bodiless;
        if let Some(length) = head.length.filter(|length| has_body && *length != state.written) {
            let message =
                format!("the body has {} bytes, but its `Content-Length` is {length}", state.written);
            return Err(PyAssertionError::new_err(message));
        }
        state.ended = true;
        let head = self.take_head(&mut state, changes);
        drop(state);
        let (exchange, stream) = (&self.exchange, self.exchange.stream);
        exchange.connection.send_last(py, |out| match head {
            Some(head) => out.push_last(Kind::Response, stream, &head),
            None => out.push_data(stream, Bytes::new(), true),
        });
        Ok(())
    }

    /// Lets the worker send a file, if it is a regular file. Otherwise, the file must be read.
    /// # Errors
    /// If there is no head.
    pub(super) fn file(&self, py: Python<'_>, file: &Bound<'_, FileWrapper>) -> PyResult<bool> {
        let Some((opened, offset, available)) = file.get().part(py) else { return Ok(false) };
        let changes = self.session_changes(py)?;
        let mut state = self.state();
        let sent = state.sent;
        let Some(head) = &mut state.head else { return Err(not_started()) };
        let wanted = head.length.unwrap_or(available);
        if sent || wanted > available || wanted == 0 {
            return Ok(false);
        }
        if head.length.is_none() && !head.bodiless {
            head.length = Some(available);
            push_pair(&mut head.payload, b"Content-Length", available.to_string().as_bytes());
        }
        if self.is_head || head.bodiless {
            drop(state);
            return self.finish(py).map(|()| true);
        }
        (state.written, state.ended) = (wanted, true);
        let head = self.take_head(&mut state, changes).unwrap_or_default();
        drop(state);
        let (exchange, stream) = (&self.exchange, self.exchange.stream);
        let part = FilePart { offset, length: wanted };
        exchange.connection.send_last(py, |out| {
            out.push(Kind::Response, stream, &head);
            out.push_descriptor(Kind::File, stream, &part.encode(), opened.into());
        });
        Ok(true)
    }
}

/// The callable that the application gets.
#[pyclass(frozen)]
pub(super) struct StartResponse(pub(super) Arc<Response>);

#[pymethods]
impl StartResponse {
    #[pyo3(signature = (status, headers, exc_info=None, /))]
    fn __call__(
        &self,
        status: &Bound<'_, PyAny>,
        headers: &Bound<'_, PyAny>,
        exc_info: Option<&Bound<'_, PyTuple>>,
    ) -> PyResult<Write> {
        let head = Head::read(status, headers);
        let mut state = self.0.state();
        match exc_info {
            Some(error) if state.sent => {
                drop(state);
                return Err(PyErr::from_value(error.get_item(1)?));
            }
            None if state.head.is_some() => {
                return Err(PyAssertionError::new_err(
                    "`start_response` was called twice without `exc_info`",
                ));
            }
            _ => {}
        }
        state.head = Some(head?);
        Ok(Write(self.0.clone()))
    }
}

/// The callable that `start_response` returns.
#[pyclass(frozen)]
pub(super) struct Write(Arc<Response>);

#[pymethods]
impl Write {
    fn __call__(&self, py: Python<'_>, data: Bound<'_, PyAny>) -> PyResult<()> {
        let data = data.cast_into::<PyBytes>().map_err(|_| PyTypeError::new_err("`write` takes `bytes`"))?;
        self.0.part(py, data, false).map(drop)
    }
}

impl Head {
    fn read(status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<Head> {
        let status = text(status, "the status")?;
        let (code, reason) = split_status(status.text())?;
        let headers =
            headers.cast::<PyList>().map_err(|_| PyTypeError::new_err("the headers must be a list"))?;
        let mut payload = Vec::with_capacity(64 * headers.len());
        let mut length = None;
        ResponseHead::begin(&mut payload, code, reason.as_bytes());
        for header in headers {
            let header = header.cast_into::<PyTuple>().ok().filter(|header| header.len() == 2);
            let pair = header
                .ok_or_else(|| PyTypeError::new_err("a header must be a tuple of a name and a value"))?;
            let (name, value) =
                (text(&pair.get_item(0)?, "a header name")?, text(&pair.get_item(1)?, "a header value")?);
            let (name, value) = (name.text(), encode(value.text())?);
            check_field(name.as_bytes(), &value).map_err(PyValueError::new_err)?;
            if name.eq_ignore_ascii_case("status") {
                return Err(PyValueError::new_err("the headers must not contain `Status`"));
            }
            if is_hop_by_hop(name.as_bytes()) {
                let message = format!("`{name}` is a hop-by-hop header, which only the server sets");
                return Err(PyAssertionError::new_err(message));
            }
            if name.eq_ignore_ascii_case("content-length") {
                let number = std::str::from_utf8(&value).ok().and_then(|text| text.trim().parse().ok());
                let wrong = || PyValueError::new_err("`Content-Length` is not a number");
                if length.replace(number.ok_or_else(wrong)?).is_some() {
                    return Err(PyValueError::new_err("`Content-Length` is set twice"));
                }
            }
            push_pair(&mut payload, name.as_bytes(), &value);
        }
        if payload.len() > LONGEST_HEAD {
            return Err(PyValueError::new_err("the headers are longer than 1 MiB"));
        }
        Ok(Head { payload, length, bodiless: matches!(code, 204 | 304) })
    }
}

/// The UTF-8 of a Python string.
struct Text<'py>(Bound<'py, PyBytes>);

impl Text<'_> {
    fn text(&self) -> &str {
        std::str::from_utf8(self.0.as_bytes()).unwrap_or_default() // Python has encoded it
    }
}

/// A string of Python's own type `str`, as PEP 3333 requires.
fn text<'py>(value: &Bound<'py, PyAny>, what: &str) -> PyResult<Text<'py>> {
    match value.cast::<PyString>() {
        Ok(text) => text.encode_utf8().map(Text),
        Err(_) => {
            let name = value.get_type().name()?;
            Err(PyTypeError::new_err(format!("{what} must be of type `str`, not `{name}`")))
        }
    }
}

/// `200 OK`: three digits, a space and the reason, which may be empty.
fn split_status(status: &str) -> PyResult<(u16, Cow<'_, str>)> {
    let (digits, reason) = status.split_once(' ').unwrap_or((status, ""));
    let code = digits.parse::<u16>().ok().filter(|code| digits.len() == 3 && (200..600).contains(code));
    let code =
        code.ok_or_else(|| PyValueError::new_err(format!("{status:?} is not a status such as `200 OK`")))?;
    if reason.chars().any(is_control) {
        return Err(PyValueError::new_err("the status contains a control character"));
    }
    if reason.is_ascii() {
        return Ok((code, reason.into()));
    }
    // A reason phrase is for people: what HTTP cannot carry is replaced.
    let printable = |c: char| if u32::from(c) < 256 { c } else { '?' };
    Ok((code, reason.chars().map(printable).collect::<String>().into()))
}

fn is_control(c: char) -> bool {
    c.is_ascii_control()
}

/// ISO 8859-1.
fn encode(text: &str) -> PyResult<Cow<'_, [u8]>> {
    if text.is_ascii() {
        return Ok(text.as_bytes().into());
    }
    let encoded: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    encoded.map(Cow::from).ok_or_else(|| {
        PyValueError::new_err(format!("{text:?} contains a character that is not in ISO 8859-1"))
    })
}
