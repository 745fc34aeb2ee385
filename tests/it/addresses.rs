//! Where servers listen: both families on one port, zones, paths of Unix sockets, sockets that systemd passed
//! to another process, and too few descriptors.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::bridge::free_port;
use crate::control::Site;
use crate::support::{Connection, Serving, folder, get, paster, save, wait_until};

/// A server of each name with these entries, and one app.
fn config(servers: &[(&str, &str)]) -> String {
    let server =
        |(name, listen): &(&str, &str)| format!("[server.{name}]\nuse = \"http\"\nlisten = {listen}\n");
    let servers: String = servers.iter().map(server).collect();
    format!("{servers}[app.main]\nuse = \"respond\"\nbody = \"hello\"\n")
}

/// The response of a server on a Unix socket.
fn ask(socket: &Path) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn both_families_are_listened_on_at_one_port() {
    let port = free_port();
    let (four, six) = (format!("[\"0.0.0.0:{port}\"]"), format!("[\"[::]:{port}\"]"));
    let both = format!("[\"[::]:{port}\", \"0.0.0.0:{port}\"]");
    let near = format!("[\"127.0.0.1:{port}\"]");
    // In one server and in two, in either order; a narrower IPv4 address counts as well.
    for servers in [
        vec![("main", &both)],
        vec![("main", &six), ("other", &four)],
        vec![("other", &near), ("main", &six)],
    ] {
        let servers: Vec<_> = servers.into_iter().map(|(name, listen)| (name, listen.as_str())).collect();
        let folder = folder(&[("server.toml", &config(&servers))]);
        let mut serving = Serving::start(folder.path(), &[]);
        for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
            assert_eq!(Connection::open(&address).get("/").1, "hello", "{address}");
        }
        assert_eq!(serving.stop(), Some(0));
    }
}

#[test]
fn every_ipv6_address_alone_is_every_ipv4_address_too() {
    let port = free_port();
    let folder = folder(&[("server.toml", &config(&[("main", &format!("\"[::]:{port}\""))]))]);
    let mut serving = Serving::start(folder.path(), &[]);
    assert_eq!(Connection::open(&format!("127.0.0.1:{port}")).get("/").1, "hello");
    // A reload cannot change the options of a bound socket, and fails with an error.
    let both = config(&[("main", &format!("[\"[::]:{port}\", \"0.0.0.0:{port}\"]"))]);
    save(&folder.path().join("server.toml"), &both);
    serving.signal("HUP");
    let failed = serving.wait_for("reload_failed");
    let errors = failed["errors"].to_string();
    assert!(errors.contains("takes IPv4 connections too") && errors.contains("restart paster"), "{errors}");
    assert_eq!(Connection::open(&format!("127.0.0.1:{port}")).get("/").1, "hello");
}

#[test]
fn an_address_that_another_entry_covers_is_not_somebody_elses() {
    let port = free_port();
    let text = config(&[("main", &format!("[\"0.0.0.0:{port}\", \"127.0.0.1:{port}\"]"))]);
    let folder = folder(&[("server.toml", &text)]);
    let output = paster().arg("serve").current_dir(folder.path()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("another entry of `listen` covers that address"), "{stderr}");
    assert!(!stderr.contains("stop it"), "{stderr}");
}

#[test]
fn a_zone_is_a_name_or_a_number() {
    // In a network namespace, where the loopback interface has a link-local address.
    let inside = "ip link set lo up && ip -6 addr add fe80::1/64 dev lo nodad && \
                  exec \"$0\" serve --json --app respond:hello --listen \"$1\"";
    for zone in ["lo", "1"] {
        let folder = folder(&[]);
        let program = paster();
        let mut command = Command::new("unshare");
        command.args(["--net", "--map-root-user", "sh", "-c", inside]).arg(program.get_program());
        command.arg(format!("[fe80::1%{zone}]:0")).current_dir(folder.path());
        for (name, value) in program.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let allowed = Command::new("unshare").args(["--net", "--map-root-user", "ip", "link"]).output();
        if !allowed.is_ok_and(|output| output.status.success()) {
            return; // no such namespace for this user: the parser has a test of its own
        }
        let serving = Serving::spawn(command);
        assert!(serving.url().starts_with("http://[fe80::1%1]:"), "{}", serving.url());
    }
}

#[test]
fn a_unix_socket_lies_beside_the_file_that_names_it() {
    let text = config(&[("main", "\"unix:run/main.sock,mode=600\"")]);
    let front = "[server.front]\nuse = \"http\"\nlisten = \"127.0.0.1:0\"\napp = \"front\"\n\
                 [app.front]\nuse = \"proxy\"\nupstreams = \"unix:run/main.sock\"\n\
                 [app.long]\nuse = \"proxy\"\nupstreams = [\"http://unix:../LONG/b.sock\"]\n";
    let long = "d".repeat(120);
    let folder = folder(&[
        ("site/server.toml", &format!("include = [\"parts/front.toml\"]\n{text}")),
        ("site/parts/front.toml", &front.replace("run/", "../run/").replace("LONG", &long)),
        ("site/run/keep", ""),
        (&format!("site/{long}/keep"), ""),
    ]);
    // Started from another folder.
    let mut serving = Serving::start(folder.path(), &["site/server.toml"]);
    assert_eq!(ask(&folder.path().join("site/run/main.sock")), "hello");
    let front = serving.urls["front"].trim_start_matches("http://").to_owned();
    assert_eq!(Connection::open(&front).get("/").1, "hello");
    assert_eq!(serving.stop(), Some(0));
    assert!(!folder.path().join("site/run/main.sock").exists());

    // Paths on the command line are relative to the working directory, even if that is deep.
    let deep = folder.path().join("site").join(&long);
    let override_it = ["../server.toml", "--server", "main", "-D", "server.main.listen=unix:b.sock"];
    let option = ["../server.toml", "--server", "main", "--listen", "unix:b.sock"];
    for args in [override_it, option] {
        let mut serving = Serving::start(&deep, &args);
        // By a relative path, because the full one is too long for a socket address.
        let answer = Command::new("python3")
            .args([
                "-c",
                "import socket; s = socket.socket(socket.AF_UNIX); s.connect('b.sock'); \
                   s.send(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(s.makefile().read())",
            ])
            .current_dir(&deep)
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&answer.stdout).contains("hello"), "{answer:?}");
        assert_eq!(serving.stop(), Some(0));
        assert!(!deep.join("b.sock").exists());
    }
}

