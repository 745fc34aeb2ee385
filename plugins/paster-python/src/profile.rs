//! Samples of the stacks of all Python threads, for a flame graph.
//!
//! py-spy reads them from this process's own memory, on a thread that does not need the interpreter lock. So the application
//! runs on undisturbed, samples come from wherever its code is and not only from where it releases the lock, and no rights to
//! observe another process are needed.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use paster_frames::{Kind, Pairs};
use py_spy::config::{LineNo, LockingStrategy};
use py_spy::{Config, PythonSpy, StackTrace};

use crate::connection::Connection;

/// Maximum length of the samples in bytes. The rarest stacks are dropped.
const MOST: usize = 4 << 20;
/// The name of the file that the loader's frames have.
const LOADER: &str = "<paster>";
/// The same for the code that imports this library.
const MAIN: &str = "<string>";
/// Attempts to read the first stacks: the interpreter may change them while they are read.
const ATTEMPTS: u64 = 20;

/// Samples, and sends the result on the stream: for each stack a line with its functions, the outermost first, separated by
/// `;`, and the number of samples in which a thread was running there.
pub(crate) fn start(connection: Arc<Connection>, stream: u32, request: &[u8]) {
    let number = |name: &str| Pairs::new(request).text(name).and_then(|text| text.parse::<u32>().ok());
    let time = Duration::from_secs(number("secs").unwrap_or(1).into());
    let frequency = number("frequency").unwrap_or(1).max(1);
    let answer = connection.clone();
    let sampler = move || match sample(time, frequency) {
        Ok(samples) => connection.send(|out| out.push_last(Kind::Profile, stream, samples.as_bytes())),
        Err(reason) => connection.send(|out| out.push(Kind::Abort, stream, reason.as_bytes())),
    };
    if let Err(error) = std::thread::Builder::new().name("profile".into()).spawn(sampler) {
        answer.send(|out| out.push(Kind::Abort, stream, format!("no thread: {error}").as_bytes()));
    }
}

fn sample(time: Duration, frequency: u32) -> Result<String, String> {
    let config = Config {
        blocking: LockingStrategy::NonBlocking,
        lineno: LineNo::NoLine,
        collect_thread_names: false,
        ..Config::default()
    };
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    let mut spy = PythonSpy::retry_new(pid, &config, ATTEMPTS)
        .map_err(|error| format!("py-spy cannot read the stacks of this Python: {error:#}"))?;
    let pause = Duration::from_secs(1) / frequency;
    let end = Instant::now() + time;
    let mut counts = HashMap::<String, u64>::new();
    let mut next = Instant::now();
    while next < end {
        // A sample fails if a stack changes while it is read.
        for trace in spy.get_stack_traces().unwrap_or_default().iter().filter(|trace| is_running(trace)) {
            *counts.entry(folded(trace)).or_default() += 1;
        }
        next += pause;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(text(counts))
}

/// Whether the thread executes a Python function of the application. In a thread of paster's that waits for a request or handles
/// one, the innermost function is the loader's or what started it.
fn is_running(trace: &StackTrace) -> bool {
    let Some(frame) = trace.frames.first() else { return false };
    let starts_thread = frame.name.ends_with("run") && frame.filename.ends_with("threading.py");
    trace.active && !starts_thread && ![LOADER, MAIN].contains(&frame.filename.as_str())
}

/// The functions of a stack in a line, the outermost first.
fn folded(trace: &StackTrace) -> String {
    let mut line = String::new();
    for frame in trace.frames.iter().rev().filter(|frame| frame.filename != LOADER) {
        let file = frame.short_filename.as_ref().unwrap_or(&frame.filename);
        let start = line.len();
        let _ = write!(line, "{} ({file});", frame.name); // a string takes everything
        let end = line.len() - 1;
        // A path may contain the separators.
        if line[start..end].contains([';', '\n']) {
            let name = line[start..end].replace([';', '\n'], "_");
            line.replace_range(start..end, &name);
        }
    }
    line.pop();
    line
}

fn text(counts: HashMap<String, u64>) -> String {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by(|(a, one), (b, other)| other.cmp(one).then_with(|| a.cmp(b)));
    let mut text = String::new();
    for (stack, count) in counts {
        if text.len() + stack.len() > MOST {
            break;
        }
        let _ = writeln!(text, "{stack} {count}"); // a string takes everything
    }
    text
}
