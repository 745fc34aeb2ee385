//! `cache` in the real program: one request for many clients, several workers, `paster cache`, restarts.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex};

use crate::bridge::{Peer, Scripted};
use crate::control::Site;
use crate::support::{Connection, patience, wait_until};

/// An upstream that counts the requests for each path, and writes the number of the request.
pub(crate) struct Upstream {
    pub(crate) server: Scripted,
    counts: Arc<Mutex<BTreeMap<String, usize>>>,
    pub(crate) gate: Arc<Gate>,
}

/// Holds responses until the test opens it.
#[derive(Default)]
pub(crate) struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn pass(&self) {
        let (open, waited) =
            self.1.wait_timeout_while(self.0.lock().unwrap(), patience(), |open| !*open).unwrap();
        assert!(*open, "waited in vain: {waited:?}");
    }

    pub(crate) fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

const BIG: usize = 3 << 20;

impl Upstream {
    pub(crate) fn start() -> Upstream {
        let (counts, gate) = <(Arc<Mutex<BTreeMap<String, usize>>>, Arc<Gate>)>::default();
        let (counted, held) = (counts.clone(), gate.clone());
        let server = Scripted::start(move |peer| {
            while let Some(head) = peer.head() {
                peer.body(&head);
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let number = {
                    let mut counts = counted.lock().unwrap();
                    let count = counts.entry(path.clone()).or_default();
                    *count += 1;
                    *count
                };
                respond(peer, &path, number, &held);
            }
        });
        Upstream { server, counts, gate }
    }

    pub(crate) fn count(&self, path: &str) -> usize {
        self.counts.lock().unwrap().get(path).copied().unwrap_or(0)
    }
}

fn respond(peer: &mut Peer, path: &str, number: usize, gate: &Gate) {
    let body = format!("{path} {number}");
    let length = body.len();
    let head = |fields: &str, length: usize| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nCache-Control: {fields}\r\n\r\n")
    };
    match path.split('/').nth(1).unwrap() {
        "slow" => {
            gate.pass();
            peer.write(head("max-age=60", length) + &body);
        }
        "private" => {
            gate.pass();
            peer.write(head("private", length) + &body);
        }
        "big" => {
            peer.write(head("max-age=60", BIG));
            peer.write("a".repeat(BIG / 2));
            gate.pass();
            peer.write("b".repeat(BIG - BIG / 2));
        }
        "stale" => {
            peer.write(head("max-age=1, stale-while-revalidate=600\r\nAge: 5", length) + &body);
        }
        "vary" => drop(peer.write(head("max-age=60\r\nVary: Accept-Language", length) + &body)),
        "tag" => drop(peer.write(head("max-age=60\r\nCache-Tag: red, blue", length) + &body)),
        _ => drop(peer.write(head("max-age=60", length) + &body)),
    }
}

fn site(upstream: &Upstream, workers: usize, options: &str) -> Site {
    Site::new(&format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[process]\nworkers = {workers}\n\
         [app.main]\nuse = \"proxy\"\nupstreams = [{:?}]\nmiddleware = [\"metrics\", \"store\"]\n\
         [middleware.store]\nuse = \"cache\"\ncollapse_millis = 600000\n{options}\n",
        upstream.server.url()
    ))
}

