//! Whether a program is ready.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixDatagram, UnixStream};
use tokio::process::Command;

use crate::app::process::Settings;
use crate::app::program::{AddressWords, ProgramSettings, Ready};
use crate::context::ProcessAddress;
use crate::socket_path::SocketPath;

/// How long one look may take, in seconds.
const LOOK: [u64; 2] = [1, 10];

/// How to find out whether a program is ready.
pub(super) struct Readiness {
    ready: Ready,
    http2: bool,
    address: Option<ProcessAddress>,
    words: AddressWords,
    /// How long one look may take.
    limit: Duration,
    /// Whether the program makes its Unix socket itself.
    own_socket: bool,
    /// The socket for READY=1, and its name.
    notify: Option<(UnixDatagram, String)>,
}

impl Readiness {
    /// # Errors
    /// When the socket for READY=1 cannot be made.
    pub(super) fn new(plan: &ProgramSettings, settings: &Settings) -> io::Result<Readiness> {
        use std::os::linux::net::SocketAddrExt;
        let notify = match plan.ready {
            Ready::Notify => {
                let name = format!("paster-{}", uuid::Uuid::new_v4());
                let address = std::os::unix::net::SocketAddr::from_abstract_name(&name)?;
                let socket = std::os::unix::net::UnixDatagram::bind_addr(&address)?;
                socket.set_nonblocking(true)?;
                Some((UnixDatagram::from_std(socket)?, format!("@{name}")))
            }
            _ => None,
        };
        Ok(Readiness {
            ready: plan.ready.clone(),
            http2: plan.http2,
            address: settings.address.clone(),
            words: AddressWords::of(settings.address.as_ref(), settings.listener.is_some()),
            limit: Duration::from_secs(match plan.stuck_secs {
                0 => LOOK[1],
                stuck => stuck.clamp(LOOK[0], LOOK[1]),
            }),
            own_socket: settings.listener.is_none(),
            notify,
        })
    }

    /// Sets the variables that the program needs to report its readiness.
    pub(super) fn set_variables(&self, command: &mut std::process::Command) {
        if let Some((_, name)) = &self.notify {
            command.env("NOTIFY_SOCKET", name);
        }
    }

    /// Whether it can be asked again, after it was ready.
    pub(super) fn can_look_again(&self) -> bool {
        matches!(self.ready, Ready::Path(_) | Ready::Command(_) | Ready::Answer)
    }

    /// Looks once.
    /// # Errors
    /// Why it is not ready.
    pub(super) async fn look(&self) -> Result<(), String> {
        let what = async {
            match &self.ready {
                Ready::Started => Ok(()),
                Ready::Connect => self.connect().await.map(drop),
                Ready::Answer => self.request(Method::HEAD, "/").await.map(drop),
                Ready::Path(path) => self.request(Method::GET, path).await.and_then(|status| {
                    let good = status.is_success() || status.is_redirection();
                    if good { Ok(()) } else { Err(io::Error::other(format!("the response is {status}"))) }
                }),
                Ready::Command(words) => self.run(words).await,
                Ready::Notify => self.notified().await,
            }
        };
        if self.notify.is_some() {
            return what.await.map_err(|cause| cause.to_string());
        }
        match tokio::time::timeout(self.limit, what).await {
            Ok(looked) => looked.map_err(|cause| format!("{} ({cause})", self.ready)),
            Err(_) => Err(format!("{} (no response within {} s)", self.ready, self.limit.as_secs())),
        }
    }

    async fn connect(&self) -> io::Result<Box<dyn AnyConnection>> {
        match &self.address {
            Some(ProcessAddress::Tcp(port)) => Ok(Box::new(TcpStream::connect(("127.0.0.1", *port)).await?)),
            Some(ProcessAddress::Unix(path)) => {
                let stream = UnixStream::connect(&*SocketPath::new(path)?).await?;
                if self.own_socket {
                    use std::os::unix::fs::PermissionsExt;
                    // Its directory lets only the workers in, which may run as another user.
                    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
                }
                Ok(Box::new(stream))
            }
            None => Err(io::Error::other("it has no address")),
        }
    }

    /// The status of the response to a request.
    async fn request(&self, method: Method, path: &str) -> io::Result<StatusCode> {
        let stream = TokioIo::new(self.connect().await?);
        let request = Request::builder().method(method).header("user-agent", "paster");
        let status = if self.http2 {
            let request = request.uri(format!("http://localhost{path}")).body(Empty::<bytes::Bytes>::new());
            let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
            let (mut sender, driver) = made.map_err(io::Error::other)?;
            let driver = tokio::spawn(driver);
            let sent = sender.send_request(request.map_err(io::Error::other)?).await;
            driver.abort();
            sent.map(|response| response.status())
        } else {
            let request = request.uri(path).header("host", "localhost").header("connection", "close");
            let request = request.body(Empty::<bytes::Bytes>::new()).map_err(io::Error::other)?;
            let made = hyper::client::conn::http1::handshake(stream).await;
            let (mut sender, driver) = made.map_err(io::Error::other)?;
            let driver = tokio::spawn(driver);
            let sent = sender.send_request(request).await;
            driver.abort();
            sent.map(|response| response.status())
        };
        status.map_err(io::Error::other)
    }

    async fn run(&self, words: &[String]) -> io::Result<()> {
        let mut words = words.iter().map(|word| self.words.fill(word));
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).envs(self.words.variables.iter().map(|(name, value)| (*name, value)));
        let pipes = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let output = pipes.kill_on_drop(true).output().await?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        Err(io::Error::other(format!("{}{}{last}", output.status, if last.is_empty() { "" } else { ": " })))
    }

    async fn notified(&self) -> io::Result<()> {
        let Some((socket, _)) = &self.notify else { return Ok(()) };
        let mut message = [0; 4096];
        loop {
            let count = socket.recv(&mut message).await?;
            if message[..count].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                return Ok(());
            }
        }
    }
}

/// A connection of any kind.
trait AnyConnection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> AnyConnection for T {}
