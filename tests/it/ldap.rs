//! `auth_ldap` with a real directory (OpenLDAP's slapd), over TLS too.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine;
use serde_json::{Value, json};

use crate::bridge::free_port;
use crate::local::faults;
use crate::pki::Authority;
use crate::stack::hello;
use crate::support::{Connection, Serving, folder, plugin, root, wait_until};

/// Two people, whose mail address is the same; groups here and elsewhere; a part of the tree on another server.
const ENTRIES: &str = "dn: dc=example,dc=org\nobjectClass: domain\ndc: example\n\n\
    dn: cn=service,dc=example,dc=org\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: service\nuserPassword: service\n\n\
    dn: ou=people,dc=example,dc=org\nobjectClass: organizationalUnit\nou: people\n\n\
    dn: ou=groups,dc=example,dc=org\nobjectClass: organizationalUnit\nou: groups\n\n\
    dn: ou=others,dc=example,dc=org\nobjectClass: organizationalUnit\nou: others\n\n\
    dn: uid=ann,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: ann\ncn: Ann\nsn: Lee\nmail: team@example.org\n\
    userPassword: pass word\nmemberOf: cn=staff,ou=groups,dc=example,dc=org\nmemberOf: cn=admins,ou=others,dc=example,dc=org\n\n\
    dn: uid=bob,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: bob\ncn: Bob\nsn: Ray\nmail: team@example.org\nuserPassword: bob\n\n\
    dn: cn=staff,ou=groups,dc=example,dc=org\nobjectClass: groupOfNames\ncn: staff\nmember: uid=ann,ou=people,dc=example,dc=org\n\n\
    dn: cn=admins,ou=others,dc=example,dc=org\nobjectClass: groupOfNames\ncn: admins\nmember: uid=ann,ou=people,dc=example,dc=org\n\n\
    dn: ou=elsewhere,ou=people,dc=example,dc=org\nobjectClass: referral\nobjectClass: extensibleObject\nou: elsewhere\n\
    ref: ldap://127.0.0.1:9/ou=elsewhere,dc=example,dc=net\n";

/// A directory with [`ENTRIES`].
struct Slapd {
    folder: tempfile::TempDir,
    authority: PathBuf,
    ports: [u16; 2],
    running: Option<Child>,
}

