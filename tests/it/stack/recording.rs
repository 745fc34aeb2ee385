//! `record` with `paster replay`, and the fields of `access_log`.

use http::Request;
use insta::assert_snapshot;

use super::hello;
use crate::local::{Local, faults};
use crate::support::{Connection, Serving, folder, get, paster, text};

/// A program that answers each path with its name, and with an error for `/17`.
const PROGRAM: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\nX-Build: 1\\nSet-Cookie: a=b\\n\\n%s %s\\n' \"$REQUEST_METHOD\" \"$REQUEST_URI\"\ncat\n";

fn config(stack: &str) -> String {
    format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\
         [app.main]\nuse = \"cgi\"\nprogram = \"program\"\nmiddleware = {stack}\n\
         [middleware.recorder]\nuse = \"record\"\nfile = \"kept.jsonl\"\nmax_requests = 5\nmax_body_bytes = 100\n"
    )
}

fn write_program(folder: &std::path::Path, content: &str) {
    let path = folder.join("program");
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn recorded_requests_show_what_another_build_changes() {
    let folder = folder(&[("server.toml", &config("[\"recorder\"]"))]);
    write_program(folder.path(), PROGRAM);
    let mut serving = Serving::start(folder.path(), &["server.toml"]);
    get(&serving, "/first?token=abc");
    let mut connection = Connection::open(serving.address());
    let post = |path: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic QUJD\r\nCookie: c=d\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    connection.request(&post("/second", "a body"));
    connection.request(&post("/third", &"x".repeat(200)));
    get(&serving, "/17");
    get(&serving, "/fifth");
    get(&serving, "/sixth"); // one more than is recorded
    drop(connection);
    serving.stop();
    let kept = std::fs::read_to_string(folder.path().join("kept.jsonl")).unwrap();
    let targets: Vec<String> = kept
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["target"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(targets, ["/first?token=***", "/second", "/third", "/17", "/fifth"]);
    for secret in ["QUJD", "c=d", "a=b"] {
        assert!(!kept.contains(secret), "{secret} is in {kept}");
    }
    let replay = |arguments: &[&str]| {
        let mut command = paster();
        let output = command
            .args(["replay", "kept.jsonl"])
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        (output.status.code(), text(&output.stdout).to_owned(), text(&output.stderr).to_owned())
    };
    // The token was masked, so the program shows another one than it did.
    let (code, told, note) = replay(&[]);
    assert_eq!(
        (code, note.as_str()),
        (Some(1), "1 of 4 responses differ, 1 not sent: their bodies were too long to be recorded\n")
    );
    assert!(told.starts_with("GET /first?token=*** (line 1)\n  body:\n"), "{told}");
    // Another build, with one change.
    let changed = PROGRAM
        .replace("X-Build: 1", "X-Build: 2")
        .replace("#!/bin/sh\n", "#!/bin/sh\n[ \"$PATH_INFO\" = /17 ] && printf 'Status: 500 Broken\\n'\n");
    write_program(folder.path(), &changed);
    let (code, told, note) = replay(&["--ignore", "X-Build", "--json"]);
    let lines: Vec<serde_json::Value> =
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (code, lines.len(), note.starts_with("2 of 4 responses differ")),
        (Some(1), 2, true),
        "{told}{note}"
    );
    assert_eq!(
        lines[1],
        serde_json::json!({ "line": 4, "method": "GET", "target": "/17",
                            "changes": [{ "what": "status", "recorded": "200", "now": "500" }] })
    );
    let told = replay(&[]).1;
    assert_eq!(
        &told[told.find("GET /17").unwrap()..],
        "GET /17 (line 4)\n  status: 200 → 500\n  x-build: 1 → 2\nGET /fifth (line 5)\n  x-build: 1 → 2\n"
    );
    // Replays are not recorded.
    assert_eq!(std::fs::read_to_string(folder.path().join("kept.jsonl")).unwrap(), kept);
    std::fs::write(folder.path().join("kept.jsonl"), "nonsense\n").unwrap();
    let (code, _, note) = replay(&[]);
    assert!(
        code == Some(2) && note.contains("line 1 of `kept.jsonl` is not a recorded request"),
        "{code:?} {note}"
    );
}

/// How many requests are recorded: 60, or the value of `PASTER_TEST_REPLAYS`.
fn replays() -> usize {
    std::env::var("PASTER_TEST_REPLAYS").ok().and_then(|count| count.parse().ok()).unwrap_or(60)
}

/// One line of the program is changed: exactly the responses that depend on it differ.
#[test]
fn a_replay_shows_exactly_what_one_changed_line_does() {
    // Orders of more than 40 pieces are cheaper; the changed build says so from 43 on.
    const BUILD: &str = "#!/bin/sh\npieces=$QUERY_STRING\nif [ \"$REQUEST_METHOD\" = POST ]; then pieces=$(cat); fi\n\
        price=5\n[ $((pieces % 60)) -gt 40 ] && price=4\n\
        printf 'Content-Type: text/plain\\nX-Pieces: %s\\n\\nprice %s\\n' \"$pieces\" $((pieces * price))\n";
    let count = replays();
    let config = config("[\"recorder\"]").replace("max_requests = 5", &format!("max_requests = {count}"));
    let folder = folder(&[("server.toml", &config)]);
    write_program(folder.path(), BUILD);
    let mut serving = Serving::start(folder.path(), &["server.toml"]);
    let mut connection = Connection::open(serving.address());
    for pieces in 1..=count {
        let text = pieces.to_string();
        let (_, body) = match pieces % 3 {
            0 => connection.request(&format!(
                "POST /order HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            )),
            _ => connection.get(&format!("/order?{text}")),
        };
        assert!(body.starts_with("price "), "{body}");
    }
    drop(connection);
    serving.stop();
    let replay = || {
        let mut command = paster();
        command.args(["replay", "kept.jsonl", "--json"]).current_dir(folder.path());
        let output = command.output().unwrap();
        let lines = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap());
        let different: Vec<u64> =
            lines.map(|line: serde_json::Value| line["line"].as_u64().unwrap()).collect();
        (output.status.code(), different, text(&output.stderr).to_owned())
    };
    assert_eq!(replay(), (Some(0), vec![], format!("0 of {count} responses differ\n")));
    let changed = BUILD.replace("-gt 40", "-gt 42");
    assert_eq!(BUILD.lines().zip(changed.lines()).filter(|(a, b)| a != b).count(), 1);
    write_program(folder.path(), &changed);
    let expected: Vec<u64> = (1..=count as u64).filter(|pieces| [41, 42].contains(&(pieces % 60))).collect();
    assert!(!expected.is_empty());
    let note = format!("{} of {count} responses differ\n", expected.len());
    eprintln!("{count} requests replayed on a build with one changed line: {note}");
    assert_eq!(replay(), (Some(1), expected, note));
}

#[test]
fn credentials_are_recorded_on_demand_so_that_the_replay_is_exact() {
    let config = config("[\"recorder\"]").replace("max_requests = 5", "credentials = true");
    let folder = folder(&[("server.toml", &config)]);
    write_program(folder.path(), PROGRAM);
    let mut serving = Serving::start(folder.path(), &["server.toml"]);
    get(&serving, "/first?token=abc");
    serving.stop();
    let output = paster().args(["replay", "kept.jsonl"]).current_dir(folder.path()).output().unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), "0 of 1 responses differ\n"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn a_log_has_the_fields_of_ones_choice() {
    let tables = "[middleware.log]\nuse = \"access_log\"\nformat = \"json\"\nfile = \"log\"\n\
                  fields = [\"status\", \"request:x-tenant\", \"target\", \"response:content-type\", \"request:absent\"]\n";
    let mut local = Local::new(&hello("[\"log\"]", tables), &[]);
    local.send(Request::get("/a?b").header("x-tenant", "blue"), "");
    local.assembly.apps.clear();
    let log = std::fs::read_to_string(local.folder.path().join("log")).unwrap();
    assert_eq!(
        log,
        "{\"status\":200,\"request:x-tenant\":\"blue\",\"target\":\"/a?b\",\
         \"response:content-type\":\"text/plain; charset=utf-8\",\"request:absent\":null}\n"
    );
    let wrong = "[middleware.log]\nuse = \"access_log\"\nfields = [\"stauts\", \"request:cookie\", \"response:a b\"]\n";
    assert_snapshot!(faults(&hello("[\"log\"]", wrong)), @r#"
    `stauts` is not a field of the log (write `request:NAME` or `response:NAME`, or a name such as `time`, `client`, `user`, `host`, `method`, `target`, `version`, `status`, `bytes`, `micros`, `referer`, `user_agent`, `request_id`, `trace_id`, `span_id` and `reason`)
    the field `cookie` is a secret (a log must not contain secrets: remove it)
    `a b` is not a header name (use letters, digits and `-`)
    only the format `json` can have custom `fields` (set `format = "json"`)
    "#);
}
