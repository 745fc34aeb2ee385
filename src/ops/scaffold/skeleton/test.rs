//! Runs the tests of a skeleton: each creates a project, builds, checks and serves it, and sends requests.

use std::path::Path;
use std::process::{Command, Stdio};

use super::serve::TestServer;
use super::{arguments, project};
use crate::error::{Error, Result};
use crate::scaffold::{Case, Skeleton};

/// Runs the tests of the skeleton at `address`; `done` hears of each, counted from 1. Returns how many there are.
/// # Errors
/// A skeleton that cannot be opened or has no tests; the first test that fails.
pub fn run(address: &str, done: &mut dyn FnMut(usize, &str)) -> Result<usize> {
    let skeleton = Skeleton::open(address)?;
    let cases = &skeleton.manifest.tests;
    if cases.is_empty() {
        return Err(Error::usage(format!("the skeleton `{address}` has no `[[test]]`")).into());
    }
    let program =
        std::env::current_exe().map_err(|error| Error::new("cannot find paster itself").because(error))?;
    for (number, case) in cases.iter().enumerate() {
        let test = SkeletonTest { program: &program, address, skeleton: &skeleton, case };
        test.run().map_err(|error| error.help(format!("in test {} of `{address}`", number + 1)))?;
        done(number + 1, &project(&skeleton, case));
    }
    Ok(cases.len())
}

struct SkeletonTest<'a> {
    program: &'a Path,
    address: &'a str,
    skeleton: &'a Skeleton,
    case: &'a Case,
}

impl SkeletonTest<'_> {
    fn run(&self) -> Result<(), Error> {
        let place = tempfile::tempdir()
            .map_err(|error| Error::new("cannot make a temporary folder").because(error))?;
        let target = place.path().join(project(self.skeleton, self.case));
        self.create(&target)?;
        for path in &self.case.exists {
            if !target.join(path).exists() {
                return Err(Error::new(format!("`{path}` is missing in the project")));
            }
        }
        for path in &self.case.absent {
            if target.join(path).exists() {
                return Err(Error::new(format!("`{path}` should not be in the project")));
            }
        }
        for argv in &self.case.build {
            self.build(argv, &target)?;
        }
        if self.case.check {
            succeed(Command::new(self.program).args(["check", "server.toml"]).current_dir(&target))?;
        }
        if self.case.serve.is_empty() {
            return Ok(());
        }
        let mut server = TestServer::start(self.program, &target)?;
        for request in &self.case.serve {
            server.expect(request)?;
        }
        let Some(reload) = &self.case.reload else { return Ok(()) };
        let file = target.join(&reload.file);
        let fault =
            |error: std::io::Error| Error::new(format!("cannot change `{}`", reload.file)).because(error);
        let old = std::fs::read_to_string(&file).map_err(fault)?;
        if !old.contains(&reload.from) {
            return Err(Error::new(format!("`{}` does not contain `{}`", reload.file, reload.from)));
        }
        std::fs::write(&file, old.replace(&reload.from, &reload.to)).map_err(fault)?;
        if !reload.build.is_empty() {
            self.build(&reload.build, &target)?;
        }
        server.expect_soon(&reload.then)
    }

    /// Creates the project: from this skeleton, or from another one to which it is added.
    fn create(&self, target: &Path) -> Result<(), Error> {
        // A folder is named from where the user is.
        let local = std::path::absolute(self.address).ok().filter(|path| path.exists());
        let address = local.map_or_else(|| self.address.to_owned(), |path| path.display().to_string());
        let answers = arguments(&self.case.vars);
        let mut create = Command::new(self.program);
        create.arg("create").args(["--defaults", "--no-install"]);
        match &self.case.on {
            None => {
                create.args(["--template", &address]).args(&answers);
            }
            Some(other) => {
                create.args(["--template", other]);
            }
        }
        succeed(create.arg("--").arg(target))?;
        if self.case.on.is_some() {
            let mut add = Command::new(self.program);
            add.args(["add", "--defaults", &address]).args(&answers).current_dir(target);
            succeed(&mut add)?;
        }
        Ok(())
    }

    fn build(&self, argv: &[String], target: &Path) -> Result<(), Error> {
        let Some((program, args)) = argv.split_first() else { return Ok(()) };
        succeed(Command::new(program).args(args).current_dir(target))
    }
}

/// Runs a command to its end.
fn succeed(command: &mut Command) -> Result<(), Error> {
    let shown = format!("{} {}", command.get_program().display(), {
        let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
        args.collect::<Vec<_>>().join(" ")
    });
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::new(format!("cannot run `{shown}`")).because(error))?;
    if output.status.success() {
        return Ok(());
    }
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).trim_end().to_owned();
    Err(Error::new(format!("`{shown}` failed")).because(output.status.to_string()).with_output(printed))
}
