//! The kinds of frameworks: only the directory is named.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;

use super::Site;
use crate::support::{Connection, Serving, get, patience, text, wait_until};

/// A site with these files, if the interpreter of the tests has `package`.
pub(super) fn site(package: &str, files: &[(&str, &str)]) -> Option<Site> {
    let site = Site::new(files)?;
    let imported = Command::new(&site.python).args(["-c", &format!("import {package}")]).output().unwrap();
    if !imported.status.success() {
        eprintln!("skipped: {} has no {package}", site.python.display());
        return None;
    }
    Some(site)
}

impl Site {
    /// Serves `[app.main]` with this kind and these lines.
    fn serve_kind(&self, kind: &str, lines: &str, args: &[&str]) -> Serving {
        self.write("server.toml", &self.kind_config(kind, lines));
        Serving::spawn(self.paster(&[&["serve", "--json"], args].concat()))
    }

    fn kind_config(&self, kind: &str, lines: &str) -> String {
        let python = self.python.display();
        format!(
            "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"{kind}\"\n\
             python = \"{python}\"\n{lines}\n"
        )
    }

    /// What `paster check` says, for `[app.main]` with this kind and these lines.
    fn check_kind(&self, kind: &str, lines: &str) -> String {
        self.write("server.toml", &self.kind_config(kind, lines));
        let output = self.paster(&["check"]).output().unwrap();
        format!("{}{}", text(&output.stdout), text(&output.stderr))
    }
}

const FLASK: &str = "from flask import Flask, render_template\nsite = Flask(__name__)\n\
                     @site.get('/')\ndef page():\n    return render_template('page.html')\n";
const BOTTLE: &str = "from bottle import route\n@route('/')\ndef page():\n    return 'bottle'\n\
                      if __name__ == '__main__':\n    from bottle import run\n    run()\n";
const CHERRYPY: &str = "import cherrypy\nclass Root:\n    @cherrypy.expose\n    def index(self):\n        return 'cherrypy'\n\
                        cherrypy.quickstart(Root())\n";
const QUIXOTE: &str = "from quixote.publish import Publisher\nfrom quixote.directory import Directory\n\
                       class Root(Directory):\n    _q_exports = ['']\n    def _q_index(self):\n        return 'quixote'\n\
                       def create_publisher():\n    return Publisher(Root(), display_exceptions='plain')\n";
const FASTAPI: &str = "from fastapi import FastAPI\nfrom app.words import WORD\napp = FastAPI()\n\
                       @app.get('/')\nasync def page():\n    return WORD\n";
const STARLETTE: &str = "from starlette.applications import Starlette\nfrom starlette.responses import PlainTextResponse\n\
                         from starlette.routing import Route\nasync def page(request):\n    return PlainTextResponse('starlette')\n\
                         def create_app():\n    return Starlette(routes=[Route('/', page)])\n";

const TORNADO: &str = "import asyncio, os\nfrom tornado import web, websocket\nWORD = 'one'\n\
    class Page(web.RequestHandler):\n    async def get(self):\n        \
    if self.get_argument('slow', ''):\n            await self.flush()\n            await asyncio.sleep(0.5)\n        \
    self.write(f'{WORD} {self.request.remote_ip} {self.request.protocol} {os.getpid()}')\n\
    class Echo(websocket.WebSocketHandler):\n    def on_message(self, message):\n        self.write_message(message)\n\
    async def make_app():\n    return web.Application([('/', Page), ('/echo', Echo)])\n\
    if __name__ == '__main__':\n    asyncio.run(make_app()).listen(8888)\n";

