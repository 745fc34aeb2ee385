//! Runs a Python application in its own interpreter, for the kinds `wsgi` and `asgi`.
//!
//! In a separate process, the interpreter imports this library and calls `main`. It reads its settings and takes a listening
//! socket from standard input, loads the application, and serves the requests that paster's workers send as frames. With
//! `mode = "embedded"`, a worker loads libpython and then this library, and passes the frames with function calls. The library
//! is not
//! linked to libpython, and uses only Python's stable ABI: one file serves every Python from 3.9 on.
//!
//! - `process`: the life cycle of the application; `control`, `embedded`: its starter, and the source of requests
//! - `descriptors`: sockets that a forked child must not keep; `guard`: the end with the parent
//! - `stacks`: the stacks of all threads; `profile`: samples of them, for a flame graph
//! - `connection`, `exchange`: connections to workers, and the requests on them; `flusher`: frames that they hold back
//! - `wsgi`: PEP 3333, on threads; `asgi`: ASGI 3, on an event loop

mod asgi;
mod connection;
mod control;
mod descriptors;
mod embedded;
mod exchange;
mod fields;
mod flusher;
mod guard;
mod load;
mod process;
mod profile;
mod queue;
mod stacks;
mod wsgi;

use pyo3::prelude::*;

/// The module that the interpreter imports.
#[pymodule]
mod paster_python {
    use pyo3::prelude::*;

    /// Runs the application until the process ends.
    /// # Errors
    /// If the process was not started by paster.
    #[pyfunction]
    fn main(py: Python<'_>) -> PyResult<()> {
        super::process::run(py)
    }
}

/// Decodes bytes as ISO 8859-1, as PEP 3333 requires.
fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, pyo3::types::PyString> {
    match std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii()) {
        Some(text) => pyo3::types::PyString::new(py, text),
        None => {
            pyo3::types::PyString::new(py, &bytes.iter().map(|byte| char::from(*byte)).collect::<String>())
        }
    }
}
