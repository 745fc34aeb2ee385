//! `wsgi.errors`: lines for paster's log, with the request's id.

use std::sync::Arc;

use parking_lot::Mutex;
use paster_frames::Level;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::exchange::Exchange;

/// A longer line is split.
const LONGEST_LINE: usize = 16 << 10;

/// A text stream that can only be written.
#[pyclass(frozen)]
pub(super) struct ErrorStream {
    exchange: Arc<Exchange>,
    line: Mutex<String>,
}

impl ErrorStream {
    pub(super) fn new(exchange: Arc<Exchange>) -> ErrorStream {
        ErrorStream { exchange, line: Mutex::default() }
    }

    fn log(&self, text: &str) {
        let text = text.trim_end_matches(['\n', '\r']);
        if !text.is_empty() {
            self.exchange.log(Level::Warn, text);
        }
    }
}

#[pymethods]
impl ErrorStream {
    /// Writes text. Text that ends with a line break becomes one log entry, such as a traceback.
    fn write(&self, text: &Bound<'_, PyString>) -> usize {
        let text = text.to_string_lossy();
        let mut line = self.line.lock();
        line.push_str(&text);
        if line.ends_with('\n') || line.len() > LONGEST_LINE {
            let whole = std::mem::take(&mut *line);
            drop(line);
            self.log(&whole);
        }
        text.chars().count()
    }

    fn writelines(&self, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        for line in lines.try_iter()? {
            self.write(line?.cast::<PyString>()?);
        }
        Ok(())
    }

    fn flush(&self) {
        let whole = std::mem::take(&mut *self.line.lock());
        self.log(&whole);
    }
}

impl Drop for ErrorStream {
    fn drop(&mut self) {
        self.flush();
    }
}
