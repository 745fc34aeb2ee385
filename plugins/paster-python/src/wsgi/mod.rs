//! PEP 3333: calls the application for each request, on threads that stay attached to the interpreter.
//!
//! - here: the call, the iteration over the result, and errors
//! - `environ`, `input`, `errors`: the application's input
//! - `response`: `start_response`, `write`, and the response itself
//! - `file_wrapper`: files, which the worker sends

mod environ;
mod errors;
mod file_wrapper;
mod input;
mod response;

use std::sync::Arc;
use std::time::Instant;

use paster_frames::Level;
use pyo3::exceptions::{PyAssertionError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyModule, PyTuple};

use self::environ::{Environs, Made};
use self::file_wrapper::FileWrapper;
use self::response::{Flow, Response, StartResponse};
use crate::connection::Connection;
use crate::load::Load;
use crate::process::Settings;
use crate::queue::{Job, Queue};

/// Serves requests on a thread of the application.
#[pyclass(frozen)]
pub(crate) struct Handler {
    application: Py<PyAny>,
    loader: Py<PyModule>,
    queue: Arc<Queue>,
    load: Arc<Load>,
    /// The keys of `environ` that are the same for all requests.
    base: Py<PyDict>,
    /// The class of sessions.
    session: Py<PyAny>,
}

#[pymethods]
impl Handler {
    /// Serves until the queue is closed.
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let environs = Environs::new(py, &self.base, &self.session);
        let mut last: Option<Arc<Connection>> = None;
        loop {
            let Some(job) = self.queue.try_next() else {
                if let Some(connection) = last.take() {
                    connection.send_attached(py, |_| ()); // the frames that were held back
                }
                if !py.detach(|| self.queue.wait()) {
                    return Ok(());
                }
                self.queue.woken();
                continue;
            };
            if !job.exchange.has_left() {
                job.exchange.connection.begin_stream(job.exchange.stream);
                let (number, began) = (self.load.begin(&job.exchange), Instant::now());
                self.serve(py, &environs, &job);
                self.load.end(number);
                self.queue.ran(began.elapsed());
            }
            job.exchange.close();
            last = Some(job.exchange.connection.clone());
        }
    }
}

impl Handler {
    pub(crate) fn new(
        py: Python<'_>,
        application: Bound<'_, PyAny>,
        loader: Py<PyModule>,
        (queue, load): (Arc<Queue>, Arc<Load>),
        settings: &Settings,
    ) -> PyResult<Handler> {
        let base = environ::base(py, settings.number("threads") > 1, settings.number("processes") > 1)?;
        let session = loader.getattr(py, "Session")?;
        Ok(Handler { application: application.unbind(), loader, queue, load, base: base.unbind(), session })
    }

    fn serve(&self, py: Python<'_>, environs: &Environs<'_>, job: &Job) {
        let Made { environ, is_head, session } = match environs.make(py, job) {
            Ok(made) => made,
            Err(error) => return job.exchange.abort(&self.describe(py, &error)),
        };
        let response = Arc::new(Response::new(job.exchange.clone(), is_head, session));
        if let Err(error) = self.answer(py, environ, &response) {
            self.failed(py, &response, &error);
        }
    }

    /// Calls the application and sends its response. `close()` is always called.
    fn answer(&self, py: Python<'_>, environ: Bound<'_, PyDict>, response: &Arc<Response>) -> PyResult<()> {
        let start_response = Bound::new(py, StartResponse(response.clone()))?;
        let result = self.application.bind(py).call1((environ, start_response))?;
        let sent = send(py, &result, response);
        let closed = match result.getattr_opt("close") {
            Ok(Some(close)) => close.call0().map(drop),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        match (sent, closed) {
            (Ok(()), Err(error)) if response.has_ended() => {
                // The response is complete, so the error only goes to the log.
                response.exchange.log(Level::Error, &self.describe(py, &error));
                Ok(())
            }
            (Ok(()), closed) => closed,
            (Err(error), _) => Err(error),
        }
    }

    /// Reports an error of the application: as the response, or in the log if a part of the response was already sent.
    fn failed(&self, py: Python<'_>, response: &Response, error: &PyErr) {
        if response.exchange.has_left() {
            return; // the application knows that the client has left, and nobody waits for the response
        }
        let text = self.describe(py, error);
        if response.is_sent() {
            response.exchange.log(Level::Error, &text);
        }
        response.exchange.abort(&text);
    }

    /// The traceback. In development, it contains the variables too.
    fn describe(&self, py: Python<'_>, error: &PyErr) -> String {
        let text = self.loader.bind(py).call_method1("describe", (exception(py, error),));
        text.and_then(|text| text.extract()).unwrap_or_else(|_| error.to_string())
    }
}

/// The exception with its traceback.
fn exception(py: Python<'_>, error: &PyErr) -> Py<PyAny> {
    error.clone_ref(py).into_value(py).into_any()
}

/// Sends the result of the application.
fn send(py: Python<'_>, result: &Bound<'_, PyAny>, response: &Response) -> PyResult<()> {
    if let Ok(parts) = result.cast_exact::<PyList>() {
        return send_all(py, parts.iter().collect(), response);
    }
    if let Ok(parts) = result.cast_exact::<PyTuple>() {
        return send_all(py, parts.iter().collect(), response);
    }
    if result.is_instance_of::<PyBytes>() || result.is_instance_of::<pyo3::types::PyString>() {
        let name = result.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "the application returned `{name}`, not an iterable of bytes: return a list"
        )));
    }
    if let Ok(file) = result.cast_exact::<FileWrapper>()
        && response.file(py, file)?
    {
        return Ok(());
    }
    let single = result.len().is_ok_and(|length| length == 1);
    let mut parts = result.try_iter()?;
    let first = next_part(&mut parts)?;
    if single {
        // The first part is the whole body (PEP 3333, "Handling the `Content-Length` Header").
        response.announce_length(first.as_ref().map_or(0, |part| part.as_bytes().len() as u64));
    }
    let mut next = first;
    while let Some(part) = next {
        if response.part(py, part, false)? != Flow::On {
            return response.finish(py);
        }
        next = next_part(&mut parts)?;
    }
    response.finish(py)
}

fn next_part<'py>(parts: &mut Bound<'py, pyo3::types::PyIterator>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    parts.next().transpose()?.map(bytes).transpose()
}

/// Sends a body whose parts are all available.
fn send_all(py: Python<'_>, parts: Vec<Bound<'_, PyAny>>, response: &Response) -> PyResult<()> {
    let parts = parts.into_iter().map(bytes).collect::<PyResult<Vec<_>>>()?;
    response.announce_length(parts.iter().map(|part| part.as_bytes().len() as u64).sum());
    let last = parts.iter().rposition(|part| !part.as_bytes().is_empty());
    for (index, part) in parts.into_iter().enumerate() {
        if response.part(py, part, Some(index) == last)? != Flow::On {
            break;
        }
    }
    response.finish(py)
}

fn bytes(part: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyBytes>> {
    part.cast_into::<PyBytes>().map_err(|error| {
        let name = error.into_inner().get_type().name().map(|name| name.to_string()).unwrap_or_default();
        PyTypeError::new_err(format!("the application yielded `{name}`, not `bytes`"))
    })
}

/// The error of an application that has not called `start_response`.
fn not_started() -> PyErr {
    PyAssertionError::new_err("the application has not called `start_response` before its first body part")
}
