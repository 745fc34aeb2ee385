//! The integration tests: one binary, a file for each feature.
#![allow(missing_docs, reason = "tests are read, not linked")]
#![allow(clippy::unwrap_used, reason = "a test ends at its first surprise")]

mod border;
