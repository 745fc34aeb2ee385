//! Processes that run applications, such as those of `wsgi`.
//!
//! They belong to a generation: they are ready before its workers start, all its workers share them, and they end when
//! the last of these workers has ended. A process that ends unexpectedly is restarted. After a change of files, an
//! application that is not affected keeps its processes in the next generation.
//!
//! - `group`: the processes of a generation; `registry`: starts them, and knows all
//! - `inspect`: what commands ask about them
//! - `keeper`: starts one process, and starts it again; `care`: when it must be replaced; `ended`: how it has ended
//! - `member`: the address of a process that is not started yet
//! - `plugin_messages`: messages of processes that run plugins
//! - `wanted`: which processes a plan asks for, and in which order they start

mod care;
mod ended;
mod group;
mod inspect;
mod keeper;
mod member;
mod plugin_messages;
mod registry;
mod wanted;

pub(super) use self::group::{AppProcesses, CarriedApp};
pub(super) use self::registry::AppRegistry;