/// A request on a connection of its own, whose response is read later.
pub(crate) fn ask(address: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

pub(crate) fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn many_clients_wait_for_one_request_to_the_app() {
    let upstream = Upstream::start();
    let site = site(&upstream, 1, "max_entry_bytes = 4194304");
    let serving = site.serve(&[]);
    // The first one leaves; another one asks in its place.
    let first = ask(serving.address(), "/slow");
    wait_until("the app is asked", || upstream.count("/slow") == 1);
    let others: Vec<_> = (0..12).map(|_| ask(serving.address(), "/slow")).collect();
    site.wait_in_flight(13);
    drop(first);
    wait_until("the app is asked again", || upstream.count("/slow") == 2);
    let own: Vec<_> = (0..3).map(|_| ask(serving.address(), "/private")).collect();
    site.wait_in_flight(15);
    upstream.gate.open();
    let responses: Vec<_> = others.into_iter().map(rest).collect();
    assert!(responses.iter().all(|response| response.ends_with("/slow 2")), "{responses:#?}");
    let collapsed =
        responses.iter().filter(|one| one.contains("cache-status: paster; fwd=miss; collapsed")).count();
    assert_eq!((collapsed, upstream.count("/slow")), (11, 2));
    // A response that is for one client only goes to nobody else, and nobody waits for the next one.
    let mut bodies: Vec<_> =
        own.into_iter().map(rest).map(|one| one.rsplit_once('\n').unwrap().1.to_owned()).collect();
    bodies.sort();
    assert_eq!(bodies, ["/private 1", "/private 2", "/private 3"]);

    // Counted under the name of the table.
    let metrics = Connection::open(serving.address()).get("/metrics").1;
    for line in [
        "paster_cache_requests_total{cache=\"store\",result=\"collapsed\"} 11",
        "paster_cache_requests_total{cache=\"store\",result=\"miss\"} 4",
        "paster_cache_served_bytes_total{cache=\"store\"} 77",
        "paster_cache_entries{cache=\"store\"} 1",
        "paster_cache_evictions_total{cache=\"store\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}:\n{metrics}");
    }
}

#[test]
fn a_large_body_reaches_several_clients_while_it_is_stored() {
    for disk in [false, true] {
        let upstream = Upstream::start();
        let folder = tempfile::tempdir().unwrap();
        let options = if disk { format!("dir = {:?}", folder.path()) } else { String::new() };
        let site = site(&upstream, 1, &options);
        let serving = site.serve(&[]);
        let mut streams = [ask(serving.address(), "/big"), ask(serving.address(), "/big")];
        for stream in &mut streams {
            // The first half arrives before the app has written the second.
            let mut half = vec![0; BIG / 2];
            stream.read_exact(&mut half).unwrap();
        }
        // A part of what has arrived is there too.
        let part = "GET /big HTTP/1.1\r\nHost: localhost\r\nRange: bytes=1-3\r\n\r\n";
        let (head, body) = Connection::open(serving.address()).request(part);
        assert!(head.starts_with("HTTP/1.1 206") && body == "aaa", "{head}{body}");
        upstream.gate.open();
        for stream in streams {
            let rest = rest(stream);
            assert!(rest.ends_with("bbb") && rest.len() >= BIG / 2, "{}", rest.len());
        }
        wait_until("it is stored", || site.json(&["cache", "list"])[0]["bytes"] == BIG);
        let whole = rest(ask(serving.address(), "/big"));
        assert!(whole.contains("cache-status: paster; hit; ttl="), "{}", &whole[..300]);
        assert_eq!((whole.split_once("\r\n\r\n").unwrap().1.len(), upstream.count("/big")), (BIG, 1));
    }
}

#[test]
fn a_stale_response_is_used_while_a_new_one_is_fetched() {
    let upstream = Upstream::start();
    let site = site(&upstream, 1, "");
    let serving = site.serve(&[]);
    let mut connection = Connection::open(serving.address());
    assert!(connection.get("/stale").0.contains("fwd=miss; stored"));
    let (head, body) = connection.get("/stale");
    assert!(head.contains("cache-status: paster; hit; ttl=-"), "{head}");
    assert_eq!(body, "/stale 1");
    wait_until("there is a new one", || connection.get("/stale").1 != "/stale 1");
}

