//! Several workers on the same sockets: started together or one by one, replaced one at a time.

use std::collections::BTreeSet;

use crate::support::{Connection, Serving, folder, get, plugin, runs, wait_until};

/// A config whose app responds with its process id.
pub(crate) fn config(process: &str) -> String {
    format!(
        "[process]\n{process}\n[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\
         [app.main]\nuse = \"plugin\"\nlibrary = {:?}\n",
        plugin("faulty")
    )
}

pub(crate) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// The process ids of workers that respond, requested until `count` have been seen.
fn answering(serving: &Serving, count: usize) -> BTreeSet<u32> {
    let mut seen = BTreeSet::new();
    wait_until("every worker has answered", || {
        seen.insert(get(serving, "/pid").trim().parse().unwrap());
        seen.len() == count
    });
    seen
}

#[test]
fn workers_share_the_sockets_and_are_replaced_alone() {
    let folder = folder(&[("server.toml", &config("workers = 3"))]);
    let mut serving = Serving::start(folder.path(), &[]);
    let first: BTreeSet<u32> = serving.children().into_iter().collect();
    assert_eq!(answering(&serving, 3), first);

    let victim = *first.first().unwrap();
    kill(victim);
    assert_eq!(serving.wait_for("worker_exit")["pid"], victim);
    let ready = serving.wait_for("worker_ready");
    assert_eq!((ready["generation"].as_u64(), ready["reason"].as_str()), (Some(1), Some("ended")));
    let second: BTreeSet<u32> = serving.children().into_iter().collect();
    assert_eq!(second.intersection(&first).count(), 2, "the siblings went on");
    assert_eq!(answering(&serving, 3), second);

    serving.signal("HUP");
    assert_eq!(serving.wait_for("reloaded")["generation"], 2);
    wait_until("the old ones are gone", || serving.children().len() == 3);
    assert!(serving.children().iter().all(|pid| !second.contains(pid)));
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_rolling_reload_replaces_one_after_the_other() {
    let folder = folder(&[("server.toml", &config("workers = 3\nrolling = true"))]);
    let mut serving = Serving::start(folder.path(), &[]);
    let mut kept: Vec<_> = (0..6).map(|_| Connection::open(serving.address())).collect();
    kept.iter_mut().for_each(|connection| drop(connection.get("/pid")));
    let old = serving.children();
    for workers in [3, 1, 2] {
        let text = config(&format!("workers = {workers}\nrolling = true"));
        std::fs::write(folder.path().join("server.toml"), text).unwrap();
        serving.signal("HUP");
        serving.wait_for("reloaded");
        wait_until("the old ones are gone", || serving.children().len() == workers);
        for connection in &mut kept {
            let pid = connection.get("/pid").1.trim().parse().unwrap();
            assert!(serving.children().contains(&pid), "the connection went along");
        }
    }
    assert!(!old.iter().any(|pid| runs(*pid)));
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_worker_that_cannot_start_leaves_all_old_ones() {
    let folder = folder(&[("server.toml", &config("workers = 2"))]);
    let mut serving = Serving::start(folder.path(), &[]);
    let before: BTreeSet<u32> = serving.children().into_iter().collect();
    let text = config("workers = 2") + "[app.main.settings]\ncreate = \"panic\"\n";
    std::fs::write(folder.path().join("server.toml"), text).unwrap();
    serving.signal("HUP");
    assert_eq!(serving.wait_for("reload_failed")["generation"], 1);
    wait_until("the new ones are gone", || serving.children().len() == 2);
    assert_eq!(answering(&serving, 2), before);
}

#[test]
fn workers_that_start_slowly_do_not_wait_for_one_another() {
    let folder = folder(&[("server.toml", &config("workers = 1"))]);
    let mut serving = Serving::start(folder.path(), &[]);
    let text = config("workers = 5\nstart_secs = 5") + "[app.main.settings]\ncreate = \"hang\"\n";
    std::fs::write(folder.path().join("server.toml"), text).unwrap();
    serving.signal("HUP");
    // Fewer start at once than there are, but each gets its turn.
    wait_until("all have begun", || serving.children().len() == 6);
    assert!(serving.wait_for("reload_failed").to_string().contains("not ready within 5 s"));
    wait_until("the new ones are gone", || serving.children().len() == 1);
}
