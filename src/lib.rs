//! `paster` plugs any server, any middleware and any application together from one config file.
//!
//! The modules in reading order; an arrow of imports points to a lower floor only (`ARCHITECTURE.md`):
//! - floor 0: [`error`], [`body`], [`inflight`], [`environ`], [`escape`], [`socket_path`]: what everything passes around;
//!   [`counts`], [`spans`], [`health`]: what is seen of it;
//! - floor 1: [`registry`], [`config`], [`context`], [`codec`]: kinds by name, the merged config, one generation's
//!   surroundings, the gateway protocols;
//! - floor 2: [`server`], [`middleware`], [`app`], [`plugin`], [`scaffold`]: the parts;
//! - floor 3: [`ops`]: what each command does, from plain values;
//! - floor 4: [`cli`]: arguments in, exit code out.

#![warn(clippy::print_stdout, clippy::print_stderr)] // they panic on a closed pipe: use `cli::output`

pub mod app;
pub mod body;
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
pub mod registry;
pub mod scaffold;
pub mod server;
pub mod socket_path;
pub mod spans;
