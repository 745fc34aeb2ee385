//! The messages of one request.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use paster_frames::{FilePart, Kind, Level, Outgoing, ResponseHead, SESSION_CHANGES, push_pair};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBool, PyBytes, PyDict, PyString};

use crate::exchange::{Exchange, Left};
use crate::fields::{check_field, is_hop_by_hop};

/// Parts of at least this size are sent without a copy.
const LARGE: usize = 4096;
/// Longest head of a response, in bytes.
const LONGEST_HEAD: usize = 1 << 20;
/// Longest message of a WebSocket, in bytes.
const LONGEST_MESSAGE: usize = 16_000_000;

/// One request, for `asgi.py`.
#[pyclass(frozen)]
pub(super) struct Stream {
    exchange: Arc<Exchange>,
    state: Mutex<StreamState>,
}

#[derive(Default)]
struct StreamState {
    /// The head, encoded, until the first part is sent.
    head: Option<Vec<u8>>,
    /// The application has sent a head.
    started: bool,
    /// The response, or the WebSocket, is complete.
    ended: bool,
    accepted: bool,
    /// The application has received the whole request body.
    received: bool,
    connected: bool,
}

#[pymethods]
impl Stream {
    /// Registers a future for the next change. Returns `false` if there was a change since the last check.
    fn wait(&self, future: Py<PyAny>) -> bool {
        self.exchange.wait_for_change(future)
    }

