//! The notebook against real kernels, in process: the router with a kernel host in a child process.

mod host;
mod support;