#[test]
fn an_upstream_may_have_a_path_that_is_too_long_for_an_address() {
    let long = "d".repeat(120);
    let text = config(&[("main", "\"127.0.0.1:0\"")]).replace(
        "use = \"respond\"\nbody = \"hello\"",
        &format!("use = \"proxy\"\nupstreams = \"unix:{long}/b.sock\""),
    );
    let folder = folder(&[("server.toml", &text), (&format!("{long}/keep"), "")]);
    let back = ["--app", "respond:hello", "--listen", "unix:b.sock"];
    let _back = Serving::start(&folder.path().join(&long), &back);
    let front = Serving::start(folder.path(), &[]);
    assert_eq!(get(&front, "/"), "hello");
}

#[test]
fn sockets_of_another_process_are_not_ours_and_the_help_names_exec() {
    let folder = folder(&[("server.toml", &config(&[("main", "\"systemd\"")]))]);
    // A wrapper without `exec`: the program is a child of the process that the variable names.
    let mut shell = Command::new("sh");
    shell.args(["-c", "export LISTEN_PID=$$ LISTEN_FDS=1; \"$0\" serve; exit $?"]);
    let program = paster();
    let output = shell.arg(program.get_program()).current_dir(folder.path()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("passed its sockets to process"), "{stderr}");
    assert!(stderr.contains("exec paster serve"), "{stderr}");
}

#[test]
fn where_nothing_can_be_written_a_config_without_plugins_serves() {
    let folder = folder(&[("server.toml", &config(&[("main", "\"127.0.0.1:0\"")]))]);
    let mut command = paster();
    command.args(["serve", "--json"]).current_dir(folder.path()).env("TMPDIR", "/proc/no-such-folder");
    let mut serving = Serving::spawn(command);
    assert_eq!(get(&serving, "/"), "hello");
    serving.signal("USR2");
    serving.wait_for("reloaded");
    assert_eq!(get(&serving, "/"), "hello");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_want_of_descriptors_is_told_once() {
    let text = config(&[("main", "\"127.0.0.1:0\"")]);
    let folder = folder(&[("server.toml", &format!("{text}[process]\nlimits = {{ open_files = 64 }}\n"))]);
    let mut serving = Serving::start(folder.path(), &["-D", "process.threads=1"]);
    let said = |serving: &Serving, text: &str| serving.stderr().matches(text).count();
    let mut clients: Vec<_> = (0..100).map(|_| TcpStream::connect(serving.address()).unwrap()).collect();
    wait_until("it is told", || said(&serving, "no file descriptors left (limit 64)") == 1);
    assert_eq!(said(&serving, "LimitNOFILE="), 1, "{}", serving.stderr());
    // Some connections go and others come: it remains one shortage.
    clients.drain(..20);
    clients.extend((0..20).map(|_| TcpStream::connect(serving.address()).unwrap()));
    clients.clear();
    wait_until("it is over", || said(&serving, "accepted again") == 1);
    assert_eq!(get(&serving, "/"), "hello");
    assert_eq!(said(&serving, "no file descriptors left"), 1, "{}", serving.stderr());
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn servers_in_different_pid_namespaces_share_the_folder_of_control_sockets() {
    let site = Site::new(&config(&[("main", "\"127.0.0.1:0\"")]));
    let inside = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    let allowed = Command::new("unshare").args(inside).arg("true").output().unwrap().status.success();
    let first = site.serve(&[]);
    let sockets = || {
        let entries = std::fs::read_dir(site.path().join("paster")).unwrap().flatten();
        entries.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "sock")).count()
    };
    assert_eq!(sockets(), 1);
    if !allowed {
        return; // no such namespace for this user: the place of a socket has tests of its own
    }
    let mut others: Vec<Serving> = (0..2)
        .map(|_| {
            let program = paster();
            let mut command = Command::new("unshare");
            command.args(inside).arg(program.get_program()).args(["serve", "--json"]);
            for (name, value) in program.get_envs() {
                command.env(name, value.unwrap_or_default());
            }
            command.env("XDG_RUNTIME_DIR", site.path()).current_dir(site.path()).stdin(Stdio::null());
            Serving::spawn(command)
        })
        .collect();
    // The two have the same process id, each in its own namespace.
    assert_eq!(sockets(), 3);
    assert!(site.path().join("paster/1.lock").exists() && site.path().join("paster/1-1.lock").exists());
    others.iter_mut().for_each(Serving::kill);
    let path = site.path().join(format!("paster/{}.sock", first.pid()));
    assert!(site.text(&["ps", "--control", path.to_str().unwrap()]).contains("main on http://"));
    // Killed ones leave nothing behind.
    site.run(&["ps"]);
    wait_until("only the one that runs is left", || {
        site.run(&["ps"]);
        sockets() == 1
    });
}
