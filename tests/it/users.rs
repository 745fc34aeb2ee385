//! Workers with another user: what root opens for them, what it does not, and what `check` reports about it.
//! Only root can test this.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use crate::inprocess::{ask, within};
use crate::pki::{Authority, connect, try_connect};
use crate::support::{Serving, paster, save, wait_until};

const NOBODY: u32 = 65534;
const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A config with a key, a page and two logs in `private`.
fn config(private: &Path, certificates: &str) -> String {
    let private = private.display();
    format!(
        "[process]\nuser = \"nobody\"\nworkers = 2\n[log]\nfile = \"{private}/paster.log\"\n\
         [server.main]\nuse = \"http\"\nlisten = \"127.0.0.1:0\"\n[server.main.tls]\ncertificates = [{certificates}]\n\
         [app.main]\nuse = \"respond\"\nfile = \"{private}/page.html\"\nmiddleware = \"log\"\n\
         [middleware.log]\nuse = \"access_log\"\nfile = \"{private}/access.log\"\n"
    )
}

/// Standard error of `paster check`, or that it succeeded.
fn check(folder: &Path) -> Result<String, String> {
    let output = paster().arg("check").current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test]
async fn keys_and_logs_that_root_alone_can_reach_are_opened_for_workers() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let private = folder.path().join("private");
    std::fs::create_dir(&private).unwrap();
    let first = Authority::new("first");
    let pair = first.pair(&private, "a", &["localhost"]);
    std::fs::write(private.join("page.html"), "hello").unwrap();
    for file in [&pair.key, &private.join("page.html")] {
        mode(file, 0o600);
    }
    mode(&private, 0o700);
    std::fs::write(folder.path().join("server.toml"), config(&private, &pair.item())).unwrap();
    assert_eq!(check(folder.path()).unwrap(), "ok: 1 server, 1 app, 1 middleware table\n");
    assert!(!private.join("access.log").exists(), "a check creates nothing");

    let mut serving = Serving::start(folder.path(), &[]);
    let address = serving.url().trim_start_matches("https://").to_owned();
    let get = async |authority: &Authority| {
        let mut stream = connect(&authority.client(&[], None), &address, "localhost").await;
        assert_eq!(ask(&mut stream, GET).await.1, "hello");
    };
    get(&first).await;
    let (access, log) = (private.join("access.log"), private.join("paster.log"));
    wait_until("both are written", || read(&access).contains("GET / ") && read(&log).contains("ready in"));
    for file in [&access, &log] {
        let found = std::fs::metadata(file).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o777), (NOBODY, 0o640), "{}", file.display());
    }

    // They are moved away and created again.
    for file in [&access, &log] {
        std::fs::rename(file, file.with_extension("old")).unwrap();
    }
    serving.signal("USR1");
    while !read(&access).contains("GET / ") {
        get(&first).await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await; // poll of what tells nobody
    }

    // A renewal is noticed, although no worker can read the folder; so is a reload.
    let second = Authority::new("second");
    let new = second.pair(&private, "b", &["localhost"]);
    mode(&new.key, 0o600);
    std::fs::rename(&new.certificate, &pair.certificate).unwrap();
    std::fs::rename(&new.key, &pair.key).unwrap();
    let client = second.client(&[], None);
    within(async {
        while try_connect(&client, &address, "localhost").await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await; // poll of what tells nobody
        }
    })
    .await;
    wait_until("the workers have told of it in the new log", || read(&log).contains("changed certificates"));
    serving.signal("HUP");
    serving.wait_for("reloaded");
    get(&second).await;
    serving.signal("USR2");
    serving.wait_for("reloaded");
    get(&second).await;
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn what_others_could_put_there_is_not_opened_and_check_names_the_user() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    mode(folder.path(), 0o755);
    let theirs = folder.path().join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    std::fs::write(folder.path().join("secret"), "of root").unwrap();
    mode(&folder.path().join("secret"), 0o600);
    chown(&theirs, Some(NOBODY), None).unwrap();
    symlink("../secret", theirs.join("page.html")).unwrap();
    let text = |key: &str| {
        format!(
            "[process]\nuser = \"nobody\"\n[server.main]\nuse = \"http\"\nlisten = \"127.0.0.1:0\"\n\
             [app.main]\nuse = \"respond\"\n{key}\n"
        )
    };
    save(&folder.path().join("server.toml"), &text("file = \"theirs/page.html\""));
    let told = check(folder.path()).unwrap_err();
    assert!(told.contains("the user `nobody` may not open") && told.contains("server.toml:"), "{told}");
    let output = paster().arg("serve").current_dir(folder.path()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("cannot read the response file") && !stderr.contains("of root"), "{stderr}");

    // A folder that they cannot read is reported, but stops nothing.
    std::fs::create_dir(folder.path().join("site")).unwrap();
    mode(&folder.path().join("site"), 0o700);
    let site = text("").replace("respond", "static") + "publish_dir = \"site\"\n";
    save(&folder.path().join("server.toml"), &site);
    let told = check(folder.path()).unwrap();
    assert!(told.contains("note: the user `nobody` may not read ") && told.contains("/site` ("), "{told}");
    // So is a folder that they must write to: nobody can open a certificate cache for them.
    let acme = "[server.main.tls.acme]\ndomains = [\"a.example\"]\ncache = \"site/acme\"\n\
                terms_of_service_agreed = true\n";
    save(&folder.path().join("server.toml"), &format!("{site}{acme}"));
    let told = check(folder.path()).unwrap();
    assert!(
        told.contains("note: the user `nobody` may not write to ") && told.contains("/site/acme` ("),
        "{told}"
    );
    let unknown = site.replace("nobody", "no-such-user");
    save(&folder.path().join("server.toml"), &unknown);
    let told = check(folder.path()).unwrap_err();
    assert!(told.contains("this machine has no user `no-such-user`"), "{told}");
}
