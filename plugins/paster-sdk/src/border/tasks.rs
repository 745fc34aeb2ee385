//! The application's tasks behind the table: lists them and starts one by name.

use std::ffi::c_void;

use paster_abi as abi;

use super::{exchange, task, with};

pub(super) unsafe extern "C" fn list(app: *mut c_void, out: *mut abi::Buffer) {
    // SAFETY: the host passes what `create` wrote.
    let listed = unsafe {
        with(app, |instance| {
            let tasks = instance.hooks.tasks.iter();
            let tasks = tasks.map(|task| serde_json::json!({ "name": task.name, "summary": task.summary }));
            serde_json::Value::Array(tasks.collect()).to_string()
        })
    };
    // SAFETY: the host passes a live buffer.
    unsafe { *out = abi::Buffer::of_vec(listed.unwrap_or_else(|| "[]".to_owned()).into_bytes()) };
}

pub(super) unsafe extern "C" fn run(
    app: *mut c_void,
    name: abi::Slice,
    arguments: abi::Slice,
) -> *mut abi::Task {
    // SAFETY: both live for the call.
    let (name, arguments) = unsafe { (name.text(), arguments.bytes()) };
    let arguments = match arguments {
        [] => Ok(serde_json::Value::Null),
        json => serde_json::from_slice(json),
    };
    // SAFETY: the host passes what `create` wrote.
    let begun = unsafe {
        with(app, |instance| {
            let known = instance.hooks.tasks.iter().find(|task| task.name == name)?;
            Some(arguments.map(|arguments| (known.run)(arguments)))
        })
    };
    match begun {
        Some(None) => std::ptr::null_mut(),
        Some(Some(Ok(work))) => {
            task::start(Box::pin(async move { work.await.map_err(|error| exchange::describe(&*error)) }))
        }
        Some(Some(Err(error))) => {
            task::start(Box::pin(async move { Err(format!("the arguments are not valid JSON: {error}")) }))
        }
        None => task::start(Box::pin(async { Err("the task panicked before it started".to_owned()) })),
    }
}
