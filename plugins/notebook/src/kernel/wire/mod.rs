//! The protocol between the plugin and the kernel host, over the host's Unix socket.
//!
//! A frame is its length (u32, little endian, of everything after it), one byte for its kind, and a payload.
//! The first frame of a connection is a `Hello`, which the host answers. A *control* connection then carries
//! calls, answers and events; an *attachment* carries one kernel's numbered messages. The host outlives the
//! plugin, so the protocol has a version. It is ours; only the messages in the frames are Jupyter's (`message`).

mod frame;

use super::gateway::Gateway;
use super::sandbox::Sandbox;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::frame::{Frame, FrameError, FrameReader, MAX_FRAME, encode_frame, parse_frame};

/// The version of this protocol. Both sides must have the same.
pub const PROTOCOL: u32 = 1;
/// The key of the stored time, in RFC 3339, when a kernel was last used or ended. Ended kernels are no longer listed.
pub const LAST_ACTIVITY: &str = "host/last_activity";

/// The first frame of a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// The caller's [`PROTOCOL`].
    pub protocol: u32,
    /// The purpose of the connection.
    pub role: ConnectionRole,
}

/// The purpose of a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionRole {
    /// Calls, answers and events.
    Control,
    /// Messages of one kernel.
    Attach {
        /// Its id.
        kernel: String,
        /// The number of the first message to send; `None` for new ones only.
        from: Option<u64>,
        /// Whether this attachment counts as one of the kernel's connections (`connections` in `/api/kernels`).
        counted: bool,
    },
    /// Output and input of one terminal.
    Terminal {
        /// Its name.
        name: String,
    },
}

/// A call, with the number that its answer carries.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NumberedCall {
    /// Chosen by the caller.
    pub id: u64,
    /// The call.
    pub call: Call,
}

/// The calls that the host supports.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Starts a kernel. Answers with its [`KernelModel`] at once; messages wait until it is ready.
    Start {
        /// How to start it.
        launch: Box<Launch>,
        /// Its id, or `None` for a new one.
        id: Option<String>,
    },
    /// Starts a kernel that ends with its last attachment, also if it is busy. (This is another call than `Start` because a
    /// host of an earlier version ignores fields that it does not know, and would give it more rights.)
    StartTemporary {
        /// How to start it.
        launch: Box<Launch>,
        /// Its id.
        id: String,
    },
    /// All kernels.
    List,
    /// Interrupts what is running.
    Interrupt {
        /// Kernel id.
        id: String,
    },
    /// Drops runs that wait for the running one.
    Cancel {
        /// Kernel id.
        id: String,
        /// The ids of their requests. Those that do not wait are skipped.
        messages: Vec<String>,
    },
    /// Ends the process and starts it again under the same id. Answers when the new one is ready.
    Restart {
        /// Kernel id.
        id: String,
    },
    /// Ends the kernel and forgets it.
    Shutdown {
        /// Kernel id.
        id: String,
    },
    /// Keeps kernels ready that are started in advance.
    Prewarm {
        /// Which, and how many.
        order: Box<Prewarm>,
    },
    /// Ends the kernels that were started in advance, except those of these kernelspecs.
    KeepPrewarmed {
        /// Their names.
        names: Vec<String>,
    },
    /// The kernels that were started in advance and that nobody has taken.
    Prewarmed,
    /// Stores `value` under `key` for as long as the host lives; `None` deletes it.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Option<Value>,
    },
    /// All stored values whose keys begin with `prefix`, as an object.
    Kept {
        /// The prefix.
        prefix: String,
    },
    /// Takes the lock `key` for this connection. Answers whether it has the lock, which is released when the
    /// connection ends.
    Lock {
        /// The lock's name.
        key: String,
        /// If another connection holds the lock: ask it to release it, and wait as long as that takes (the
        /// caller sets a limit).
        wait: bool,
    },
    /// Releases a lock.
    Unlock {
        /// The lock's name.
        key: String,
    },
    /// Sends an event to every control connection.
    Publish {
        /// As in `/api/events/subscribe`.
        event: Value,
    },
    /// Starts a terminal. Answers with its [`TerminalModel`].
    OpenTerminal {
        /// How to start it.
        launch: Box<TerminalLaunch>,
    },
    /// All terminals.
    Terminals,
    /// Ends a terminal and forgets it.
    CloseTerminal {
        /// Its name.
        name: String,
    },
}

/// The answer to a call or, with id 0, to a hello.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// Number of the call.
    pub id: u64,
    /// The result.
    pub result: Result<Value, Problem>,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// For the caller's code.
    pub kind: ProblemKind,
    /// For users.
    pub message: String,
}

/// What went wrong, for the caller's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// No such kernel.
    UnknownKernel,
    /// No such terminal.
    UnknownTerminal,
    /// The kernel's program could not be started or did not answer.
    LaunchFailed,
    /// A limit is reached.
    Limit,
    /// The two sides have different versions.
    Version,
    /// The caller's frame was wrong.
    Malformed,
    /// The connection to the host is lost.
    Lost,
}

