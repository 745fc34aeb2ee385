//! Sessions in Python applications, and the addresses of resources.

use super::{MODES, Site};
use crate::stores::visitor::Visitor;
use crate::support::{Serving, get, wait_until};

const KEYS: &str = "keys = \"a key of more than thirty-two characters\"\n";

const WSGI: &str = r#"import json, os

def change(session, query):
    for part in query.split("&"):
        name, _, rest = part.partition("=")
        if name == "set":
            key, _, value = rest.partition(":")
            session[key] = value
        elif name == "append":
            session.setdefault("list", []).append(rest)
        elif name == "remove":
            session.pop(rest, None)
        elif name == "bad":
            session["bad"] = object()
            return "bad"
        elif name == "renew":
            session.renew()
        elif name == "end":
            session.end()
    return json.dumps(session, sort_keys=True)

def application(environ, start_response):
    if environ["PATH_INFO"] == "/url":
        text = os.environ.get("PASTER_RESOURCE_DB_URL", "none") + " " + os.environ.get("PASTER_RESOURCE_MY_FILES_URL", "none")
    elif "paster.session" not in environ:
        text = "no session"
    else:
        text = change(environ["paster.session"], environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/file":
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    if environ["PATH_INFO"] == "/empty":
        return []
    # What is changed before the first part is stored, too.
    def parts():
        if environ["QUERY_STRING"] == "late":
            environ["paster.session"]["late"] = True
        yield text.encode()
    return parts()
"#;

const ASGI: &str = r#"from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from wsgi_site import change

async def page(request):
    return PlainTextResponse(change(request.session, request.url.query))

async def socket(websocket):
    websocket.session["socket"] = websocket.session.get("a", "none")
    await websocket.accept()
    await websocket.send_text(str(websocket.session["socket"]))
    await websocket.close()

app = Starlette(routes=[Route("/", page), WebSocketRoute("/socket", socket)])
"#;

/// What an application can do with its session.
fn check(serving: &Serving) {
    let mut ann = Visitor::default();
    assert_eq!(ann.get(serving, "/"), "200 {}", "{}", serving.stderr());
    assert_eq!(ann.cookie, None);
    assert_eq!(ann.get(serving, "/?set=a:1"), "200 {\"a\": \"1\"}");
    assert_eq!(ann.get(serving, "/?append=x&append=y"), "200 {\"a\": \"1\", \"list\": [\"x\", \"y\"]}");
    // A change inside of a value counts.
    assert_eq!(ann.get(serving, "/?append=z"), "200 {\"a\": \"1\", \"list\": [\"x\", \"y\", \"z\"]}");
    assert_eq!(ann.get(serving, "/?remove=a"), "200 {\"list\": [\"x\", \"y\", \"z\"]}");
    let mut thief = ann.clone();
    assert_eq!(
        ann.get(serving, "/?renew&set=user:ü"),
        "200 {\"list\": [\"x\", \"y\", \"z\"], \"user\": \"%C3%BC\"}"
    );
    assert_eq!(thief.get(serving, "/"), "200 {}");
    assert!(ann.get(serving, "/?bad=1").starts_with("500 "));
    wait_until("the log tells why", || {
        serving.stderr().contains("the session contains a value that is not JSON")
    });
    assert!(ann.get(serving, "/").contains("%C3%BC"));
    assert_eq!(ann.get(serving, "/?end"), "200 {}");
    assert_eq!(ann.cookie, None);
}

#[test]
fn wsgi_applications_use_the_session() {
    let tables = format!("middleware = [\"session\"]\n[middleware.session]\nuse = \"session\"\n{KEYS}");
    for mode in MODES {
        let Some(site) = Site::new(&[("wsgi_site.py", WSGI)]) else { return };
        let mut serving = site.serve(&format!("application = \"wsgi_site\"\n{mode}{tables}"));
        check(&serving);
        let mut ann = Visitor::default();
        ann.get(&serving, "/?late");
        assert_eq!(ann.get(&serving, "/"), "200 {\"late\": true}");
        ann.get(&serving, "/file?set=f:1");
        ann.get(&serving, "/empty?set=e:1");
        assert_eq!(ann.get(&serving, "/"), "200 {\"e\": \"1\", \"f\": \"1\", \"late\": true}");
        // A reload keeps the sessions in memory.
        serving.signal("HUP");
        serving.wait_for("reloaded");
        assert_eq!(ann.get(&serving, "/"), "200 {\"e\": \"1\", \"f\": \"1\", \"late\": true}");
        assert_eq!(serving.stop(), Some(0));
    }
    let Some(site) = Site::new(&[("wsgi_site.py", WSGI)]) else { return };
    let serving = site.serve("application = \"wsgi_site\"\n");
    assert_eq!(get(&serving, "/"), "no session");
}

#[test]
fn asgi_applications_use_the_session() {
    let tables = format!("middleware = [\"session\"]\n[middleware.session]\nuse = \"session\"\n{KEYS}");
    for mode in MODES {
        let files = [("wsgi_site.py", WSGI), ("asgi_site.py", ASGI)];
        let Some(site) = super::kinds::site("starlette", &files) else { return };
        let app = format!("application = \"asgi_site\"\n{mode}{tables}");
        site.write("server.toml", &site.config(&app, "").replace("use = \"wsgi\"", "use = \"asgi\""));
        let mut serving = Serving::spawn(site.paster(&["serve", "--json"]));
        check(&serving);
        let mut ann = Visitor::default();
        ann.get(&serving, "/?set=a:1");
        // What a WebSocket's handshake changes is stored.
        let handshake = ann.handshake(&serving, "/socket");
        assert!(handshake.starts_with("HTTP/1.1 101"), "{handshake}");
        assert_eq!(ann.get(&serving, "/"), "200 {\"a\": \"1\", \"socket\": \"1\"}");
        assert_eq!(serving.stop(), Some(0));
    }
}

#[test]
fn applications_get_the_addresses_of_resources() {
    for mode in MODES {
        let Some(site) = Site::new(&[("wsgi_site.py", WSGI)]) else { return };
        let resources = "[resource.db]\nuse = \"sqlite\"\nfile = \"values.db\"\n[resource.my-files]\nuse = \"files\"\nfolder = \"values\"\n";
        let mut serving = site.serve(&format!("application = \"wsgi_site\"\n{mode}{resources}"));
        let folder = site.folder().canonicalize().unwrap();
        let expected = format!("sqlite:///{0}/values.db file://{0}/values", folder.display());
        assert_eq!(get(&serving, "/url"), expected);
        assert_eq!(serving.stop(), Some(0));
        // A variable of the app's own takes precedence.
        let own = format!(
            "application = \"wsgi_site\"\n{mode}env = {{ PASTER_RESOURCE_DB_URL = \"own\" }}\n{resources}"
        );
        let serving = site.serve(&own);
        assert!(get(&serving, "/url").starts_with("own file://"));
    }
}

#[test]
fn the_example_keeps_a_basket_through_a_login() {
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sessions");
    let Some(site) = Site::new(&[]) else { return };
    for name in ["basket.py", "server.toml", "users.htpasswd"] {
        site.write(name, &std::fs::read_to_string(example.join(name)).unwrap());
    }
    let python = format!("app.main.python={:?}", site.python.display().to_string());
    let listen = "server.main.listen=[\"127.0.0.1:0\"]";
    let start = || Serving::spawn(site.paster(&["serve", "--json", "-D", listen, "-D", &python]));
    let mut serving = start();
    let mut ann = Visitor::default();
    assert!(ann.get(&serving, "/").contains("Your basket: empty"), "{}", serving.stderr());
    assert!(ann.post(&serving, "/", "add=apples&add=gold").starts_with("303 "));
    ann.post(&serving, "/", "add=bread");
    assert!(ann.get(&serving, "/").contains("Your basket: apples, bread"));
    let before = ann.cookie.clone();
    assert_eq!(ann.get(&serving, "/order"), "401 You are not logged in.\n");
    assert!(ann.post(&serving, "/login", "user=demo&password=wrong").starts_with("403 "));
    assert!(ann.post(&serving, "/login", "user=demo&password=demo&next=%2Forder").starts_with("303 "));
    assert_ne!(ann.cookie, before, "the session has a new id");
    // A restart keeps it.
    assert_eq!(serving.stop(), Some(0));
    let serving = start();
    let page = ann.get(&serving, "/order");
    assert!(page.contains("Thank you, demo") && page.contains("You ordered: apples, bread."), "{page}");
    assert!(ann.get(&serving, "/order").contains("You ordered: nothing."));
}
