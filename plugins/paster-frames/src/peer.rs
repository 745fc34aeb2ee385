//! A connection within one process: frames are passed by a call instead of a socket.
//!
//! Both sides are separate libraries, which share only the C ABI. Each implements [`Endpoint`], and calls the other
//! one through a [`Peer`].

use std::ffi::c_void;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use paster_abi::{Buffer, Slice, http};

use super::{Frame, Kind};

/// Payloads of at least this size are not copied.
const LARGE: usize = 4096;

/// One end of a connection within a process. Any thread may call it.
pub trait Endpoint: Send + Sync + 'static {
    /// Takes frames of the other end, in their order. Must not wait.
    fn receive(&self, frames: &mut dyn Iterator<Item = Frame>);

    /// The other end passes itself, so that frames can be sent to it.
    fn connect(&self, peer: Peer);
}

/// The other end. It is passed by value across the C ABI.
#[repr(C)]
#[derive(Debug)]
pub struct Peer {
    end: *const c_void,
    receive: unsafe extern "C" fn(end: *const c_void, frames: *mut PassedFrame, count: usize),
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

impl PassedFrame {
    /// `payload` is that of the frame. It must outlive the call.
    fn new(frame: Frame, payload: &Bytes) -> PassedFrame {
        let small = payload.len() < LARGE;
        PassedFrame {
            kind: frame.kind as u8,
            end: frame.end,
            stream: frame.stream,
            descriptor: frame.descriptor.map_or(-1, IntoRawFd::into_raw_fd),
            borrowed: if small { Slice::new(payload) } else { Slice::EMPTY },
            buffer: if small { Buffer::EMPTY } else { http::buffer(frame.payload) },
        }
    }

    /// The frame on the other side. `space` has room for the bytes that are only lent.
    /// # Safety
    /// The other side must keep the promises of the fields, and call this once.
    unsafe fn take(&mut self, space: &mut BytesMut) -> Option<Frame> {
        let buffer = self.buffer.take();
        let payload = match buffer.release {
            None => {
                // SAFETY: the caller lends the bytes for the call; they are copied.
                space.extend_from_slice(unsafe { self.borrowed.bytes() });
                if space.is_empty() { Bytes::new() } else { space.split().freeze() }
            }
            // SAFETY: the caller keeps the promise of a buffer.
            Some(_) => unsafe { http::bytes(buffer) },
        };
        // SAFETY: the caller passes the descriptor on.
        let descriptor = (self.descriptor >= 0).then(|| unsafe { OwnedFd::from_raw_fd(self.descriptor) });
        let kind = Kind::from_number(self.kind)?;
        Some(Frame { kind, stream: self.stream, end: self.end, payload, descriptor })
    }
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

    /// Passes frames with one call.
    pub fn pass(&self, frames: impl IntoIterator<Item = Frame>) {
        let frames: Vec<Frame> = frames.into_iter().collect();
        let payloads: Vec<Bytes> = frames.iter().map(|frame| frame.payload.clone()).collect();
        let passed =
            frames.into_iter().zip(&payloads).map(|(frame, payload)| PassedFrame::new(frame, payload));
        let mut passed: Vec<PassedFrame> = passed.collect();
        // SAFETY: `end` is alive until the release, and the frames and their payloads for the call.
        unsafe { (self.receive)(self.end, passed.as_mut_ptr(), passed.len()) }
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

unsafe extern "C" fn receive<E: Endpoint>(end: *const c_void, frames: *mut PassedFrame, count: usize) {
    if count == 0 {
        return;
    }
    // SAFETY: `end` came from `Arc::into_raw` of an `E`, and the frames are alive for the call.
    let (end, frames) = unsafe { (&*end.cast::<E>(), std::slice::from_raw_parts_mut(frames, count)) };
    let mut space = BytesMut::with_capacity(frames.iter().map(|frame| frame.borrowed.len).sum());
    // SAFETY: the other side made the frames with `PassedFrame::new`, and the iterator takes each once.
    let mut frames = frames.iter_mut().filter_map(|frame| unsafe { frame.take(&mut space) });
    // A panic must not cross; it was printed.
    let _ = catch_unwind(AssertUnwindSafe(|| end.receive(&mut frames)));
    frames.for_each(drop); // what the end did not take owns buffers and descriptors
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
