//! `program`: a program that serves requests, in any language. Paster starts it, and forwards requests to it.
//!
//! - here: the kind, and how requests reach the processes; `options`: how they are started
//! - `settings`: the settings that the process beside each program receives

mod options;
mod settings;

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

pub use self::options::ProgramOptions;
use self::options::Serving;
use self::settings::ReadyOption;
pub use self::settings::{AddressWords, ProgramSettings, Ready, StopSignal};
use super::hand_off;
use super::process::{AddressKind, LocalPlace, LocalProcess, ProcessSpec};
use super::proxy::{self, PassingOptions};
use super::upstream::{GatewayOptions, UpstreamOptions, duration, secs};
use super::{AppLink, Builder, fastcgi, scgi};
use crate::body::App;
use crate::config::{ConfigAddress, ReadOptions, Table};
use crate::context::ProcessAddress;
use crate::error::{BoxError, Errors, Result};

/// Options of an `[app.NAME]` table with `use = "program"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    #[serde(flatten)]
    program: ProgramOptions,
    /// Number of processes that run the program, each with its own address. All workers share them.
    #[serde(default = "one")]
    workers: NonZeroU32,
    /// How the program gets its address. "port": a free port of 127.0.0.1, in the variable `PORT`. "socket": the path of a
    /// Unix socket, in `SOCKET`. "descriptor": an inherited listening socket (`LISTEN_FDS`, as from systemd), in which
    /// connections wait while the program restarts.
    #[serde(default = "port")]
    address: AddressKind,
    /// When the program is ready. A path such as `"/healthz"`: when it responds to it with 2xx or 3xx. "connect": when it
    /// accepts connections or, with an inherited socket, responds to `HEAD /` with any status. "notify": when it sends
    /// `READY=1` to `NOTIFY_SOCKET`. `{ command = ["./check"] }`: when the command succeeds.
    #[serde(default)]
    ready: ReadyOption,
    /// Restart the program when it has not been ready for this long; 0 means never. If `ready` is a path or a command, it is
    /// checked every five seconds, which detects a program that hangs.
    #[serde(default = "a_minute")]
    stuck_secs: u64,
    /// The protocol that the program speaks.
    #[serde(default)]
    protocol: ProgramProtocol,
    /// How requests are passed on, if it speaks HTTP.
    #[serde(flatten)]
    passing: PassingOptions,
    /// How requests are passed on, if it speaks FastCGI or SCGI.
    #[serde(flatten)]
    gateway: GatewayOptions,
    #[serde(flatten)]
    upstream: UpstreamOptions,
}

/// The protocol of a program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum ProgramProtocol {
    /// HTTP/1.1, with WebSockets.
    #[default]
    Http,
    /// HTTP/2 without TLS; no WebSockets.
    H2c,
    /// FastCGI.
    Fastcgi,
    /// SCGI.
    Scgi,
}

/// The most processes of one app.
const MOST: u32 = 64;

fn one() -> NonZeroU32 {
    secs(1)
}

fn port() -> AddressKind {
    AddressKind::Port
}

fn a_minute() -> u64 {
    60
}

/// The apps that the program may hand requests to.
pub(super) fn links(options: &Options) -> Vec<AppLink> {
    hand_off::links(&options.upstream.hand_off)
}

/// How the processes of the app `table` are started.
/// # Errors
/// Every fault of the options; a program that does not exist.
pub(super) fn process_spec(
    options: Options,
    table: &Table,
    _: &Path,
    development: bool,
) -> Result<ProcessSpec> {
    let http = matches!(options.protocol, ProgramProtocol::Http | ProgramProtocol::H2c);
    let mut errors = Vec::new();
    let ready = options.ready.read(true, http).unwrap_or_else(|(message, help)| {
        errors.push(table.error("ready", message).help(help));
        Ready::Connect
    });
    // An inherited socket accepts connections before the program runs.
    let ready = match ready {
        Ready::Connect if options.address == AddressKind::Descriptor && http => Ready::Answer,
        Ready::Connect if options.address == AddressKind::Descriptor => Ready::Started,
        other => other,
    };
    if options.workers.get() > MOST {
        errors.push(table.error("workers", format!("`workers` must be at most {MOST}")));
    }
    let serving = Serving {
        address: options.address,
        count: options.workers.get() as usize,
        ready,
        http2: options.protocol == ProgramProtocol::H2c,
        stuck_secs: options.stuck_secs,
        once: false,
    };
    Errors::join(options.program.spec(table, serving, development), errors)
}

/// Creates the app.
pub(super) fn build(options: Options, table: &Table, builder: &mut Builder<'_>) -> Result<App> {
    let development = builder.context.development;
    let spec = || process_spec(table.options()?, table, Path::new(""), development);
    build_with(options, spec, table, builder)
}

