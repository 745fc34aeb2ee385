//! Text files as editors on Windows save them, with a byte order mark.

use crate::pki::Authority;
use crate::support::{Connection, Serving, get, paster, text};

const MARK: &str = "\u{feff}";

#[test]
fn a_byte_order_mark_is_not_part_of_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let write =
        |name: &str, text: &str| std::fs::write(folder.path().join(name), format!("{MARK}{text}")).unwrap();
    let authority = Authority::new("first");
    let pair = authority.pair(folder.path(), "a", &["localhost"]);
    for file in [&pair.certificate, &pair.key, &authority.file(folder.path())] {
        let text = std::fs::read_to_string(file).unwrap();
        std::fs::write(file, format!("{MARK}{text}")).unwrap();
    }
    write("users", &format!("ann:{}\n", bcrypt::hash("pw", 4).unwrap()));
    write("word", "from a file\n");
    write("more.toml", "[app.main]\nuse = \"respond\"\nbody = \"${file:word}\"\nmiddleware = \"users\"\n");
    write(
        "server.toml",
        &format!(
            "include = \"more.toml\"\n[server.main]\nuse = \"http\"\nlisten = \"127.0.0.1:0\"\n\
             [server.tls]\nuse = \"http\"\nlisten = \"127.0.0.1:0\"\n[server.tls.tls]\ncertificates = [{}]\n\
             client_certificates = \"optional\"\nclient_ca_file = \"authority.pem\"\n\
             [middleware.users]\nuse = \"auth_basic\"\nhtpasswd = \"users\"\n\
             [app.up]\nuse = \"proxy\"\nupstreams = \"https://localhost:1\"\ntls.ca_file = \"authority.pem\"\n",
            pair.item()
        ),
    );
    let output = paster().arg("check").current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let serving = Serving::start(folder.path(), &[]);
    assert!(get(&serving, "/").contains("password"), "nobody comes in without one");
    let head = "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic YW5uOnB3\r\n\r\n";
    let (head, body) = Connection::open(serving.address()).request(head);
    assert_eq!(body, "from a file", "{head}");

    // The commands that read such files do the same.
    let mut command = paster();
    let command = command.args(["htpasswd", "users", "ann", "--delete"]).current_dir(folder.path());
    assert_eq!(text(&command.output().unwrap().stdout), "deleted user `ann` in users\n");
    for (answers, answer) in [("a.json", "{\"heading\": \"Hi\"}"), ("a.toml", "heading = \"Hi\"")] {
        write(answers, answer);
        let mut command = paster();
        let command = command.args(["create", "site", "-t", "static", "--answers", answers, "--dry-run"]);
        let output = command.current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{answers}: {}", text(&output.stderr));
    }
}
