//! A real S3 service (the npm package s3rver), with its objects in a folder of its own.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::patience;

/// The bucket that there is.
const BUCKET: &str = "paster";
/// The only access key that it knows: its name is also its secret.
const KEY: &str = "S3RVER";

/// A running service, which ends with the value.
pub(crate) struct S3Service {
    folder: tempfile::TempDir,
    program: PathBuf,
    port: u16,
    tls: bool,
    child: Option<Child>,
}

impl S3Service {
    /// Starts one with an empty bucket; `None`, with a message, if it is not installed.
    pub(crate) fn start() -> Option<S3Service> {
        S3Service::start_with(false)
    }

    /// The same over TLS, with a certificate of its own.
    pub(crate) fn start_with_tls() -> Option<S3Service> {
        S3Service::start_with(true)
    }

    fn start_with(tls: bool) -> Option<S3Service> {
        let Some(program) = std::env::var_os("PASTER_TEST_S3") else {
            eprintln!("skipped: PASTER_TEST_S3 names no s3rver");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), format!("{KEY}\n")).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        if tls {
            let names = vec!["127.0.0.1".to_owned()];
            let own = rcgen::generate_simple_self_signed(names).unwrap();
            std::fs::write(folder.path().join("cert"), own.cert.pem()).unwrap();
            std::fs::write(folder.path().join("key"), own.signing_key.serialize_pem()).unwrap();
        }
        let mut service = S3Service { folder, program: program.into(), port, tls, child: None };
        service.run();
        Some(service)
    }

    /// Starts it, and waits until it answers.
    pub(crate) fn run(&mut self) {
        let mut command = Command::new(&self.program);
        command.arg("-d").arg(self.folder.path().join("data")).args(["-a", "127.0.0.1", "-s"]);
        command.args(["-p", &self.port.to_string(), "--configure-bucket", BUCKET]);
        if self.tls {
            command.args(["--key", "key", "--cert", "cert"]).current_dir(self.folder.path());
        }
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        let end = Instant::now() + patience();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < end, "s3rver does not start");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Kills it as a power failure would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Makes it hang (or go on): it accepts connections and does not answer.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = self.child.as_ref().unwrap().id().cast_signed();
        rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// The settings of a notebook with objects below this prefix.
    pub(crate) fn settings(&self, prefix: &str) -> Value {
        let scheme = if self.tls { "https" } else { "http" };
        json!({
            "objects": format!("s3://{BUCKET}/{prefix}"),
            "objects_s3": {
                "endpoint": format!("{scheme}://127.0.0.1:{}", self.port), "allow_http": !self.tls, "region": "us-east-1",
                "access_key_id": KEY, "secret_access_key_file": self.folder.path().join("secret"),
                "ca_file": self.tls.then(|| self.folder.path().join("cert")),
            },
        })
    }

    /// The files of the objects.
    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join("data").join(BUCKET)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                match entry.file_type().unwrap().is_dir() {
                    true => folders.push(entry.path()),
                    false => found.push(entry.path()),
                }
            }
        }
        found.retain(|file| {
            let name = file.to_string_lossy();
            name.contains("/objects/") && name.ends_with("._S3rver_object")
        });
        found
    }
}

impl Drop for S3Service {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
