//! Sessions in plugins and in isolated apps, with the real program.

use super::visitor::Visitor;
use crate::support::{Serving, folder, plugin, runs, wait_until};
use crate::workers::kill;

/// A server with two workers, whose plugin shows the session at `/session`.
pub(super) fn config(app: &str, tables: &str) -> String {
    format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[process]\nworkers = 2\n\
         [app.main]\nuse = \"plugin\"\nlibrary = {:?}\nmiddleware = [\"session\"]\n{app}\n\
         [middleware.session]\nuse = \"session\"\nkeys = \"a key of more than thirty-two characters\"\n{tables}\n",
        plugin("faulty")
    )
}

#[test]
fn plugins_use_the_session() {
    for isolation in ["", "isolation = \"process\""] {
        let folder = folder(&[("server.toml", &config(isolation, ""))]);
        let mut serving = Serving::start(folder.path(), &[]);
        let mut ann = Visitor::default();
        assert_eq!(ann.get(&serving, "/session"), "200 ", "{isolation}");
        assert_eq!(ann.cookie, None);
        assert_eq!(ann.get(&serving, "/session?set=a:1&set=b:2"), "200 a=1 b=2 ", "{isolation}");
        assert_eq!(ann.get(&serving, "/session?remove=a&set=c:3"), "200 b=2 c=3 ");
        let mut thief = ann.clone();
        assert_eq!(ann.get(&serving, "/session?renew&set=user:ann"), "200 b=2 c=3 user=ann ");
        assert_eq!(thief.get(&serving, "/session"), "200 ");
        // Many workers serve it, and it survives a reload and a killed worker.
        for _ in 0..20 {
            assert_eq!(ann.get(&serving, "/session"), "200 b=2 c=3 user=ann ");
        }
        serving.signal("HUP");
        serving.wait_for("reloaded");
        assert_eq!(ann.get(&serving, "/session"), "200 b=2 c=3 user=ann ");
        if isolation.is_empty() {
            wait_until("the old workers are gone", || serving.children().len() == 2);
            for victim in serving.children() {
                kill(victim);
                serving.wait_for("worker_ready");
            }
            assert_eq!(ann.get(&serving, "/session"), "200 b=2 c=3 user=ann ");
        }
        assert_eq!(ann.get(&serving, "/session?end"), "200 ");
        assert_eq!(ann.cookie, None);
        assert_eq!(serving.stop(), Some(0));
    }
}

#[test]
fn sessions_survive_a_restart_where_they_are_kept() {
    for (resource, kept) in [
        ("[resource.db]\nuse = \"files\"\nfolder = \"values\"", true),
        ("[resource.db]\nuse = \"sqlite\"\nfile = \"values.db\"\ntimeout_secs = 30", true),
        ("[resource.db]\nuse = \"memory\"", false),
    ] {
        let place = folder(&[("server.toml", &config("", &format!("store = \"db\"\n{resource}")))]);
        let mut serving = Serving::start(place.path(), &[]);
        let mut ann = Visitor::default();
        assert_eq!(ann.get(&serving, "/session?set=a:1"), "200 a=1 ", "{resource}");
        // Workers are replaced after some requests.
        for _ in 0..5 {
            assert_eq!(ann.get(&serving, "/session"), "200 a=1 ");
        }
        assert_eq!(serving.stop(), Some(0));
        let serving = Serving::start(place.path(), &[]);
        assert_eq!(ann.get(&serving, "/session"), if kept { "200 a=1 " } else { "200 " }, "{resource}");
    }
}

#[test]
fn recycled_workers_keep_sessions() {
    let text = config("", "").replace("workers = 2", "workers = 2\nmax_requests = 5");
    let place = folder(&[("server.toml", &text)]);
    let mut serving = Serving::start(place.path(), &[]);
    let before = serving.children();
    let mut ann = Visitor::default();
    ann.get(&serving, "/session?set=a:1");
    wait_until("both workers were replaced", || {
        assert_eq!(ann.get(&serving, "/session"), "200 a=1 ");
        before.iter().all(|pid| !runs(*pid))
    });
    assert_eq!(ann.get(&serving, "/session"), "200 a=1 ");
    assert_eq!(serving.stop(), Some(0));
}

/// Without `keys`, a key is made once, which all workers and later runs use.
#[test]
fn the_key_of_cookies_is_kept() {
    let tables = "[resource.db]\nuse = \"files\"\nfolder = \"values\"";
    let text = config("", &format!("store = \"db\"\n{tables}"));
    let text: String =
        text.lines().filter(|line| !line.starts_with("keys")).map(|line| format!("{line}\n")).collect();
    let place = folder(&[("server.toml", &text)]);
    let start = || {
        let mut command = crate::support::paster();
        command.args(["serve", "--json"]).env("XDG_STATE_HOME", place.path().join("state"));
        command.current_dir(place.path());
        Serving::spawn(command)
    };
    let mut serving = start();
    let mut ann = Visitor::default();
    ann.get(&serving, "/session?set=a:1");
    for _ in 0..10 {
        assert_eq!(ann.get(&serving, "/session"), "200 a=1 ");
    }
    assert_eq!(serving.stop(), Some(0));
    let serving = start();
    assert_eq!(ann.get(&serving, "/session"), "200 a=1 ");
    let files: Vec<_> = std::fs::read_dir(place.path().join("state/paster")).unwrap().flatten().collect();
    assert_eq!(files.len(), 1);
    let mode = std::os::unix::fs::MetadataExt::mode(&files[0].metadata().unwrap());
    assert_eq!(mode & 0o777, 0o600);
}
