//! The C ABI between paster (the *host*) and its plugins: plain `#[repr(C)]` types and a version.
//!
//! A plugin is a shared library that exports one symbol, [`Plugin`]'s static table `PASTER_PLUGIN`. It is a
//! static and not a function, so that its version can be read and refused before any code of the plugin is called.
//!
//! Rules that hold for every type here:
//! - Only integers, pointers with lengths and function pointers cross. No panic or exception may cross.
//! - Who allocates, frees: a [`Buffer`] carries its owner's release function; a [`Slice`] is borrowed for the call.
//! - Every table begins with its size in bytes. Fields are only ever added at its end; the reader uses no field
//!   beyond the size that it finds there.
//! - An object ([`Exchange`], [`Body`], [`Io`], [`Task`]) is a pointer to a struct whose first word points to its
//!   table; what follows is its maker's own. Its functions are called by one thread at a time, not always the same
//!   one, and none after its `drop`.
//! - A `poll_…` function never blocks. When it answers [`PENDING`] it has kept a clone of the waker and wakes it
//!   once it is worth asking again.
//!
//! The types have no dependencies. `include/paster.h` is generated from them, to write plugins in C.
//! The feature `http` adds what both sides need to carry the types of the crates `http` and `bytes` across.

#[cfg(feature = "http")]
pub mod http;
pub mod names;
mod object;
mod plugin;
mod request;
pub mod task;
mod value;

pub use object::*;
pub use plugin::*;
pub use request::*;
pub use value::*;