impl Slapd {
    /// Starts it in a folder of its own. `None` if there is no slapd.
    fn start() -> Option<Slapd> {
        let found =
            ["/usr/sbin/slapd", "/usr/lib/openldap/slapd"].iter().find(|path| Path::new(path).exists());
        let Some(program) = found else {
            eprintln!("skipped: there is no slapd");
            return None;
        };
        let folder = folder(&[("data.ldif", ENTRIES)]);
        let here = folder.path();
        // A copy, because AppArmor confines the installed one to its own folders.
        std::fs::copy(program, here.join("slapd")).unwrap();
        std::fs::create_dir(here.join("db")).unwrap();
        let authority = Authority::new("directory");
        let pair = authority.pair(here, "localhost", &["localhost"]);
        let config = format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload memberof\n\
             pidfile {here}/slapd.pid\nTLSCertificateFile {}\nTLSCertificateKeyFile {}\ndatabase mdb\nsuffix \"dc=example,dc=org\"\n\
             rootdn \"cn=root,dc=example,dc=org\"\nrootpw root\ndirectory {here}/db\nmaxsize 10485760\noverlay memberof\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to * by dn.exact=\"cn=service,dc=example,dc=org\" read by users read by * none\n",
            pair.certificate.display(),
            pair.key.display(),
            here = here.display(),
        );
        std::fs::write(here.join("slapd.conf"), config).unwrap();
        let added = Command::new(here.join("slapd"))
            .args(["-Tadd", "-f", "slapd.conf", "-l", "data.ldif"])
            .current_dir(here)
            .output()
            .unwrap();
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        let authority = authority.file(here);
        let mut slapd = Slapd { folder, authority, ports: [free_port(), free_port()], running: None };
        slapd.resume();
        Some(slapd)
    }

    /// Starts it again, at the same addresses.
    fn resume(&mut self) {
        let [plain, tls] = self.ports;
        let urls = format!("ldap://127.0.0.1:{plain}/ ldaps://127.0.0.1:{tls}/ ldapi://{}/", self.socket());
        let mut command = Command::new(self.folder.path().join("slapd"));
        command.args(["-d", "0", "-f", "slapd.conf", "-h", &urls]).current_dir(self.folder.path());
        self.running = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        for port in self.ports {
            wait_until("slapd accepts connections", || {
                std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
        }
    }

    fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill().unwrap();
            running.wait().unwrap();
        }
    }

    /// The path of its socket, as part of a URL.
    fn socket(&self) -> String {
        self.folder.path().join("ldapi").display().to_string().replace('/', "%2F")
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A site with one app per middleware of `tables`, at `/NAME`, which shows what it sees at `/NAME/debug`.
fn site(slapd: &Slapd, tables: &[(&str, String)]) -> Serving {
    let mut config = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\
                      [middleware.show]\nuse = \"print_debug\"\npath = \"/debug\"\n"
        .to_owned();
    let mut routes = Vec::new();
    for (name, options) in tables {
        routes.push(format!("\"/{name}\" = \"{name}\""));
        config += &format!(
            "[app.{name}]\nuse = \"respond\"\nbody = \"hello\"\nmiddleware = [\"{name}\", \"show\"]\n\
             [middleware.{name}]\nuse = \"auth_ldap\"\n{options}\n"
        );
    }
    config += &format!(
        "[app.plugin]\nuse = \"plugin\"\nlibrary = {:?}\nmiddleware = [\"{}\"]\n\
         [app.main]\nuse = \"mount\"\nroutes = {{ \"/plugin\" = \"plugin\", {} }}\n",
        plugin("faulty"),
        tables[0].0,
        routes.join(", ")
    );
    std::fs::write(slapd.folder.path().join("server.toml"), config).unwrap();
    Serving::start(slapd.folder.path(), &["server.toml"])
}

/// The status, and the variables that tell of the user, or the text.
fn ask(serving: &Serving, app: &str, name: &str, password: &str) -> (u16, String) {
    let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
    let (head, body) = Connection::open(serving.address()).request(&format!(
        "GET /{app}/debug HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n\
         Remote-Groups: forged\r\nRemote-User: forged\r\n\r\n"
    ));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let told = |line: &&str| {
        ["REMOTE_USER=", "REMOTE_GROUPS=", "AUTH_TYPE="].iter().any(|name| line.starts_with(name))
    };
    match status {
        200 => (status, body.lines().filter(told).collect::<Vec<_>>().join(" ")),
        _ => (status, body),
    }
}

#[test]
fn a_directory_knows_users_and_their_groups() {
    let Some(mut slapd) = Slapd::start() else { return };
    let [plain, tls] = slapd.ports;
    let ca = slapd.authority.display().to_string();
    let service = "bind_dn = \"cn=service,dc=example,dc=org\"\nbind_password = \"service\"";
    let people = "base = \"ou=people,dc=example,dc=org\"";
    let other = Authority::new("other").pem;
    std::fs::write(slapd.folder.path().join("other.pem"), other).unwrap();
    let serving = site(
        &slapd,
        &[
            // TLS, and the groups from the user's entry.
            (
                "tls",
                format!(
                    "urls = [\"ldaps://localhost:{tls}\"]\nca_file = \"{ca}\"\n{service}\n{people}\n\
                 groups_attribute = \"memberOf\"\ngroups_base = \"ou=groups,dc=example,dc=org\"\ncache_secs = 300\ntimeout_secs = 60"
                ),
            ),
            // StartTLS, and a search for groups; one that names the first server that answers.
            (
                "starttls",
                format!(
                    "urls = [\"ldap://localhost:1\", \"ldap://localhost:{plain}\"]\nstarttls = true\nca_file = \"{ca}\"\n{service}\n{people}\n\
                 groups_base = \"dc=example,dc=org\"\ngroups_filter = \"(&(objectClass=groupOfNames)(member={{dn}}))\"\n\
                 group_name_attribute = \"cn\"\ncache_secs = 0\ntimeout_secs = 60\nmax_connections = 2"
                ),
            ),
            // A DN instead of a search, a socket, and a group that users must have.
            (
                "template",
                format!(
                    "urls = [\"ldapi://{}\"]\nuser_dn = \"uid={{user}},ou=people,dc=example,dc=org\"\n\
                 groups_base = \"ou=groups,dc=example,dc=org\"\nrequire_group = [\"Staff\"]\ntimeout_secs = 60",
                    slapd.socket()
                ),
            ),
            (
                "mail",
                format!(
                    "urls = [\"ldap://127.0.0.1:{plain}\"]\n{service}\n{people}\nfilter = \"(mail={{user}})\"\nuser_attribute = \"cn\"\ntimeout_secs = 60"
                ),
            ),
            (
                "strange",
                format!(
                    "urls = [\"ldaps://localhost:{tls}\"]\nca_file = \"other.pem\"\n{service}\n{people}\nallow_plain = true\ntimeout_secs = 60"
                ),
            ),
            (
                "refused",
                format!(
                    "urls = [\"ldap://127.0.0.1:{plain}\"]\n{}\n{people}\nrealm = \"Staff\"\ntimeout_secs = 60",
                    service.replace("\"service\"", "\"wrong\"")
                ),
            ),
        ],
    );
    let ann = (200, "AUTH_TYPE=Basic REMOTE_USER=ann REMOTE_GROUPS=staff".to_owned());
    assert_eq!(ask(&serving, "tls", "ann", "pass word"), ann);
    // The directory ignores case; the app gets the one name.
    assert_eq!(ask(&serving, "tls", "ANN", "pass word"), ann);
    // A plugin learns the same.
    let credentials = base64::engine::general_purpose::STANDARD.encode("ann:pass word");
    let head =
        format!("GET /plugin/environ HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {credentials}\r\n\r\n");
    let seen = Connection::open(serving.address()).request(&head).1;
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!((&seen["user"], &seen["groups"]), (&json!("ann"), &json!(["staff"])));
    let everywhere = (200, "AUTH_TYPE=Basic REMOTE_USER=ann REMOTE_GROUPS=staff,admins".to_owned());
    assert_eq!(ask(&serving, "starttls", "ann", "pass word"), everywhere);
    assert_eq!(ask(&serving, "template", "ann", "pass word"), ann);
    assert_eq!(
        ask(&serving, "template", "bob", "bob"),
        (403, "You are not a member of a group that has access.\n".to_owned())
    );
    assert_eq!(ask(&serving, "tls", "bob", "bob"), (200, "AUTH_TYPE=Basic REMOTE_USER=bob".to_owned()));
    for (what, name, password) in [
        ("a wrong password", "ann", "wrong"),
        ("no password, with which a directory accepts any name", "ann", ""),
        ("an unknown name", "eve", "pass word"),
        ("no name", "", "pass word"),
        ("any name", "*", "pass word"),
        ("another filter", "ann)(uid=*", "pass word"),
        ("another DN", "ann,ou=people", "pass word"),
        ("a part of the DN", "ann+cn=Ann", "pass word"),
        ("a control character", "ann\t", "pass word"),
        ("several entries", "team@example.org", "pass word"),
    ] {
        let app = if what == "several entries" { "mail" } else { "tls" };
        for app in [app, "template"] {
            let (status, text) = ask(&serving, app, name, password);
            assert_eq!((status, &*text), (401, "A name and a password are required.\n"), "{what}: {app}");
        }
    }
    for app in ["strange", "refused"] {
        let (status, text) = ask(&serving, app, "ann", "pass word");
        assert_eq!(
            (status, &*text),
            (503, "The user directory does not respond. Try again later.\n"),
            "{app}"
        );
    }
    for why in ["invalid peer certificate", "`bind_dn`", "matches several users"] {
        wait_until("the log tells why", || serving.stderr().contains(why));
    }

    // The directory is away: who has just logged in, still can.
    slapd.stop();
    assert_eq!(ask(&serving, "tls", "ann", "pass word"), ann);
    assert_eq!(ask(&serving, "tls", "ann", "another").0, 503);
    assert_eq!(ask(&serving, "starttls", "ann", "pass word").0, 503);
    // It is back, and the connections from before are not.
    slapd.resume();
    assert_eq!(ask(&serving, "starttls", "ann", "pass word"), everywhere);
    let told = serving.stderr();
    assert!(!told.contains("pass word") && !told.contains("service\n"), "{told}");
}

/// The groups of the directory give roles in the notebook, and rights to what is shared with them.
#[test]
fn groups_of_the_directory_are_those_of_the_notebook() {
    let Some(slapd) = Slapd::start() else { return };
    let here = slapd.folder.path();
    let plain = slapd.ports[0];
    let app = |name: &str, groups_base: &str, rules: &str| {
        format!(
            "[app.{name}]\nuse = \"plugin\"\nlibrary = {:?}\nmiddleware = [\"{name}\"]\n[app.{name}.settings]\n\
             data_dir = \"{name}\"\nstate_dir = \"state-{name}\"\nusers = \"accounts\"\ntrust_server_user = true\n\
             kernel_sandbox = \"none\"\nserver_groups = {rules}\n\
             [middleware.{name}]\nuse = \"auth_ldap\"\nurls = [\"ldap://127.0.0.1:{plain}\"]\n\
             user_dn = \"uid={{user}},ou=people,dc=example,dc=org\"\ngroups_base = \"{groups_base}\"\n\
             groups_filter = \"(&(objectClass=groupOfNames)(member={{dn}}))\"\ngroup_name_attribute = \"cn\"\ntimeout_secs = 60\n",
            plugin("notebook")
        )
    };
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"mount\"\n\
         routes = {{ \"/all\" = \"all\", \"/some\" = \"some\" }}\n{}{}",
        app("all", "dc=example,dc=org", "{ admin = [\"admins\"], enter = [\"staff\"] }"),
        app("some", "ou=groups,dc=example,dc=org", "{ admin = [\"admins\"] }"),
    );
    std::fs::write(here.join("server.toml"), config).unwrap();
    let serving = Serving::start(here, &["server.toml"]);
    let ask = |request: &str, user: &str, more: &str| {
        let credentials = base64::engine::general_purpose::STANDARD.encode(user);
        let head = format!(
            "{request} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n{more}\r\n"
        );
        let (head, body) = Connection::open(serving.address()).request(&head);
        (head.split(' ').nth(1).unwrap().parse::<u16>().unwrap(), format!("{head}{body}"))
    };
    let (ann, bob) = ("ann:pass word", "bob:bob");
    // Ann is in `staff` and `admins`, Bob in no group.
    assert_eq!(ask("GET /all/admin", ann, "").0, 200);
    let (status, refused) = ask("GET /all/api/me", bob, "");
    assert!(status == 403 && refused.contains("your groups do not allow"), "{refused}");
    assert_eq!(ask("GET /all/api/me", "ann:wrong", "").0, 401);
    // This notebook does not learn of `admins`.
    let (status, me) = ask("GET /some/api/me", ann, "");
    assert!(status == 200 && me.contains("\"username\":\"ann\""), "{me}");
    assert_eq!(ask("GET /some/admin", ann, "").0, 404);
    // Bob shares a notebook with `staff`, and another one with nobody.
    assert_eq!(ask("GET /some/tree", bob, "Accept: text/html\r\n").0, 200);
    for name in ["shared", "private"] {
        let notebook = "{\"cells\": [], \"metadata\": {}, \"nbformat\": 4, \"nbformat_minor\": 5}";
        std::fs::write(here.join(format!("some/bob/{name}.ipynb")), notebook).unwrap();
        assert_eq!(ask(&format!("GET /some/api/contents/bob/{name}.ipynb"), ann, "").0, 404);
    }
    let (_, page) = ask("GET /some/share/bob/shared.ipynb", bob, "Accept: text/html\r\n");
    let cookie = page.split("_xsrf=").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
    let form = "kind=group&name=staff&level=view";
    let (status, shared) = ask(
        &format!("POST /some/share/bob/shared.ipynb?_xsrf={cookie}"),
        bob,
        &format!(
            "Cookie: _xsrf={cookie}\r\nOrigin: http://localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{form}",
            form.len()
        ),
    );
    assert_eq!(status, 303, "{shared}");
    assert_eq!(ask("GET /some/api/contents/bob/shared.ipynb", ann, "").0, 200);
    assert_eq!(ask("GET /some/api/contents/bob/private.ipynb", ann, "").0, 404);
}

