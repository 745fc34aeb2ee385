//! `auth_oidc` with a real provider (the npm package `oidc-provider`), by curl and by a browser.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::bridge::free_port;
use crate::local::faults;
use crate::pki::Authority;
use crate::stack::hello;
use crate::support::{Serving, folder, plugin, root, wait_until};

const SECRET: &str = "a secret of the tests";

/// The users: one of the staff, one of another domain, one whose address nobody has verified.
fn users() -> Value {
    json!({
        "ann": { "email": "ann@example.org", "email_verified": true, "groups": ["staff", "a,comma"] },
        "bob": { "email": "bob@example.net", "email_verified": true },
        "eve": { "email": "eve@example.org", "email_verified": false },
    })
}

/// A provider, and a site beside it.
struct Place {
    folder: tempfile::TempDir,
    modules: PathBuf,
    authority: PathBuf,
    /// The port of the provider, and that of the site.
    ports: [u16; 2],
    access_token_secs: u32,
    running: Option<Child>,
    /// What the provider writes: a closed pipe would end it.
    output: Option<BufReader<ChildStdout>>,
}

impl Place {
    /// Starts the provider. `None` without its npm package.
    fn start() -> Option<Place> {
        Place::start_with_access_tokens_of(600)
    }

    /// Starts the provider. Its access tokens expire after so many seconds: the site then asks for new claims, with a
    /// refresh token that is valid once.
    fn start_with_access_tokens_of(access_token_secs: u32) -> Option<Place> {
        let modules = std::env::var_os("PASTER_TEST_NODE_MODULES").map(PathBuf::from);
        let Some(modules) = modules.filter(|modules| modules.join("oidc-provider").is_dir()) else {
            eprintln!("skipped: PASTER_TEST_NODE_MODULES does not name a directory with `oidc-provider`");
            return None;
        };
        let folder = folder(&[("users.json", &users().to_string())]);
        std::os::unix::fs::symlink(&modules, folder.path().join("node_modules")).unwrap();
        let script = root().join("tests/fixtures/oidc/provider.mjs");
        std::fs::copy(script, folder.path().join("provider.mjs")).unwrap();
        let authority = Authority::new("provider");
        authority.pair(folder.path(), "provider", &["localhost"]);
        let authority = authority.file(folder.path());
        let mut place = Place {
            folder,
            modules,
            authority,
            ports: [free_port(), free_port()],
            access_token_secs,
            running: None,
            output: None,
        };
        place.resume();
        Some(place)
    }

    /// Starts the provider again, with new keys.
    fn resume(&mut self) {
        let [port, site] = self.ports;
        let paths = ["/staff", "/mail", "/short", "/browser", ""];
        let urls = |ending: &str| -> Vec<String> {
            // Another host than the provider's, whose cookies the site must not get.
            let sites = ["http://127.0.0.1", "https://localhost"].into_iter();
            sites.flat_map(|host| paths.map(|path| format!("{host}:{site}{path}{ending}"))).collect()
        };
        let settings = json!({
            "port": port,
            "certificate": self.folder.path().join("provider.pem"),
            "key": self.folder.path().join("provider.key"),
            "users": self.folder.path().join("users.json"),
            "accessTokenSecs": self.access_token_secs,
            "client": {
                "client_id": "site", "client_secret": SECRET,
                "redirect_uris": urls("/oidc/callback"), "post_logout_redirect_uris": urls("/bye"),
            },
        });
        let mut command = Command::new("node");
        command.arg("provider.mjs").env("SETTINGS", settings.to_string()).current_dir(self.folder.path());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        self.output = Some(output);
        assert_eq!(line.trim(), format!("https://localhost:{port}"), "{}", self.modules.display());
        self.running = Some(child);
    }

    fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill().unwrap();
            running.wait().unwrap();
        }
    }

    /// The options of a middleware `name` with some more.
    fn middleware(&self, name: &str, options: &str) -> String {
        format!(
            "[app.{name}]\nuse = \"respond\"\nbody = \"hello\"\nmiddleware = [\"{name}\", \"show\"]\n\
             [middleware.{name}]\nuse = \"auth_oidc\"\nissuer = \"https://localhost:{}\"\nca_file = {:?}\n\
             client_id = \"site\"\nclient_secret = \"{SECRET}\"\nscopes = [\"email\", \"groups\"]\ntimeout_secs = 60\n{options}\n",
            self.ports[0], self.authority
        )
    }

    /// Starts the site with these apps, which show what they see at `/NAME/debug`.
    fn serve(&self, tables: &[(&str, &str)], tls: &str) -> Serving {
        let routes: Vec<_> = tables.iter().map(|(name, _)| format!("\"/{name}\" = \"{name}\"")).collect();
        let apps: String = tables.iter().map(|(name, options)| self.middleware(name, options)).collect();
        let config = format!(
            "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:{}\"]\n{tls}\n[middleware.show]\nuse = \"print_debug\"\npath = \"/debug\"\n\
             [app.main]\nuse = \"mount\"\nroutes = {{ {} }}\n{apps}",
            self.ports[1],
            routes.join(", ")
        );
        std::fs::write(self.folder.path().join("server.toml"), config).unwrap();
        Serving::start(self.folder.path(), &["server.toml"])
    }

    /// A client with cookies of its own.
    fn client(&self, name: &'static str) -> Client<'_> {
        Client { place: self, name }
    }

    fn save_users(&self, users: &Value) {
        crate::support::save(&self.folder.path().join("users.json"), &users.to_string());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A browser of one user, without its window: curl and a file of cookies.
struct Client<'a> {
    place: &'a Place,
    name: &'static str,
}

/// What curl got: the status, the URL after the redirects or to which the response redirects, the head and the body.
#[derive(Debug)]
struct Got {
    status: u16,
    url: String,
    target: String,
    head: String,
    body: String,
}

impl Client<'_> {
    fn jar(&self) -> PathBuf {
        self.place.folder.path().join(format!("{}.cookies", self.name))
    }

    /// Requests a path of the site, or a URL.
    fn get(&self, target: &str, arguments: &[&str]) -> Got {
        let url = match target.starts_with('/') {
            true => format!("http://127.0.0.1:{}{target}", self.place.ports[1]),
            false => target.to_owned(),
        };
        let head = self.place.folder.path().join(format!("{}-{}.head", self.name, uuid::Uuid::new_v4()));
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--globoff", "--path-as-is", "--cookie"])
            .arg(self.jar())
            .arg("--cookie-jar")
            .arg(self.jar());
        curl.arg("--cacert").arg(&self.place.authority).arg("--dump-header").arg(&head).args(arguments);
        curl.args(["--write-out", "\n%{http_code} %{url_effective} %{redirect_url}", &url]);
        let output = String::from_utf8(curl.output().unwrap().stdout).unwrap();
        let (body, told) = output.rsplit_once('\n').unwrap();
        let mut told = told.split(' ').map(str::to_owned);
        let mut next = || told.next().unwrap_or_default();
        let (status, url, target) = (next().parse().unwrap(), next(), next());
        let head = std::fs::read_to_string(&head).unwrap_or_default();
        Got { status, url, target, head, body: body.to_owned() }
    }

    /// Opens a page as a browser does, and logs in at the provider if asked to.
    fn open(&self, target: &str) -> Got {
        let user = format!("x-login-as: {}", self.name);
        self.get(target, &["--location", "--header", "Accept: text/html", "--header", &user])
    }

    /// Requests data as a script does.
    fn fetch(&self, target: &str) -> Got {
        self.get(target, &["--header", "Accept: application/json"])
    }
}

/// The variables that tell of the user.
fn told(got: &Got) -> String {
    let names =
        ["REMOTE_USER=", "REMOTE_GROUPS=", "AUTH_TYPE=", "HTTP_X_MAIL=", "HTTP_COOKIE=", "QUERY_STRING="];
    let lines = got.body.lines().filter(|line| names.iter().any(|name| line.starts_with(name)));
    format!("{} {}", got.status, lines.collect::<Vec<_>>().join(" "))
}

