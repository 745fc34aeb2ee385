//! A loaded library. The file is checked before it is loaded, and the table before any call.

use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use paster_abi as abi;

use super::file;
use crate::error::{Error, Result};

/// A plugin's description of itself. Reading it does not create an app.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Info {
    /// The plugin's name.
    pub name: String,
    /// The plugin's version.
    pub version: String,
    /// The version of the ABI that it was built with.
    pub abi_version: u32,
    /// Size of its table in bytes.
    pub size_bytes: u32,
    /// The JSON Schema of its settings, if it exports one.
    pub settings_schema: Option<serde_json::Value>,
    /// The names of its optional functions.
    pub functions: Vec<&'static str>,
    /// Names of its side processes.
    pub side_processes: Vec<String>,
}

/// A loaded library. Never unloaded.
#[derive(Clone)]
pub struct Library {
    path: PathBuf,
    pub(super) table: &'static abi::Plugin,
    info: Arc<Info>,
}

impl Library {
    /// Loads a plugin after checking its file, then its table's version and size.
    /// # Errors
    /// If the file is not a library, has no `PASTER_PLUGIN` symbol, or has another ABI. Each error explains how to rebuild the
    /// plugin.
    pub fn load(path: &Path) -> Result<Library> {
        Library::load_as(path, path)
    }

    /// Like [`load`](Library::load), for a private copy of a file. Errors call it `shown`.
    /// # Errors
    /// As for
    /// [`load`](Library::load).
    pub fn load_as(path: &Path, shown: &Path) -> Result<Library> {
        file::check(path, shown)?;
        // SAFETY: loading runs the library's initializers; naming a plugin in a config means trusting them.
        // The library is never unloaded (see below), so what it returns stays valid.
        let library = unsafe { libloading::os::unix::Library::open(Some(path), RTLD_NOW_LOCAL) }
            .map_err(|error| cannot_load(shown).because(reason(&error, path, shown)))?;
        let library = std::mem::ManuallyDrop::new(library);
        // SAFETY: only the symbol's address is taken here; `check_table` reads it.
        let symbol = unsafe { library.get::<*const abi::Plugin>(abi::SYMBOL.as_bytes()) };
        let table: *const abi::Plugin = match symbol {
            Ok(symbol) => symbol.into_raw().cast(),
            Err(_) => {
                return Err(cannot_load(shown)
                    .because(format!("it is not a paster plugin: it has no symbol `{}`", abi::SYMBOL))
                    .help(
                        "in Rust, `paster_sdk::plugin!` exports it; in C, `PASTER_EXPORT const PasterPlugin`",
                    )
                    .into());
            }
        };
        let table = check_table(shown, table)?;
        let info = Arc::new(info(table));
        Ok(Library { path: path.to_owned(), table, info })
    }

    /// Its description of itself.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Whether it has an application.
    pub fn has_app(&self) -> bool {
        self.table.call.is_some()
    }

    /// Whether it has middleware.
    pub fn has_middleware(&self) -> bool {
        self.table.call_middleware.is_some()
    }

    /// Where it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs the plugin's side process `name` over `listener` until it ends (`paster __side`); returns its status.
    /// # Errors
    /// If the plugin has no side process with that name.
    pub fn run_side(&self, name: &str, listener: OwnedFd) -> Result<i32> {
        check_side_process(name, &self.info.side_processes)?;
        let run = self.table.run_side.ok_or_else(|| {
            Error::new(format!("the plugin `{}` lists side processes but has no `run_side`", self.info.name))
        })?;
        // SAFETY: the name lives for the call; the descriptor is handed over.
        Ok(unsafe { run(abi::Slice::new(name.as_bytes()), listener.into_raw_fd()) })
    }
}

/// # Errors
/// If the plugin has no side process `name`.
pub(super) fn check_side_process(name: &str, known: &[String]) -> Result<(), Error> {
    if known.iter().any(|one| one == name) {
        return Ok(());
    }
    let names: Vec<_> = known.iter().map(|one| format!("`{one}`")).collect();
    let known = match names.as_slice() {
        [] => "its table lists none".to_owned(),
        [one] => format!("it has {one}"),
        several => format!("it has {}", several.join(", ")),
    };
    Err(Error::new(format!("the plugin has no side process `{name}`: {known}")))
}

const RTLD_NOW_LOCAL: i32 = libloading::os::unix::RTLD_NOW | libloading::os::unix::RTLD_LOCAL;