#[test]
fn passwords_cannot_be_guessed_quickly() {
    let Some(slapd) = Slapd::start() else { return };
    let options = format!(
        "urls = [\"ldap://127.0.0.1:{}\"]\nuser_dn = \"uid={{user}},ou=people,dc=example,dc=org\"\ntimeout_secs = 60\nmax_failures = 3\nwithin_secs = 3600\n\
         [middleware.ban]\nuse = \"ban\"\nafter = 8\nwithin_secs = 3600\nexempt = []\n\
         [app.banned]\nuse = \"respond\"\nbody = \"hello\"\nmiddleware = [\"ban\", \"guarded\", \"show\"]",
        slapd.ports[0]
    );
    let serving = site(&slapd, &[("guarded", options)]);
    let config = std::fs::read_to_string(slapd.folder.path().join("server.toml")).unwrap();
    let config = config.replace("routes = { ", "routes = { \"/banned\" = \"banned\", ");
    std::fs::write(slapd.folder.path().join("server.toml"), config).unwrap();
    drop(serving);
    let serving = Serving::start(slapd.folder.path(), &["server.toml"]);
    let statuses = |app: &str, name: &str, passwords: &[&str]| -> Vec<u16> {
        passwords.iter().map(|password| ask(&serving, app, name, password).0).collect()
    };
    assert_eq!(
        statuses("guarded", "ann", &["a", "b", "pass word", "c", "d", "pass word"]),
        [401, 401, 200, 401, 429, 200],
        "a password that was correct a moment ago is not checked again"
    );
    assert_eq!(statuses("guarded", "bob", &["a", "bob"]), [401, 200], "another name is counted for itself");
    // Each kind of failure counts for `ban`, whichever part has refused.
    let guesses = ["a", "b", "c", "d", "e", "f", "g", "h", "bob"];
    assert_eq!(statuses("banned", "bob", &guesses), [401, 401, 401, 429, 429, 429, 429, 429, 403]);
}

