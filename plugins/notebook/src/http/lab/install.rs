//! Where JupyterLab and its extensions are installed.

use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::http::error::{ApiError, Result};

/// An installed JupyterLab.
pub(crate) struct LabInstall {
    /// `share/jupyter/lab`, with `static`, `schemas` and `themes`.
    pub(super) folder: PathBuf,
    /// The folders `labextensions`, which need not exist.
    pub(super) extensions: Vec<PathBuf>,
}

impl LabInstall {
    /// Finds JupyterLab in Jupyter's data folders. The first match wins.
    /// # Errors
    /// If it is not installed. The message tells
    /// how to install it.
    pub(crate) fn find(data_folders: &[PathBuf]) -> std::result::Result<LabInstall, String> {
        let folder = data_folders.iter().map(|folder| folder.join("lab"));
        let folder = folder.into_iter().find(|lab| lab.join("static/index.html").is_file());
        let extensions = data_folders.iter().map(|folder| folder.join("labextensions")).collect();
        let missing = || {
            "JupyterLab is not installed beside the notebook's Python: run `pip install jupyterlab` with it, or remove \
             `front_end = \"lab\"` from the settings"
                .to_owned()
        };
        Ok(LabInstall { folder: folder.ok_or_else(missing)?, extensions })
    }

    /// The candidates for a file below `roots`.
    pub(super) fn below(&self, roots: &[PathBuf], path: &str) -> Result<Vec<PathBuf>> {
        let path = Path::new(path);
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(ApiError::missing("the path leads out of the folder"));
        }
        Ok(roots.iter().map(|root| root.join(path)).collect())
    }

    /// The address of the page's first script, relative to `static/lab/`.
    pub(super) fn script(&self) -> Option<String> {
        let index = std::fs::read_to_string(self.folder.join("static/index.html")).ok()?;
        let (_, rest) = index.split_once("{{page_config.fullStaticUrl}}/")?;
        let end = rest.find('"')?;
        Some(rest[..end].to_owned())
    }

    /// The version of the application.
    pub(super) fn version(&self) -> String {
        let package = json_file(&self.folder.join("static/package.json"));
        package["jupyterlab"]["version"].as_str().unwrap_or_default().to_owned()
    }

    /// The name and the folder of each extension. The first extension with a name wins.
    pub(super) fn extension_folders(&self) -> Vec<(String, PathBuf)> {
        let mut found: Vec<(String, PathBuf)> = Vec::new();
        let entries = |folder: &Path| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let mut entries: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            entries.sort();
            entries
        };
        for root in &self.extensions {
            for path in entries(root) {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
                let packages = if name.starts_with('@') { entries(&path) } else { vec![path] };
                for package in packages {
                    let Ok(name) = package.strip_prefix(root) else { continue };
                    let name = name.to_string_lossy().into_owned();
                    if package.join("package.json").is_file()
                        && !found.iter().any(|(known, _)| *known == name)
                    {
                        found.push((name, package));
                    }
                }
            }
        }
        found
    }

    /// The extensions in the form of the page's configuration, and the extensions that they disable.
    pub(super) fn federated(&self) -> (Vec<Value>, Vec<String>) {
        let (mut extensions, mut disabled) = (Vec::new(), Vec::new());
        for (name, folder) in self.extension_folders() {
            let package = json_file(&folder.join("package.json"));
            let built = &package["jupyterlab"]["_build"];
            if built["load"].is_null() {
                continue;
            }
            let mut shown = Map::from_iter([("name".to_owned(), json!(name))]);
            for key in ["load", "extension", "mimeExtension", "style", "entrypoints"] {
                if !built[key].is_null() {
                    shown.insert(key.to_owned(), built[key].clone());
                }
            }
            extensions.push(Value::Object(shown));
            let others = package["jupyterlab"]["disabledExtensions"].as_array().into_iter().flatten();
            disabled.extend(others.filter_map(Value::as_str).map(str::to_owned));
        }
        (extensions, disabled)
    }
}

/// A JSON file; null if it cannot be read.
pub(super) fn json_file(path: &Path) -> Value {
    std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}
