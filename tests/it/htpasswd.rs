//! `paster htpasswd`, and `auth_basic` with what it writes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine;

use crate::support::{Connection, Serving, folder, paster, patience, piped, text};

fn run(folder: &Path, args: &[&str], input: &str) -> Output {
    piped(paster().arg("htpasswd").args(args).current_dir(folder), input)
}

fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn users_are_added_changed_and_deleted_and_let_in() {
    let config = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\
                  [app.main]\nuse = \"respond\"\nbody = \"in\"\nmiddleware = [\"door\"]\n\
                  [middleware.door]\nuse = \"auth_basic\"\nhtpasswd = \"users\"\n";
    let folder = folder(&[("server.toml", config)]);
    let file = folder.path().join("users");
    let mode = || std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    let added = run(folder.path(), &["users", "ann", "--stdin"], "first: pass\nmore\n");
    assert_eq!(said(&added), "added user `ann` in users\n");
    assert_eq!(mode(), 0o600);
    run(folder.path(), &["users", "bob", "--stdin", "--algorithm", "bcrypt"], "b\r\n");
    let before = std::fs::read_to_string(&file).unwrap();
    assert!(before.starts_with("ann:$argon2id$v=19$") && before.contains("\nbob:$2b$12$"), "{before}");
    let serving = Serving::start(folder.path(), &[]);
    let asks = |name: &str, password: &str| {
        let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {credentials}\r\n\r\n");
        Connection::open(serving.address()).request(&head).0[9..12].to_owned()
    };
    for (name, password, status) in
        [("ann", "first: pass", "200"), ("ann", "b", "401"), ("bob", "b", "200"), ("eve", "b", "401")]
    {
        assert_eq!(asks(name, password), status, "{name} {password}");
    }
    // Other lines, the mode and a link stay as they are.
    std::fs::write(&file, format!("# staff\n{before}\neve:{{SHA}}x")).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("users", folder.path().join("link")).unwrap();
    let changed = run(folder.path(), &["link", "ann", "--stdin"], "second");
    assert_eq!(said(&changed), "changed the password of user `ann` in link\n");
    assert_eq!(said(&run(folder.path(), &["link", "bob", "--delete"], "")), "deleted user `bob` in link\n");
    assert!(folder.path().join("link").is_symlink());
    assert_eq!(mode(), 0o640);
    let after = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = after.lines().collect();
    assert_eq!((lines[0], lines[2], lines[3]), ("# staff", "", "eve:{SHA}x"), "{after}");
    assert!(lines[1].starts_with("ann:$argon2id$") && !before.contains(lines[1]), "{after}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing else is left behind");
}

#[test]
fn faults_are_told() {
    let folder = folder(&[("users", "ann:x\n")]);
    let long = "x".repeat(73);
    for (args, input, words) in [
        (&["users", "a:b", "--stdin"][..], "x", "`a:b` is not a valid user name: it contains a `:`"),
        (&["users", "#a", "--stdin"], "x", "is a comment"),
        (
            &["users", "a\nb", "--stdin"],
            "x",
            "`a\\nb` is not a valid user name: it contains a control character",
        ),
        (&["users", "ann", "--stdin"], "\n", "the password is empty"),
        (&["users", "ann", "--stdin", "--algorithm", "bcrypt"], &long, "use `--algorithm argon2`"),
        (&["users", "ann"], "x", "with `--stdin`"),
        (&["users", "eve", "--delete"], "", "`users` has no user `eve`"),
        (&["absent/users", "ann", "--stdin"], "x", "cannot write the password file `absent/users`"),
    ] {
        let output = run(folder.path(), args, input);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text(&output.stderr).contains(words), "{args:?}: {}", text(&output.stderr));
    }
    assert_eq!(std::fs::read_to_string(folder.path().join("users")).unwrap(), "ann:x\n");
}

/// Python's `pty` is the terminal. It types each answer when asked.
const TYPES: &str = r#"
import os, pty, select, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
shown = b""
def read():
    if not select.select([terminal], [], [], float(os.environ["PATIENCE"]))[0]:
        sys.exit("waited in vain; shown: %r" % shown)
    return os.read(terminal, 4096)
for question, answer in ((b"Password:", b"s3cret"), (b"Again:", b"other"), (b"Password:", b"s3cret"), (b"Again:", b"s3cret")):
    rest = b""
    while question not in rest:
        rest += read()
    shown += rest
    os.write(terminal, answer + b"\r")
while True:
    try:
        more = read()
    except OSError:
        break
    if not more:
        break
    shown += more
assert b"s3cret" not in shown and b"other" not in shown, shown
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[test]
fn the_terminal_asks_twice_and_shows_nothing() {
    let folder = folder(&[]);
    let mut command = Command::new("python3");
    command.args(["-c", TYPES, env!("CARGO_BIN_EXE_paster"), "htpasswd", "users", "ann"]);
    command.env("PATIENCE", patience().as_secs().to_string());
    let output = piped(command.current_dir(folder.path()), "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("the passwords differ") && shown.contains("added user `ann`"), "{shown}");
    assert!(std::fs::read_to_string(folder.path().join("users")).unwrap().starts_with("ann:$argon2id$"));
}
