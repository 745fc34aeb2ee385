//! `cascade`: apps tried in turn.

use http::Request;
use insta::assert_snapshot;

use crate::local::{Local, faults, shown};

const SITE: &str = "[app.main]\nuse = \"cascade\"\napps = [\"files\", \"gone\", \"last\"]\nnext_on = [404, 405, 410]\n\
                    max_body_bytes = 8\n[app.files]\nuse = \"static\"\npublish_dir = \"www\"\n\
                    [app.gone]\nuse = \"respond\"\nstatus = 410\n\
                    [app.last]\nuse = \"respond\"\nstatus = 404\nbody = \"last\"\n";

#[test]
fn the_first_answer_of_another_status_stands() {
    let local = Local::new(SITE, &[("www/a.txt", "file")]);
    let check = |request: http::request::Builder, body: &'static str, expected: &str| {
        assert_eq!(shown(&local.send(request, body), &[]), expected);
    };
    check(Request::get("/a.txt"), "", "200 | file");
    check(Request::get("/absent"), "", "404 | last");
    check(Request::post("/a.txt"), "12345678", "404 | last");
    check(Request::post("/a.txt"), "123456789", "413 | The request's body is longer than 8 bytes.\n");
}

#[test]
fn wrong_options() {
    let config = "[app.main]\nuse = \"cascade\"\napps = []\nnext_on = [200]\n";
    assert_snapshot!(faults(config), @r"
    the cascade has no apps (list the apps in the order to try them)
    `200` is not a status for errors (use numbers from 400 to 599)
    ");
}