/// Creates the app of a program that is started as `spec` says, if it does not run already.
pub(super) fn build_with(
    options: Options,
    spec: impl FnOnce() -> Result<ProcessSpec>,
    table: &Table,
    builder: &mut Builder<'_>,
) -> Result<App> {
    let way = Way {
        protocol: options.protocol,
        passing: options.passing,
        gateway: options.gateway,
        upstream: UpstreamOptions {
            patience: duration(options.upstream.timeouts.queue_secs),
            ..options.upstream
        },
    };
    if let Some(addresses) = builder.context.processes.get(table.name()) {
        return way.build(addresses, table, builder);
    }
    let spec = spec();
    if builder.context.checking {
        let checked = way.build(&[ProcessAddress::Tcp(1)], table, builder);
        return Errors::join(checked, spec.err().into_iter().flatten().collect());
    }
    // `paster request` and similar commands: a program of their own, which the first request starts.
    let spec = spec?.with_variables(&builder.context.variables);
    let failed = |cause| table.error("use", "cannot create an address for the program").because(cause);
    let place = LocalPlace::bind(&spec).map_err(failed)?;
    let app = way.build(place.address().as_slice(), table, builder)?;
    let started: Arc<OnceCell<LocalProcess>> = Arc::default();
    let start = Arc::new(parking_lot::Mutex::new(Some((spec, place))));
    Ok(App::from_call(move |request| {
        let (app, started, start) = (app.clone(), started.clone(), start.clone());
        Box::pin(async move {
            let begin = || async {
                let (spec, place) = start.lock().take().ok_or("the program could not be started")?;
                let (local, _) = LocalProcess::start(&spec, place).await.map_err(|failure| {
                    let output = if failure.traceback.is_empty() { "" } else { "\n" };
                    format!("{}{output}{}", failure.summary, failure.traceback)
                })?;
                Ok::<_, BoxError>(local)
            };
            started.get_or_try_init(begin).await?;
            app.handle(request).await
        })
    }))
}

/// How requests reach the processes.
struct Way {
    protocol: ProgramProtocol,
    passing: PassingOptions,
    gateway: GatewayOptions,
    upstream: UpstreamOptions,
}

impl Way {
    fn build(self, addresses: &[ProcessAddress], table: &Table, builder: &mut Builder<'_>) -> Result<App> {
        let upstreams = addresses.iter().map(address).collect();
        match self.protocol {
            ProgramProtocol::Http | ProgramProtocol::H2c => {
                let http2 = self.protocol == ProgramProtocol::H2c;
                let options = proxy::Options::of_processes(upstreams, http2, self.passing, self.upstream);
                proxy::build(options, table, builder)
            }
            ProgramProtocol::Fastcgi => {
                let options = fastcgi::Options::of_processes(upstreams, self.gateway, self.upstream);
                fastcgi::build(options, table, builder)
            }
            ProgramProtocol::Scgi => {
                let options = scgi::Options::of_processes(upstreams, self.gateway, self.upstream);
                scgi::build(options, table, builder)
            }
        }
    }
}

fn address(address: &ProcessAddress) -> ConfigAddress {
    match address {
        ProcessAddress::Tcp(port) => ConfigAddress::from(&*format!("127.0.0.1:{port}")),
        ProcessAddress::Unix(path) => ConfigAddress::from(&*format!("unix:{}", path.display())),
    }
}

/// Options of a `[program.NAME]` table: a program that serves no requests, such as a worker of a queue or a database for
/// development.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackgroundOptions {
    #[serde(flatten)]
    program: ProgramOptions,
    /// Whether the program does its work and ends, such as a migration. It is ready when it has exited with success. If it
    /// fails, the start or the reload fails. It runs again on every requested reload, and when its options or watched files
    /// change.
    #[serde(default)]
    once: bool,
    /// When the program is ready. "notify": when it sends `READY=1` to `NOTIFY_SOCKET`. `{ command = ["pg_isready"] }`: when
    /// the command succeeds. Default: when it has started.
    #[serde(default)]
    ready: ReadyOption,
    /// Restart the program when it has not been ready for this long, if `ready` is a command; 0 means never.
    #[serde(default = "a_minute")]
    stuck_secs: u64,
}

/// How the program of the table `[program.NAME]` is started.
/// # Errors
/// Every fault of the options; a program that does not exist.
pub fn background_spec(table: &Table, development: bool) -> Result<ProcessSpec> {
    let ReadOptions { options, table, wrong_entries } = table.read::<BackgroundOptions>()?;
    let mut errors = wrong_entries;
    let ready = options.ready.read(false, false).unwrap_or_else(|(message, help)| {
        errors.push(table.error("ready", message).help(help));
        Ready::Started
    });
    if options.once && ready != Ready::Started {
        let error = table.error("ready", "`ready` has no effect with `once`");
        errors.push(error.help("a program that runs once is ready when it has ended: remove `ready`"));
    }
    let serving = Serving {
        address: AddressKind::None,
        count: 1,
        ready,
        http2: false,
        stuck_secs: options.stuck_secs,
        once: options.once,
    };
    Errors::join(options.program.spec(&table, serving, development), errors)
}
