//! Notifies systemd: sd_notify(3), over the datagram socket in NOTIFY_SOCKET.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use super::event::Event;

/// The connection to the service manager, if there is one.
#[derive(Debug)]
pub(super) struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it expects a sign of life.
    watchdog: Option<Duration>,
}

impl Notify {
    /// Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID.
    pub(super) fn new() -> Notify {
        let variable = |name: &str| std::env::var(name).ok();
        let number = |name: &str| variable(name).and_then(|text| text.parse::<u64>().ok());
        let socket = variable("NOTIFY_SOCKET").and_then(|path| {
            let address = match path.strip_prefix('@') {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(&path),
            };
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some((socket, address.ok()?))
        });
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|_| ours && socket.is_some());
        Notify { socket, watchdog: watchdog.map(|micros| Duration::from_micros(micros) / 2) }
    }

    /// Notifies the service manager of `event`, if it concerns it.
    pub(super) fn hear(&self, event: &Event) {
        let text = match event {
            Event::Starting { pid } => format!("MAINPID={pid}\nSTATUS=starting"),
            Event::Ready { generation, .. }
            | Event::Reloaded { generation, .. }
            | Event::Unchanged { generation } => {
                format!("READY=1\nSTATUS=generation {generation} serves")
            }
            Event::Reloading { detail, .. } => {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
                let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
                format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading: {}", line(detail))
            }
            Event::ReloadFailed { generation, errors, .. } if *generation > 0 => {
                let why = errors.first().map_or("", |fault| &fault.message);
                format!("READY=1\nSTATUS=generation {generation} keeps serving: {}", line(why))
            }
            Event::Stopping { .. } => "STOPPING=1\nSTATUS=ending".to_owned(),
            _ => return,
        };
        self.send(&text);
    }

    /// Sends a sign of life if it is due; `last` is when the last one was sent.
    pub(super) fn live(&self, last: &mut Instant) {
        if self.watchdog.is_some_and(|every| last.elapsed() >= every) {
            *last = Instant::now();
            self.send("WATCHDOG=1");
        }
    }

    /// How often [`live`](Notify::live) must be called, if at all.
    pub(super) fn every(&self) -> Option<Duration> {
        self.watchdog
    }

    fn send(&self, text: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(text.as_bytes(), address); // the next message repeats a lost one
        }
    }
}

/// In one line, because each line of a message is a separate field.
fn line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}
