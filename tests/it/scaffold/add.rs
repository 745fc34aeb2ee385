//! `paster add`, and `paster create --with`.

use serde_json::Value;

use super::{read, refused, run, skeleton, succeeds, tree, write};
use crate::support::{Serving, folder, get, paster};

#[test]
fn a_route_is_added_and_taken_back() {
    let place = folder(&[]);
    succeeds(place.path(), &["create", "site", "-t", "static"]);
    let site = place.path().join("site");
    let config = read(&site, "server.toml");
    write(&site, "server.toml", &config.replace("[server.main]", "# Mine.\n[server.main]"));
    let before = tree(&site);
    let plan = succeeds(&site, &["add", "route", "path=/docs", "--dry-run"]);
    assert!(plan.contains("merge") && plan.contains("docs/index.html"), "{plan}");
    let diff = succeeds(&site, &["add", "route", "path=/docs", "--diff"]);
    let removes = |line: &str| line.starts_with('-') && !line.starts_with("---");
    assert!(diff.contains("+[app.docs]") && !diff.lines().any(removes), "{diff}");
    assert!(tree(&site) == before);
    let out = succeeds(&site, &["add", "route", "path=/docs"]);
    assert!(out.starts_with("added the skeleton `route` to `.`: 2 files\n  create    docs/index.html\n  merge     server.toml\n"), "{out}");
    succeeds(&site, &["add", "route", "path=/hello", "to=respond", "body=Hello!"]);
    succeeds(&site, &["add", "middleware", "kind=request_id"]);
    let config = read(&site, "server.toml");
    assert!(config.contains("# Mine.\n[server.main]"), "{config}");
    let serving = Serving::start(&site, &["server.toml", "-D", "server.main.listen=[\"127.0.0.1:0\"]"]);
    assert!(get(&serving, "/").contains("<h1>Site</h1>"));
    assert!(get(&serving, "/docs/").contains("<h1>Docs</h1>"));
    assert_eq!(get(&serving, "/hello"), "Hello!");
    drop(serving);
    refused(&site, &["add", "route", "path=/docs", "to=respond"], 1, &["already has `app.docs.use`"]);
    assert_eq!(
        succeeds(&site, &["update", "--check"]).lines().next(),
        Some("`.` is up to date: static 1.0.0, route 1.0.0, route 1.0.0, middleware 1.0.0")
    );
    succeeds(&site, &["undo"]);
    assert!(
        !read(&site, "server.toml").contains("request_id") && read(&site, "server.toml").contains("Hello!")
    );
}

#[test]
fn a_project_that_paster_did_not_create_is_taken() {
    let config = "[server.web]\nuse = \"http\"\nlisten = \":8000\"\napp = \"shop\"\n\n[app.shop]\nuse = \"respond\"\nbody = \"shop\" # for now\n";
    let place = folder(&[("server.toml", config)]);
    let here = place.path();
    let json: Value =
        serde_json::from_str(&succeeds(here, &["add", "task", "name=sweep", "--json"])).unwrap();
    assert_eq!(json["files"][0]["action"], "merge");
    succeeds(here, &["add", "route", "path=/x", "to=redirect", "destination=/"]);
    let config = read(here, "server.toml");
    assert!(config.contains("app = \"site\"") && config.contains("body = \"shop\" # for now"), "{config}");
    assert!(
        config.contains("[task.sweep]\nevery = \"1h\"\napp = \"shop\"\nrequest = \"POST /sweep\""),
        "{config}"
    );
    succeeds(here, &["undo"]);
    assert!(read(here, "server.toml").contains("app = \"shop\""));
}

#[test]
fn faults_are_told() {
    let place = folder(&[("bad/server.toml", "[server\n"), ("used/Dockerfile", "mine\n")]);
    let here = place.path();
    refused(here, &["add"], 2, &["nothing to add", "--list-templates"]);
    refused(here, &["add", "rout"], 2, &["unknown skeleton `rout`", "did you mean `route`?"]);
    refused(here, &["add", "axum"], 2, &["creates projects", "paster create NAME --template axum"]);
    refused(here, &["add", "route", "--dir", "none"], 2, &["there is no directory `none`"]);
    refused(here, &["add", "route", "--dir", "bad"], 1, &["`bad/server.toml`: it is not valid TOML"]);
    refused(
        here,
        &["add", "production", "--dir", "used"],
        1,
        &["`used/Dockerfile` already exists", "--force"],
    );
    let out = succeeds(here, &["add", "production", "--dir", "used", "--force"]);
    assert!(out.contains("the old `Dockerfile` is now `Dockerfile.bak`"), "{out}");
    succeeds(here, &["undo", "used"]);
    assert_eq!(read(here, "used/Dockerfile"), "mine\n");
    let list = succeeds(here, &["add", "--list-templates"]);
    for name in ["middleware", "production", "python", "route", "task"] {
        assert!(list.lines().any(|line| line.split_whitespace().next() == Some(name)), "{list}");
    }
    assert!(
        succeeds(here, &["add", "route", "--list-variables"])
            .contains("one of: static, proxy, redirect, respond")
    );
}

