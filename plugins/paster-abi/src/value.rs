//! The values that cross: statuses, borrowed slices, owned buffers, headers, addresses.

/// Version of the ABI. Raised by any change other than adding fields at the end of a table.
pub const ABI_VERSION: u32 = 1;

/// What a function returns: one of `PENDING`, `READY`, `FAILED`, `PANICKED`.
pub type Status = u32;

/// Not yet: the waker that was passed will be woken.
pub const PENDING: Status = 0;
/// Done: the results are written.
pub const READY: Status = 1;
/// Failed: the error text is written where the function documents it.
pub const FAILED: Status = 2;
/// Failed with a panic (in Rust) or similar: a bug in the program, counted separately.
pub const PANICKED: Status = 3;

/// Length of a body whose length is not known before it ends.
pub const LENGTH_UNKNOWN: u64 = u64::MAX;

/// Borrowed bytes, valid during the call that passes them unless documented otherwise. Text is UTF-8 without
/// a NUL at its end. `data` may be null if `len` is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Slice {
    /// First byte.
    pub data: *const u8,
    /// Number of bytes.
    pub len: usize,
}

/// Bytes with their owner. The receiver reads `len` bytes at `data`, then calls `release(owner)` exactly
/// once, from any thread. If `release` is null, there is nothing to free, and the bytes live as long as the
/// process.
#[repr(C)]
pub struct Buffer {
    /// First byte; may be null if `len` is 0.
    pub data: *const u8,
    /// Number of bytes.
    pub len: usize,
    /// Passed to `release`.
    pub owner: *mut core::ffi::c_void,
    /// Frees the bytes; null for static bytes.
    pub release: Option<unsafe extern "C" fn(owner: *mut core::ffi::c_void)>,
}

/// One header field. Names are lower case.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Header {
    /// The name's number in the list of well-known names that the headers are built with, or 0. It is a
    /// shortcut between two Rust sides: writing 0 is always correct, and `name` is always set.
    pub number: usize,
    /// Name, in lower-case token characters.
    pub name: Slice,
    /// Value: any bytes except control characters.
    pub value: Slice,
}

/// An IP address with a port.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// 4, 6, or 0 if there is no address.
    pub family: u8,
    /// Four octets for IPv4 or sixteen for IPv6, in network order.
    pub octets: [u8; 16],
    /// Port in host byte order; 0 if unknown.
    pub port: u16,
}

impl Slice {
    /// No bytes.
    pub const EMPTY: Slice = Slice { data: core::ptr::null(), len: 0 };

    /// Borrows `bytes`. From here on the compiler does not track the borrow.
    pub const fn new(bytes: &[u8]) -> Slice {
        Slice { data: bytes.as_ptr(), len: bytes.len() }
    }

    /// The bytes.
    /// # Safety
    /// They must live and stay unchanged for `'a`.
    pub const unsafe fn bytes<'a>(&self) -> &'a [u8] {
        if self.data.is_null() {
            return &[];
        }
        // SAFETY: the caller guarantees that `len` bytes live at `data`.
        unsafe { core::slice::from_raw_parts(self.data, self.len) }
    }

    /// The text, with invalid UTF-8 replaced.
    /// # Safety
    /// As [`Slice::bytes`].
    pub unsafe fn text(&self) -> String {
        // SAFETY: guaranteed by the caller; the bytes are copied here.
        String::from_utf8_lossy(unsafe { self.bytes() }).into_owned()
    }
}

// SAFETY: a slice is a pointer and a length. Code that reads through it upholds the lifetime (`bytes` is
// unsafe).
unsafe impl Send for Slice {}
// SAFETY: as above; the bytes are never written through it.
unsafe impl Sync for Slice {}

impl Buffer {
    /// No bytes, nothing to release.
    pub const EMPTY: Buffer =
        Buffer { data: core::ptr::null(), len: 0, owner: core::ptr::null_mut(), release: None };

    /// A buffer of bytes that live as long as the process.
    pub const fn of_static(bytes: &'static [u8]) -> Buffer {
        Buffer { data: bytes.as_ptr(), len: bytes.len(), owner: core::ptr::null_mut(), release: None }
    }

    /// A buffer that owns `bytes`.
    pub fn of_vec(bytes: Vec<u8>) -> Buffer {
        unsafe extern "C" fn release(owner: *mut core::ffi::c_void) {
            // SAFETY: `owner` came from `Box::into_raw` below and is released once.
            drop(unsafe { Box::from_raw(owner.cast::<Vec<u8>>()) });
        }
        if bytes.is_empty() {
            return Buffer::EMPTY;
        }
        let (data, len) = (bytes.as_ptr(), bytes.len());
        Buffer { data, len, owner: Box::into_raw(Box::new(bytes)).cast(), release: Some(release) }
    }

    /// The bytes.
    /// # Safety
    /// The buffer must keep the ABI's promise: `len` bytes at `data` until its release.
    pub unsafe fn bytes(&self) -> &[u8] {
        if self.data.is_null() {
            return &[];
        }
        // SAFETY: guaranteed by the caller; the borrow ends before the release, which takes the buffer.
        unsafe { core::slice::from_raw_parts(self.data, self.len) }
    }

    /// Copies the bytes as text and releases the buffer.
    /// # Safety
    /// As [`Buffer::bytes`].
    pub unsafe fn into_text(self) -> String {
        // SAFETY: guaranteed by the caller.
        String::from_utf8_lossy(unsafe { self.bytes() }).into_owned()
    }

    /// Takes the buffer out, leaving an empty one.
    pub fn take(&mut self) -> Buffer {
        core::mem::replace(self, Buffer::EMPTY)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            // SAFETY: the ABI guarantees that `release` takes `owner` once, and `take` above ensures that.
            unsafe { release(self.owner) }
        }
    }
}

// SAFETY: the ABI guarantees that any thread may read and release a buffer.
unsafe impl Send for Buffer {}
// SAFETY: a shared buffer is only read.
unsafe impl Sync for Buffer {}

impl Address {
    /// No address.
    pub const NONE: Address = Address { family: 0, octets: [0; 16], port: 0 };

    /// From an address and a port; port 0 means unknown.
    pub fn new(address: core::net::IpAddr, port: u16) -> Address {
        let mut octets = [0; 16];
        let family = match address {
            core::net::IpAddr::V4(address) => {
                octets[..4].copy_from_slice(&address.octets());
                4
            }
            core::net::IpAddr::V6(address) => {
                octets = address.octets();
                6
            }
        };
        Address { family, octets, port }
    }

    /// The IP address, if there is one.
    pub fn ip(&self) -> Option<core::net::IpAddr> {
        let octets = self.octets;
        match self.family {
            4 => Some(core::net::Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]).into()),
            6 => Some(core::net::Ipv6Addr::from(octets).into()),
            _ => None,
        }
    }
}
