//! `proxy` with upstreams that are resolved by DNS, by a small server of the test.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;

use parking_lot::Mutex;

use crate::bridge::Scripted;
use crate::control::Site;
use crate::support::{Connection, Serving, folder, paster, wait_until};

/// A record: its type and its data.
type DnsRecord = (u16, Vec<u8>);

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;

fn a(last: u8) -> DnsRecord {
    (A, Ipv4Addr::new(127, 0, 0, last).octets().to_vec())
}

fn name(text: &str) -> Vec<u8> {
    let labels = text.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> =
        labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> DnsRecord {
    let numbers = [priority, weight, port].into_iter().flat_map(u16::to_be_bytes).collect();
    (SRV, [numbers, name(target)].concat())
}

/// A DNS server on loopback (RFC 1035). Without records for a name it says that the name does not exist.
struct Dns {
    port: u16,
    records: Arc<Mutex<BTreeMap<String, Vec<DnsRecord>>>>,
    ttl: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Dns {
    fn start() -> Dns {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let dns = Dns {
            port: socket.local_addr().unwrap().port(),
            records: Arc::default(),
            ttl: Arc::new(AtomicUsize::new(0)),
            asked: Arc::default(),
        };
        let (records, ttl, asked) = (dns.records.clone(), dns.ttl.clone(), dns.asked.clone());
        std::thread::spawn(move || {
            let mut packet = [0; 4096];
            while let Ok((length, peer)) = socket.recv_from(&mut packet) {
                let query = &packet[..length];
                asked.fetch_add(1, SeqCst);
                let (asked, end) = question(query);
                let kind = u16::from_be_bytes([query[end], query[end + 1]]);
                let known = records.lock().get(&asked).cloned();
                let code = if known.is_some() { 0 } else { 3 };
                let found: Vec<DnsRecord> = known.into_iter().flatten().filter(|one| one.0 == kind).collect();
                let mut answer = query[..2].to_vec();
                answer.extend([0x81, 0x80 | code, 0, 1, 0, found.len() as u8, 0, 0, 0, 0]);
                answer.extend(&query[12..end + 4]);
                for (kind, data) in found {
                    answer.extend([0xc0, 12]); // the name of the question
                    answer.extend([kind, 1].into_iter().flat_map(u16::to_be_bytes));
                    answer.extend((ttl.load(SeqCst) as u32).to_be_bytes());
                    answer.extend((data.len() as u16).to_be_bytes());
                    answer.extend(data);
                }
                let _ = socket.send_to(&answer, peer);
            }
        });
        dns
    }

    fn set(&self, name: &str, records: &[DnsRecord]) {
        self.records.lock().insert(name.to_owned(), records.to_vec());
    }

    fn table(&self, more: &str) -> String {
        format!("dns = {{ servers = [\"127.0.0.1:{}\"], {more} }}", self.port)
    }
}

/// The name in lower case that a query asks for, and where it ends.
fn question(query: &[u8]) -> (String, usize) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while query[at] > 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
        at = end;
    }
    (labels.join("."), at + 1)
}

/// Upstreams at one port of several addresses. Each says the last number of its address, and with a path `/slow` not
/// before the channel is closed.
fn upstreams(lasts: &[u8], gate: Option<mpsc::Receiver<()>>) -> (u16, Vec<Scripted>) {
    let gate = Arc::new(Mutex::new(gate));
    let mut port = 0;
    let mut all = Vec::new();
    for last in lasts {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, *last), port)).unwrap();
        port = listener.local_addr().unwrap().port();
        let (last, gate) = (*last, gate.clone());
        all.push(Scripted::at(listener, move |peer| {
            while let Some(head) = peer.head() {
                if head.starts_with("GET /slow ")
                    && let Some(gate) = gate.lock().take()
                {
                    let _ = gate.recv();
                }
                peer.answer(last.to_string());
            }
        }));
    }
    (port, all)
}

fn serve(options: &str) -> (Serving, Site) {
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[process]\nworkers = 1\n\
         [app.main]\nuse = \"proxy\"\nmiddleware = [\"metrics\"]\n{options}\n"
    );
    let site = Site::new(&config);
    (site.serve(&[]), site)
}

/// How often each upstream answers.
fn counts(serving: &Serving, times: usize) -> BTreeMap<String, usize> {
    let mut connection = Connection::open(serving.address());
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        *counts.entry(connection.get("/").1).or_insert(0) += 1;
    }
    counts
}