const STAFF: &str = "allow_groups = [\"staff\"]\nclaims = { x-mail = \"email\" }\nafter_logout = \"/bye\"";
const MAIL: &str = "allow_domains = [\"Example.org\"]\nuser_claim = \"email\"\nrefresh = false\nuserinfo = true\ncookie = \"mail\"";

#[test]
fn users_log_in_at_a_provider() {
    let Some(place) = Place::start() else { return };
    let short = "allow_everyone = true\nmax_secs = 2\nidle_secs = 3600\nuser_claim = \"sub\"\ngroups_claim = \"groups\"";
    let serving = place.serve(&[("staff", STAFF), ("mail", MAIL), ("short", short)], "");
    let (ann, bob, eve) = (place.client("ann"), place.client("bob"), place.client("eve"));

    // Scripts are told that there is no session; browsers are sent to the provider.
    let script = ann.fetch("/staff/debug");
    assert_eq!((script.status, &*script.body), (401, "A login is required.\n"));
    assert!(
        script.head.contains("Cookie realm=\"restricted\", form-action=\"/staff/oidc/login\""),
        "{}",
        script.head
    );
    let page = ann.get("/staff/debug", &["--header", "Accept: text/html"]);
    assert_eq!(page.status, 302);
    for part in [
        "/auth?",
        "response_type=code",
        "code_challenge_method=S256",
        "scope=openid+email+groups",
        "nonce=",
        "state=",
    ] {
        assert!(page.target.contains(part), "{part}: {}", page.target);
    }
    assert_eq!(ann.get("/staff/debug", &["--header", "Accept: text/html", "--data", "a=b"]).status, 401);

    // The user comes back to the page, and the app learns who it is. It sees none of the cookies.
    let seen = ann.open("/staff/debug?a=b");
    assert_eq!(
        told(&seen),
        "200 AUTH_TYPE=OIDC REMOTE_USER=ann REMOTE_GROUPS=staff QUERY_STRING=a=b HTTP_X_MAIL=ann@example.org"
    );
    let cookie = seen
        .head
        .lines()
        .find(|line| line.to_ascii_lowercase().starts_with("set-cookie: paster_oidc="))
        .unwrap();
    assert!(cookie.ends_with("; Path=/staff; Max-Age=28800; HttpOnly; SameSite=Lax"), "{cookie}");
    // What the client claims does not count.
    let claims = ["--header", "x-mail: root@example.org", "--header", "Remote-Groups: admins"];
    assert_eq!(
        told(&ann.get("/staff/debug", &claims)),
        "200 AUTH_TYPE=OIDC REMOTE_USER=ann REMOTE_GROUPS=staff QUERY_STRING= HTTP_X_MAIL=ann@example.org"
    );
    let script = ann.fetch("/staff/debug");
    assert!(
        told(&script).starts_with("200 AUTH_TYPE=OIDC REMOTE_USER=ann REMOTE_GROUPS=staff"),
        "{script:?}"
    );
    let user: Value = serde_json::from_str(&ann.fetch("/staff/oidc/user").body).unwrap();
    assert_eq!((&user["user"], &user["groups"]), (&json!("ann"), &json!(["staff", "a,comma"])));
    assert_eq!(bob.fetch("/staff/oidc/user").status, 401);

    // WebSockets need a session too, and a page of this site.
    let handshake = |client: &Client<'_>, origin: &str| {
        let fields = [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            origin,
        ];
        let arguments: Vec<&str> = fields.iter().flat_map(|field| ["--header", field]).collect();
        client.get("/staff/debug", &arguments).status
    };
    let own = format!("Origin: http://127.0.0.1:{}", place.ports[1]);
    assert_eq!(
        (handshake(&ann, &own), handshake(&ann, "Origin: https://evil.example"), handshake(&bob, &own)),
        (200, 403, 401)
    );

    // A changed cookie is none.
    let jar = std::fs::read_to_string(ann.jar()).unwrap();
    let value =
        jar.lines().find(|line| line.contains("\tpaster_oidc\t")).unwrap().rsplit('\t').next().unwrap();
    let middle = value.len() / 2;
    let other = if value.as_bytes()[middle] == b'A' { "B" } else { "A" };
    let changed = format!("paster_oidc={}{other}{}", &value[..middle], &value[middle + 1..]);
    let thief = place.client("thief");
    assert_eq!(thief.get("/staff/debug", &["--cookie", &changed]).status, 401);
    assert_eq!(thief.get("/staff/debug", &["--cookie", &format!("paster_oidc={value}")]).status, 200);

    // Who may pass.
    let refused = bob.open("/staff/debug");
    assert!(refused.status == 403 && refused.body.contains("You may not use this site"), "{refused:?}");
    assert!(refused.body.contains("href=\"/staff/oidc/login\""), "{refused:?}");
    assert!(told(&ann.open("/mail/debug")).starts_with("200 AUTH_TYPE=OIDC REMOTE_USER=ann@example.org"));
    assert_eq!((bob.open("/mail/debug").status, eve.open("/mail/debug").status), (403, 403));

    // Only to paths of this site.
    for next in ["https://evil.example/", "//evil.example/", "/%5Cevil.example/", "/staff/debug?c=d"] {
        let url = ann.open(&format!("/staff/oidc/login?next={next}")).url;
        let expected = if next.starts_with("/staff") { next } else { "/" };
        assert_eq!(url, format!("http://127.0.0.1:{}{expected}", place.ports[1]), "{next}");
    }

    // A callback that nobody asked for, or for another browser.
    let login = bob.get("/staff/oidc/login", &[]).target;
    let state = login.split("state=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let callback =
        |client: &Client<'_>, query: &str| client.get(&format!("/staff/oidc/callback?{query}"), &[]).status;
    assert_eq!(callback(&eve, &format!("code=x&state={state}")), 400);
    assert_eq!(callback(&bob, "code=x&state=other"), 400);
    assert_eq!(callback(&bob, &format!("code=x&state={state}&iss=https%3A%2F%2Fevil.example")), 403);
    assert_eq!(callback(&bob, &format!("code=x&state={state}")), 400, "a state counts once");
    let login = bob.get("/staff/oidc/login", &[]).target;
    let state = login.split("state=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    assert_eq!(callback(&bob, &format!("code=x&state={state}")), 403, "not a code of the provider");

    // Sessions end.
    assert_eq!(ann.open("/short/debug").status, 200);
    wait_until("the session ends", || ann.fetch("/short/debug").status == 401);

    // Out, here and at the provider.
    let arguments = ["--header", "Sec-Fetch-Site: cross-site"];
    assert_eq!(ann.get("/staff/oidc/logout", &arguments).status, 403);
    let out = ann.get("/staff/oidc/logout", &[]);
    assert!(out.target.contains("/session/end?") && out.target.contains("id_token_hint="), "{}", out.target);
    let head = out.head.to_ascii_lowercase();
    assert!(head.contains("set-cookie: paster_oidc=; path=/staff; max-age=0;"), "{head}");
    // curl leaves the file as it was.
    let jar = std::fs::read_to_string(ann.jar()).unwrap();
    let left: String = jar.split_inclusive('\n').filter(|line| !line.contains("\t/staff\t")).collect();
    std::fs::write(ann.jar(), left).unwrap();
    assert_eq!(ann.fetch("/staff/debug").status, 401);
    let asks = ann.get(&out.target, &[]).body;
    let secret = asks.split("name=\"xsrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let confirm = format!("https://localhost:{}/session/end/confirm", place.ports[0]);
    let confirmed = ann.get(&confirm, &["--data", &format!("xsrf={secret}&logout=yes")]);
    assert_eq!(confirmed.target, format!("http://127.0.0.1:{}/staff/bye", place.ports[1]));
    assert!(
        ann.get("/staff/debug", &["--location", "--header", "Accept: text/html"]).status == 403,
        "nobody is logged in"
    );
    let log = serving.stderr();
    assert!(log.contains("logged in") && log.contains("the login failed"), "{log}");
    assert!(!log.contains(value) && !log.contains(SECRET), "{log}");
}

#[test]
fn the_example_lets_the_staff_in() {
    let Some(place) = Place::start() else { return };
    let changes = [
        format!("server.main.listen=[\"127.0.0.1:{}\"]", place.ports[1]),
        format!("middleware.sso.issuer=\"https://localhost:{}\"", place.ports[0]),
        format!("middleware.sso.client_secret=\"{SECRET}\""),
        format!("middleware.sso.ca_file={:?}", place.authority),
    ];
    let arguments: Vec<&str> = changes.iter().flat_map(|change| ["-D", change.as_str()]).collect();
    let serving = Serving::start(&root().join("examples/oidc"), &[&["server.toml"], &arguments[..]].concat());
    let (ann, bob) = (place.client("ann"), place.client("bob"));
    assert_eq!(
        (ann.open("/").body, bob.open("/").status),
        ("hello, staff\n".to_owned(), 403),
        "{}",
        serving.stderr()
    );
}

/// The groups of the provider give roles in the notebook, at each login.
#[test]
fn groups_of_the_provider_are_those_of_the_notebook() {
    let Some(place) = Place::start() else { return };
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:{}\"]\n[app.main]\nuse = \"plugin\"\nlibrary = {:?}\n\
         middleware = [\"login\"]\n[app.main.settings]\ndata_dir = \"data\"\nstate_dir = \"state\"\nusers = \"accounts\"\n\
         trust_server_user = true\nkernel_sandbox = \"none\"\nserver_groups = {{ admin = [\"staff\"], guest = [\"visitors\"] }}\n{}",
        place.ports[1],
        plugin("notebook"),
        place
            .middleware("login", "allow_everyone = true")
            .split_once("[middleware")
            .map(|(_, rest)| format!("[middleware{rest}"))
            .unwrap(),
    );
    std::fs::write(place.folder.path().join("server.toml"), config).unwrap();
    let serving = Serving::start(place.folder.path(), &["server.toml"]);
    let me = |client: &Client<'_>| {
        let me = client.open("/api/me");
        let user: Value =
            serde_json::from_str(&me.body).unwrap_or_else(|_| panic!("{me:?}\n{}", serving.stderr()));
        user["identity"]["username"].as_str().unwrap().to_owned()
    };
    let (ann, bob) = (place.client("ann"), place.client("bob"));
    assert_eq!((me(&ann), me(&bob)), ("ann".to_owned(), "bob".to_owned()));
    assert_eq!((ann.open("/admin").status, bob.open("/admin").status), (200, 404));
    assert!(place.folder.path().join("data/bob").is_dir());
    // The next login of Ann has other groups, and that of Bob makes him an administrator.
    place.save_users(&json!({
        "ann": { "email": "ann@example.org", "email_verified": true, "groups": ["visitors"] },
        "bob": { "email": "bob@example.net", "email_verified": true, "groups": ["staff"] },
    }));
    for client in [&ann, &bob] {
        std::fs::remove_file(client.jar()).unwrap();
        me(client);
    }
    assert_eq!((ann.open("/admin").status, bob.open("/admin").status), (404, 200));
    let listed = ann.fetch("/api/contents");
    assert_eq!(listed.status, 200, "{listed:?}");
    assert!(!listed.body.contains("\"bob\""), "a guest sees what is shared with them: {listed:?}");
}