#[test]
fn the_example_lets_the_staff_in() {
    let Some(slapd) = Slapd::start() else { return };
    let urls = format!("middleware.staff.urls=[\"ldap://127.0.0.1:{}\"]", slapd.ports[0]);
    let listen = "server.main.listen=[\"127.0.0.1:0\"]";
    let serving = Serving::start(&root().join("examples/ldap"), &["server.toml", "-D", listen, "-D", &urls]);
    assert_eq!(ask(&serving, "", "bob", "bob").0, 403);
    let credentials = base64::engine::general_purpose::STANDARD.encode("ann:pass word");
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n\r\n");
    assert_eq!(Connection::open(serving.address()).request(&head).1, "hello, staff\n");
}

#[test]
fn wrong_options_are_told() {
    let tables = "[middleware.a]\nuse = \"auth_ldap\"\nurls = [\"ldap://ldap.example.org\", \"http://a\", \"ldap.example.org\"]\n\
         bind_dn = \"cn=a\"\nfilter = \"(uid=ann)\"\ngroups_filter = \"member\"\nrequire_group = [\"staff\"]\nrealm = \"a\\nb\"\n\
         [middleware.b]\nuse = \"auth_ldap\"\nurls = []\nuser_dn = \"uid=ann\"\nbind_password = \"x\"\nca_file = \"absent.pem\"\n";
    let told = faults(&hello("[\"a\", \"b\"]", tables));
    for part in [
        "passwords would be sent to `ldap://ldap.example.org` in the clear",
        "`http://a` is not the URL of a directory",
        "`ldap.example.org` is not a URL",
        "the service account has no password",
        "needs exactly one way to find users",
        "the filter does not depend on the user",
        "`member` is not a filter",
        "no groups are known, so no user could pass",
        "characters that are not allowed",
        "there is no server",
        "every user would have the same DN",
        "`bind_password` is not used",
        "cannot read the authorities' certificates",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
}