#[test]
fn all_workers_delete_what_a_request_has_changed_or_a_command_names() {
    let upstream = Upstream::start();
    let site = site(&upstream, 2, "");
    let serving = site.serve(&[]);
    let get = |path: &str| Connection::open(serving.address()).get(path).1;
    // Connections go to either worker: until both have stored it.
    let stored = |path: &str| {
        wait_until("both workers have it", || {
            get(path);
            let listed = site.json(&["cache", "list"]);
            listed
                .as_array()
                .unwrap()
                .iter()
                .filter(|one| one["url"].as_str().unwrap().ends_with(path))
                .count()
                == 2
        })
    };
    stored("/a");
    let before = upstream.count("/a");
    Connection::open(serving.address())
        .request("POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    let host = serving.address().to_owned();
    wait_until("neither has it", || site.json(&["cache", "list"]).as_array().unwrap().is_empty());
    assert_eq!(upstream.count("/a"), before + 1, "{host}");
    for path in ["/tag/x", "/b?q=1", "/c"] {
        stored(path);
    }
    let listed = site.json(&["cache", "list"]);
    let one = listed.as_array().unwrap().iter().find(|one| one["url"] == "http://localhost/tag/x").unwrap();
    assert_eq!(
        (one["tags"][1].as_str(), one["app"].as_str(), one["cache"].as_str()),
        (Some("blue"), Some("main"), Some("store"))
    );
    assert!(serving.children().contains(&(one["worker"].as_u64().unwrap() as u32)));
    let text = site.text(&["cache", "list", "-n", "1"]);
    assert!(
        text.starts_with("URL") && text.lines().count() == 2 && text.contains("http://localhost/b?q=1"),
        "{text}"
    );
    assert_eq!(site.json(&["cache", "purge", "--tag", "green"])["purged"], 0);
    assert_eq!(site.text(&["cache", "purge", "--tag", "blue"]), "deleted 2 responses\n");
    assert_eq!(site.text(&["cache", "purge", "--path", "/b"]), "deleted 2 responses\n");
    assert_eq!(site.text(&["cache", "purge", "--all"]), "deleted 2 responses\n");
    assert_eq!(site.text(&["cache", "list"]), "no response is stored\n");
    let (code, text) = site.failure(&["cache", "purge"]);
    assert!(code == 2 && text.contains("--path <PATH>|--tag <TAG>|--all"), "{text}");
}

#[test]
fn a_directory_is_shared_by_the_workers_and_outlives_a_restart() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    let site =
        site(&upstream, 2, &format!("dir = {:?}\nmax_bytes = 20000\nmax_entry_bytes = 10000", folder.path()));
    let mut serving = site.serve(&[]);
    let get = |address: &str, path: &str| Connection::open(address).get(path);
    get(serving.address(), "/a");
    get(serving.address(), "/tag/x");
    wait_until("both are stored", || site.json(&["cache", "list"]).as_array().unwrap().len() == 2);
    for _ in 0..10 {
        assert_eq!(get(serving.address(), "/a").1, "/a 1");
    }
    assert!(site.text(&["cache", "list"]).contains("on disk"));
    assert_eq!(serving.stop(), Some(0));
    let serving = site.serve(&[]);
    let (head, body) = get(serving.address(), "/a");
    assert!(head.contains("paster; hit") && body == "/a 1", "{head}{body}");
    assert_eq!(site.text(&["cache", "purge", "--tag", "red"]), "deleted 1 response\n");
    // What cannot be read is as if it were not there.
    let mut damaged = 0;
    for entry in
        walk(folder.path()).into_iter().filter(|path| path.extension().is_some_and(|it| it == "body"))
    {
        std::fs::write(entry, "x").unwrap();
        damaged += 1;
    }
    assert_eq!((damaged, get(serving.address(), "/a").1.as_str()), (1, "/a 2"));
    // Above the limits, the oldest are deleted.
    for number in 0..60 {
        get(serving.address(), &format!("/more/{number}"));
    }
    let size = || walk(folder.path()).iter().map(|path| path.metadata().unwrap().len()).sum::<u64>();
    assert!(size() < 25_000, "{}", size());
    let metrics = Connection::open(serving.address()).get("/metrics").1;
    let line = metrics.lines().find(|line| line.starts_with("paster_cache_entries{cache=\"store\"}"));
    let entries: u64 = line.unwrap().rsplit_once(' ').unwrap().1.parse().unwrap();
    assert!((1..60).contains(&entries), "{entries}");
}

#[test]
fn the_example_answers_from_its_cache() {
    let folder = crate::support::root().join("examples/cache");
    let args = ["server.toml", "-D", "server.main.listen=[\"127.0.0.1:0\"]", "-D", "process.workers=1"];
    let serving = crate::support::Serving::start(&folder, &args);
    let mut connection = Connection::open(serving.address());
    assert!(connection.get("/items").0.contains("cache-status: paster; fwd=miss; stored"));
    let (head, body) = connection.get("/items");
    assert!(head.contains("cache-status: paster; hit; ttl=") && body == "{ \"items\": [] }", "{head}{body}");
}

/// All files below a directory.
fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}