#[test]
fn a_session_follows_the_provider() {
    let Some(mut place) = Place::start_with_access_tokens_of(2) else { return };
    let serving = place.serve(&[("staff", STAFF)], "");
    let ann = place.client("ann");
    assert_eq!(ann.open("/staff/debug").status, 200);
    // Other groups, as soon as the access token has expired. Many requests at once ask the provider once, because it
    // accepts a refresh token only once.
    let mut users = users();
    users["ann"]["groups"] = json!(["staff", "admins"]);
    place.save_users(&users);
    wait_until("there are new claims", || {
        let names = ["copy0", "copy1", "copy2", "copy3", "copy4", "copy5"];
        let copies = names.map(|name| place.client(name));
        for copy in &copies {
            std::fs::copy(ann.jar(), copy.jar()).unwrap();
        }
        let many: Vec<Got> = std::thread::scope(|scope| {
            let threads = copies.each_ref().map(|copy| scope.spawn(move || copy.fetch("/staff/debug")));
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(many.iter().all(|got| got.status == 200), "{many:?}");
        std::fs::copy(copies[0].jar(), ann.jar()).unwrap();
        told(&many[0]).contains("REMOTE_GROUPS=staff,admins")
    });
    // The provider is away: the session stays, and nobody can begin another one.
    place.stop();
    let ann = place.client("ann");
    assert_eq!(ann.fetch("/staff/debug").status, 200);
    wait_until("the failure is told", || {
        assert_eq!(ann.fetch("/staff/debug").status, 200);
        serving.stderr().contains("cannot refresh the claims")
    });
    // It comes back with other keys.
    place.resume();
    let bob = place.client("bob");
    let mut users = users;
    users["bob"]["groups"] = json!(["staff"]);
    place.save_users(&users);
    wait_until("the new keys are known", || bob.open("/staff/debug").status == 200);
    // A user who is gone at the provider is out.
    users.as_object_mut().unwrap().remove("bob");
    place.save_users(&users);
    wait_until("the session ends", || bob.fetch("/staff/debug").status == 401);
    wait_until("the end of the session is in the log", || serving.stderr().contains("the session ends"));
    drop(serving);
    // Without a provider from the start.
    place.stop();
    let serving = place.serve(&[("staff", STAFF)], "");
    let eve = place.client("eve");
    let away = eve.open("/staff/debug");
    assert_eq!((away.status, &*away.body), (503, "The login service does not respond. Try again later.\n"));
    assert!(serving.stderr().contains("cannot read the provider's metadata"));
}

#[test]
fn a_browser_logs_in_over_tls() {
    let Some(place) = Place::start() else { return };
    let programs = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH").unwrap();
    let find = |name: &&str| {
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
    };
    let Some(chromium) = programs.iter().find_map(find) else {
        return eprintln!("skipped: there is no Chromium");
    };
    let options = "allow_users = [\"ann\"]\nrequire_claims = { email = \"ann@example.org\" }\nlogin_parameters = { login_hint = \"ann\" }";
    let tls = "[server.main.tls]\nself_signed = true";
    let serving = place.serve(&[("browser", options)], tls);
    let url = format!("https://localhost:{}/browser/debug?a=b", place.ports[1]);
    let seen = page(&chromium, place.folder.path(), &url);
    for line in ["REMOTE_USER=ann", "REMOTE_GROUPS=staff", "HTTPS=on", "QUERY_STRING=a=b"] {
        assert!(seen.contains(line), "{line}: {seen}\n{}", serving.stderr());
    }
    assert!(!seen.contains("paster_oidc"), "{seen}");
}

/// The page that Chromium shows at a URL in the end.
fn page(chromium: &Path, folder: &Path, url: &str) -> String {
    let mut command = Command::new(chromium);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--ignore-certificate-errors",
        "--dump-dom",
    ]);
    command.arg(format!("--user-data-dir={}", folder.join("profile").display())).arg(url);
    let output = command.stderr(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn wrong_options_are_told() {
    let tables = "[middleware.a]\nuse = \"auth_oidc\"\nissuer = \"http://login.example.org\"\nclient_id = \"a\"\nprefix = \"oidc/\"\n\
         after_logout = \"//evil.example\"\npublic_url = \"https://example.org/a\"\ncookie = \"a b\"\ncookie_secret = \"short\"\n\
         claims = { \"a b\" = \"email\" }\n\
         [middleware.b]\nuse = \"auth_oidc\"\nissuer = \"https://login.example.org\"\nclient_id = \"a\"\ntrust_unverified_email = true\n\
         allow_everyone = true\nca_file = \"absent.pem\"\n";
    let told = faults(&hello("[\"a\", \"b\"]", tables));
    for part in [
        "`http://login.example.org` is not an issuer: it must begin with `https://`",
        "`oidc/` is not a path for the login",
        "`//evil.example` is not a path",
        "`https://example.org/a` is not the address of a site",
        "`a b` is not the name of a cookie",
        "the secret is too short",
        "`a b` is not a header name",
        "does not set who may pass",
        "has no secret to encrypt cookies with",
        "cannot read the authorities' certificates",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
}
