//! A server of a created project, for its tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::super::existing::Existing;
use crate::error::Error;
use crate::scaffold::Serve;

/// The longest wait for the server, which may have to be built.
const START_TIME: Duration = Duration::from_secs(900);
/// The longest wait for a response.
const RESPONSE_TIME: Duration = Duration::from_secs(60);
/// The pause between two requests that wait for a change.
const PAUSE: Duration = Duration::from_millis(50);

/// A running server, which ends with the value.
pub(super) struct TestServer {
    child: Child,
    address: String,
    errors: std::thread::JoinHandle<String>,
}

impl TestServer {
    /// Serves the project on a free port, and waits until it is ready.
    pub(super) fn start(program: &Path, target: &Path) -> Result<TestServer, Error> {
        let existing = Existing::of_project(target).map_err(|errors| Error::new(errors.to_string()))?;
        let name = existing.value()["server"].as_str().unwrap_or("main").to_owned();
        let fault = |error: std::io::Error| Error::new("cannot serve the project").because(error);
        let mut child = Command::new(program)
            .args(["serve", "server.toml", "--json", "--reload", "-D"])
            .arg(format!("server.{name}.listen=[\"127.0.0.1:0\"]"))
            .current_dir(target)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(fault)?;
        let (output, mut pipe) = (child.stdout.take(), child.stderr.take());
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(pipe) = &mut pipe {
                let _ = pipe.read_to_end(&mut text); // what was read is shown
            }
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut server = TestServer { child, address: String::new(), errors };
        let (sender, events) = channel();
        std::thread::spawn(move || {
            let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines());
            for event in lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()) {
                let _ = sender.send(event); // nobody waits after the start
            }
        });
        match wait(&events, &name) {
            Some(address) => {
                server.address = address;
                Ok(server)
            }
            None => Err(server.failed("the server does not start")),
        }
    }

    /// Sends a request and compares the response.
    pub(super) fn expect(&mut self, request: &Serve) -> Result<(), Error> {
        match get(&self.address, &request.get) {
            Ok(response) => fits(request, &response).map_err(|why| Error::new(why).with_output(response)),
            Err(error) => Err(Error::new(format!("GET {} fails", request.get)).because(error)),
        }
    }

    /// Sends a request until the response is as expected.
    pub(super) fn expect_soon(&mut self, request: &Serve) -> Result<(), Error> {
        let end = Instant::now() + START_TIME;
        loop {
            match self.expect(request) {
                Err(_) if Instant::now() < end => std::thread::sleep(PAUSE),
                other => return other,
            }
        }
    }

    fn failed(self, message: &str) -> Error {
        let mut server = self;
        server.stop();
        let errors = std::mem::replace(&mut server.errors, std::thread::spawn(String::new));
        Error::new(message).with_output(errors.join().unwrap_or_default().trim_end())
    }

    fn stop(&mut self) {
        // It ends its workers itself.
        if let Ok(None) = self.child.try_wait()
            && let Some(id) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(id, Signal::TERM); // it may have ended meanwhile
        }
        let _ = self.child.wait();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits until the server is ready. Returns its address; `None` if it ends or takes too long.
fn wait(events: &Receiver<Value>, name: &str) -> Option<String> {
    let end = Instant::now() + START_TIME;
    let mut address = None;
    loop {
        let event = events.recv_timeout(end.saturating_duration_since(Instant::now())).ok()?;
        match event["event"].as_str() {
            Some("listening") if event["server"] == name => {
                let url = event["url"].as_str().unwrap_or_default().trim_end_matches('/');
                address = Some(url.trim_start_matches("http://").to_owned());
            }
            Some("ready") => return address,
            _ => {}
        }
    }
}

/// The whole response to a GET on a new connection.
fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(RESPONSE_TIME))?;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut bytes = Vec::new();
    stream.take(16 << 20).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn fits(request: &Serve, response: &str) -> Result<(), String> {
    let status = response.split(' ').nth(1).unwrap_or_default();
    if status != request.status.to_string() {
        return Err(format!("GET {}: expected the status {}, got {status}", request.get, request.status));
    }
    match &request.body {
        Some(body) if !response.contains(body) => {
            Err(format!("GET {}: the response does not contain {body:?}", request.get))
        }
        _ => Ok(()),
    }
}