/// Tornado's own loop and server, in programs.
#[test]
fn tornado() {
    let Some(site) = site("tornado", &[("chat.py", TORNADO)]) else { return };
    let mut serving = site.serve_kind(
        "tornado",
        "workers = 2\nstart_secs = 60\nstop_secs = 20\nmax_growth_mib = 500",
        &["--reload"],
    );
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let seen = words(&get(&serving, "/"));
    assert_eq!(seen[..3], ["one", "127.0.0.1", "http"], "{}", serving.stderr());
    wait_until("both processes answer", || words(&get(&serving, "/"))[3] != seen[3]);
    // A WebSocket.
    let connect = |request: &str| {
        let mut stream = BufReader::new(TcpStream::connect(serving.address()).unwrap());
        stream.get_ref().set_read_timeout(Some(patience())).unwrap();
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head:?}");
        }
        (head, stream)
    };
    let (head, mut socket) = connect(
        "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    socket.get_mut().write_all(b"\x81\x82\0\0\0\0hi").unwrap();
    let mut echo = [0; 4];
    socket.read_exact(&mut echo).unwrap();
    assert_eq!(echo, *b"\x81\x02hi");
    drop(socket);
    // A request in progress ends as it began, and the next one meets the changed module.
    let (head, mut slow) = connect("GET /?slow=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    site.write("chat.py", &TORNADO.replace("'one'", "'two'"));
    serving.wait_for("reloaded");
    assert_eq!(words(&get(&serving, "/"))[0], "two");
    let mut rest = String::new();
    slow.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("one 127.0.0.1 http"), "{rest}");
    assert_eq!(serving.stop(), Some(0));
    // What is wrong is told.
    std::fs::remove_file(site.folder().join("chat.py")).unwrap();
    site.write("server.toml", &site.kind_config("tornado", ""));
    let mut serving = Serving::launch(site.paster(&["serve"]));
    assert_ne!(serving.end(), Some(0));
    assert!(serving.stderr().contains("there is no Tornado application in"), "{}", serving.stderr());
}

#[test]
fn the_application_is_found() {
    let other = "from flask import Flask\nimport site_code\napp = site_code.site\n";
    for (kind, files, expected) in [
        // An object with another name, in a file with another name; the template is beside it.
        ("flask", &[("site_code.py", FLASK), ("templates/page.html", "flask")][..], "flask"),
        // A usual file comes first.
        (
            "flask",
            &[("site_code.py", FLASK), ("wsgi.py", other), ("templates/page.html", "wsgi.py")],
            "wsgi.py",
        ),
        ("bottle", &[("small.py", BOTTLE)], "bottle"),
        ("cherrypy", &[("app.py", CHERRYPY)], "cherrypy"),
        ("quixote", &[("app.py", QUIXOTE)], "quixote"),
        // A package without `__init__.py` that imports itself by its name.
        ("fastapi", &[("app/main.py", FASTAPI), ("app/words.py", "WORD = 'fastapi'\n")], "\"fastapi\""),
        // A factory in the package of a `src` directory.
        ("starlette", &[("src/site_code/__init__.py", STARLETTE)], "starlette"),
    ] {
        let Some(site) = site(kind, files) else { continue };
        let mut serving = site.serve_kind(kind, "", &[]);
        assert_eq!(get(&serving, "/"), expected, "{kind} {files:?}: {}", serving.stderr());
        assert_eq!(serving.stop(), Some(0));
    }
}

#[test]
fn options_of_frameworks() {
    let files = [("below/one.py", FLASK), ("below/two.py", FLASK), ("below/templates/page.html", "below")];
    let Some(site) = site("flask", &files) else { return };
    let mut serving =
        site.serve_kind("flask", "publish_dir = \"below\"\napplication = \"two:site\"\nthreads = 2\n", &[]);
    assert_eq!(get(&serving, "/"), "below");
    assert_eq!(serving.stop(), Some(0));
    assert!(site.check_kind("flask", "application = ' '").contains("`application` is empty"));
    let said = site.check_kind("flask", "publish_dir = \"nowhere\"");
    assert!(said.contains("nowhere` is not a directory") && said.contains("server.toml:7"), "{said}");
    // Nothing to find, and several.
    std::fs::create_dir(site.folder().join("empty")).unwrap();
    let said = site.check_kind("flask", "publish_dir = \"empty\"");
    assert!(
        said.contains("there is no Flask application in") && said.contains("set `application`"),
        "{said}"
    );
    site.write(
        "several/app.py",
        "from flask import Flask\none, two = Flask('a'), 2\none = Flask('a')\nthree = Flask('b')\n",
    );
    let said = site.check_kind("flask", "publish_dir = \"several\"");
    assert!(said.contains("several Flask applications") && said.contains("`app:one`, `app:three`"), "{said}");
    // Quixote has one thread, and the error says why.
    let said = site.check_kind("quixote", "threads = 4");
    assert!(said.contains("a module variable") && said.contains("`workers = 4`"), "{said}");
}

#[test]
fn flask_reads_templates_again_in_development() {
    let Some(site) = site("flask", &[("app.py", FLASK), ("templates/page.html", "one")]) else { return };
    let serving = site.serve_kind("flask", "", &["--reload"]);
    assert_eq!(get(&serving, "/"), "one");
    site.write("templates/page.html", "two!");
    wait_until("the template is read again", || get(&serving, "/") == "two!");
}