    /// The next part of the request body, and whether more follows. `None` if it must wait; `False` if the client is gone or
    /// the response is complete.
    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let gone = || PyBool::new(py, false).to_owned().into_any();
        let mut state = self.state.lock();
        if state.ended {
            return Ok(Some(gone()));
        }
        if state.received {
            drop(state);
            return Ok(self.exchange.look().then(gone));
        }
        match self.exchange.try_take() {
            Ok(Some((_, part, more))) => {
                state.received = !more;
                drop(state);
                Ok(Some((PyBytes::new(py, &part), more).into_pyobject(py)?.into_any()))
            }
            Ok(None) => Ok(None),
            Err(Left) => Ok(Some(gone())),
        }
    }

    /// Keeps the head until the first part of the body.
    fn start(&self, status: u16, headers: &Bound<'_, PyAny>, session: Option<&[u8]>) -> PyResult<()> {
        let head = encode_head(status, headers, session)?;
        let mut state = self.state.lock();
        (state.head, state.started) = (Some(head), true);
        Ok(())
    }

    /// Sends a part of the body. Returns the bytes that must wait for credit, or `False` if the client is gone.
    fn send<'py>(
        &self,
        py: Python<'py>,
        part: Bound<'py, PyAny>,
        last: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let bytes = match part.cast_into::<PyBytes>() {
            Ok(bytes) if bytes.as_bytes().len() >= LARGE => Bytes::from_owner(PyBackedBytes::from(bytes)),
            Ok(bytes) => Bytes::copy_from_slice(bytes.as_bytes()),
            Err(error) => {
                let other = error.into_inner();
                let bytes: Vec<u8> =
                    other.extract().map_err(|_| PyTypeError::new_err("`body` must be `bytes`"))?;
                bytes.into()
            }
        };
        self.push(py, bytes, last)
    }

    /// Sends more of the bytes that [`Stream::send`] has returned.
    fn send_rest<'py>(
        &self,
        py: Python<'py>,
        rest: &Bound<'py, PyBytes>,
        last: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.push(py, Bytes::copy_from_slice(rest.as_bytes()), last)
    }

    /// Lets the worker send a file.
    fn send_file(&self, path: std::path::PathBuf) -> PyResult<()> {
        let file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        let mut state = self.state.lock();
        let head = state
            .head
            .take()
            .ok_or_else(|| PyRuntimeError::new_err("a path was sent before `http.response.start`"))?;
        state.ended = true;
        drop(state);
        let stream = self.exchange.stream;
        self.exchange.connection.send(|out| {
            out.push(Kind::Response, stream, &head);
            out.push_descriptor(Kind::File, stream, &FilePart { offset: 0, length }.encode(), file.into());
        });
        Ok(())
    }

    /// The next event of a WebSocket; `None` if it must wait.
    fn receive_message<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let message = PyDict::new(py);
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.connected, true) {
            message.set_item("type", "websocket.connect")?;
            return Ok(Some(message));
        }
        let ended = state.ended;
        drop(state);
        match self.exchange.try_take() {
            Ok(Some((Kind::Text, text, _))) => {
                message.set_item("type", "websocket.receive")?;
                message.set_item("text", String::from_utf8_lossy(&text))?;
            }
            Ok(Some((Kind::Binary, data, _))) => {
                message.set_item("type", "websocket.receive")?;
                message.set_item("bytes", PyBytes::new(py, &data))?;
            }
            Ok(Some((_, close, _))) => {
                let (code, reason) = close.split_at_checked(2).unwrap_or((&[0xee, 0x03], b""));
                message.set_item("type", "websocket.disconnect")?;
                message.set_item("code", u16::from_le_bytes([code[0], code[1]]))?;
                message.set_item("reason", String::from_utf8_lossy(reason))?;
            }
            Ok(None) if !ended => return Ok(None),
            Ok(None) | Err(Left) => {
                message.set_item("type", "websocket.disconnect")?;
                message.set_item("code", 1006)?;
                message.set_item("reason", "")?;
            }
        }
        Ok(Some(message))
    }

    /// Accepts the WebSocket.
    fn accept(
        &self,
        protocol: Option<&str>,
        headers: &Bound<'_, PyAny>,
        session: Option<&[u8]>,
    ) -> PyResult<()> {
        let mut head = encode_head(101, headers, session)?;
        if let Some(protocol) = protocol {
            push_pair(&mut head, b"sec-websocket-protocol", protocol.as_bytes());
        }
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.accepted, true) {
            return Err(PyRuntimeError::new_err("`websocket.accept` was sent twice"));
        }
        state.started = true;
        drop(state);
        self.exchange.connection.send(|out| out.push(Kind::Accept, self.exchange.stream, &head));
        Ok(())
    }

    /// Sends a message. Returns it if it must wait for credit, or `False` if the client is gone.
    fn send_message<'py>(
        &self,
        py: Python<'py>,
        message: Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let state = self.state.lock();
        if !state.accepted {
            return Err(PyRuntimeError::new_err("a message was sent before `websocket.accept`"));
        }
        let ended = state.ended;
        drop(state);
        let (kind, data) = match message.cast::<PyString>() {
            Ok(text) => (Kind::Text, text.extract::<String>()?.into_bytes()),
            Err(_) => (Kind::Binary, message.extract::<Vec<u8>>()?),
        };
        if data.len() > LONGEST_MESSAGE {
            return Err(PyValueError::new_err("the message is longer than 16 MB"));
        }
        if ended {
            return Ok(Some(PyBool::new(py, false).to_owned().into_any()));
        }
        match self.exchange.try_whole_credit(data.len()) {
            Ok(true) => {
                self.exchange
                    .connection
                    .send_last(py, |out| out.push_message(kind, self.exchange.stream, data.into()));
                Ok(None)
            }
            Ok(false) => Ok(Some(message)),
            Err(Left) => Ok(Some(PyBool::new(py, false).to_owned().into_any())),
        }
    }

    /// Closes the WebSocket. Before it is accepted, the response is 403.
    fn close(&self, code: u16, reason: &str) -> PyResult<()> {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.ended, true) {
            return Ok(());
        }
        let accepted = state.accepted;
        state.started = true;
        drop(state);
        let stream = self.exchange.stream;
        if accepted {
            let payload = [&code.to_le_bytes()[..], reason.as_bytes()].concat();
            self.exchange.connection.send(|out| out.push(Kind::Close, stream, &payload));
        } else {
            let mut head = Vec::new();
            ResponseHead::begin(&mut head, 403, b"Forbidden");
            self.exchange.connection.send(|out| out.push_last(Kind::Response, stream, &head));
        }
        Ok(())
    }

    /// Handles the return of the application.
    fn returned(&self) -> PyResult<()> {
        let state = self.state.lock();
        let (ended, accepted, started) = (state.ended, state.accepted, state.started);
        drop(state);
        if !ended && accepted {
            self.close(1000, "")?;
        } else if !ended && !self.exchange.has_left() {
            let what = if started { "without the end of its response" } else { "without a response" };
            self.exchange.abort(&format!("RuntimeError: the application returned {what}"));
        }
        self.exchange.close();
        Ok(())
    }

    /// Handles an error of the application.
    fn failed(&self, text: &str) {
        let mut state = self.state.lock();
        let (ended, started, accepted) = (state.ended, state.started && state.head.is_none(), state.accepted);
        state.ended = true;
        drop(state);
        if !self.exchange.has_left() {
            if started || ended {
                self.exchange.log(Level::Error, text);
            }
            if accepted {
                let payload = [&1011_u16.to_le_bytes()[..], b"the application failed"].concat();
                self.exchange.connection.send(|out| out.push(Kind::Close, self.exchange.stream, &payload));
            } else if !ended {
                self.exchange.abort(text);
            }
        }
        self.exchange.close();
    }
}

