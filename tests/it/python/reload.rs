//! Reloads of Python applications.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Site;
use crate::support::{Connection, Serving, get, wait_until};

/// An application that says `word` and its process id.
pub(super) fn says(word: &str) -> String {
    format!(
        "import os\nfrom wsgiref.validate import validator\n@validator\ndef app(environ, start_response):\n    \
         start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [f'{word} {{os.getpid()}}'.encode()]\n"
    )
}

fn word(serving: &Serving, path: &str) -> (String, String) {
    let body = get(serving, path);
    let (word, pid) = body.split_once(' ').unwrap_or((&body, ""));
    (word.to_owned(), pid.to_owned())
}

#[test]
fn changed_sources_replace_the_processes() {
    let files = [("web.py", "from words import app\n"), ("words.py", &*says("one"))];
    let Some(site) = Site::new(&files) else { return };
    let mut serving = site.serve_with("application = \"web:app\"\n", "", &["--reload"]);
    assert_eq!(word(&serving, "/").0, "one");
    // A file that is not a source.
    site.write("data.txt", "written by the application");
    site.write("words.py", &says("two"));
    let reloaded = serving.wait_for("reloaded");
    assert_eq!((&reloaded["generation"], word(&serving, "/").0), (&2.into(), "two".to_owned()));
    // An error keeps the old one, and tells why.
    site.write("words.py", "def broken(:\n");
    let failed = serving.wait_for("reload_failed").to_string();
    assert!(failed.contains("SyntaxError") && failed.contains("words.py"), "{failed}");
    assert_eq!(word(&serving, "/").0, "two");
    site.write("words.py", "import missing_here\n");
    let failed = serving.wait_for("reload_failed").to_string();
    assert!(failed.contains("Traceback") && failed.contains("No module named 'missing_here'"), "{failed}");
    assert_eq!(word(&serving, "/").0, "two");
    site.write("words.py", &says("three"));
    serving.wait_for("reloaded");
    assert_eq!(word(&serving, "/").0, "three");
}

#[test]
fn a_module_that_is_imported_later_is_a_source_too() {
    let web = "from wsgiref.validate import validator\n@validator\ndef app(environ, start_response):\n    import later\n    \
               start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [later.WORD.encode()]\n";
    let Some(site) = Site::new(&[("web.py", web), ("later.py", "WORD = 'one'\n")]) else { return };
    let mut serving = site.serve_with("application = \"web:app\"\n", "", &["--reload"]);
    assert_eq!(get(&serving, "/"), "one");
    // The process tells once a second what it has imported.
    let mut number = 0;
    wait_until("the change is seen", || {
        number += 1;
        site.write("later.py", &format!("WORD = 'two'  # {number}\n"));
        get(&serving, "/") == "two"
    });
    serving.wait_for("reloaded");
}

#[test]
fn the_first_start_waits_for_a_fix() {
    let Some(site) = Site::new(&[]) else { return };
    site.write("server.toml", &site.config("application = \"web:app\"\n", ""));
    let mut serving = Serving::launch(site.paster(&["serve", "--json", "--reload"]));
    let failed = serving.wait_for("reload_failed").to_string();
    assert!(failed.contains("there is no module `web`"), "{failed}");
    site.write("web.py", "import missing_here\n");
    // The new file may be seen before its text is.
    while !serving.wait_for("reload_failed").to_string().contains("missing_here") {}
    wait_until("the page tells why", || {
        let page = Connection::open(serving.address()).get("/").1;
        page.contains("missing_here") && page.contains("Traceback")
    });
    site.write("web.py", &says("fixed"));
    serving.wait_for("ready");
    assert_eq!(word(&serving, "/").0, "fixed");
}

#[test]
fn an_application_that_is_not_affected_keeps_its_processes() {
    let Some(site) = Site::new(&[("a/web_a.py", &says("a1")), ("b/web_b.py", &says("b1"))]) else { return };
    let python = site.python.display();
    let other =
        format!("use = \"wsgi\"\napplication = \"web_b:app\"\nworking_dir = \"b\"\npython = \"{python}\"\n");
    let more = format!(
        "[app.other]\n{other}[app.site]\nuse = \"mount\"\n[app.site.routes]\n\"/\" = \"main\"\n\"/b\" = \"other\"\n"
    );
    let app = "application = \"web_a:app\"\nworking_dir = \"a\"\n";
    let mut serving = site.serve_with(app, &more, &["--reload", "--app", "site"]);
    let (a, b) = (word(&serving, "/"), word(&serving, "/b"));
    assert_eq!((&*a.0, &*b.0), ("a1", "b1"));
    site.write("a/web_a.py", &says("a2"));
    serving.wait_for("reloaded");
    let next = word(&serving, "/");
    assert!(next.0 == "a2" && next.1 != a.1, "{a:?} {next:?}");
    assert_eq!(word(&serving, "/b"), b);
    // A reload that somebody asks for replaces everything.
    serving.signal("HUP");
    serving.wait_for("reloaded");
    assert_ne!(word(&serving, "/b").1, b.1);
    wait_until("the old one ends", || !crate::support::runs(b.1.parse().unwrap()));
}

#[test]
fn reloads_under_load_lose_no_request() {
    let Some(site) = Site::new(&[("web.py", &says("word"))]) else { return };
    let mut serving = site.serve_with("application = \"web:app\"\nworkers = 2\n", "", &["--reload"]);
    let load = Load::start(&serving);
    let reloads = std::env::var("PASTER_TEST_RELOADS").ok().and_then(|count| count.parse().ok()).unwrap_or(5);
    for number in 0..reloads {
        site.write("web.py", &format!("{}# {number}\n", says("word")));
        serving.wait_for("reloaded");
    }
    println!("{reloads} reloads, {} requests, none failed", load.stop());
}

/// Clients that send requests all the time.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<std::thread::JoinHandle<(usize, Vec<String>)>>,
}

impl Load {
    pub(super) fn start(serving: &Serving) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let (stop, address) = (stop.clone(), serving.address().to_owned());
            std::thread::spawn(move || {
                let (mut connection, mut count, mut lost) = (Connection::open(&address), 0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let (head, body) = connection.get("/");
                    count += 1;
                    if !(head.starts_with("HTTP/1.1 200 ") && body.starts_with("word")) {
                        lost.push(format!("{head}{body}"));
                    }
                }
                (count, lost)
            })
        };
        Load { clients: (0..4).map(client).collect(), stop }
    }

    /// Fails if a request was lost. Returns how many there were.
    pub(super) fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let counts = self.clients.into_iter().map(|client| client.join().unwrap());
        let (counts, lost): (Vec<_>, Vec<_>) = counts.unzip();
        let (count, lost) = (counts.iter().sum(), lost.concat());
        assert!(lost.is_empty() && count > 50, "{} of {count}: {:?}", lost.len(), lost.first());
        count
    }
}

#[test]
fn a_new_program_takes_the_processes_over() {
    let Some(site) = Site::new(&[("web.py", &says("word"))]) else { return };
    let mut serving = site.serve("application = \"web:app\"\n");
    let old = word(&serving, "/").1;
    serving.signal("USR2");
    let reloaded = serving.wait_for("reloaded");
    assert_eq!(reloaded["generation"], 2, "{reloaded}");
    assert_ne!(word(&serving, "/").1, old);
    wait_until("the old one ends", || !crate::support::runs(old.parse().unwrap()));
    assert_eq!(serving.stop(), Some(0));
}
