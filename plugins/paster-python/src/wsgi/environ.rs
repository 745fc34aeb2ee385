//! The dictionary `environ`.

use std::cell::RefCell;

use paster_frames::{Pairs, SESSION};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::errors::ErrorStream;
use super::file_wrapper::FileWrapper;
use super::input::Input;
use crate::latin1;
use crate::queue::Job;

/// Maximum number of variables that are cached as Python strings.
const KNOWN: usize = 64;
/// Maximum length of a cached value, in bytes.
const LONGEST: usize = 128;

/// The keys that are the same for all requests.
pub(super) fn base(py: Python<'_>, multithread: bool, multiprocess: bool) -> PyResult<Bound<'_, PyDict>> {
    let base = PyDict::new(py);
    base.set_item("wsgi.version", (1, 0))?;
    base.set_item("wsgi.multithread", multithread)?;
    base.set_item("wsgi.multiprocess", multiprocess)?;
    base.set_item("wsgi.run_once", false)?;
    // The input ends with the body, even without a CONTENT_LENGTH.
    base.set_item("wsgi.input_terminated", true)?;
    base.set_item("wsgi.file_wrapper", py.get_type::<FileWrapper>())?;
    Ok(base)
}

/// Makes the dictionaries of one thread.
pub(super) struct Environs<'a> {
    base: &'a Py<PyDict>,
    known: RefCell<KnownVariables>,
    scheme: Py<PyString>,
    input: Py<PyString>,
    errors: Py<PyString>,
    session: (Py<PyString>, &'a Py<PyAny>),
}

/// Variables of earlier requests, because most clients send the same ones again.
#[derive(Default)]
struct KnownVariables {
    all: Vec<KnownVariable>,
    /// The place of the variable that will probably come next.
    next: usize,
}

/// A variable and its last value, as bytes and as strings.
struct KnownVariable {
    name: (Box<[u8]>, Py<PyString>),
    value: (Vec<u8>, Py<PyString>),
}

/// The objects for a request.
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
        Environs { base, known: RefCell::default(), scheme, input, errors, session }
    }

    /// The dictionary of a request.
    pub(super) fn make<'py>(&self, py: Python<'py>, job: &Job) -> PyResult<Made<'py>> {
        let environ = self.base.bind(py).copy()?;
        let mut known = self.known.borrow_mut();
        known.next = 0;
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
            known.set(py, &environ, name, value)?;
        }
        drop(known);
        environ.set_item(&self.scheme, if secure { "https" } else { "http" })?;
        environ.set_item(&self.input, Bound::new(py, Input::new(job.exchange.clone()))?)?;
        environ.set_item(&self.errors, Bound::new(py, ErrorStream::new(job.exchange.clone()))?)?;
        Ok(Made { environ, is_head, session })
    }
}

impl KnownVariables {
    /// Sets a variable of `environ`.
    fn set(
        &mut self,
        py: Python<'_>,
        environ: &Bound<'_, PyDict>,
        name: &[u8],
        value: &[u8],
    ) -> PyResult<()> {
        let mut places = (self.next..self.all.len()).chain(0..self.next);
        let found = places.find(|place| *self.all[*place].name.0 == *name);
        if let Some(place) = found {
            self.next = place + 1;
            let known = &mut self.all[place];
            if known.value.0 != value {
                let text = latin1(py, value);
                if value.len() > LONGEST {
                    return environ.set_item(&known.name.1, text);
                }
                known.value.0.clear();
                known.value.0.extend_from_slice(value);
                known.value.1 = text.unbind();
            }
            return environ.set_item(&known.name.1, &known.value.1);
        }
        let texts = (latin1(py, name), latin1(py, value));
        environ.set_item(&texts.0, &texts.1)?;
        if self.all.len() < KNOWN && value.len() <= LONGEST {
            let name = (name.into(), texts.0.unbind());
            self.all.push(KnownVariable { name, value: (value.to_vec(), texts.1.unbind()) });
        }
        Ok(())
    }
}
