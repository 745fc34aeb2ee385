//! An upgraded connection that the plugin reads and writes, mostly on its own threads. The connection may have time limits,
//! which need the host's runtime, so it is entered.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBuf, Write};
use hyper::upgrade::Upgraded;
use paster_abi as abi;
use tokio::runtime::Handle;

#[repr(C)]
struct ExportedUpgrade {
    base: abi::Io,
    io: Upgraded,
    runtime: Option<Handle>,
}

static TABLE: abi::IoTable = abi::IoTable {
    size_bytes: size_of::<abi::IoTable>(),
    poll_read,
    poll_write,
    poll_flush,
    poll_shutdown,
    drop: drop_io,
};

/// Passes a connection to the plugin.
pub(super) fn export(io: Upgraded) -> *mut abi::Io {
    let runtime = Handle::try_current().ok();
    Box::into_raw(Box::new(ExportedUpgrade { base: abi::Io { table: &TABLE }, io, runtime })).cast()
}

/// Polls the connection behind `io`.
///
/// # Safety
/// `io` must come from [`export`] and be used by one thread at a time; `waker` must live for the call.
unsafe fn poll<T>(
    io: *mut abi::Io,
    waker: *const abi::Waker,
    f: impl FnOnce(Pin<&mut Upgraded>, &mut Context<'_>) -> T,
) -> T {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let this = &mut *io.cast::<ExportedUpgrade>();
        let _entered = this.runtime.as_ref().map(Handle::enter);
        abi::task::with(waker, |cx| f(Pin::new(&mut this.io), cx))
    }
}

fn counted(polled: Poll<std::io::Result<usize>>) -> isize {
    match polled {
        Poll::Pending => abi::IO_PENDING,
        Poll::Ready(Ok(count)) => isize::try_from(count).unwrap_or(isize::MAX),
        Poll::Ready(Err(_)) => abi::IO_FAILED,
    }
}

fn done(polled: Poll<std::io::Result<()>>) -> abi::Status {
    match polled {
        Poll::Pending => abi::PENDING,
        Poll::Ready(Ok(())) => abi::READY,
        Poll::Ready(Err(_)) => abi::FAILED,
    }
}

unsafe extern "C" fn poll_read(
    io: *mut abi::Io,
    waker: *const abi::Waker,
    data: *mut u8,
    len: usize,
) -> isize {
    // SAFETY: the plugin passes what `export` returned, a live waker and `len` bytes of space, which are only
    // written to. If `len` is 0, `data` may be null.
    unsafe {
        let room = match len {
            0 => &mut [][..],
            _ => std::slice::from_raw_parts_mut(data.cast::<std::mem::MaybeUninit<u8>>(), len),
        };
        let mut buffer = ReadBuf::uninit(room);
        let polled = poll(io, waker, |io, cx| io.poll_read(cx, buffer.unfilled()));
        counted(polled.map_ok(|()| buffer.filled().len()))
    }
}

unsafe extern "C" fn poll_write(
    io: *mut abi::Io,
    waker: *const abi::Waker,
    data: *const u8,
    len: usize,
) -> isize {
    // SAFETY: the plugin passes what `export` returned, a live waker and `len` bytes.
    unsafe {
        let data = abi::Slice { data, len };
        counted(poll(io, waker, |io, cx| io.poll_write(cx, data.bytes())))
    }
}

unsafe extern "C" fn poll_flush(io: *mut abi::Io, waker: *const abi::Waker) -> abi::Status {
    // SAFETY: the plugin passes what `export` returned and a live waker.
    done(unsafe { poll(io, waker, |io, cx| io.poll_flush(cx)) })
}

unsafe extern "C" fn poll_shutdown(io: *mut abi::Io, waker: *const abi::Waker) -> abi::Status {
    // SAFETY: the plugin passes what `export` returned and a live waker.
    done(unsafe { poll(io, waker, |io, cx| io.poll_shutdown(cx)) })
}

unsafe extern "C" fn drop_io(io: *mut abi::Io) {
    // SAFETY: `export` made it by `Box::into_raw`; the plugin ends it once.
    let this = unsafe { Box::from_raw(io.cast::<ExportedUpgrade>()) };
    let runtime = this.runtime.clone();
    let _entered = runtime.as_ref().map(Handle::enter);
    drop(this);
}
