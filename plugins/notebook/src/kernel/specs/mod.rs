//! Which kernels can be started: installed kernelspecs, the configured Python's ipykernel and the built-in kernel, or those
//! of a gateway.
//!
//! # Source
//! Jupyter, "Making kernels for Jupyter", section "Kernel specs".

mod environments;
mod gateway;
mod search;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value, json};

pub use self::environments::{Environment, Environments};
pub use self::search::KernelSpecs;
use super::gateway::Gateway;
use super::sandbox::Sandbox;
use super::wire::{KernelLimits, Launch};

/// The name of the built-in kernel.
pub const BUILT_IN: &str = "paster-python";
/// The built-in kernel, which only uses Python's standard library. Its files are joined to one.
const BUILT_IN_SOURCE: &str = concat!(
    include_str!("../../../kernel/wire.py"),
    include_str!("../../../kernel/display.py"),
    include_str!("../../../kernel/errors.py"),
    include_str!("../../../kernel/completion.py"),
    include_str!("../../../kernel/shell.py"),
    include_str!("../../../kernel/magics.py"),
    include_str!("../../../kernel/widgets.py"),
    include_str!("../../../kernel/kernel.py"),
    include_str!("../../../kernel/main.py"),
);
/// The files of a kernelspec's folder that front ends know, and their keys in `resources`.
const RESOURCES: [(&str, &str); 5] = [
    ("logo-64x64.png", "logo-64x64"),
    ("logo-32x32.png", "logo-32x32"),
    ("logo-svg.svg", "logo-svg"),
    ("kernel.js", "kernel.js"),
    ("kernel.css", "kernel.css"),
];

/// A kernel that can be started.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// As in `/api/kernelspecs`.
    pub name: String,
    /// The name that users see.
    pub display_name: String,
    /// For example `python`.
    pub language: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables to set.
    pub env: Vec<(String, String)>,
    /// Whether it is interrupted by a message instead of SIGINT.
    pub interrupt_by_message: bool,
    /// Anything.
    pub metadata: Value,
    /// Its folder; `None` for kernels without a kernelspec on disk.
    pub folder: Option<PathBuf>,
    /// Whether it is the built-in kernel.
    pub built_in: bool,
    /// The gateway that runs it; `None`: this machine does.
    pub gateway: Option<Gateway>,
}

impl Spec {
    /// What the kernel host needs to start it in `folder`.
    pub fn launch(
        &self,
        folder: &Path,
        extra_env: &[(String, String)],
        limits: KernelLimits,
        sandbox: Option<Sandbox>,
    ) -> Launch {
        Launch {
            name: self.name.clone(),
            argv: self.argv.clone(),
            language: self.language.clone(),
            env: self.env.iter().chain(extra_env).cloned().collect(),
            folder: folder.to_string_lossy().into_owned(),
            resource_dir: self
                .folder
                .as_deref()
                .map(|path| path.to_string_lossy().into_owned())
                .unwrap_or_default(),
            interrupt_by_message: self.interrupt_by_message,
            built_in: self.built_in.then(|| BUILT_IN_SOURCE.to_owned()),
            limits,
            gateway: self.gateway.clone(),
            sandbox: sandbox.filter(|_| self.gateway.is_none()),
        }
    }

    /// As Jupyter Server shows it. Resources are below `base`, which ends with a slash.
    pub fn to_json(&self, base: &str) -> Value {
        let env: Map<String, Value> =
            self.env.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        let mut resources = Map::new();
        for (file, key) in RESOURCES {
            if self.folder.as_deref().is_some_and(|folder| folder.join(file).is_file()) {
                resources.insert(key.to_owned(), format!("{base}kernelspecs/{}/{file}", self.name).into());
            }
        }
        json!({
            "name": self.name,
            "spec": {
                "argv": self.argv,
                "env": env,
                "display_name": self.display_name,
                "language": self.language,
                "interrupt_mode": if self.interrupt_by_message { "message" } else { "signal" },
                "metadata": self.metadata,
            },
            "resources": resources,
        })
    }

    /// The path of one of the files beside `kernel.json`, if it exists.
    pub fn resource(&self, file: &str) -> Option<PathBuf> {
        let folder = self.folder.as_deref()?.canonicalize().ok()?;
        let visible = Path::new(file).components().all(|part| match part {
            Component::Normal(name) => !name.as_encoded_bytes().starts_with(b"."),
            _ => false,
        });
        // A link may lead out of the folder.
        let path =
            folder.join(file).canonicalize().ok().filter(|path| visible && path.starts_with(&folder))?;
        path.is_file().then_some(path)
    }
}

/// The kernels of this machine, by name, and the default one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Specs {
    /// By name.
    pub specs: BTreeMap<String, Spec>,
    /// The name of the default kernel; `None` if there are no kernels.
    pub default: Option<String>,
    /// What to do if there are no kernels, for users.
    pub message: Option<String>,
}

impl Specs {
    /// The spec named `name`. If it is not installed, one of the same language, because notebooks from other
    /// machines name other kernels.
    pub fn find(&self, name: Option<&str>, language: Option<&str>) -> Option<&Spec> {
        let by_language = || {
            let default = self.default.as_ref().and_then(|name| self.specs.get(name));
            let language = language?;
            default
                .filter(|spec| spec.language == language)
                .or_else(|| self.specs.values().find(|spec| spec.language == language))
        };
        match name.filter(|name| !name.is_empty()) {
            Some(name) => self.specs.get(name).or_else(by_language),
            None => by_language().or_else(|| self.specs.get(self.default.as_ref()?)),
        }
    }
}
