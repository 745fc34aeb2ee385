//! The requests that a process has begun, in memory that it shares with its worker, which can read it after the process has
//! died.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// Length of the memory, in bytes: what the kernel maps at least.
const LENGTH: usize = 4096;

/// The greatest number of a stream that the process has begun on one connection. It begins them in their order.
#[derive(Debug)]
pub struct Begun(NonNull<AtomicU32>);

// SAFETY: the memory is mapped until the drop, and is only used as an atomic number.
unsafe impl Send for Begun {}
// SAFETY: as above.
unsafe impl Sync for Begun {}

impl Begun {
    /// Makes the memory. The descriptor is for the other side.
    /// # Errors
    /// When the system has none.
    pub fn new() -> io::Result<(Begun, OwnedFd)> {
        let memory = rustix::fs::memfd_create("begun", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&memory, LENGTH as u64)?;
        rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok((Begun::map(&memory)?, memory))
    }

    /// Maps the memory of the other side.
    /// # Errors
    /// When it is too short, or may become shorter.
    pub fn open(memory: impl AsFd) -> io::Result<Begun> {
        let seals = rustix::fs::fcntl_get_seals(&memory)?;
        if !seals.contains(SealFlags::SHRINK) || rustix::fs::fstat(&memory)?.st_size != LENGTH as i64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Begun::map(memory)
    }

    fn map(memory: impl AsFd) -> io::Result<Begun> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses. The memory has this length for ever.
        let mapped = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), LENGTH, protection, MapFlags::SHARED, memory, 0)
        }?;
        NonNull::new(mapped.cast()).map(Begun).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    fn number(&self) -> &AtomicU32 {
        // SAFETY: the memory is mapped until the drop, aligned to a page, and zero at first. Any value is a valid number.
        unsafe { self.0.as_ref() }
    }

    /// The process begins this stream.
    pub fn begin(&self, stream: u32) {
        self.number().fetch_max(stream, Ordering::Relaxed);
    }

    /// Whether the process may have begun this stream.
    pub fn has_begun(&self, stream: u32) -> bool {
        self.number().load(Ordering::Relaxed) >= stream
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        // SAFETY: the memory was mapped with this length, and nothing uses it any longer.
        let _ = unsafe { rustix::mm::munmap(self.0.as_ptr().cast(), LENGTH) };
    }
}