const PYRAMID: &str = "from pyramid.config import Configurator\nfrom pyramid.response import Response\n\
                       def main(global_config, **settings):\n    config = Configurator(settings=settings)\n    \
                       config.add_route('page', '/')\n    config.add_view(lambda request: Response(settings['word']), route_name='page')\n    \
                       return config.make_wsgi_app()\n";

#[test]
fn pyramid_by_its_files() {
    let ini = |word: &str| format!("[app:main]\nuse = call:pages:main\nword = {word}\n");
    let files = [
        ("pages.py", PYRAMID),
        ("production.ini", &*ini("production")),
        ("development.ini", &*ini("development")),
    ];
    let Some(site) = site("pyramid, paste.deploy", &files) else { return };
    let mut serving = site.serve_kind("pyramid", "", &[]);
    assert_eq!(get(&serving, "/"), "production");
    assert_eq!(serving.stop(), Some(0));
    let mut serving = site.serve_kind("pyramid", "", &["--reload"]);
    assert_eq!(get(&serving, "/"), "development");
    // The file is watched like a module.
    site.write("development.ini", &ini("changed"));
    serving.wait_for("reloaded");
    assert_eq!(get(&serving, "/"), "changed");
    assert_eq!(serving.stop(), Some(0));
    for name in ["production.ini", "development.ini"] {
        std::fs::rename(site.folder().join(name), site.folder().join(format!("my-{name}"))).unwrap();
    }
    let said = site.check_kind("pyramid", "");
    assert!(
        said.contains("several files have an application") && said.contains("`config:my-production.ini`"),
        "{said}"
    );
    let mut serving = site.serve_kind("pyramid", "application = \"config:my-production.ini\"", &[]);
    assert_eq!(get(&serving, "/"), "production");
    assert_eq!(serving.stop(), Some(0));
}

const SETTINGS: &str = "from pathlib import Path\nBASE_DIR = Path(__file__).resolve().parent.parent\nSECRET_KEY = 'secret'\n\
                        DEBUG = False\nALLOWED_HOSTS = ['*']\nROOT_URLCONF = 'site_code.urls'\n\
                        INSTALLED_APPS = ['django.contrib.admin', 'django.contrib.auth', 'django.contrib.contenttypes', \
                        'django.contrib.sessions', 'django.contrib.messages', 'django.contrib.staticfiles']\n\
                        MIDDLEWARE = ['django.contrib.sessions.middleware.SessionMiddleware', \
                        'django.middleware.common.CommonMiddleware', 'django.middleware.csrf.CsrfViewMiddleware', \
                        'django.contrib.auth.middleware.AuthenticationMiddleware', 'django.contrib.messages.middleware.MessageMiddleware']\n\
                        TEMPLATES = [{'BACKEND': 'django.template.backends.django.DjangoTemplates', 'DIRS': [BASE_DIR / 'templates'], \
                        'APP_DIRS': True, 'OPTIONS': {'context_processors': ['django.template.context_processors.request', \
                        'django.contrib.auth.context_processors.auth', 'django.contrib.messages.context_processors.messages']}}]\n\
                        DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': BASE_DIR / 'db.sqlite3'}}\n\
                        STATIC_URL = 'assets/'\nSTATICFILES_DIRS = [BASE_DIR / 'assets']\n\
                        MEDIA_URL = 'media/'\nMEDIA_ROOT = BASE_DIR / 'uploads'\nUSE_TZ = True\n";
const URLS: &str = "from django.contrib import admin\nfrom django.shortcuts import render\nfrom django.urls import path\n\
                    def page(request):\n    return render(request, 'page.html')\n\
                    urlpatterns = [path('', page), path('admin/', admin.site.urls)]\n";
const MANAGE: &str = "import os, sys\n\ndef main():\n    os.environ.setdefault( 'DJANGO_SETTINGS_MODULE','site_code.settings' )\n    \
                      from django.core.management import execute_from_command_line\n    execute_from_command_line(sys.argv)\n\n\
                      if __name__ == '__main__':\n    main()\n";

fn django(prefix: &str) -> Option<Site> {
    let files = [
        ("manage.py", MANAGE),
        ("site_code/__init__.py", ""),
        ("site_code/settings.py", SETTINGS),
        ("site_code/urls.py", URLS),
        ("templates/page.html", "{% load static %}<img src=\"{% static 'logo.txt' %}\">"),
        ("assets/logo.txt", "the logo"),
        ("uploads/photo.txt", "a photo"),
    ];
    let files = files.map(|(name, text)| (format!("{prefix}{name}"), text));
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    site("django", &files)
}

