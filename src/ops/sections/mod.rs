//! The sections of a config that are about the whole program: their options and checks. No behaviour.

pub mod log;
pub mod otlp;
pub mod process;
pub(crate) mod program;
mod schedule;
pub mod task;

use self::log::Log;
use self::otlp::Otlp;
use self::process::Process;
use self::task::ScheduledTask;
use crate::config::Config;
use crate::error::{Error, Errors, Result};

/// The sections of one config.
#[derive(Debug, Clone)]
pub(crate) struct Sections {
    pub(crate) process: Process,
    /// `None` without the table.
    pub(crate) log: Option<Log>,
    pub(crate) tasks: Vec<ScheduledTask>,
}

impl Sections {
    /// Reads all of them.
    /// # Errors
    /// All faults of all tables.
    pub(crate) fn read(config: &Config) -> Result<Sections> {
        let (process, log, tasks) = (Process::read(config), Log::read(config), task::read(config));
        let otlp = Otlp::read(config).err();
        match (process, log, tasks) {
            (Ok(process), Ok(log), Ok(tasks)) if otlp.is_none() => {
                let log = config.section("log").map(|_| log);
                Ok(Sections { process, log, tasks })
            }
            (process, log, tasks) => {
                let others = tasks.err().into_iter().chain(log.err()).chain(otlp);
                let faults = process.err().into_iter().chain(others).flatten();
                let mut faults: Vec<Error> = faults.collect();
                config.sort(&mut faults);
                Err(Errors::check(faults).err().unwrap_or_else(|| Error::new("the config is invalid").into()))
            }
        }
    }
}
