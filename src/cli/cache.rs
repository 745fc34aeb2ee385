//! `paster cache list` and `paster cache purge`.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::control::{Columns, ServerArgs, span_secs};
use super::output::print;
use crate::caches::{CachedResponse, Purge};
use crate::error::Result;
use crate::ops::control::{ControlCommand, Purged};

/// Lists or deletes the responses in the caches of a running server.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster cache list                        list the stored responses by URL
  paster cache purge --path '/blog/*'      delete the responses below /blog
  paster cache purge --tag article-17      delete the responses with this tag
  paster cache purge --all                 delete everything

An app stores responses if its stack has the middleware `cache`. Both commands reach all workers.")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the stored responses
    List(CacheListArgs),
    /// Delete stored responses
    Purge(PurgeArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster cache list
  paster cache list site/server.toml --json --lines 1000

TTL is the remaining time in which a response is fresh. A `stale` response must be validated before it is used.
Exit codes: 0 printed, 1 no server responds, 2 several servers run: name one.")]
struct CacheListArgs {
    #[command(flatten)]
    server: ServerArgs,

    /// How many responses to list
    #[arg(short = 'n', long, default_value_t = 100)]
    lines: usize,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster cache purge --path /index.html    with any query
  paster cache purge --path '/blog/*'      `*` stands for any characters
  paster cache purge --path '/list?page=1' with exactly this query
  paster cache purge --tag article-17      by Cache-Groups, Cache-Tag or Surrogate-Key of the responses
  paster cache purge --all

Responses in progress that match are not stored either.
Exit codes: 0 done, 1 a worker or the server does not respond, 2 several servers run: name one.")]
struct PurgeArgs {
    #[command(flatten)]
    server: ServerArgs,

    #[command(flatten)]
    what: WhatArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct WhatArgs {
    /// The responses to this path, below the host
    #[arg(long, value_name = "PATH")]
    path: Option<String>,

    /// The responses with this tag
    #[arg(long)]
    tag: Option<String>,

    /// All responses
    #[arg(long)]
    all: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::List(args) => args.run(),
            Command::Purge(args) => args.run(),
        }
    }
}

impl CacheListArgs {
    fn run(self) -> Result<ExitCode> {
        let listed: Vec<CachedResponse> =
            self.server.connect()?.done(&ControlCommand::ListCache { most: self.lines })?;
        if self.json {
            return print(&format!("{:#}\n", json!(listed)));
        }
        let mut table =
            Columns::new(&["URL", "STATUS", "BYTES", "AGE", "TTL", "APP", "WORKER", "VARY", "TAGS"]);
        for one in &listed {
            let vary =
                one.vary.iter().map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("-")));
            table.row([
                one.url.clone(),
                one.status.to_string(),
                one.bytes.to_string(),
                span_secs(one.age_secs as f64),
                if one.ttl_secs > 0 { span_secs(one.ttl_secs as f64) } else { "stale".to_owned() },
                one.app.clone(),
                one.worker.map_or_else(|| "on disk".to_owned(), |worker| worker.to_string()),
                vary.collect::<Vec<_>>().join(" "),
                one.tags.join(" "),
            ]);
        }
        match table.is_empty() {
            true => print("no response is stored\n"),
            false => print(&table.text()),
        }
    }
}

impl PurgeArgs {
    fn run(self) -> Result<ExitCode> {
        let WhatArgs { path, tag, .. } = self.what;
        let purge = path.map(Purge::Path).or(tag.map(Purge::Tag)).unwrap_or(Purge::All);
        let done: Purged = self.server.connect()?.done(&ControlCommand::PurgeCache { purge })?;
        match (self.json, done.purged) {
            (true, _) => print(&format!("{:#}\n", json!(done))),
            (false, 1) => print("deleted 1 response\n"),
            (false, count) => print(&format!("deleted {count} responses\n")),
        }
    }
}
