//! `paster serve`: a supervisor, which runs no plugin code, and the worker processes of each generation.
//!
//! The supervisor binds the listening sockets, watches files, builds libraries, starts workers and switches
//! from one generation to the next. A reload, a changed config and HUP all use the same switch. A worker that
//! ends, hangs or has served long enough is replaced alone. Everything that happens is reported as an
//! [`Event`]; nothing here prints.
//!
//! - `supervisor`: decides what runs; `worker`: one generation in its own process. Neither imports the other
//! - `ipc`: the messages between the two
//! - `process`: what a process needs from the system; the tables of the config are in `ops::sections`
//! - `app`: the start of a process of an application; `program`: what runs beside a program
//! - `isolated`: a process that runs one app;
//! - `side`: a plugin's side process; `cgi`: one request without a supervisor

mod app;
mod cgi;
mod ipc;
mod isolated;
mod options;
mod process;
mod program;
mod side;
mod supervisor;
mod worker;

pub use self::app::app;
pub use self::isolated::isolated;
use self::options::LoadedConfig;
pub use self::options::Options;
use self::process::credentials::Credentials;
pub use self::program::{exec, program as program_process};
pub use self::side::side;
pub use self::supervisor::event::{Event, EventListener, ReloadReason, Why};
use self::supervisor::open_files;
pub use self::supervisor::upgrade::successor;
pub use self::worker::tasks::become_program;
pub use self::worker::worker;
use crate::config::Config;
use crate::error::{Error, Errors, Result};
use crate::ops::sections::process::Process;
use crate::ops::sections::program::tables;

/// Checks that the user that the workers run as exists and may open the files of the config. Returns notes on
/// faults that do not prevent a start.
/// # Errors
/// Every fault that does.
pub fn check_user(config: &Config) -> Result<Vec<String>> {
    let Ok(process) = Process::read(config) else { return Ok(Vec::new()) }; // its faults are reported elsewhere
    let (credentials, refused) = Credentials::check(&process, config)?;
    let (errors, notes) = open_files::check(config, &credentials);
    let tables = tables(config).unwrap_or_default(); // their faults are reported elsewhere
    let users = tables.iter().filter_map(|one| credentials.of_processes(&one.spec, &one.table).err());
    Errors::check(errors.into_iter().chain(users.flatten()).collect())?;
    Ok(refused.into_iter().chain(notes).collect())
}

/// Serves until it is stopped; returns the exit code.
/// # Errors
/// When it could not start serving.
pub fn serve(options: Options, listener: EventListener) -> Result<u8> {
    let loaded = match options.load() {
        LoadedConfig { config: Ok(config), .. } if cgi::is_meant(&config) => return cgi::serve(config),
        loaded => loaded,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Error::new("cannot start the supervisor").because(cause))?;
    let code = runtime.block_on(supervisor::run(options, loaded, listener));
    // A build that is still reading the disk must not delay the exit.
    runtime.shutdown_background();
    code
}
