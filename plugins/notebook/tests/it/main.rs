//! The notebook with real kernels, in process: the router, with a kernel host in a child process.

#![allow(clippy::unwrap_used, reason = "tests")]

mod accounts;
mod commands;
mod comments;
mod documents;
mod durability;
mod editing;
mod example;
mod gateway;
mod host;
mod interface;
mod factors;
mod history;
mod imports;
mod kernels;
mod lists;
mod login;
mod programs;
mod mail;
mod rest;
mod runs;
mod server;
mod support;