#[test]
fn a_django_project() {
    let Some(site) = django("") else { return };
    let mut serving = site.serve_kind("django", "", &[]);
    assert_eq!(get(&serving, "/"), "<img src=\"/assets/logo.txt\">", "{}", serving.stderr());
    // paster's own server of files answers: it knows ranges.
    let range = "GET /assets/logo.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=4-7\r\n\r\n";
    let (head, body) = Connection::open(serving.address()).request(range);
    assert!(head.starts_with("HTTP/1.1 206 ") && body == "logo", "{head}{body}");
    assert_eq!(get(&serving, "/media/photo.txt"), "a photo");
    // The admin site, with its style.
    let page = get(&serving, "/admin/login/");
    assert!(page.contains("Log in") && page.contains("/assets/admin/css/base.css"), "{page}");
    assert!(get(&serving, "/assets/admin/css/base.css").contains("body"));
    assert!(Connection::open(serving.address()).get("/assets/.paster.json").0.starts_with("HTTP/1.1 404 "));
    assert!(Connection::open(serving.address()).get("/assets/missing").0.starts_with("HTTP/1.1 404 "));
    assert!(site.folder().join(".paster/main/logo.txt").is_file());
    assert_eq!(serving.stop(), Some(0));
    // The commands of the project run in its environment.
    let output = site
        .paster(&["run", "main", "--", "python", "manage.py", "migrate", "--verbosity", "0"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    // Without a supervisor, Django serves the files.
    let output = site.paster(&["request", "GET", "/assets/logo.txt"]).output().unwrap();
    assert!(text(&output.stdout).ends_with("\r\n\r\nthe logo"), "{output:?}");
}

#[test]
fn a_django_project_in_development() {
    let Some(site) = django("web/") else { return };
    let mut serving = site.serve_kind("django", "publish_dir = \"web\"", &["--reload"]);
    assert_eq!(get(&serving, "/assets/logo.txt"), "the logo", "{}", serving.stderr());
    assert_eq!(get(&serving, "/media/photo.txt"), "a photo");
    // Static files and templates are read where they are, and modules are loaded again.
    site.write("web/assets/logo.txt", "a new logo");
    assert_eq!(get(&serving, "/assets/logo.txt"), "a new logo");
    site.write("web/templates/page.html", "a new page");
    assert_eq!(get(&serving, "/"), "a new page");
    site.write("web/site_code/urls.py", &URLS.replace("path('', page)", "path('moved', page)"));
    serving.wait_for("reloaded");
    assert_eq!(get(&serving, "/moved"), "a new page");
    assert!(!site.folder().join("web/.paster/main/logo.txt").exists());
}

#[test]
fn options_of_django() {
    let Some(site) = django("web/") else { return };
    // A check writes nothing.
    assert!(site.check_kind("django", "publish_dir = \"web\"").contains("runs on Python"));
    assert!(!site.folder().join("web/.paster").exists());
    // The project is below; ASGI; another directory for the static files.
    site.write("web/site_code/other.py", "from .settings import *\nSTATIC_URL = '/other/'\n");
    let lines = "settings = \"site_code.other\"\ninterface = \"asgi\"\nstatic_dir = \"collected\"\nevent_loop = \"asyncio\"";
    let mut serving = site.serve_kind("django", lines, &[]);
    assert_eq!(get(&serving, "/"), "<img src=\"/other/logo.txt\">", "{}", serving.stderr());
    assert_eq!(get(&serving, "/other/logo.txt"), "the logo");
    assert!(site.folder().join("collected/logo.txt").is_file());
    assert_eq!(serving.stop(), Some(0));
    assert!(site.check_kind("django", "settings = ''").contains("`settings` is empty"));
    site.write("more/manage.py", MANAGE);
    let said = site.check_kind("django", "");
    assert!(said.contains("several Django projects") && said.contains("`more`, `web`"), "{said}");
    std::fs::create_dir(site.folder().join("empty")).unwrap();
    let said = site.check_kind("django", "publish_dir = \"empty\"");
    assert!(said.contains("there is no `manage.py`"), "{said}");
    site.write("file", "");
    site.write("server.toml", &site.kind_config("django", "publish_dir = \"web\"\nstatic_dir = \"file\""));
    let output = site.paster(&["serve"]).output().unwrap();
    assert!(text(&output.stderr).contains("set `static_dir`"), "{output:?}");
}
