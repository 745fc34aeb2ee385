//! `paster serve` as a CGI program: one request in this process, without a supervisor.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::{mpsc, watch};

use super::process::log;
use crate::config::Config;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ops::assemble::{Assembly, assemble};
use crate::ops::build::{self, Speed};
use crate::ops::sections::log::Log;
use crate::server::ServerKind;
use crate::server::cgi::is_asked;
use crate::server::control::{Control, Load, Phase};

/// Whether a server of `config` is one that a web server starts for each request.
pub(super) fn is_meant(config: &Config) -> bool {
    let per_request = |name: &&str| {
        let table = config.table("server", name);
        table.is_some_and(|table| ServerKind::of(&table).is_ok_and(|entry| entry.kind.per_request))
    };
    config.names("server").iter().any(per_request)
}

/// Answers the request in the environment. Returns the exit code: 0, or 1 when the app failed.
/// # Errors
/// When there is no request, the config has other servers too, or the app cannot be created.
pub(super) fn serve(config: Config) -> Result<u8> {
    if let [_, _, ..] = config.names("server")[..] {
        let error =
            Error::usage("a server of kind `cgi` answers one request, but the config has other servers too");
        return Err(error.help("choose one: `--server NAME`").into());
    }
    if !is_asked() {
        let error = Error::usage("there is no request in the environment: `REQUEST_METHOD` is not set");
        return Err(error
            .help("a web server must run this as a CGI program; `use = \"http\"` serves without one")
            .help("to try it: REQUEST_METHOD=GET REQUEST_URI=/ HTTP_HOST=localhost paster serve …")
            .into());
    }
    log::start(&Log::read(&config)?, None, None, Default::default(), None)?;
    // One request needs no more threads, and fewer threads start sooner.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Error::new("cannot start the runtime").because(cause))?;
    let failed = runtime.block_on(async {
        let mut context = Context::alone(false);
        // Copying the library would cost more than the request, and without reloads there is no need for a
        // copy.
        let (_, built) = build::libraries(&config, Speed::Production, None, &|_, _| {}).await;
        context.libraries = built?;
        let Assembly { servers, instances, .. } = assemble(&config, &context)?;
        let load = Arc::<Load>::default();
        for (name, server, app) in servers {
            // The phase never changes: the sender is dropped.
            let (_, phase) = watch::channel(Phase::Serving);
            let ((hand_over, _), (_, adopted)) = (mpsc::channel(1), mpsc::channel(1));
            let tickets = crate::server::tickets::Secret::random();
            let control =
                Control { tickets, server: name.into(), phase, adopted, hand_over, load: load.clone() };
            server.run(Vec::new(), app, control).await;
        }
        for instance in &instances {
            instance.shutdown();
        }
        Result::Ok(load.failed.load(Relaxed) > 0)
    });
    // A thread may still be waiting for standard input, which is no longer needed.
    runtime.shutdown_background();
    failed.map(u8::from)
}
