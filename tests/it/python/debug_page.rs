//! The developer's page for a Python application: source lines, variables, and the log of the request.

use super::{MODES, Site};
use crate::support::{Connection, wait_until};

const SHOP: &str = r#"
def price(fruit, basket):
    api_token = "s3cret"
    return {"apple": 2}[fruit]


def application(environ, start_response):
    environ["wsgi.errors"].write("looking for %s\n" % environ["PATH_INFO"])
    price("pear", ["apple %s pear" % chr(38)])
"#;

const ASGI: &str = "
import logging, shop

async def application(scope, receive, send):
    if scope['type'] == 'http':
        shop.price('pear', ['apple %s pear' % chr(38)])
";

#[test]
fn variables_are_shown_to_developers_and_never_logged() {
    let Some(site) = Site::new(&[("shop.py", SHOP), ("web.py", ASGI)]) else { return };
    let more = "[middleware.page]\nuse = \"error_page\"\n";
    let page = |mode: &str, asgi: bool, args: &[&str]| {
        let app =
            if asgi { "application = \"web:application\"\n" } else { "application = \"shop:application\"\n" };
        let config = site.config(&format!("{app}{mode}middleware = [\"request_id\", \"page\"]\n"), more);
        let config = if asgi { config.replace("use = \"wsgi\"", "use = \"asgi\"") } else { config };
        site.write("server.toml", &config);
        let serving = crate::support::Serving::spawn(site.paster(&[&["serve", "--json"], args].concat()));
        let head = "GET /pear HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\nCookie: id=h1dden\r\n\r\n";
        let (head, page) = Connection::open(serving.address()).request(head);
        wait_until("it is logged", || serving.stderr().contains("KeyError"));
        let id = head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap().to_owned();
        (page, serving.stderr(), id)
    };
    for (mode, asgi) in [(MODES[0], false), (MODES[1], false), (MODES[0], true)] {
        let (html, log, id) = page(mode, asgi, &["--reload"]);
        for part in ["KeyError", "apple &amp; pear", "api_token &#x3D; ***", "<mark>    4     return {", &id]
        {
            assert!(html.contains(part), "{mode} {part}: {html}");
        }
        assert_eq!(html.contains("looking for /pear"), !asgi, "{mode}: {html}");
        assert!(!html.contains("h1dden"), "{mode}: {html}");
        assert!(!html.contains("&#x27;s3cret") && !log.contains("apple & pear"), "{mode}: {log}");
        assert!(log.contains(&format!("request_id={id}")), "{mode}: {log}");
    }
    let (html, log, id) = page(MODES[0], false, &[]);
    assert!(
        html.contains("Something went wrong") && html.contains(&id) && !html.contains("KeyError"),
        "{html}"
    );
    assert!(log.contains("looking for /pear") && !log.contains("apple & pear"), "{log}");
}