#[test]
fn skeletons_are_composed() {
    let manifest = "adds = true\n[vars.port]\ntype = \"int\"\ndefault = 1\n[[file]]\npath = \"files/server.toml.hbs\"\nmerge = \"toml\"\n[[file]]\npath = \"files/.gitignore\"\nmerge = \"lines\"\n";
    let place = skeleton(
        manifest,
        &[
            (
                "files/server.toml.hbs",
                "[app.{{existing.app}}]\nmiddleware = [\"request_id\"]\n[process]\nworkers = 2\n",
            ),
            ("files/.gitignore", "/data\n"),
            ("files/port.txt.hbs", "{{port}}\n"),
        ],
    );
    let here = place.path();
    let out = succeeds(here, &["create", "app", "-t", "cgi", "--with", "./s", "port=9000"]);
    assert!(out.starts_with("created `app` from the skeleton `cgi with made`"), "{out}");
    let app = here.join("app");
    let config = read(&app, "server.toml");
    assert!(config.contains("\"body_limit\", \"request_id\"]") || config.contains("workers = 2"), "{config}");
    assert_eq!(read(&app, "port.txt"), "9000\n", "one question, one answer");
    assert_eq!(read(&app, ".gitignore"), "*.log\n/data\n");
    assert_eq!(run(here, &["update", "app", "--check"]).0, 0);
    refused(
        here,
        &["create", "two", "-t", "static", "--with", "./s", "port=x"],
        2,
        &["must be a whole number"],
    );
    refused(here, &["create", "two", "-t", "static", "--with", "cgi"], 2, &["creates projects"]);
    refused(here, &["create", "two", "-t", "static", "--with", "./s", "prot=1"], 2, &["no variable `prot`"]);

    write(&here.join("s"), "files/README.md", "other\n");
    refused(
        here,
        &["create", "two", "-t", "static", "--with", "./s"],
        1,
        &["two skeletons have `README.md`", "how to merge"],
    );
}

/// nginx reads the site, and systemd the unit.
#[test]
fn files_for_operation_are_valid() {
    let place = folder(&[]);
    let here = place.path();
    succeeds(here, &["create", "shop", "-t", "static", "--with", "production", "port=8123"]);
    let shop = here.join("shop");
    let site = shop.join("deploy/shop.nginx.conf");
    let main = format!(
        "events {{}}\npid {0}/pid;\nerror_log stderr;\nhttp {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s; include {1}; }}\n",
        here.display(),
        site.display()
    );
    // As a user that may not listen on port 80.
    write(here, "nginx.conf", &main);
    let text = read(&shop, "deploy/shop.nginx.conf");
    std::fs::write(&site, text.replace("listen 80;", "listen 127.0.0.1:18080;")).unwrap();
    let output = std::process::Command::new("nginx")
        .arg("-t")
        .arg("-c")
        .arg(here.join("nginx.conf"))
        .arg("-p")
        .arg(here)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("server 127.0.0.1:8123;"), "{text}");

    let python = "import json, sys\ntry:\n    import yaml\nexcept ImportError:\n    print('skipped: no yaml'); sys.exit()\nfor path in sys.argv[1:]:\n    list(yaml.safe_load_all(open(path)))\n";
    let files = ["compose.yaml", "deploy/kubernetes.yaml", ".github/workflows/shop.yml"];
    let output = std::process::Command::new("python3")
        .arg("-c")
        .arg(python)
        .args(files)
        .current_dir(&shop)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let unit = std::process::Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--root"])
        .arg(here)
        .arg("/shop.service")
        .output();
    match unit {
        Err(_) => println!("skipped: no systemd-analyze"),
        Ok(_) => {
            write(here, "shop.service", &read(&shop, "deploy/shop.service"));
            let program = "usr/bin/paster";
            write(here, program, "");
            let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(here.join(program), executable).unwrap();
            let output = std::process::Command::new("systemd-analyze")
                .args(["verify", "--man=no", "--recursive-errors=no"])
                .arg(here.join("shop.service"))
                .output()
                .unwrap();
            let printed = String::from_utf8_lossy(&output.stderr).into_owned();
            let wrong = printed.lines().filter(|line| {
                line.contains("shop.service")
                    && (line.contains("Unknown") || line.contains("Failed to parse"))
            });
            assert_eq!(wrong.count(), 0, "{printed}");
        }
    }
    let mut check = paster();
    assert!(check.args(["check", "server.toml"]).current_dir(&shop).status().unwrap().success());
}
