//! A connection within one process: frames are passed by a call instead of a socket.
//!
//! Both sides are libraries of their own, which share only the C ABI. Each implements [`Endpoint`], and calls the other
//! one through a [`Peer`].

use std::ffi::c_void;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use paster_abi::{Buffer, Slice, http};

use super::{Frame, Kind};

/// Payloads of at least this size are not copied.
const LARGE: usize = 4096;

/// One end of a connection within a process. Any thread may call it.
pub trait Endpoint: Send + Sync + 'static {
    /// Takes a frame of the other end. Must not wait.
    fn receive(&self, frame: Frame);

    /// The other end passes itself, so that frames can be sent to it.
    fn connect(&self, peer: Peer);
}

/// The other end. It is passed by value across the C ABI.
#[repr(C)]
#[derive(Debug)]
pub struct Peer {
    end: *const c_void,
    receive: unsafe extern "C" fn(end: *const c_void, frame: *mut PassedFrame),
    connect: unsafe extern "C" fn(end: *const c_void, peer: Peer),
    release: unsafe extern "C" fn(end: *const c_void),
}

// SAFETY: an `Endpoint` may be called, and dropped, by any thread.
unsafe impl Send for Peer {}
// SAFETY: as above.
unsafe impl Sync for Peer {}

/// A frame that crosses. `buffer` has the payload; if it is empty, `borrowed` has it for the call.
#[repr(C)]
struct PassedFrame {
    kind: u8,
    end: bool,
    stream: u32,
    /// -1: none.
    descriptor: i32,
    borrowed: Slice,
    buffer: Buffer,
}

impl Peer {
    /// What the other side needs to call `end`.
    pub fn new<E: Endpoint>(end: Arc<E>) -> Peer {
        Peer {
            end: Arc::into_raw(end).cast(),
            receive: receive::<E>,
            connect: connect::<E>,
            release: release::<E>,
        }
    }

    /// Passes a frame.
    pub fn pass(&self, frame: Frame) {
        let Frame { kind, stream, end, payload, descriptor } = frame;
        let small = payload.len() < LARGE;
        let mut passed = PassedFrame {
            kind: kind as u8,
            end,
            stream,
            descriptor: descriptor.map_or(-1, IntoRawFd::into_raw_fd),
            borrowed: if small { Slice::new(&payload) } else { Slice::EMPTY },
            buffer: if small { Buffer::EMPTY } else { http::buffer(payload.clone()) },
        };
        // SAFETY: `end` is alive until the release, and the frame for the call.
        unsafe { (self.receive)(self.end, &mut passed) }
    }

    /// Passes this side's own end.
    pub fn connect(&self, own: Peer) {
        // SAFETY: `end` is alive until the release.
        unsafe { (self.connect)(self.end, own) }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // SAFETY: the end was turned into a pointer once, and is released once.
        unsafe { (self.release)(self.end) }
    }
}

unsafe extern "C" fn receive<E: Endpoint>(end: *const c_void, frame: *mut PassedFrame) {
    // SAFETY: `end` came from `Arc::into_raw` of an `E`, and the frame is alive for the call.
    let (end, frame) = unsafe { (&*end.cast::<E>(), &mut *frame) };
    let buffer = frame.buffer.take();
    let payload = match buffer.release {
        // SAFETY: the caller lends the bytes for the call; they are copied.
        None => Bytes::copy_from_slice(unsafe { frame.borrowed.bytes() }),
        // SAFETY: the caller keeps the promise of a buffer.
        Some(_) => unsafe { http::bytes(buffer) },
    };
    // SAFETY: the caller passes the descriptor on.
    let descriptor = (frame.descriptor >= 0).then(|| unsafe { OwnedFd::from_raw_fd(frame.descriptor) });
    let Some(kind) = Kind::from_number(frame.kind) else { return };
    let frame = Frame { kind, stream: frame.stream, end: frame.end, payload, descriptor };
    // A panic must not cross; it was printed.
    let _ = catch_unwind(AssertUnwindSafe(|| end.receive(frame)));
}

unsafe extern "C" fn connect<E: Endpoint>(end: *const c_void, peer: Peer) {
    // SAFETY: `end` came from `Arc::into_raw` of an `E`.
    let end = unsafe { &*end.cast::<E>() };
    let _ = catch_unwind(AssertUnwindSafe(|| end.connect(peer)));
}

unsafe extern "C" fn release<E: Endpoint>(end: *const c_void) {
    // SAFETY: `end` came from `Arc::into_raw` of an `E`, and this is its only release.
    let end = unsafe { Arc::from_raw(end.cast::<E>()) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(end)));
}
