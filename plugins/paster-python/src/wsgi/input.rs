//! `wsgi.input`: the request body as a file.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use parking_lot::{Mutex, MutexGuard};
use pyo3::exceptions::PyConnectionAbortedError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::exchange::{Exchange, Left};

/// A binary stream that can only be read. It ends with the request body.
#[pyclass(frozen)]
pub(super) struct Input {
    exchange: Arc<Exchange>,
    /// The rest of the last part that was taken.
    rest: Mutex<Bytes>,
}

impl Input {
    pub(super) fn new(exchange: Arc<Exchange>) -> Input {
        Input { exchange, rest: Mutex::default() }
    }

    fn rest(&self) -> MutexGuard<'_, Bytes> {
        self.rest.lock()
    }

    /// The next part of the body; `None` at its end.
    fn take(&self, py: Python<'_>) -> PyResult<Option<Bytes>> {
        let rest = std::mem::take(&mut *self.rest());
        if !rest.is_empty() {
            return Ok(Some(rest));
        }
        let taken = match self.exchange.can_take() {
            true => self.exchange.take(),
            false => py.detach(|| self.exchange.take()),
        };
        let left =
            |Left| PyConnectionAbortedError::new_err("the client left before the end of its request body");
        taken.map_err(left)
    }

    /// Reads up to `limit` bytes, until `find` returns the end within a part.
    fn gather<'py>(
        &self,
        py: Python<'py>,
        mut limit: usize,
        find: impl Fn(&[u8]) -> Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut parts: Vec<Bytes> = Vec::new();
        while limit > 0 {
            let Some(mut part) = self.take(py)? else { break };
            let found = find(&part[..part.len().min(limit)]);
            let used = found.unwrap_or(part.len()).min(limit);
            let taken = part.split_to(used);
            *self.rest() = part;
            limit -= used;
            parts.push(taken);
            if found.is_some() {
                break;
            }
        }
        if let [only] = parts.as_slice() {
            return Ok(PyBytes::new(py, only));
        }
        let length = parts.iter().map(Bytes::len).sum();
        PyBytes::new_with(py, length, |mut out| {
            for mut part in parts {
                let (place, rest) = std::mem::take(&mut out).split_at_mut(part.len());
                part.copy_to_slice(place);
                out = rest;
            }
            Ok(())
        })
    }
}

/// `None` and negative sizes mean everything.
fn limit(size: Option<isize>) -> usize {
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX)
}

fn line_end(part: &[u8]) -> Option<usize> {
    part.iter().position(|byte| *byte == b'\n').map(|place| place + 1)
}

#[pymethods]
impl Input {
    #[pyo3(signature = (size=None, /))]
    fn read<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.gather(py, limit(size), |_| None)
    }

    #[pyo3(signature = (size=None, /))]
    fn readline<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.gather(py, limit(size), line_end)
    }

    /// Reads all lines. Stops after the line that reaches `hint` bytes.
    #[pyo3(signature = (hint=None, /))]
    fn readlines<'py>(&self, py: Python<'py>, hint: Option<isize>) -> PyResult<Bound<'py, PyList>> {
        let wanted = hint.filter(|hint| *hint > 0).map_or(usize::MAX, |hint| hint.unsigned_abs());
        let (lines, mut length) = (PyList::empty(py), 0);
        while length < wanted {
            let line = self.readline(py, None)?;
            if line.as_bytes().is_empty() {
                break;
            }
            length += line.as_bytes().len();
            lines.append(line)?;
        }
        Ok(lines)
    }

    fn __iter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        Ok(Some(self.readline(py, None)?).filter(|line| !line.as_bytes().is_empty()))
    }

    fn readable(&self) -> bool {
        true
    }

    fn close(&self) {}
}