/// The message of the system's loader, which begins with the file's path.
fn reason(error: &libloading::Error, path: &Path, shown: &Path) -> String {
    let text = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    text.replace(&*path.to_string_lossy(), &shown.to_string_lossy())
}

fn cannot_load(path: &Path) -> Error {
    Error::new(format!("cannot load the plugin `{}`", path.display()))
}

/// Checks version and size before reading anything else.
fn check_table(path: &Path, table: *const abi::Plugin) -> Result<&'static abi::Plugin> {
    if table.is_null() || !table.is_aligned() {
        return Err(cannot_load(path).because("`PASTER_PLUGIN` is not a plugin table").into());
    }
    // SAFETY: every version's table begins with these two numbers, and the symbol lives as long as the
    // process.
    let (version, size) = unsafe { ((*table).abi_version, (*table).size_bytes) };
    if version != abi::ABI_VERSION {
        let newer = version > abi::ABI_VERSION;
        return Err(cannot_load(path)
            .because(format!(
                "it was built for version {version} of the plugin ABI, but this paster {} uses version {}",
                env!("CARGO_PKG_VERSION"),
                abi::ABI_VERSION
            ))
            .help(match newer {
                true => {
                    "update paster, or rebuild the plugin with the paster-sdk (or paster.h) of this version"
                }
                false => "rebuild the plugin with the paster-sdk (or paster.h) of this paster",
            })
            .into());
    }
    let size = size as usize;
    if size < abi::Plugin::SMALLEST_BYTES {
        return Err(cannot_load(path)
            .because(format!(
                "its plugin table has {size} bytes, but version {version} of the ABI needs at least {}",
                abi::Plugin::SMALLEST_BYTES
            ))
            .help("set `size_bytes` to `sizeof(PasterPlugin)` and rebuild the plugin")
            .into());
    }
    // SAFETY: version and size show that a table of this version is there, in a static of a library that is never
    // unloaded. A shorter one is completed: in a table, zeros are numbers, null pointers and missing functions.
    let table: &'static abi::Plugin = unsafe {
        if size >= size_of::<abi::Plugin>() {
            &*table
        } else {
            let mut whole = Box::new(std::mem::zeroed::<abi::Plugin>());
            std::ptr::copy_nonoverlapping(table.cast::<u8>(), std::ptr::from_mut(&mut *whole).cast(), size);
            Box::leak(whole)
        }
    };
    let lacks: Vec<_> = [
        ("`create`", table.create.is_none()),
        ("`call` or `call_middleware`", table.call.is_none() && table.call_middleware.is_none()),
        ("`destroy`", table.destroy.is_none()),
    ]
    .into_iter()
    .filter_map(|(name, lacks)| lacks.then_some(name))
    .collect();
    if !lacks.is_empty() {
        let names = lacks.join(", ");
        return Err(cannot_load(path).because(format!("its plugin table lacks {names}")).into());
    }
    Ok(table)
}

fn info(table: &'static abi::Plugin) -> Info {
    let mut schema = abi::Buffer::EMPTY;
    // SAFETY: the table's texts and lists live as long as the process; `schema` is a live place.
    let (name, version, side_processes, schema) = unsafe {
        if let Some(write) = table.settings_schema {
            write(&mut schema);
        }
        let sides = match table.sides.is_null() {
            true => &[],
            false => std::slice::from_raw_parts(table.sides, table.side_count),
        };
        let sides = sides.iter().map(|side| side.text()).collect();
        (table.name.text(), table.version.text(), sides, serde_json::from_slice(schema.bytes()).ok())
    };
    let functions = [
        ("settings_schema", table.settings_schema.is_some()),
        ("create", true),
        ("call", table.call.is_some()),
        ("call_middleware", table.call_middleware.is_some()),
        ("health", table.health.is_some()),
        ("save_state", table.save_state.is_some()),
        ("retire", table.retire.is_some()),
        ("shutdown", table.shutdown.is_some()),
        ("destroy", true),
        ("list_tasks", table.list_tasks.is_some()),
        ("run_task", table.run_task.is_some()),
        ("run_side", table.run_side.is_some()),
    ];
    Info {
        name,
        version,
        abi_version: table.abi_version,
        size_bytes: table.size_bytes,
        settings_schema: schema,
        functions: functions.into_iter().filter_map(|(name, there)| there.then_some(name)).collect(),
        side_processes,
    }
}
