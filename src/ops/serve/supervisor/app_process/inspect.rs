//! Queries of commands about the processes of applications.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::group::AppGroup;
use super::registry::AppRegistry;
use crate::error::Error;
use crate::ops::control::{ProcessStacks, ProgramTerminal, SideInfo};

/// The time limit for a process to send its stacks.
const STACKS: Duration = Duration::from_secs(5);

impl AppRegistry {
    /// The state of each; memory is not included.
    pub(in crate::ops::serve::supervisor) fn infos(&self) -> Vec<SideInfo> {
        let groups = self.groups();
        let infos = groups.iter().flat_map(|group| {
            group.members.iter().map(|member| {
                let run = member.current.lock();
                let is_program = group.owner.is_program;
                SideInfo {
                    app: group.owner.name.clone(),
                    name: if is_program { "program".to_owned() } else { format!("process {}", member.index) },
                    pid: run.program.or(Some(run.pid)).filter(|pid| *pid > 0),
                    age_secs: run.since.elapsed().as_secs_f64(),
                    memory_bytes: None,
                    restarts: run.restarts,
                    socket: member.socket.clone(),
                }
            })
        });
        infos.collect()
    }

    /// The terminal of process `index` of an app or a program of this name, the newest.
    /// # Errors
    /// If there is no such process, or if it has no terminal.
    pub(in crate::ops::serve::supervisor) fn terminal(
        &self,
        name: &str,
        index: usize,
    ) -> Result<ProgramTerminal, Error> {
        let group = self.group(name)?;
        let Some(member) = group.members.get(index) else {
            let message = match group.members.len() {
                0 => format!("`{name}` runs in paster's workers, and has no separate processes"),
                count => format!("`{name}` has only the processes 0 to {}", count - 1),
            };
            return Err(Error::new(message));
        };
        let run = member.current.lock();
        match (&run.terminal, run.program) {
            (Some(terminal), Some(pid)) => Ok(ProgramTerminal { name: terminal.clone(), pid }),
            _ => {
                let error = Error::new(format!("process {index} of `{name}` has no terminal"));
                Err(error.help("a program has one with `terminal = true`, once it is ready"))
            }
        }
    }

    /// The stacks of the processes of a Python application, in the order of the processes.
    /// # Errors
    /// If there is no such application, or if it is not a Python application with separate processes.
    pub(in crate::ops::serve::supervisor) fn stacks(
        &self,
        name: &str,
    ) -> Result<impl Future<Output = Vec<ProcessStacks>> + use<>, Error> {
        let group = self.group(name)?;
        if group.members.is_empty() {
            let error =
                Error::new(format!("`{name}` runs in paster's workers, and has no separate processes"));
            return Err(error.help("remove `mode = \"embedded\"`"));
        }
        if !group.spec.has_stacks {
            let error = Error::new(format!("`{name}` is not a Python application"));
            return Err(error.help("only Python applications can show the stacks of their threads"));
        }
        Ok(async move {
            join_all(group.members.iter().map(|member| async {
                let pid = member.current.lock().pid;
                let stacks = tokio::time::timeout(STACKS, member.stacks.ask()).await;
                ProcessStacks { process: member.index, pid, stacks: stacks.ok().and_then(Result::ok) }
            }))
            .await
        })
    }

    /// The newest processes of an app or a program of this name.
    fn group(&self, name: &str) -> Result<Arc<AppGroup>, Error> {
        self.groups().into_iter().rev().find(|group| group.owner.name == name).ok_or_else(|| {
            let error = Error::new(format!("there is neither an app nor a program `{name}` with processes"));
            error.help("`paster ps` lists the processes")
        })
    }
}
