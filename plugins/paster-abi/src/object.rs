//! Objects that are polled: wakers, bodies, byte streams, tasks. Each begins with a pointer to its table.

use core::ffi::c_void;

use crate::{Buffer, Header, Status};

/// Wakes the caller of a `poll_…` function. Passed by pointer and borrowed for the call. A function that
/// returns pending keeps a clone: three words, by value. Two wakers with equal words wake the same caller.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Waker {
    /// Its functions.
    pub table: *const WakerTable,
    /// Belongs to the side that made it.
    pub data: *const c_void,
    /// Belongs to the side that made it.
    pub extra: *const c_void,
}

/// Functions of a waker. Any thread may call them.
#[repr(C)]
pub struct WakerTable {
    /// Size of this table in bytes.
    pub size_bytes: usize,
    /// Writes a clone to `out`. Each clone must end with one `wake` or one `drop`.
    pub clone: unsafe extern "C" fn(waker: *const Waker, out: *mut Waker),
    /// Wakes and ends the clone.
    pub wake: unsafe extern "C" fn(waker: *const Waker),
    /// Wakes and keeps the waker.
    pub wake_by_ref: unsafe extern "C" fn(waker: *const Waker),
    /// Ends the clone without waking.
    pub drop: unsafe extern "C" fn(waker: *const Waker),
}

/// No frame. In `Head.first`: the host must call `poll_body` for the body.
pub const FRAME_NONE: u32 = 0;
/// `data` holds bytes of the body.
pub const FRAME_DATA: u32 = 1;
/// `headers` holds the trailer fields. They end the body.
pub const FRAME_TRAILERS: u32 = 2;
/// The body has ended and is complete.
pub const FRAME_END: u32 = 3;
/// The body was aborted; `data` holds the reason as text. What was received is incomplete.
pub const FRAME_ERROR: u32 = 4;

/// A piece of a body. Its reader takes over `data`.
#[repr(C)]
pub struct Frame {
    /// One of `FRAME_…`.
    pub kind: u32,
    /// With `FRAME_DATA`: 1 if the body ends after this piece, which saves a call for the end.
    pub last: u32,
    /// The bytes, or the text of the error.
    pub data: Buffer,
    /// Trailer fields, valid until the next call of a function of the same object.
    pub headers: *const Header,
    /// Number of trailer fields.
    pub header_count: usize,
}

/// A body to read: a request's, made by the host, or by a middleware for the next part. The reader drops it
/// when it needs no more.
#[repr(C)]
pub struct Body {
    /// Its functions.
    pub table: *const BodyTable,
}

/// Functions of a body.
#[repr(C)]
pub struct BodyTable {
    /// Size of this table in bytes.
    pub size_bytes: usize,
    /// Asks for the next frame. `READY`: `out` is written. `PENDING`: the waker will be woken. `FAILED` and
    /// `PANICKED` count as an error frame.
    pub poll_frame: unsafe extern "C" fn(body: *mut Body, waker: *const Waker, out: *mut Frame) -> Status,
    /// Ends it.
    pub drop: unsafe extern "C" fn(body: *mut Body),
}

/// `poll_read` and `poll_write` return a number of bytes or this: not yet, the waker will be woken.
pub const IO_PENDING: isize = -1;
/// The byte stream failed.
pub const IO_FAILED: isize = -2;

/// A byte stream in both directions: an upgraded connection, made by the host and taken over by the plugin.
/// Reading and writing have separate wakers, so a clone for reading does not replace the one for writing.
#[repr(C)]
pub struct Io {
    /// Its functions.
    pub table: *const IoTable,
}

/// Functions of a byte stream.
#[repr(C)]
pub struct IoTable {
    /// Size of this table in bytes.
    pub size_bytes: usize,
    /// Reads up to `len` bytes into `data`. Returns the number read, 0 at the end, or `IO_PENDING` or
    /// `IO_FAILED`.
    pub poll_read: unsafe extern "C" fn(io: *mut Io, waker: *const Waker, data: *mut u8, len: usize) -> isize,
    /// Writes up to `len` bytes. Returns the number written, or `IO_PENDING` or `IO_FAILED`.
    pub poll_write:
        unsafe extern "C" fn(io: *mut Io, waker: *const Waker, data: *const u8, len: usize) -> isize,
    /// Sends what is buffered.
    pub poll_flush: unsafe extern "C" fn(io: *mut Io, waker: *const Waker) -> Status,
    /// Shuts down the writing side.
    pub poll_shutdown: unsafe extern "C" fn(io: *mut Io, waker: *const Waker) -> Status,
    /// Closes it.
    pub drop: unsafe extern "C" fn(io: *mut Io),
}

/// Work of a plugin that the host waits for: a health probe or a task.
#[repr(C)]
pub struct Task {
    /// Its functions.
    pub table: *const TaskTable,
}

/// Functions of a task.
#[repr(C)]
pub struct TaskTable {
    /// Size of this table in bytes.
    pub size_bytes: usize,
    /// `READY`: done; `out` holds the result's text, which may be empty. `FAILED`, `PANICKED`: `out` holds
    /// the reason.
    pub poll: unsafe extern "C" fn(task: *mut Task, waker: *const Waker, out: *mut Buffer) -> Status,
    /// Ends it and cancels what is not done.
    pub drop: unsafe extern "C" fn(task: *mut Task),
}

impl Frame {
    /// No frame.
    pub const NONE: Frame =
        Frame { kind: FRAME_NONE, last: 0, data: Buffer::EMPTY, headers: core::ptr::null(), header_count: 0 };
    /// The end.
    pub const END: Frame =
        Frame { kind: FRAME_END, last: 0, data: Buffer::EMPTY, headers: core::ptr::null(), header_count: 0 };

    /// Bytes; `last` if nothing follows.
    pub fn data(data: Buffer, last: bool) -> Frame {
        Frame { kind: FRAME_DATA, last: last.into(), data, ..Frame::NONE }
    }

    /// A failure, with its reason.
    pub fn error(reason: String) -> Frame {
        Frame { kind: FRAME_ERROR, data: Buffer::of_vec(reason.into_bytes()), ..Frame::NONE }
    }
}
