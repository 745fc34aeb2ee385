//! Runs a Python application in its own interpreter, for the kinds `wsgi` and `asgi`.
//!
//! In a process of its own, the interpreter imports this library and calls `main`, which gets its settings and a listening
//! socket from its standard input, loads the application, and serves requests that workers of paster send as frames. With
//! `mode = "embedded"`, a worker loads libpython and then this library, and passes the frames by calls. The library is not
//! linked to libpython, and uses only Python's stable ABI: one file serves every Python from 3.9 on.
//!
//! - `process`: the life of the application; `control`, `embedded`: who has started it, and where requests come from
//! - `descriptors`: what a forked child must not keep
//! - `stacks`: what all threads are doing
//! - `connection`, `exchange`: connections to workers, and the requests on them; `flusher`: what they hold back
//! - `wsgi`: PEP 3333, on threads; `asgi`: ASGI 3, on an event loop

mod asgi;
mod connection;
mod control;
mod descriptors;
mod embedded;
mod exchange;
mod fields;
mod flusher;
mod load;
mod process;
mod queue;
mod stacks;
mod wsgi;

use pyo3::prelude::*;

/// The module that the interpreter imports.
#[pymodule]
mod paster_python {
    use pyo3::prelude::*;

    /// Runs the application; returns at the end of the process.
    /// # Errors
    /// When the process was not started by paster.
    #[pyfunction]
    fn main(py: Python<'_>) -> PyResult<()> {
        super::process::run(py)
    }
}

/// Text of bytes in ISO 8859-1, as PEP 3333 wants it.
fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, pyo3::types::PyString> {
    match std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii()) {
        Some(text) => pyo3::types::PyString::new(py, text),
        None => {
            pyo3::types::PyString::new(py, &bytes.iter().map(|byte| char::from(*byte)).collect::<String>())
        }
    }
}
