//! systemd: its real socket activator starts the real program, and its own parser checks the example's unit.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;

use crate::bridge::free_port;
use crate::load::{all_kinds, hello, with_tls};
use crate::support::{Connection, Serving, get, paster, root, save, wait_until};
use crate::traffic::Clients;
use crate::workers::config;

/// Makes systemd-socket-activate(1) bind two TCP sockets and the Unix socket `wake` in `folder`, with these
/// names, and start the program when a client connects to the last one.
fn activate(folder: &Path, names: &str) -> Serving {
    let program = paster();
    let mut command = Command::new("systemd-socket-activate");
    for (name, value) in program.get_envs() {
        let setting = format!("{}={}", name.display(), value.unwrap_or_default().display());
        command.args(["-E", &setting]);
    }
    for _ in 0..2 {
        // It does not accept port 0.
        command.args(["-l", &format!("127.0.0.1:{}", free_port())]);
    }
    command.arg("-l").arg(folder.join("wake"));
    command.arg(format!("--fdname={names}")).arg(program.get_program()).args(["serve", "--json"]);
    command.current_dir(folder);
    let mut serving = Serving::launch(command);
    wait_until("it is woken", || UnixStream::connect(folder.join("wake")).is_ok());
    serving.wait_for("ready");
    serving
}

/// The sockets among the descriptors of a process, once per descriptor.
fn sockets(pid: u32) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let targets = entries.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).collect()
}

/// The socket that systemd passed with that number.
fn passed(serving: &Serving, number: u32) -> PathBuf {
    std::fs::read_link(format!("/proc/{}/fd/{number}", serving.pid())).unwrap()
}

#[test]
fn passed_sockets_outlive_a_change_of_the_program_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let (config, authority) = with_tls(folder.path(), &hello("", ""), "");
    let [first, second, third] = config.split("\"127.0.0.1:0\"").collect::<Vec<_>>().try_into().unwrap();
    let config = format!("{first}\"systemd:main\"{second}\"systemd:secure\"{third}");
    std::fs::write(folder.path().join("server.toml"), &config).unwrap();
    let mut serving = activate(folder.path(), "main:secure:main");
    let mut clients = Clients::of(serving.address());
    all_kinds(&mut clients, &serving, &authority);
    let traffic = clients.traffic.clone();
    wait_until("the load runs", || traffic.requests.load(Relaxed) > 50);
    for turn in 0..4 {
        let before = traffic.requests.load(Relaxed);
        serving.signal(if turn == 2 { "HUP" } else { "USR2" });
        assert_eq!(serving.wait_for("reloaded")["generation"], turn + 2);
        wait_until("requests are answered", || traffic.requests.load(Relaxed) > before + 50);
    }
    clients.stop().assert_whole();
    // A socket that no server used for a while still exists.
    let secure = serving.urls.remove("secure").unwrap();
    let without = config.split("[server.secure]").next().unwrap().to_owned();
    save(&folder.path().join("server.toml"), &without);
    serving.signal("HUP");
    serving.wait_for("reloaded");
    serving.signal("USR2");
    serving.wait_for("reloaded");
    save(&folder.path().join("server.toml"), &config);
    serving.signal("HUP");
    serving.wait_for("reloaded");
    assert_eq!(serving.urls["secure"], secure);
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn what_systemd_passes_is_the_supervisors_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = config("").replace("\"127.0.0.1:0\"", "\"systemd:main\"");
    std::fs::write(folder.path().join("server.toml"), text).unwrap();
    let mut serving = activate(folder.path(), "main:other:other");
    let check = |serving: &Serving| {
        get(serving, "/host"); // there is a side process
        wait_until("the old workers are gone", || serving.children().len() == 2);
        let count =
            |pid: u32, number| sockets(pid).iter().filter(|one| **one == passed(serving, number)).count();
        let all = |number| serving.children().into_iter().map(|pid| count(pid, number)).sum::<usize>();
        // Each worker first closes what it inherited, which may be happening right now.
        wait_until("the worker has its one and the side process none", || {
            (all(3), all(4), all(5)) == (1, 0, 0)
        });
        for pid in serving.children() {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
            assert!(!String::from_utf8_lossy(&environ).contains("LISTEN_"));
        }
    };
    check(&serving);
    serving.signal("USR2");
    serving.wait_for("reloaded");
    check(&serving);
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn the_systemd_units_name_what_the_example_has() {
    let folder = root().join("examples/systemd");
    let unit = std::fs::read_to_string(folder.join("paster.service")).unwrap();
    let command = |key: &str| {
        let start = format!("{key}=/usr/local/bin/paster ");
        unit.lines().find_map(|line| line.strip_prefix(&start)).unwrap()
    };
    assert_eq!(command("ExecStart"), "serve /etc/paster/server.toml");
    assert_eq!(command("ExecReload"), "reload --wait /etc/paster/server.toml");
    assert!(unit.contains("Type=notify\n") && unit.contains("KillMode=mixed"));
    // As systemd starts it: the socket has number 3, and the shell's process id becomes the program's.
    let script = format!(
        "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_FDNAMES=main LISTEN_PID=$$ exec {:?} serve --json {:?}",
        paster().get_program(),
        folder.join("server.toml")
    );
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let runtime = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", &script]).env("XDG_RUNTIME_DIR", runtime.path());
    let mut serving = Serving::launch_with(command, std::os::fd::OwnedFd::from(listener).into());
    serving.wait_for("ready");
    assert!(Connection::open(&address).get("/").1.contains("Served under systemd"));
    serving.signal("USR2");
    serving.wait_for("reloaded");
    assert!(Connection::open(&address).get("/").1.contains("Served under systemd"));
    let mut reload = paster();
    reload.env("XDG_RUNTIME_DIR", runtime.path()).args(["reload", "--wait"]).arg(folder.join("server.toml"));
    assert!(reload.output().unwrap().status.success());
    assert_eq!(serving.wait_for("reloaded")["generation"], 3);
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let folder = tempfile::tempdir().unwrap();
    let program = paster().get_program().to_str().unwrap().to_owned();
    let mut units = Vec::new();
    for name in ["paster.service", "paster.socket"] {
        let text = std::fs::read_to_string(root().join("examples/systemd").join(name)).unwrap();
        let unit = folder.path().join(name);
        std::fs::write(&unit, text.replace("/usr/local/bin/paster", &program)).unwrap();
        units.push(unit);
    }
    let judge = || {
        let output =
            Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&units).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        // Other units on the machine do not matter here.
        told.lines().filter(|line| line.contains("paster")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(judge(), Vec::<String>::new());
    let text = std::fs::read_to_string(&units[0]).unwrap();
    std::fs::write(&units[0], text.replace("KillMode=", "KilMode=")).unwrap();
    assert!(judge().join("\n").contains("KilMode"), "it reads them");
}
