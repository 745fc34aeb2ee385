//! Sessions and limits while workers are killed and the store restarts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::servers::Database;
use super::sites::config;
use super::visitor::Visitor;
use crate::support::{Serving, folder, wait_until};
use crate::workers::kill;

/// A visitor who stores one value after another, and remembers what was acknowledged.
struct Client {
    visitor: Visitor,
    acknowledged: BTreeMap<String, String>,
    /// Responses with 503.
    refused: usize,
    /// Connections that were lost.
    lost: usize,
}

impl Client {
    fn start(address: &str, number: usize, stop: &Arc<AtomicBool>) -> JoinHandle<Client> {
        let (address, stop) = (address.to_owned(), stop.clone());
        let mut client =
            Client { visitor: Visitor::default(), acknowledged: BTreeMap::new(), refused: 0, lost: 0 };
        std::thread::spawn(move || {
            let mut count = 0;
            while !stop.load(Relaxed) {
                count += 1;
                client.step(&address, &format!("k{}", count % 10), &format!("{number}-{count}"));
            }
            client
        })
    }

    fn step(&mut self, address: &str, key: &str, value: &str) {
        match self.visitor.try_get(address, &format!("/session?set={key}:{value}")) {
            None => {
                // It may have been stored or not.
                self.lost += 1;
                self.acknowledged.remove(key);
            }
            Some(answer) if answer.starts_with("200 ") => {
                assert!(answer.contains(&format!("{key}={value} ")), "{answer}");
                self.acknowledged.insert(key.to_owned(), value.to_owned());
            }
            Some(answer) => {
                assert_eq!(answer, "503 Sessions are not available at the moment. Try again.\n");
                self.refused += 1;
                self.acknowledged.remove(key);
            }
        }
    }

    /// Checks that nothing acknowledged is lost.
    fn check(mut self, serving: &Serving) -> (usize, usize) {
        let answer = self.visitor.get(serving, "/session");
        assert!(!self.acknowledged.is_empty());
        for (key, value) in &self.acknowledged {
            assert!(answer.contains(&format!("{key}={value} ")), "`{key}={value}` is lost: {answer}");
        }
        (self.refused, self.lost)
    }
}

/// How many workers are killed: 4, or the value of `PASTER_TEST_KILLS`.
fn kills() -> usize {
    std::env::var("PASTER_TEST_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(4)
}

fn check_outage(mut database: Database) {
    let tables = format!(
        "store = \"db\"\n[resource.db]\nuse = \"{}\"\n{}timeout_secs = 30\n",
        database.kind, database.table
    );
    let place = folder(&[("server.toml", &config("", &tables))]);
    let mut serving = Serving::start(place.path(), &[]);
    let stop = Arc::<AtomicBool>::default();
    let clients: Vec<_> = (0..3).map(|number| Client::start(serving.address(), number, &stop)).collect();
    for number in 0..kills() {
        let victims = serving.children();
        kill(victims[number % victims.len()]);
        serving.wait_for("worker_ready");
    }
    // The store is killed; meanwhile there are clear errors.
    database.kill();
    let mut visitor = Visitor::default();
    let address = serving.address().to_owned();
    wait_until("the outage is told", || {
        visitor.try_get(&address, "/session?set=a:1").is_some_and(|answer| answer.starts_with("503 "))
    });
    assert_eq!(
        Visitor::default().get(&serving, "/session"),
        "200 ",
        "without a session, there is nothing to wait for"
    );
    database.start();
    let back = Instant::now();
    wait_until("sessions are back", || {
        visitor.try_get(&address, "/session?set=a:1").is_some_and(|answer| answer.starts_with("200 "))
    });
    let back = back.elapsed();
    wait_until("the log tells it", || serving.stderr().contains("the resource can be used again"));
    stop.store(true, Relaxed);
    let mut totals = (0, 0);
    for client in clients {
        let (refused, lost) = client.join().unwrap().check(&serving);
        totals = (totals.0 + refused, totals.1 + lost);
    }
    eprintln!(
        "{}: {} kills and one restart: {} answers with 503, {} lost connections; back {back:?} after the store",
        database.kind,
        kills(),
        totals.0,
        totals.1
    );
    if std::env::var_os("PASTER_TEST_KILLS").is_some() {
        assert!(back < Duration::from_secs(1), "{back:?}");
    }
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn nothing_acknowledged_is_lost_in_redis() {
    if let Some(redis) = Database::redis() {
        check_outage(redis);
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_postgres() {
    if let Some(postgres) = Database::postgres() {
        check_outage(postgres);
    }
}

/// A client of a limit, and how its requests ended.
#[derive(Default)]
struct Limited {
    /// Responses with 200: each was counted.
    passed: u64,
    /// Responses with 503, and lost connections: they may have been counted.
    unsure: u64,
    /// The lowest number of requests that were left.
    left: Option<u64>,
}

impl Limited {
    fn step(&mut self, address: &str) {
        let response = Visitor::default().try_head(address, "/");
        let left = response.as_ref().and_then(|head| {
            let field = head.lines().find_map(|line| line.strip_prefix("ratelimit: "))?;
            field.split("r=").nth(1)?.split(';').next()?.parse::<u64>().ok()
        });
        match (response.as_deref().map(|head| &head[9..12]), left) {
            (Some("200"), Some(left)) => {
                self.passed += 1;
                self.left = Some(self.left.map_or(left, |known| known.min(left)));
            }
            (Some("503") | None, _) => self.unsure += 1,
            other => panic!("{other:?}"),
        }
    }
}

/// What a limit has counted outlives killed workers and a restart of the store.
#[test]
fn nothing_that_a_limit_has_counted_is_lost() {
    const LIMIT: u64 = 1_000_000;
    let Some(mut redis) = Database::redis() else { return };
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[process]\nworkers = 2\n\
         [app.main]\nuse = \"respond\"\nbody = \"hello\"\nmiddleware = [\"limit\"]\n\
         [middleware.limit]\nuse = \"rate_limit\"\nrequests = {LIMIT}\nper_secs = 4000000000\nstore = \"db\"\n\
         on_store_failure = \"deny\"\n[resource.db]\nuse = \"redis\"\n{}timeout_secs = 30\n",
        redis.table
    );
    let place = folder(&[("server.toml", &config)]);
    let mut serving = Serving::start(place.path(), &[]);
    let address = serving.address().to_owned();
    let stop = Arc::<AtomicBool>::default();
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (address, stop) = (address.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut client = Limited::default();
                while !stop.load(Relaxed) {
                    client.step(&address);
                }
                client
            })
        })
        .collect();
    for number in 0..kills() {
        let victims = serving.children();
        kill(victims[number % victims.len()]);
        serving.wait_for("worker_ready");
    }
    redis.kill();
    let mut sum = Limited::default();
    wait_until("the outage is told", || {
        sum.step(&address);
        sum.unsure > 0
    });
    redis.start();
    let back = Instant::now();
    let before = sum.passed;
    wait_until("requests pass again", || {
        sum.step(&address);
        sum.passed > before
    });
    let back = back.elapsed();
    stop.store(true, Relaxed);
    for client in clients {
        let client = client.join().unwrap();
        sum.passed += client.passed;
        sum.unsure += client.unsure;
    }
    // Every response before this one was counted before it.
    sum.left = None;
    sum.step(&address);
    let counted = LIMIT - sum.left.unwrap();
    eprintln!(
        "rate_limit: {} kills and one restart: {counted} counted, {} passed, {} refused or lost; back {back:?} after the store",
        kills(),
        sum.passed,
        sum.unsure
    );
    let expected = sum.passed..=sum.passed + sum.unsure;
    assert!(expected.contains(&counted), "{counted} counted, expected {expected:?}");
    if std::env::var_os("PASTER_TEST_KILLS").is_some() {
        assert!(back < Duration::from_secs(1), "{back:?}");
    }
    assert_eq!(serving.stop(), Some(0));
}