impl Stream {
    pub(super) fn new(exchange: Arc<Exchange>) -> Stream {
        Stream { exchange, state: Mutex::default() }
    }

    fn push<'py>(
        &self,
        py: Python<'py>,
        mut bytes: Bytes,
        last: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut state = self.state.lock();
        if state.ended {
            return Ok(None); // the rest of a response to HEAD, or a part after the end
        }
        let credit = match self.exchange.try_credit(bytes.len()) {
            Ok(credit) => credit,
            Err(Left) => return Ok(Some(PyBool::new(py, false).to_owned().into_any())),
        };
        let part = bytes.split_to(credit);
        let whole = bytes.is_empty();
        let head = state.head.take();
        state.ended = last && whole;
        drop(state);
        let stream = self.exchange.stream;
        if head.is_some() || !part.is_empty() || (last && whole) {
            let end = last && whole;
            let add = |out: &mut Outgoing| {
                if let Some(head) = head {
                    out.push(Kind::Response, stream, &head);
                }
                out.push_data(stream, part, end);
            };
            match end {
                true => self.exchange.connection.send_last(py, add),
                false => self.exchange.connection.send_attached(py, add),
            }
        }
        Ok(if whole { None } else { Some(PyBytes::new(py, &bytes).into_any()) })
    }
}

/// A head from `status`, an iterable of pairs of bytes, and the changes in the session. Drops fields that concern the
/// connection, which only the server sets.
fn encode_head(status: u16, headers: &Bound<'_, PyAny>, session: Option<&[u8]>) -> PyResult<Vec<u8>> {
    if !(101..600).contains(&status) {
        return Err(PyValueError::new_err(format!("{status} is not a status")));
    }
    let mut head = Vec::with_capacity(256);
    ResponseHead::begin(&mut head, status, b"");
    for pair in headers.try_iter()? {
        let pair = pair?;
        let (name, value) = (pair.get_item(0)?, pair.get_item(1)?);
        let wrong = |_| PyTypeError::new_err("the names and values of headers must be `bytes`");
        let name = name.cast::<PyBytes>().map_err(|error| wrong(error.to_string()))?;
        let value = value.cast::<PyBytes>().map_err(|error| wrong(error.to_string()))?;
        check_field(name.as_bytes(), value.as_bytes()).map_err(PyValueError::new_err)?;
        if !is_hop_by_hop(name.as_bytes()) {
            push_pair(&mut head, name.as_bytes(), value.as_bytes());
        }
    }
    if let Some(changes) = session {
        push_pair(&mut head, SESSION_CHANGES.as_bytes(), changes);
    }
    if head.len() > LONGEST_HEAD {
        return Err(PyValueError::new_err("the headers are longer than 1 MiB"));
    }
    Ok(head)
}