fn names(serving: &Serving) -> BTreeSet<String> {
    counts(serving, 12).into_keys().collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn addresses_come_and_go_with_their_records() {
    let dns = Dns::start();
    let (open, gate) = mpsc::channel();
    let (port, _upstreams) = upstreams(&[2, 3, 4], Some(gate));
    dns.set("api.test", &[a(2), a(3)]);
    let (serving, site) = serve(&format!(
        "upstreams = [\"http://api.test:{port}\"]\nhost = \"upstream\"\n{}",
        dns.table("family = \"any\", min_ttl_secs = 1, max_ttl_secs = 60, timeout_secs = 5")
    ));
    assert_eq!(counts(&serving, 20), BTreeMap::from([("2".to_owned(), 10), ("3".to_owned(), 10)]));
    let metrics = Connection::open(serving.address()).get("/metrics").1;
    for address in ["127.0.0.2", "127.0.0.3"] {
        let line = format!(
            "paster_upstream_workers{{app=\"main\",upstream=\"http://api.test:{port} ({address}:{port})\",state=\"working\"}} 1"
        );
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    assert!(metrics.contains("paster_upstream_requests_in_flight{"), "{metrics}");
    // One address disappears while it has a request.
    let address = serving.address().to_owned();
    let slow = std::thread::spawn(move || Connection::open(&address).get("/slow").1);
    wait_until("the slow request is there", || {
        Connection::open(serving.address())
            .get("/metrics")
            .1
            .lines()
            .any(|line| line.starts_with("paster_upstream_requests_in_flight{") && line.ends_with(" 1"))
    });
    dns.set("api.test", &[a(4)]);
    wait_until("the new address is used", || names(&serving) == set(&["4"]));
    drop(open);
    let slow = slow.join().unwrap();
    assert!(slow == "2" || slow == "3", "{slow}");
    let log = serving.stderr();
    assert!(log.contains("the addresses of the upstream name `api.test` have changed"), "{log}");
    // A name that cannot be resolved any more keeps its addresses.
    dns.records.lock().clear();
    wait_until("the failure is logged", || serving.stderr().contains("its last addresses remain in use"));
    assert_eq!(names(&serving), set(&["4"]));
    dns.set("api.test", &[a(3), a(4)]);
    wait_until("it can be resolved again", || names(&serving) == set(&["3", "4"]));
    assert!(serving.stderr().contains("can be resolved again"));
    let top = site.text(&["top", "--once"]);
    assert!(top.contains(&format!("http://api.test:{port} (127.0.0.3:{port})")), "{top}");
}

#[test]
fn a_new_address_gets_its_share_slowly() {
    let dns = Dns::start();
    let (port, _upstreams) = upstreams(&[2, 3], None);
    dns.set("api.test", &[a(2)]);
    let (serving, _site) = serve(&format!(
        "upstreams = [\"http://api.test:{port}\"]\nhealth = {{ path = \"/\", slow_start_secs = 3600 }}\n{}",
        dns.table("family = \"ipv4\"")
    ));
    assert_eq!(counts(&serving, 4)["2"], 4);
    dns.set("api.test", &[a(2), a(3)]);
    wait_until("the new address is used", || names(&serving).contains("3"));
    let counts = counts(&serving, 44);
    assert!((3..=6).contains(&counts["3"]), "a tenth of the other's share: {counts:?}");
}

#[test]
fn the_time_to_live_is_kept() {
    let dns = Dns::start();
    let (port, _upstreams) = upstreams(&[2], None);
    dns.set("api.test", &[a(2)]);
    dns.ttl.store(3600, SeqCst);
    let (serving, _site) = serve(&format!(
        "upstreams = [\"http://api.test:{port}\"]\npool = {{ max_idle = 0 }}\n{}",
        dns.table("family = \"ipv4\", max_ttl_secs = 3600")
    ));
    assert_eq!(counts(&serving, 20)["2"], 20);
    // However many connections there are, each worker asks once.
    assert_eq!(dns.asked.load(SeqCst), 1);
}

#[test]
fn a_service_has_servers_with_ports_and_weights() {
    let dns = Dns::start();
    let ((one, _ones), (two, _twos)) = (upstreams(&[2], None), upstreams(&[3], None));
    dns.set(
        "_http._tcp.api.test",
        &[srv(1, 3, one, "one.test"), srv(1, 1, two, "two.test"), srv(9, 1, 1, "spare.test")],
    );
    dns.set("one.test", &[a(2)]);
    dns.set("two.test", &[a(3), (AAAA, Ipv6Addr::LOCALHOST.octets().to_vec())]);
    let (serving, _site) =
        serve(&format!("upstreams = [\"http://_http._tcp.api.test\"]\n{}", dns.table("family = \"ipv4\"")));
    assert_eq!(counts(&serving, 40), BTreeMap::from([("2".to_owned(), 30), ("3".to_owned(), 10)]));
}

#[test]
fn a_name_without_an_address_gets_502() {
    let dns = Dns::start();
    let (port, _upstreams) = upstreams(&[2], None);
    let (serving, _site) =
        serve(&format!("upstreams = [\"http://api.test:{port}\"]\n{}", dns.table("family = \"ipv4\"")));
    let (head, body) = Connection::open(serving.address()).get("/");
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert!(body.contains("its name could not be resolved"), "{body}");
    dns.set("api.test", &[a(2)]);
    wait_until("it is resolved", || Connection::open(serving.address()).get("/").1 == "2");
}

#[test]
fn wrong_options_are_named() {
    let config = "[server.main]\nuse = \"http\"\n[app.main]\nuse = \"proxy\"\nupstreams = [\"http://127.0.0.1:1\"]\n\
                  dns = { servers = [\"dns.test\"], min_ttl_secs = 9, max_ttl_secs = 8 }\n";
    let folder = folder(&[("server.toml", config)]);
    let output = paster().arg("check").current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in [
        "`dns.test` is not the address of a DNS server",
        "it is greater than `dns.max_ttl_secs`",
        "no upstream has a name",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}
