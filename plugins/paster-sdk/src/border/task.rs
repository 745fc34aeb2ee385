//! Futures that the host waits for (health probes), behind the ABI's table.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

use paster_abi as abi;

use super::{panic_text, runtime};

type Work = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

#[repr(C)]
struct RunningTask {
    base: abi::Task,
    work: Option<Work>,
}

static TABLE: abi::TaskTable = abi::TaskTable { size_bytes: size_of::<abi::TaskTable>(), poll, drop };

/// Puts work behind the table. The host owns the result.
pub(super) fn start(work: Work) -> *mut abi::Task {
    Box::into_raw(Box::new(RunningTask { base: abi::Task { table: &TABLE }, work: Some(work) })).cast()
}

unsafe extern "C" fn poll(
    task: *mut abi::Task,
    waker: *const abi::Waker,
    out: *mut abi::Buffer,
) -> abi::Status {
    // SAFETY: the host passes what `start` returned, on one thread at a time, and a live waker and buffer.
    let (this, out) = unsafe { (&mut *task.cast::<RunningTask>(), &mut *out) };
    runtime::enter();
    let Some(work) = &mut this.work else { return abi::FAILED };
    // SAFETY: the waker lives for the call.
    let polled =
        catch_unwind(AssertUnwindSafe(|| unsafe { abi::task::with(waker, |cx| work.as_mut().poll(cx)) }));
    let (status, text) = match polled {
        Ok(Poll::Pending) => return abi::PENDING,
        Ok(Poll::Ready(Ok(text))) => (abi::READY, text),
        Ok(Poll::Ready(Err(text))) => (abi::FAILED, text),
        Err(panic) => (abi::PANICKED, panic_text(panic)),
    };
    *out = abi::Buffer::of_vec(text.into_bytes());
    status
}

unsafe extern "C" fn drop(task: *mut abi::Task) {
    runtime::enter();
    // SAFETY: `start` made it by `Box::into_raw`; it ends here, once.
    let this = unsafe { Box::from_raw(task.cast::<RunningTask>()) };
    let _ = catch_unwind(AssertUnwindSafe(|| std::mem::drop(this)));
}
