//! Notebook.
