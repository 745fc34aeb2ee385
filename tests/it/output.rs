//! What commands print: if the reader goes away they end silently; a full device is an error with a message.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::control::Site;
use crate::support::{paster, text};

const CONFIG: &str = "[server.main]\nuse = \"http\"\nlisten = \"127.0.0.1:0\"\n\
                      [app.main]\nuse = \"respond\"\nbody = \"hello\"\nmiddleware = \"lowercase\"\n\
                      [task.tidy]\ncommand = \"true\"\nevery = \"1d\"\n";

/// Every command that prints, with its arguments.
const COMMANDS: &[&[&str]] = &[
    &["config", "schema"],
    &["config", "show"],
    &["config", "show", "--json"],
    &["config", "explain", "server.main"],
    &["check"],
    &["check", "--json"],
    &["list"],
    &["list", "--json"],
    &["serve", "--list-servers"],
    &["routes"],
    &["routes", "--json"],
    &["request", "GET", "/"],
    &["request", "--json", "GET", "/"],
    &["completions", "bash"],
    &["create", "--list-templates"],
    &["ps"],
    &["ps", "--json"],
    &["top", "--once"],
    &["logs"],
    &["task", "list"],
    &["reload", "--wait"],
    &["--help"],
    &["serve", "--help"],
    &["--version"],
];

fn command(site: &Site, args: &[&str]) -> Command {
    let mut command = paster();
    command.args(args).env("XDG_RUNTIME_DIR", site.path()).current_dir(site.path()).stdin(Stdio::null());
    command
}

#[test]
fn a_reader_that_has_gone_ends_a_command_silently() {
    let site = Site::new(CONFIG);
    let _serving = site.serve(&[]);
    for args in COMMANDS {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = command(&site, args);
        let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{args:?}");
    }
    // The exit code is still the command's, and nobody has to read its errors.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut check = command(&site, &["check", "-D", "server.main.use=htp"]);
    let status = check.stdout(writer.try_clone().unwrap()).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(78));
}

#[test]
fn a_full_device_is_an_error_in_words() {
    let site = Site::new(CONFIG);
    let _serving = site.serve(&[]);
    for args in COMMANDS {
        let full = || File::options().write(true).open("/dev/full").unwrap();
        let output = command(&site, args).stdout(full()).stderr(Stdio::piped()).output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(
            stderr.contains("error: cannot write") && stderr.contains("No space left"),
            "{args:?}: {stderr}"
        );
        // A full standard error does not change what a command does either.
        let mut quiet = command(&site, args);
        assert_eq!(quiet.stdout(Stdio::null()).stderr(full()).status().unwrap().code(), Some(0), "{args:?}");
    }
}

#[test]
fn the_console_ends_when_nobody_reads() {
    let site = Site::new(CONFIG);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    // More lines than a pipe holds: it must not wait for their end.
    let mut console = command(&site, &["console"]);
    let mut console = console.stdin(Stdio::piped()).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = console.stdin.take().unwrap();
    let written = std::io::Write::write_all(&mut input, ":help\n".repeat(50_000).as_bytes());
    assert!(written.is_err(), "it has ended before it read all");
    let output = console.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}
