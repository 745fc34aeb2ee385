//! Finds the kernels of this machine, in the folders that Jupyter searches.
//!
//! # Source
//! Jupyter, "Making kernels for Jupyter", section "Kernel specs"; "Jupyter's common directories and files", section "Data files".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{BUILT_IN, Environment, Environments, Spec, Specs, gateway};
use crate::kernel::gateway::Gateway;

/// How long the result of a search is kept.
const FRESH: Duration = Duration::from_secs(10);
/// How long a Python may take to answer.
const ANSWER: Duration = Duration::from_secs(20);

/// Finds kernels. Pythons and environments are looked for at most once every ten seconds.
pub struct KernelSpecs {
    python: Option<String>,
    default: Option<String>,
    gateway: Option<Gateway>,
    gateway_specs: Mutex<Option<(Instant, Specs)>>,
    environments: Option<Environments>,
    found: Mutex<Option<FoundSpecs>>,
}

/// What takes long to find.
#[derive(Clone)]
struct FoundSpecs {
    when: Instant,
    python: Option<Python>,
    environments: Vec<Environment>,
}

#[derive(Deserialize)]
struct SpecFile {
    argv: Vec<String>,
    display_name: String,
    #[serde(default)]
    language: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    interrupt_mode: String,
    #[serde(default)]
    metadata: Value,
}

#[derive(Debug, Clone, Deserialize)]
struct Python {
    executable: String,
    prefix: PathBuf,
    version: String,
    ipykernel: bool,
    user_data: Option<PathBuf>,
}

/// Asks a Python for its version and paths. Works on every Python 3.
const PROBE: &str = "import sys, json, os, importlib.util as u
print(json.dumps({'executable': sys.executable, 'prefix': sys.prefix, 'version': '%d.%d.%d' % sys.version_info[:3],
'ipykernel': u.find_spec('ipykernel') is not None, 'user_data': os.path.expanduser('~/.local/share/jupyter')}))";

impl KernelSpecs {
    /// `python` runs the built-in kernel and is searched for ipykernel (default: the active environment's
    /// Python, else `python3`). `default` is the name of the default kernel.
    /// Environments in `environments` have kernels too.
    pub fn new(
        python: Option<String>,
        default: Option<String>,
        environments: Option<Environments>,
    ) -> KernelSpecs {
        KernelSpecs {
            python,
            default,
            environments,
            gateway: None,
            gateway_specs: Mutex::default(),
            found: Mutex::default(),
        }
    }

    /// The Python environments, also those without ipykernel.
    pub async fn environments(&self) -> Vec<Environment> {
        self.found().await.0.environments
    }

    /// Makes the next question search again.
    pub async fn forget(&self) {
        *self.found.lock().await = None;
    }

    /// The folders that Jupyter searches for data, such as `share/jupyter` of the notebook's Python.
    pub async fn data_folders(&self) -> Vec<PathBuf> {
        search_path(self.found().await.0.python.as_ref())
    }

    /// What takes long to find, and whether it was found just now.
    async fn found(&self) -> (FoundSpecs, bool) {
        let mut found = self.found.lock().await;
        if let Some(found) = &*found
            && found.when.elapsed() < FRESH
        {
            return (found.clone(), false);
        }
        let environments = match self.environments.clone() {
            Some(environments) => {
                tokio::task::spawn_blocking(move || environments.find()).await.unwrap_or_default()
            }
            None => Vec::new(),
        };
        let new = FoundSpecs { python: self.probe().await, environments, when: Instant::now() };
        *found = Some(new.clone());
        (new, true)
    }

    /// The kernels of `gateway` in place of those of this machine.
    #[must_use]
    pub fn with_gateway(self, gateway: Option<Gateway>) -> KernelSpecs {
        KernelSpecs { gateway, ..self }
    }

    async fn of_gateway(&self, gateway: &Gateway) -> Specs {
        let mut known = self.gateway_specs.lock().await;
        if let Some((when, specs)) = &*known
            && when.elapsed() < FRESH
        {
            return specs.clone();
        }
        let specs = gateway::look(gateway, self.default.as_deref()).await;
        *known = Some((Instant::now(), specs.clone()));
        specs
    }

