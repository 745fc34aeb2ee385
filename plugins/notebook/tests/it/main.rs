//! The notebook with real kernels, in process: the router, with a kernel host in a child process.

#![allow(clippy::unwrap_used, reason = "tests")]

mod accounts;
mod commands;
mod comments;
mod database;
mod documents;
mod durability;
mod editing;
mod example;
mod factors;
mod gateway;
mod history;
mod host;
mod imports;
mod interface;
mod kernels;
mod lists;
mod login;
mod mail;
mod postgres;
mod programs;
mod rest;
mod runs;
mod server;
mod store;
mod support;
