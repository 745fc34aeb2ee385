//! Converts between Rust's wakers and the ABI's, both ways, without an allocation while nothing is pending.

use core::ffi::c_void;
use core::mem::ManuallyDrop;
use core::task::{RawWaker, RawWakerVTable};
use std::sync::Arc;

use crate::{Waker, WakerTable};

/// Lends a Rust waker to the other side. The ABI waker is its data pointer and its table of functions.
pub fn lend(waker: &std::task::Waker) -> Waker {
    Waker {
        table: &TABLE,
        data: waker.data().cast(),
        extra: core::ptr::from_ref::<RawWakerVTable>(waker.vtable()).cast(),
    }
}

static TABLE: WakerTable = WakerTable { size_bytes: size_of::<WakerTable>(), clone, wake, wake_by_ref, drop };

/// The Rust waker that [`lend`] took apart. It must not be dropped unless a clone ends here.
///
/// # Safety
/// `waker` must come from [`lend`] or [`clone`], and must not have ended.
unsafe fn rust(waker: *const Waker) -> ManuallyDrop<std::task::Waker> {
    // SAFETY: `lend` put a live waker's data and static table into the two words.
    unsafe {
        let table: &'static RawWakerVTable = &*(*waker).extra.cast();
        ManuallyDrop::new(std::task::Waker::new((*waker).data.cast(), table))
    }
}

unsafe extern "C" fn clone(waker: *const Waker, out: *mut Waker) {
    // SAFETY: the ABI passes a waker of this table and a place for its clone.
    unsafe { out.write(lend(&ManuallyDrop::new((*rust(waker)).clone()))) }
}

unsafe extern "C" fn wake(waker: *const Waker) {
    // SAFETY: the ABI passes a clone of this table, which ends here.
    ManuallyDrop::into_inner(unsafe { rust(waker) }).wake();
}

unsafe extern "C" fn wake_by_ref(waker: *const Waker) {
    // SAFETY: the ABI passes a waker of this table.
    unsafe { rust(waker) }.wake_by_ref();
}

unsafe extern "C" fn drop(waker: *const Waker) {
    // SAFETY: the ABI passes a clone of this table, which ends here.
    core::mem::drop(ManuallyDrop::into_inner(unsafe { rust(waker) }));
}

/// A clone of the other side's waker, shared by the Rust wakers made from it.
struct Foreign(Waker);

// SAFETY: the ABI guarantees that any thread may call a waker's functions.
unsafe impl Send for Foreign {}
// SAFETY: as above.
unsafe impl Sync for Foreign {}

impl std::task::Wake for Foreign {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // SAFETY: the clone has not ended, because it ends in `drop`.
        unsafe { ((*self.0.table).wake_by_ref)(&self.0) }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // SAFETY: the clone ends here, once.
        unsafe { ((*self.0.table).drop)(&self.0) }
    }
}

/// Runs `f` with a Rust waker that stands for `waker`. Only a clone of it allocates.
/// # Safety
/// `waker` must be live, by the ABI's rules, during the call.
pub unsafe fn with<T>(waker: *const Waker, f: impl FnOnce(&mut core::task::Context<'_>) -> T) -> T {
    const BORROWED: RawWakerVTable = RawWakerVTable::new(
        |waker| {
            let mut clone = core::mem::MaybeUninit::uninit();
            // SAFETY: the borrowed waker lives while `with` runs; `clone` writes its out value.
            let foreign = unsafe {
                let waker: *const Waker = waker.cast();
                ((*(*waker).table).clone)(waker, clone.as_mut_ptr());
                Foreign(clone.assume_init())
            };
            let raw = ManuallyDrop::new(std::task::Waker::from(Arc::new(foreign)));
            RawWaker::new(raw.data(), raw.vtable())
        },
        |_| unreachable!("a borrowed waker is not woken by value"),
        |waker| {
            let waker: *const Waker = waker.cast();
            // SAFETY: as above.
            unsafe { ((*(*waker).table).wake_by_ref)(waker) }
        },
        |_| {},
    );
    // SAFETY: the table keeps the contract. Clones own what they hold. The borrowed one owns nothing, is not
    // woken by value, and does not outlive `f`, which only gets a reference.
    let rust = ManuallyDrop::new(unsafe {
        std::task::Waker::new(waker.cast::<c_void>().cast::<()>(), const { &BORROWED })
    });
    f(&mut core::task::Context::from_waker(&rust))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_waker_crosses_and_comes_back() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let host = std::task::Waker::from(count.clone());
        let lent = lend(&host);
        // SAFETY: `host` outlives the call.
        let kept = unsafe {
            with(&lent, |cx| {
                cx.waker().wake_by_ref();
                assert_eq!(count.0.load(Ordering::SeqCst), 1);
                (cx.waker().clone(), cx.waker().clone())
            })
        };
        core::mem::drop(host);
        let again = kept.0.clone();
        again.wake();
        kept.0.wake_by_ref();
        std::thread::spawn(move || kept.1.wake()).join().unwrap();
        assert_eq!(count.0.load(Ordering::SeqCst), 4);
        core::mem::drop(kept.0);
        assert_eq!(Arc::strong_count(&count), 1, "every clone has ended");
    }
}