/// Two workers, killed in between, count together.
#[test]
fn a_limit_in_redis_is_one_for_all_workers() {
    let Some(mut redis) = Database::redis() else { return };
    let config = |failure: &str| {
        format!(
            "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[process]\nworkers = 2\n\
             [app.main]\nuse = \"respond\"\nbody = \"hello\"\nmiddleware = [\"limit\"]\n\
             [middleware.limit]\nuse = \"rate_limit\"\nrequests = 10\nper_secs = 36000\nstore = \"db\"\n\
             on_store_failure = \"{failure}\"\n[resource.db]\nuse = \"redis\"\n{}timeout_secs = 30\n",
            redis.table
        )
    };
    let statuses = |serving: &Serving, count: usize| {
        let mut visitor = Visitor::default();
        let status = |_| visitor.get(serving, "/")[..3].to_owned();
        (0..count).map(status).collect::<Vec<_>>()
    };
    let place = folder(&[("server.toml", &config("local"))]);
    let mut serving = Serving::start(place.path(), &[]);
    assert_eq!(statuses(&serving, 5), ["200"; 5]);
    for victim in serving.children() {
        kill(victim);
        serving.wait_for("worker_ready");
    }
    serving.signal("HUP");
    serving.wait_for("reloaded");
    assert_eq!(statuses(&serving, 6), ["200", "200", "200", "200", "200", "429"]);
    let denying = config("deny");
    let allowing = config("allow");
    redis.kill();
    // Each worker counts for itself meanwhile: two workers let up to twenty pass.
    let local = statuses(&serving, 22);
    let passed = local.iter().filter(|status| *status == "200").count();
    assert!((10..=20).contains(&passed) && local.iter().all(|status| status != "503"), "{local:?}");
    wait_until("the failure is logged", || serving.stderr().contains("the resource failed"));
    assert_eq!(serving.stop(), Some(0));
    for (text, expected) in [(denying, "503"), (allowing, "200")] {
        std::fs::write(place.path().join("server.toml"), text).unwrap();
        let mut serving = Serving::start(place.path(), &[]);
        assert_eq!(statuses(&serving, 12), [expected; 12]);
        assert_eq!(serving.stop(), Some(0));
    }
    // The count is still there.
    redis.start();
    let serving = Serving::start(place.path(), &[]);
    assert_eq!(statuses(&serving, 1), ["429"]);
}