    /// The kernels that can be started.
    pub async fn specs(&self) -> Specs {
        if let Some(gateway) = &self.gateway {
            return self.of_gateway(gateway).await;
        }
        let (FoundSpecs { python, environments, .. }, is_new) = self.found().await;
        let mut specs = BTreeMap::new();
        for folder in search_path(python.as_ref()) {
            for (file, error) in read_folder(&folder.join("kernels"), python.as_ref(), &mut specs) {
                if is_new {
                    tracing::warn!(file = %file.display(), %error, "cannot read a kernelspec");
                }
            }
        }
        if let Some(python) = &python {
            if python.ipykernel {
                specs.entry("python3".to_owned()).or_insert_with(|| ipykernel_spec(python));
            }
            specs.insert(BUILT_IN.to_owned(), built_in_spec(python));
        }
        for environment in &environments {
            // That of the notebook's Python is `python3`.
            let own = python.as_ref().is_some_and(|python| python.prefix == environment.prefix);
            if environment.has_ipykernel && !own {
                specs.entry(environment.name.clone()).or_insert_with(|| environment_spec(environment));
            }
        }
        let named = self.default.clone().filter(|name| specs.contains_key(name));
        if let (Some(wanted), None, true) = (&self.default, &named, is_new) {
            tracing::warn!(kernel = %wanted, "the setting `default_kernel` does not name an installed kernel");
        }
        let python3 = || specs.contains_key("python3").then(|| "python3".to_owned());
        let built_in = || specs.contains_key(BUILT_IN).then(|| BUILT_IN.to_owned());
        let default = named.or_else(python3).or_else(built_in).or_else(|| specs.keys().next().cloned());
        let message = specs.is_empty().then(|| {
            "This machine has no kernels. Install Python 3 (on Debian: `sudo apt install python3`) and reload the \
             page, or name one with the setting `python`."
                .to_owned()
        });
        Specs { specs, default, message }
    }

    async fn probe(&self) -> Option<Python> {
        let environment = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(std::env::var_os);
        let candidates: Vec<PathBuf> = match &self.python {
            Some(python) => vec![python.into()],
            None => environment
                .map(|folder| Path::new(&folder).join("bin/python"))
                .chain(["python3".into(), "python".into()])
                .collect(),
        };
        for candidate in &candidates {
            let mut command = tokio::process::Command::new(candidate);
            command.args(["-c", PROBE]).stdin(std::process::Stdio::null()).kill_on_drop(true);
            match tokio::time::timeout(ANSWER, command.output()).await {
                Ok(Ok(output)) if output.status.success() => match serde_json::from_slice(&output.stdout) {
                    Ok(python) => return Some(python),
                    Err(error) => {
                        tracing::warn!(python = %candidate.display(), %error, "unexpected output of a Python")
                    }
                },
                Ok(Ok(output)) => {
                    let said = String::from_utf8_lossy(&output.stderr);
                    tracing::warn!(python = %candidate.display(), said = said.trim(), "cannot use a Python");
                }
                Ok(Err(error)) if self.python.is_some() => {
                    tracing::warn!(python = %candidate.display(), %error, "cannot run the program in the setting `python`");
                }
                Ok(Err(_)) => {}
                Err(_) => {
                    tracing::warn!(python = %candidate.display(), "a Python did not respond within 20 s")
                }
            }
        }
        None
    }
}

/// Jupyter's search path for data. The first match wins.
fn search_path(python: Option<&Python>) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    if let Some(path) = std::env::var_os("JUPYTER_PATH") {
        folders.extend(std::env::split_paths(&path));
    }
    folders.extend(python.map(|python| python.prefix.join("share/jupyter")));
    match std::env::var_os("JUPYTER_DATA_DIR") {
        Some(folder) => folders.push(folder.into()),
        None => match std::env::var_os("XDG_DATA_HOME") {
            Some(folder) => folders.push(Path::new(&folder).join("jupyter")),
            None => folders.extend(python.and_then(|python| python.user_data.clone()).or_else(|| {
                std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share/jupyter"))
            })),
        },
    }
    folders.extend(["/usr/local/share/jupyter".into(), "/usr/share/jupyter".into()]);
    folders
}

/// Adds the kernelspecs in `folder`. Returns the files that cannot be read.
fn read_folder(
    folder: &Path,
    python: Option<&Python>,
    specs: &mut BTreeMap<String, Spec>,
) -> Vec<(PathBuf, serde_json::Error)> {
    let mut unreadable = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return unreadable };
    for entry in entries.flatten() {
        let folder = entry.path();
        let file = folder.join("kernel.json");
        let Some(name) = folder.file_name().and_then(|name| name.to_str()).map(str::to_lowercase) else {
            continue;
        };
        let valid = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !valid || specs.contains_key(&name) {
            continue;
        }
        let Ok(text) = std::fs::read(&file) else { continue };
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text); // some editors write a byte order mark
        match serde_json::from_slice::<SpecFile>(text) {
            Ok(read) => {
                specs.insert(name.clone(), installed_spec(name, folder, read, python));
            }
            Err(error) => unreadable.push((file, error)),
        }
    }
    unreadable
}

