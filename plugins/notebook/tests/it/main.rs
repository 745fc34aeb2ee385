//! The notebook with real kernels, in process: the router, with a kernel host in a child process.

#![allow(clippy::unwrap_used, reason = "tests")]

mod accounts;
mod built_in;
mod cgroups;
mod commands;
mod comments;
mod content;
mod database;
mod documents;
mod durability;
mod editing;
mod example;
mod factors;
mod gateway;
mod groups;
mod history;
mod host;
mod imports;
mod interface;
mod kernels;
mod languages;
mod lists;
mod login;
mod machines;
mod mail;
mod objects;
mod odd_files;
mod other_kernels;
mod pki;
mod postgres;
mod postgres_tls;
mod programs;
mod replicas;
mod rest;
mod running;
mod runs;
mod s3;
mod schedules;
mod server;
mod server_files;
mod server_terminals;
mod server_tls;
mod servers;
mod store;
mod support;