impl Problem {
    /// A problem.
    pub fn new(kind: ProblemKind, message: impl Into<String>) -> Problem {
        Problem { kind, message: message.into() }
    }
}

/// Messages that the host sends to control connections without a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Another connection wants this lock: save, then release it.
    LockWanted {
        /// The lock's name.
        key: String,
    },
    /// A lock is free and nobody is waiting for it.
    LockFree {
        /// The lock's name.
        key: String,
    },
    /// A kernel starts, is ready, restarts or is dead. Its own messages report that it is busy or idle.
    Kernel {
        /// The kernel.
        model: KernelModel,
    },
    /// A kernel was forgotten.
    KernelGone {
        /// Its id.
        id: String,
    },
    /// What [`Call::Publish`] sent.
    Published {
        /// As in `/api/events/subscribe`.
        event: Value,
    },
}

/// How to start a kernel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Launch {
    /// Name of the kernelspec.
    pub name: String,
    /// Program and arguments; `{connection_file}` and `{resource_dir}` are replaced.
    pub argv: Vec<String>,
    /// Its language, such as `python`.
    #[serde(default)]
    pub language: String,
    /// Variables to set in addition to the host's own.
    pub env: Vec<(String, String)>,
    /// The working folder of the process.
    pub folder: String,
    /// Folder of the kernelspec.
    pub resource_dir: String,
    /// Whether to interrupt it by `interrupt_request` instead of SIGINT.
    pub interrupt_by_message: bool,
    /// The source of the built-in kernel. It is written to a private file, whose path follows `argv`, and
    /// connected over a socket.
    pub built_in: Option<String>,
    /// Limits of the process.
    pub limits: KernelLimits,
    /// The gateway that runs it; `None`: it is a process of this machine.
    #[serde(default)]
    pub gateway: Option<Gateway>,
    /// Keeps it apart; `None`: it may do what the server may.
    #[serde(default)]
    pub sandbox: Option<Sandbox>,
}

/// Kernels that are started before anybody needs them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Prewarm {
    /// Whose they are: each owner has the number of kernels, for the launch that was wanted last.
    pub owner: String,
    /// How to start them. [`Call::Start`] with the same launch takes one.
    pub launch: Box<Launch>,
    /// How many.
    pub count: usize,
    /// How many more kernels the owner may have; `None`: there is no such limit.
    pub room: Option<usize>,
    /// After how many seconds without another call for this owner they are ended; `None`: never.
    pub unused_secs: Option<u64>,
}

/// Limits of a kernel's process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KernelLimits {
    /// Memory, in bytes: of the cgroup, or address space of the process.
    pub memory_bytes: Option<u64>,
    /// Processes and threads: in the cgroup, or of the user.
    pub processes: Option<u64>,
    /// CPU time, in seconds.
    pub cpu_secs: Option<u64>,
    /// Part of one processor, in percent. Only with a cgroup.
    #[serde(default)]
    pub cpu_percent: Option<u32>,
    /// The folder for cgroups; `None`: there are none.
    #[serde(default)]
    pub cgroup: Option<String>,
    /// Longest file it may write, in bytes.
    pub file_bytes: Option<u64>,
    /// After how long without use it is shut down, in seconds.
    #[serde(default)]
    pub idle_secs: Option<u64>,
    /// Kernels at the same time.
    pub kernels: usize,
    /// Bytes of messages kept on disk for each kernel.
    pub journal_bytes: u64,
}

/// A kernel as the host knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelModel {
    /// Its id.
    pub id: String,
    /// Name of its kernelspec.
    pub name: String,
    /// Its state.
    pub state: crate::protocol::KernelState,
    /// When a message was last sent or received, RFC 3339.
    pub last_activity: String,
    /// The number of counted attachments.
    pub connections: usize,
    /// The number of its next message.
    pub next_entry: u64,
    /// The id of its process.
    pub pid: Option<u32>,
    /// How often its process was started.
    pub starts: u32,
    /// The content of its `kernel_info_reply`.
    pub info: Option<Value>,
    /// Why it died, for users.
    pub exit: Option<String>,
}

/// How to start a terminal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TerminalLaunch {
    /// The login name of its user.
    pub owner: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables to set in addition to the host's own.
    pub env: Vec<(String, String)>,
    /// The working folder of the process.
    pub folder: String,
    /// Limits of the process.
    pub limits: KernelLimits,
    /// Keeps it apart; `None`: it may do what the server may.
    pub sandbox: Option<Sandbox>,
}

/// A terminal as the host knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TerminalModel {
    /// A number, as in Jupyter Server.
    pub name: String,
    /// The login name of its user.
    pub owner: String,
    /// When something was last written or read, RFC 3339.
    pub last_activity: String,
    /// The folder it started in.
    pub folder: String,
    /// The id of its process.
    #[serde(default)]
    pub pid: Option<u32>,
}