fn installed_spec(name: String, folder: PathBuf, file: SpecFile, python: Option<&Python>) -> Spec {
    let mut argv = file.argv;
    // A spec inside a virtual environment may name just `python`, meaning that environment's Python.
    if let (Some(python), Some(program)) = (python, argv.first_mut())
        && folder.starts_with(&python.prefix)
        && is_python_name(program, &python.version)
    {
        *program = python.executable.clone();
    }
    Spec {
        name,
        display_name: file.display_name,
        language: file.language,
        argv,
        env: file.env.into_iter().collect(),
        interrupt_by_message: file.interrupt_mode == "message",
        metadata: if file.metadata.is_object() { file.metadata } else { json!({}) },
        folder: Some(folder),
        built_in: false,
        gateway: None,
    }
}

/// `python`, `python3` or `python3.11`, if that is the version, as Jupyter takes them.
fn is_python_name(program: &str, version: &str) -> bool {
    program.strip_prefix("python").is_some_and(|end| {
        end.is_empty()
            || end == version.split('.').next().unwrap_or_default()
            || version.rsplit_once('.').is_some_and(|(minor, _)| end == minor)
    })
}

fn python_spec(python: &Python, name: &str, display_name: &str, arguments: &[&str]) -> Spec {
    let argv = std::iter::once(python.executable.as_str())
        .chain(arguments.iter().copied())
        .map(str::to_owned)
        .collect();
    Spec {
        name: name.to_owned(),
        display_name: display_name.to_owned(),
        language: "python".to_owned(),
        argv,
        env: Vec::new(),
        interrupt_by_message: false,
        metadata: json!({"python": python.version}),
        folder: None,
        built_in: false,
        gateway: None,
    }
}

fn ipykernel_spec(python: &Python) -> Spec {
    python_spec(
        python,
        "python3",
        "Python 3 (ipykernel)",
        &["-m", "ipykernel_launcher", "-f", "{connection_file}"],
    )
}

fn environment_spec(environment: &Environment) -> Spec {
    let argv =
        [&*environment.python.to_string_lossy(), "-m", "ipykernel_launcher", "-f", "{connection_file}"];
    Spec {
        name: environment.name.clone(),
        display_name: environment.display_name.clone(),
        language: "python".to_owned(),
        argv: argv.map(str::to_owned).to_vec(),
        env: Vec::new(),
        interrupt_by_message: false,
        metadata: json!({"python": environment.version, "environment": environment.prefix}),
        folder: None,
        built_in: false,
        gateway: None,
    }
}

fn built_in_spec(python: &Python) -> Spec {
    Spec { built_in: true, ..python_spec(python, BUILT_IN, "Python 3 (built in)", &["-u"]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, language: &str) -> (String, Spec) {
        let python = Python {
            executable: "/usr/bin/python3".into(),
            prefix: "/usr".into(),
            version: "3.11.0".into(),
            ipykernel: false,
            user_data: None,
        };
        (name.to_owned(), Spec { language: language.to_owned(), ..python_spec(&python, name, name, &[]) })
    }

    #[test]
    fn a_spec_may_name_the_python_of_its_environment() {
        for (program, expected) in [
            ("python", true),
            ("python3", true),
            ("python3.11", true),
            ("python3.12", false),
            ("/usr/bin/python3", false),
        ] {
            assert_eq!(is_python_name(program, "3.11.7"), expected, "{program}");
        }
    }

    #[test]
    fn an_absent_kernel_is_replaced_by_one_of_its_language() {
        let specs = Specs {
            specs: [spec("python3", "python"), spec("ir", "R")].into(),
            default: Some("python3".into()),
            message: None,
        };
        let name = |name, language| specs.find(name, language).map(|spec| spec.name.as_str());
        assert_eq!(name(Some("conda-env-x-py"), Some("python")), Some("python3"));
        assert_eq!(name(Some("ir"), None), Some("ir"));
        assert_eq!(name(Some("julia-1.10"), Some("julia")), None);
        assert_eq!(name(None, Some("R")), Some("ir"));
        assert_eq!(name(None, None), Some("python3"));
    }

    #[test]
    fn a_program_named_python_is_that_of_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let kernels = folder.path().join("share/jupyter/kernels");
        for (name, text) in
            [("python3", r#"{"argv": ["python", "-m", "x"], "display_name": "P"}"#), ("bad", "{")]
        {
            std::fs::create_dir_all(kernels.join(name)).unwrap();
            std::fs::write(kernels.join(name).join("kernel.json"), text).unwrap();
        }
        let python = Python {
            executable: folder.path().join("bin/python").to_string_lossy().into_owned(),
            prefix: folder.path().into(),
            version: "3.11.0".into(),
            ipykernel: false,
            user_data: None,
        };
        let mut specs = BTreeMap::new();
        read_folder(&kernels, Some(&python), &mut specs);
        assert_eq!(specs.keys().collect::<Vec<_>>(), ["python3"]);
        assert_eq!(specs["python3"].argv[0], python.executable);
    }
}
