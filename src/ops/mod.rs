//! What each command does, with plain values as input. No clap here.

mod app_limit;
pub mod assemble;
pub mod build;
pub mod check;
pub mod control;
pub mod detect;
pub mod environment;
pub mod htpasswd;
pub mod list;
pub mod python_environment;
mod redirect;
pub mod reference;
pub mod replay;
pub mod request;
pub mod routes;
pub mod scaffold;
pub mod schema;
mod sdk;
pub mod sections;
pub mod serve;
pub(crate) mod stack;
pub mod trace;
