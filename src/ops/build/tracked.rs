//! What else a build depends on, according to cargo's records: environment variables, and the directories of
//! packages whose build scripts print no directives.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where cargo's records of a build are, according to its messages. Cargo reports all units, including fresh
/// ones.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Directories with the dep-info of local units.
    folders: BTreeSet<PathBuf>,
    /// The output directory of each build script, and the directory of its package if it is local.
    scripts: Vec<(PathBuf, Option<PathBuf>)>,
}

/// What a library depends on besides the files in its dep-info.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Tracked {
    /// Names of environment variables: those of `env!`, `option_env!` and `rerun-if-env-changed`.
    pub(super) variables: BTreeSet<String>,
    /// Files and directories that are not in the dep-info.
    pub(super) paths: BTreeSet<PathBuf>,
}

impl Records {
    /// Processes a message of `cargo build --message-format=json`.
    pub(super) fn hear(&mut self, message: &Value) {
        let local = message["package_id"].as_str().and_then(folder_of);
        match message["reason"].as_str() {
            Some("compiler-artifact") if local.is_some() => {
                let files = message["filenames"].as_array().map(Vec::as_slice).unwrap_or_default();
                for folder in files.iter().filter_map(|file| Path::new(file.as_str()?).parent()) {
                    self.folders.extend([folder.to_owned(), folder.join("deps")]);
                }
            }
            Some("build-script-executed") => {
                if let Some(out) = message["out_dir"].as_str() {
                    self.scripts.push((PathBuf::from(out), local));
                }
            }
            _ => {}
        }
    }

    /// Reads the records. `None` if some are not where they are expected: then only cargo knows.
    pub(super) fn read(&self) -> Option<Tracked> {
        let mut tracked = Tracked::default();
        let mut units = 0;
        for file in
            self.folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten())
        {
            let file = file.path();
            if file.extension().is_some_and(|ending| ending == "d") {
                let text = String::from_utf8_lossy(&fs::read(&file).ok()?).into_owned();
                tracked.variables.extend(text.lines().filter_map(variable));
                // A line with only `file:`: this is rustc's dep-info, not cargo's summary.
                units += usize::from(text.lines().any(|line| line.ends_with(".rs:")));
            }
        }
        for (out, package) in &self.scripts {
            let output = fs::read(out.parent()?.join("output")).ok()?;
            tracked.script(&String::from_utf8_lossy(&output), package.as_deref());
        }
        (units > 0).then_some(tracked)
    }
}

impl Tracked {
    /// Adds the output of a build script. A script without any directive runs again when anything in its
    /// package changes.
    fn script(&mut self, output: &str, package: Option<&Path>) {
        let mut directives = 0;
        for line in output.lines() {
            let Some((key, value)) = line.strip_prefix("cargo:").and_then(|rest| rest.split_once('=')) else {
                continue;
            };
            match (key.trim_start_matches(':'), package) {
                ("rerun-if-env-changed", _) => drop(self.variables.insert(value.to_owned())),
                ("rerun-if-changed", Some(package)) => drop(self.paths.insert(package.join(value))),
                ("rerun-if-changed", None) if value.starts_with('/') => {
                    self.paths.insert(value.into());
                }
                _ => continue,
            }
            directives += 1;
        }
        self.paths.extend(package.filter(|_| directives == 0).map(Path::to_owned));
    }
}

/// The variable in a line of rustc's dep-info: `# env-dep:NAME=value`, or without a value if it was not set.
fn variable(line: &str) -> Option<String> {
    let rest = line.strip_prefix("# env-dep:")?;
    Some(rest.split('=').next().unwrap_or(rest).to_owned())
}

/// The directory of a local package: `path+file:///folder#0.1.0`.
fn folder_of(id: &str) -> Option<PathBuf> {
    let path = id.strip_prefix("path+file://")?.split('#').next()?;
    Some(PathBuf::from(percent_decode_str(path).decode_utf8().ok()?.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_build_scripts_depend_on() {
        let check = |output: &str, package: Option<&str>, variables: &[&str], paths: &[&str]| {
            let mut tracked = Tracked::default();
            tracked.script(output, package.map(Path::new));
            let found: Vec<_> = tracked.paths.iter().filter_map(|path| path.to_str()).collect();
            assert_eq!(
                (&*tracked.variables.into_iter().collect::<Vec<_>>(), &*found),
                (&*variables.iter().map(ToString::to_string).collect::<Vec<_>>(), paths),
                "{output}"
            );
        };
        check(
            "cargo:rerun-if-env-changed=CC\ncargo::rerun-if-changed=src/x.c\n",
            Some("/p"),
            &["CC"],
            &["/p/src/x.c"],
        );
        check(
            "cargo:rerun-if-changed=build.rs\ncargo:rerun-if-changed=/usr/include/z.h",
            None,
            &[],
            &["/usr/include/z.h"],
        );
        check("cargo::rustc-env=A=b\nnoise", Some("/p"), &[], &["/p"]);
        check("", None, &[], &[]);
        assert_eq!(variable("# env-dep:A=b=c").as_deref(), Some("A"));
        assert_eq!(variable("# env-dep:A").as_deref(), Some("A"));
        assert_eq!(folder_of("path+file:///a%20b#c@0.1.0"), Some("/a b".into()));
        assert_eq!(folder_of("registry+https://example.org#c@0.1.0"), None);
    }
}
