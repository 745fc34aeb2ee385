//! `paster` connects servers, middleware and applications from one config file.
//!
//! The modules in reading order; imports point to a lower floor only (`ARCHITECTURE.md`):
//! - floor 0: [`error`], [`escape`], [`socket_path`], [`inflight`], [`body`], [`environ`]: what everything
//!   passes around; [`spans`], [`health`], [`metrics`], [`profilers`]: what is observed; [`session`]: the session of a request;
//! - floor 1: [`registry`], [`config`], [`context`], [`codec`], [`store`], [`tls_client`]: kinds by name, the merged
//!   config, what surrounds one generation, the gateway protocols, what keeps values for all workers, requests over TLS;
//! - floor 2: [`server`], [`middleware`], [`app`], [`plugin`], [`resource`], [`scaffold`]: the parts;
//! - floor 3: [`ops`]: what each command does, from plain values;
//! - floor 4: [`cli`]: arguments in, exit code out.

#![warn(clippy::print_stdout, clippy::print_stderr)] // they panic on a closed pipe: use `cli::output`

pub mod app;
pub mod body;
pub mod caches;
pub mod cli;
pub mod codec;
pub mod config;
pub mod context;
pub mod environ;
pub mod error;
pub mod escape;
pub mod health;
pub mod inflight;
pub mod metrics;
pub mod middleware;
pub mod ops;
pub mod plugin;
pub mod profilers;
pub mod registry;
pub mod resource;
pub mod scaffold;
pub mod server;
pub mod session;
pub mod socket_path;
pub mod spans;
pub mod store;
pub mod tls_client;
