//! `paster console`, through a pipe and in a terminal, and what `paster request` shows beside the response.

use std::process::{Command, Output};

use crate::support::{self, folder, paster, patience, text};

const CONFIG: &str = r#"
[server.main]
use = "http"
[app.main]
use = "mount"
middleware = ["request_id"]
[app.main.routes]
"/" = "hello"
"/login" = "login"
"/echo" = "echo"
"/old" = "moved"
[app.hello]
use = "respond"
body = "hello"
[app.login]
use = "respond"
headers = { set-cookie = "id=s3cr3t; Path=/" }
[app.echo]
use = "respond"
body = "seen"
middleware = ["lint"]
[app.moved]
use = "redirect"
to = "/"
[app.other]
use = "respond"
body = "other"
"#;

fn piped(folder: &tempfile::TempDir, args: &[&str], input: &str) -> Output {
    support::piped(paster().args(args).current_dir(folder.path()), input)
}

#[test]
fn lines_of_a_script_are_requests_headers_and_commands() {
    let folder = folder(&[("server.toml", CONFIG), ("body.txt", "from a file")]);
    let script = "# a comment\n/\n:head off\nGET /echo\nAuthorization: Basic abc\nAccept: a/b\n:headers\nAccept:\n\
                  :headers\n/login\n:cookies\n:forget\n:cookies\nPOST /echo @body.txt\n:app other\n/x\n:reload\n";
    let output = piped(&folder, &["console"], script);
    let shown = text(&output.stdout);
    assert!(shown.starts_with("HTTP/1.1 200 OK\r\n"), "{shown}{}", text(&output.stderr));
    let (_, rest) = shown.split_once("\r\n\r\nhello\n").unwrap();
    let expected =
        "seen\nAuthorization: ***\nAccept: a/b\nAuthorization: ***\nid=***\nseen\nother\nreloaded\n";
    assert_eq!(rest, expected, "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
    assert!(!shown.contains("s3cr3t"), "the head was off");
}

#[test]
fn a_script_goes_on_after_a_line_that_failed_and_says_so() {
    let folder = folder(&[("server.toml", CONFIG)]);
    let output =
        piped(&folder, &["console"], ":head off\n:relod\nwhat\nGET\n:trace maybe\n/old\n:follow on\n/old\n");
    let shown = text(&output.stderr);
    for part in
        ["did you mean `:reload`?", "`what` is not a path", "`GET` needs a path", "takes `on` or `off`"]
    {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(text(&output.stdout).ends_with("hello\n"), "{}", text(&output.stdout));
    assert_eq!(output.status.code(), Some(1));
}

/// Types into a terminal: waits for each text, then sends the keys after it.
const PTY: &str = r#"
import os, pty, sys, json, select, time
steps = json.loads(sys.argv[1])
pid, fd = pty.fork()
if pid == 0:
    os.environ.update(json.loads(sys.argv[2]))
    os.execv(sys.argv[3], sys.argv[3:])
seen = b""
end = time.monotonic() + float(os.environ["PATIENCE"])
def read():
    global seen
    if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
        sys.exit("waited in vain; seen: %r" % seen)
    try:
        data = os.read(fd, 4096)
    except OSError:
        data = b""
    seen += data
    return data
for wanted, keys in steps:
    at = len(seen)
    while wanted.encode() not in seen:
        if not read():
            sys.exit("ended before %r; seen: %r" % (wanted, seen))
    seen = seen.split(wanted.encode(), 1)[1]
    os.write(fd, keys.encode())
while read():
    pass
sys.stdout.write(seen.decode(errors="replace"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

/// What the editor prints when it is ready for keys. Earlier keys are lost.
const READY: &str = "\x1b[?2004h";

fn typed(folder: &tempfile::TempDir, steps: &[(&str, &str)]) -> String {
    let environment = serde_json::json!({ "TERM": "xterm", "XDG_STATE_HOME": folder.path().join("state") });
    let output = Command::new("python3")
        .args(["-c", PTY, &serde_json::json!(steps).to_string(), &environment.to_string()])
        .args([env!("CARGO_BIN_EXE_paster"), "console"])
        .current_dir(folder.path())
        .env("PATIENCE", patience().as_secs().to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout).to_owned()
}

#[test]
fn a_terminal_has_completion_and_a_history_without_secrets() {
    let folder = folder(&[("server.toml", CONFIG)]);
    typed(
        &folder,
        &[
            (READY, "GET /ec\t\r"),
            ("seen", ""),
            (READY, "Authorization: Bearer hunter2\r"),
            (READY, ":hea\t\x15:trace on\r"),
            (READY, "/\r"),
            ("head after", ""),
            (READY, "\x04"),
        ],
    );
    let path = folder.path().join("state/paster/console_history");
    let history = std::fs::read_to_string(&path).unwrap();
    assert!(history.contains("GET /echo") && history.contains(":trace on"), "{history}");
    assert!(!history.contains("hunter2"), "{history}");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // A later session begins with this history: three lines up is the first.
    typed(&folder, &[(READY, "\x1b[A\x1b[A\x1b[A\r"), ("seen", ""), (READY, "\x04")]);
}

#[test]
fn a_request_follows_redirects_and_shows_a_bar_for_each_part() {
    let folder = folder(&[("server.toml", CONFIG)]);
    let output = piped(&folder, &["request", "GET", "/old", "--no-include"], "");
    assert_ne!(text(&output.stdout), "hello");
    let output = piped(&folder, &["request", "GET", "/old", "-L", "--trace"], "");
    assert!(text(&output.stdout).ends_with("hello"), "{}{}", text(&output.stdout), text(&output.stderr));
    let shown = text(&output.stderr);
    // The other lines tell what a middleware changed.
    let lines: Vec<_> = shown.lines().filter(|line| line.contains('█')).collect();
    // Two stacks, one after the other: the second begins after the first has ended.
    assert!(lines[0].contains("request_id  3"), "{shown}");
    let column = |line: &str| line.chars().position(|c| c == '█').unwrap();
    assert!(
        column(lines[0]) <= column(lines[1]) && lines.iter().any(|line| line.contains("app hello  200")),
        "{shown}"
    );
}
