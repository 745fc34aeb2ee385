//! `wsgi.file_wrapper`: a file that the worker sends, or that is read in blocks if it is not a regular file.

use std::fs::File;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::process::reopen;

/// An iterable over the blocks of a file.
#[pyclass(frozen)]
pub(super) struct FileWrapper {
    file: Py<PyAny>,
    block: usize,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (file, block_size=8192))]
    fn new(file: Py<PyAny>, block_size: usize) -> FileWrapper {
        FileWrapper { file, block: block_size.max(1) }
    }

    fn __iter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let block = self.file.bind(py).call_method1("read", (self.block,))?;
        let has_ended = block.cast::<PyBytes>().is_ok_and(|block| block.as_bytes().is_empty());
        Ok(Some(block).filter(|_| !has_ended))
    }

    /// Closes the file, if it can be closed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.file.bind(py).getattr_opt("close")? {
            Some(close) => close.call0().map(drop),
            None => Ok(()),
        }
    }
}

impl FileWrapper {
    /// The file, its current position and the number of remaining bytes, if it is a regular file that can be opened again.
    pub(super) fn part(&self, py: Python<'_>) -> Option<(File, u64, u64)> {
        let file = self.file.bind(py);
        let descriptor: i32 = file.call_method0("fileno").ok()?.extract().ok()?;
        let offset: u64 = file.call_method0("tell").ok()?.extract().ok()?;
        let opened = py.detach(|| reopen(descriptor)).ok()?;
        let length = opened.metadata().ok()?.len().saturating_sub(offset);
        Some((opened, offset, length))
    }
}
