//! The C ABI between paster (the *host*) and its plugins: plain `#[repr(C)]` types and a version.
//!
//! A plugin is a shared library that exports one symbol, `PASTER_PLUGIN`: a static [`Plugin`] table. It is a
//! static rather than a function so that the host can read and refuse its version before it calls any code of
//! the plugin.
//!
//! Rules for all types here:
//! - Only integers, pointers with lengths and function pointers cross. No panic or exception may cross.
//! - The side that allocates also frees: a [`Buffer`] carries its owner's release function; a [`Slice`] is borrowed
//!   for the call.
//! - Every table begins with its size in bytes. Fields are only ever added at its end. A reader uses no field
//!   beyond the size that it finds.
//! - An object ([`Exchange`], [`Next`], [`Body`], [`Io`], [`Task`]) is a pointer to a struct whose first word points to
//!   its table. The rest belongs to the side that made it. Only one thread at a time calls its functions, not
//!   always the same one, and none after its `drop`.
//! - A `poll_…` function never blocks. When it returns [`PENDING`], it has kept a clone of the waker and
//!   wakes it when it should be called again.
//!
//! The types have no dependencies. `include/paster.h` is generated from them, to write plugins in C.
//! The feature `http` adds what both sides need to pass the types of the crates `http` and `bytes` across.

#[cfg(feature = "http")]
pub mod http;
pub mod names;
mod object;
mod plugin;
mod request;
#[cfg(feature = "http")]
pub mod target;
pub mod task;
mod value;

pub use object::*;
pub use plugin::*;
pub use request::*;
pub use value::*;
