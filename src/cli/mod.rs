//! Parses the arguments and returns the exit code. One file per subcommand: its `Args`, and a `run` that
//! calls `ops`.

mod add;
mod attach;
mod cache;
mod cancel;
mod check;
mod completions;
mod config;
#[cfg(feature = "console")]
mod console;
mod control;
mod create;
mod htpasswd;
#[cfg(not(all(feature = "console", feature = "top")))]
mod lacking;
mod list;
mod logs;
mod man;
mod output;
mod plugin;
mod ps;
mod reference;
mod reload;
mod replay;
mod report;
mod request;
mod routes;
mod run;
mod serve;
mod shell;
mod skeleton;
mod source;
#[cfg(feature = "top")]
mod stacks;
mod stop;
mod task;
mod tls;
#[cfg(feature = "top")]
mod top;
mod undo;
mod update;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Result;

/// Connects any server, any middleware and any application from one config file, and creates new
/// applications.
#[derive(Debug, Parser)]
#[command(name = "paster", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  paster create blog --template axum      create an application in ./blog
  paster serve blog/server.toml --reload  serve it, and reload on every change
  paster check blog/server.toml           find every fault, without listening
  paster serve --list-servers             list the kinds of server")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Create(create::Args),
    Add(add::Args),
    Update(update::Args),
    Undo(undo::Args),
    Skeleton(skeleton::Args),
    Check(check::Args),
    Config(config::Args),
    Ps(ps::Args),
    #[cfg(feature = "top")]
    Top(top::Args),
    /// Not in this build: needs the feature `top`
    #[cfg(not(feature = "top"))]
    Top(lacking::Args),
    Logs(logs::Args),
    Reload(reload::Args),
    Rollback(reload::RollbackArgs),
    Restart(reload::RestartArgs),
    Attach(attach::Args),
    Cancel(cancel::Args),
    Cache(cache::Args),
    Task(task::Args),
    Stop(stop::Args),
    Request(request::Args),
    Replay(replay::Args),
    #[cfg(feature = "console")]
    Console(console::Args),
    /// Not in this build: needs the feature `console`
    #[cfg(not(feature = "console"))]
    Console(lacking::Args),
    Run(run::Args),
    Shell(shell::Args),
    Routes(routes::Args),
    List(list::Args),
    Plugin(plugin::Args),
    Htpasswd(htpasswd::Args),
    Tls(tls::Args),
    Completions(completions::Args),
    #[command(name = "__man", hide = true)]
    Man(man::Args),
    #[command(name = "__worker", hide = true)]
    Worker(serve::WorkerArgs),
    #[command(name = "__side", hide = true)]
    Side(serve::SideArgs),
    #[command(name = "__app", hide = true)]
    App(serve::AppArgs),
    #[command(name = "__program", hide = true)]
    Program(serve::ProgramArgs),
    #[command(name = "__isolated", hide = true)]
    Isolated(serve::IsolatedArgs),
    #[command(name = "__exec", hide = true)]
    Exec(serve::ExecArgs),
    #[command(name = "__successor", hide = true)]
    Successor(serve::SuccessorArgs),
    #[command(name = "__task", hide = true)]
    TaskProgram(serve::TaskArgs),
}

/// Runs the program on the process's arguments.
pub fn main() -> ExitCode {
    let result = match Cli::try_parse_from(words(std::env::args_os().collect())) {
        Ok(cli) => run(cli.command),
        Err(error) => answer(&error),
    };
    match result {
        Ok(code) => code,
        Err(errors) => {
            report::errors(errors.iter());
            ExitCode::from(errors.exit_code())
        }
    }
}

/// Prints what clap itself returns: help, the version, or an error in the command line.
fn answer(error: &clap::Error) -> Result<ExitCode> {
    match error.print() {
        Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe && !error.use_stderr() => {
            Err(output::failed(cause))
        }
        _ => Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))),
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Serve(args) => args.run(),
        Command::Create(args) => args.run(),
        Command::Add(args) => args.run(),
        Command::Update(args) => args.run(),
        Command::Undo(args) => args.run(),
        Command::Skeleton(args) => args.run(),
        Command::Check(args) => args.run(),
        Command::Config(args) => args.run(),
        Command::Ps(args) => args.run(),
        #[cfg(feature = "top")]
        Command::Top(args) => args.run(),
        #[cfg(not(feature = "top"))]
        Command::Top(args) => args.run("top"),
        Command::Logs(args) => args.run(),
        Command::Reload(args) => args.run(),
        Command::Rollback(args) => args.run(),
        Command::Restart(args) => args.run(),
        Command::Attach(args) => args.run(),
        Command::Cancel(args) => args.run(),
        Command::Cache(args) => args.run(),
        Command::Task(args) => args.run(),
        Command::Stop(args) => args.run(),
        Command::Request(args) => args.run(),
        Command::Replay(args) => args.run(),
        #[cfg(feature = "console")]
        Command::Console(args) => args.run(),
        #[cfg(not(feature = "console"))]
        Command::Console(args) => args.run("console"),
        Command::Run(args) => args.run(),
        Command::Shell(args) => args.run(),
        Command::Routes(args) => args.run(),
        Command::List(args) => args.run(),
        Command::Plugin(args) => args.run(),
        Command::Htpasswd(args) => args.run(),
        Command::Tls(args) => args.run(),
        Command::Completions(args) => args.run(),
        Command::Man(args) => args.run(),
        Command::Worker(args) => args.run(),
        Command::Side(args) => args.run(),
        Command::App(args) => args.run(),
        Command::Program(args) => args.run(),
        Command::Isolated(args) => args.run(),
        Command::Exec(args) => args.run(),
        Command::Successor(args) => args.run(),
        Command::TaskProgram(args) => args.run(),
    }
}

/// The arguments, without those that a web server may have added when it runs paster as a CGI program.
///
/// A web server passes a query without `=` as further arguments (RFC 3875 section 4.4), so a client could
/// write options. Under a web server, everything after the path of the config is therefore ignored. If there
/// is no such path, every argument that such a query may have added is ignored.
fn words(mut words: Vec<OsString>) -> Vec<OsString> {
    if std::env::var_os("GATEWAY_INTERFACE").is_none() {
        return words;
    }
    let query = std::env::var_os("QUERY_STRING").unwrap_or_default();
    let may_add = !query.is_empty() && !query.as_encoded_bytes().contains(&b'=');
    let config = words.iter().skip(2).position(|word| Path::new(word).is_file());
    match config {
        Some(at) => words.truncate(at + 3),
        None if may_add => words.truncate(2),
        None => {}
    }
    words
}
