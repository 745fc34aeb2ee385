//! The integration tests: one binary, a file for each feature.
#![allow(missing_docs, reason = "tests are read, not linked")]
#![allow(clippy::unwrap_used, reason = "a test ends at its first surprise")]

mod border;
mod bridge;
mod bridges_cgi;
mod bridges_gateways;
mod bridges_proxy;
mod cascade;
mod cgi;
mod config;
mod crash;
mod create;
mod crowd;
mod examples;
mod fastcgi;
mod faults;
mod gate;
mod handover;
mod http;
mod http2;
mod inprocess;
mod libraries;
mod limits;
mod list_routes;
mod live;
mod load;
mod local;
mod metrics;
mod middleware;
mod mount;
mod process;
mod reload;
mod request;
mod scgi;
mod sendfile;
mod serve;
mod serve_app;
mod side;
mod skeletons;
mod static_files;
mod support;
mod tidy;
mod traffic;
mod transcripts;
mod workers;
