//! The dictionary `environ`.

use std::cell::RefCell;
use std::collections::HashMap;

use paster_frames::{Pairs, SESSION};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::errors::ErrorStream;
use super::file_wrapper::FileWrapper;
use super::input::Input;
use crate::latin1;
use crate::queue::Job;

/// How many names of variables are kept as strings of Python.
const KNOWN: usize = 256;

/// The keys that are the same for all requests.
pub(super) fn base(py: Python<'_>, multithread: bool, multiprocess: bool) -> PyResult<Bound<'_, PyDict>> {
    let base = PyDict::new(py);
    base.set_item("wsgi.version", (1, 0))?;
    base.set_item("wsgi.multithread", multithread)?;
    base.set_item("wsgi.multiprocess", multiprocess)?;
    base.set_item("wsgi.run_once", false)?;
    // The input ends with the body, even if there is no CONTENT_LENGTH.
    base.set_item("wsgi.input_terminated", true)?;
    base.set_item("wsgi.file_wrapper", py.get_type::<FileWrapper>())?;
    Ok(base)
}

/// Makes the dictionaries of one thread.
pub(super) struct Environs<'a> {
    base: &'a Py<PyDict>,
    names: RefCell<HashMap<Box<[u8]>, Py<PyString>>>,
    scheme: Py<PyString>,
    input: Py<PyString>,
    errors: Py<PyString>,
    session: (Py<PyString>, &'a Py<PyAny>),
}

/// What is made for a request.
pub(super) struct Made<'py> {
    pub(super) environ: Bound<'py, PyDict>,
    pub(super) is_head: bool,
    /// Its session, if it has one.
    pub(super) session: Option<Py<PyAny>>,
}

impl<'a> Environs<'a> {
    pub(super) fn new(py: Python<'_>, base: &'a Py<PyDict>, session: &'a Py<PyAny>) -> Environs<'a> {
        let name = |text| PyString::intern(py, text).unbind();
        let session = (name("paster.session"), session);
        let (scheme, input, errors) = (name("wsgi.url_scheme"), name("wsgi.input"), name("wsgi.errors"));
        Environs { base, names: RefCell::default(), scheme, input, errors, session }
    }

    /// The dictionary of a request.
    pub(super) fn make<'py>(&self, py: Python<'py>, job: &Job) -> PyResult<Made<'py>> {
        let environ = self.base.bind(py).copy()?;
        let (mut is_head, mut secure, mut session) = (false, false, None);
        for pair in Pairs::new(&job.head) {
            let (name, value) = pair.map_err(|error| PyValueError::new_err(error.to_string()))?;
            match name {
                b"REQUEST_METHOD" => is_head = value == b"HEAD",
                b"HTTPS" => secure = value == b"on",
                name if name == SESSION.as_bytes() => {
                    let (key, class) = &self.session;
                    let made = class.bind(py).call1((String::from_utf8_lossy(value),))?;
                    environ.set_item(key, &made)?;
                    session = Some(made.unbind());
                    continue;
                }
                _ => {}
            }
            environ.set_item(self.name(py, name), latin1(py, value))?;
        }
        environ.set_item(&self.scheme, if secure { "https" } else { "http" })?;
        environ.set_item(&self.input, Bound::new(py, Input::new(job.exchange.clone()))?)?;
        environ.set_item(&self.errors, Bound::new(py, ErrorStream::new(job.exchange.clone()))?)?;
        Ok(Made { environ, is_head, session })
    }

    fn name<'py>(&self, py: Python<'py>, name: &[u8]) -> Bound<'py, PyString> {
        let mut names = self.names.borrow_mut();
        if let Some(known) = names.get(name) {
            return known.bind(py).clone();
        }
        let text = latin1(py, name);
        if names.len() < KNOWN {
            names.insert(name.into(), text.clone().unbind());
        }
        text
    }
}
