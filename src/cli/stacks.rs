//! What `paster top --stacks` prints.

use std::fmt::Write;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::output::print;
use crate::error::Result;
use crate::ops::control::ProcessStacks;

/// Prints the stacks of an application's processes. Fails if no process has sent them.
pub(super) fn print_stacks(processes: &[ProcessStacks], as_json: bool) -> Result<ExitCode> {
    if as_json {
        let all: Vec<Value> = processes.iter().map(in_json).collect();
        print(&format!("{:#}\n", json!(all)))?;
    } else {
        print(&processes.iter().map(in_text).collect::<Vec<_>>().join("\n"))?;
    }
    let silent = processes.iter().all(|process| process.stacks.is_none());
    Ok(if silent { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn in_text(process: &ProcessStacks) -> String {
    let mut text = format!("process {}, pid {}\n", process.process, process.pid);
    match &process.stacks {
        Some(stacks) => stacks.lines().for_each(|line| {
            let _ = writeln!(text, "  {line}"); // a string takes everything
        }),
        None => text += "  did not answer in time\n",
    }
    text
}

fn in_json(process: &ProcessStacks) -> Value {
    let threads = process.stacks.as_deref().map(threads);
    json!({ "process": process.process, "pid": process.pid, "threads": threads })
}

/// The threads in a text of `faulthandler`, each with its frames, the innermost first.
fn threads(text: &str) -> Vec<Value> {
    let mut threads: Vec<(&str, Vec<Value>)> = Vec::new();
    for line in text.lines() {
        match (line.trim_start().strip_prefix("File "), threads.last_mut()) {
            (Some(rest), Some((_, frames))) => frames.extend(frame(rest)),
            _ => threads.extend(thread_id(line).map(|id| (id, Vec::new()))),
        }
    }
    threads.into_iter().map(|(id, frames)| json!({ "id": id, "frames": frames })).collect()
}

/// The id in `Thread 0x00007f… (most recent call first):` or `Current thread 0x…`.
fn thread_id(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("Thread ").or_else(|| line.strip_prefix("Current thread "))?;
    rest.split([' ', ':']).next()
}

/// The frame in `"FILE", line 12 in function`.
fn frame(rest: &str) -> Option<Value> {
    let (file, rest) = rest.strip_prefix('"')?.rsplit_once("\", line ")?;
    let (line, function) = rest.split_once(" in ")?;
    Some(json!({ "file": file, "line": line.parse::<u64>().ok(), "function": function }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_faulthandler_is_read() {
        let text = "Thread 0x00007f01 (most recent call first):\n  File \"/a b/x.py\", line 3 in f\n  File \"y.py\", \
                    line 1 in <module>\n\nCurrent thread 0x00007f02 (most recent call first):\n  <no Python frame>\n";
        assert_eq!(
            json!(threads(text)),
            json!([
                { "id": "0x00007f01", "frames": [
                    { "file": "/a b/x.py", "line": 3, "function": "f" },
                    { "file": "y.py", "line": 1, "function": "<module>" },
                ] },
                { "id": "0x00007f02", "frames": [] },
            ])
        );
    }

    #[test]
    fn a_silent_process_is_named() {
        let silent = ProcessStacks { process: 1, pid: 7, stacks: None };
        assert_eq!(in_text(&silent), "process 1, pid 7\n  did not answer in time\n");
    }
}
