//! The host of an application under test.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

use paster_abi as abi;

use super::Setup;
use crate::Host;

/// The data of the host's functions. It lives as long as the process, like every host.
pub(super) struct FakeHost {
    config: Vec<u8>,
    counters: Mutex<BTreeMap<String, u64>>,
}

impl FakeHost {
    /// Makes a host for one application.
    pub(super) fn make(setup: Setup) -> (&'static FakeHost, Host) {
        let fake: &'static FakeHost = Box::leak(Box::new(FakeHost {
            config: setup.config.to_string().into_bytes(),
            counters: Mutex::default(),
        }));
        let app: &'static str = Box::leak(setup.app.into_boxed_str());
        let table: &'static abi::Host = Box::leak(Box::new(abi::Host {
            size_bytes: size_of::<abi::Host>(),
            context: std::ptr::from_ref(fake).cast(),
            generation: setup.generation,
            development: setup.development.into(),
            log_level: abi::LOG_ERROR,
            app: abi::Slice::new(app.as_bytes()),
            log,
            count,
            config,
            side_process,
            announce,
        }));
        (fake, Host::new(table, setup.saved_state))
    }

    pub(super) fn counter(&self, name: &str) -> u64 {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or_default()
    }
}

/// Events go to the test's own subscriber, not here.
unsafe extern "C" fn log(_: *const c_void, _: *const abi::LogRecord) {}

unsafe extern "C" fn count(context: *const c_void, name: abi::Slice, count: u64) {
    // SAFETY: `make` set the context, which is never freed; the name lives for the call.
    let (fake, name) = unsafe { (&*context.cast::<FakeHost>(), name.text()) };
    let mut counters = fake.counters.lock().unwrap_or_else(PoisonError::into_inner);
    let counter = counters.entry(name).or_default();
    *counter = counter.saturating_add(count);
}

unsafe extern "C" fn config(context: *const c_void, out: *mut abi::Buffer) {
    // SAFETY: `make` set the context, which is never freed; the sdk passes a live buffer.
    unsafe { *out = abi::Buffer::of_static(&(*context.cast::<FakeHost>()).config) };
}

unsafe extern "C" fn side_process(_: *const c_void, name: abi::Slice, out: *mut abi::Buffer) -> abi::Status {
    // SAFETY: the name lives for the call; the sdk passes a live buffer.
    unsafe {
        let reason = format!("the side process `{}` needs a supervisor, and a test has none", name.text());
        *out = abi::Buffer::of_vec(reason.into_bytes());
    }
    abi::FAILED
}

/// Nobody opens an application under test.
unsafe extern "C" fn announce(_: *const c_void, _: abi::Slice) {}
