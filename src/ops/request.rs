//! `paster request`: one request to an app of a config, in this process, through the same gate as in a
//! server.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::runtime::Runtime;

use super::assemble::{Assembly, app_of_server, assemble_apps, unknown_app};
use super::build::{self, BuildProgress, Speed};
use super::redirect;
use super::trace::{Trace, TraceStep};
use crate::body::{App, Response};
use crate::config::{Config, Sources};
use crate::context::Context;
use crate::error::{Error, Errors, Result};
use crate::plugin::Instance;
use crate::server::console::{ask, perform};
use crate::server::gate::Gate;

/// How long to wait for the apps after the response has ended.
const SHUTDOWN_TIME: Duration = Duration::from_secs(5);

/// Maximum number of redirects to follow for one request.
const MOST_REDIRECTS: u8 = 10;

/// A request, and the app to send it to.
#[derive(Debug, Default)]
pub struct AppRequest {
    /// Where the config comes from.
    pub sources: Sources,
    /// The app; by default that of the server `main`, or of the only server, otherwise `main`.
    pub app: Option<String>,
    /// The method.
    pub method: String,
    /// The target: a path, with an optional query.
    pub path: String,
    /// Header fields, each `Name: value`.
    pub headers: Vec<String>,
    /// The body.
    pub body: Bytes,
    /// Whether to time each part of the stack.
    pub trace: bool,
    /// Whether to follow redirects to the same host.
    pub follow: bool,
}

/// A part of the response.
pub enum ReceivedPart<'a> {
    /// Status and fields; the body follows.
    Head(&'a Response),
    /// Some bytes of the body.
    Data(&'a [u8]),
}

/// Data about a response that has ended.
#[derive(Debug)]
pub struct Done {
    /// Time of each part of the stack, with [`AppRequest::trace`].
    pub steps: Vec<TraceStep>,
    /// Time to the response's head.
    pub head: Duration,
    /// Time to the end of its body.
    pub whole: Duration,
    /// The target of the response, after redirects.
    pub target: String,
}

/// Builds the apps of the config, sends a request to one of them, and shows its response as it arrives.
///
/// Plugin libraries that are not fresh are built first, with the fast profile of `serve --reload`. `note`
/// receives the progress and a compiler's errors.
/// # Errors
/// Faults of the config, of a build and of the request; a body that fails; an error of `show`.
pub fn request(
    asked: &AppRequest,
    note: &(dyn Fn(&str) + Send + Sync),
    show: &mut dyn FnMut(ReceivedPart<'_>) -> io::Result<()>,
) -> Result<Done> {
    made(asked)?;
    AppSession::open(&asked.sources, asked.app.as_deref(), asked.trace, note)?.ask(asked, show)
}

/// Builds the request.
fn made(asked: &AppRequest) -> Result<crate::body::Request> {
    ask(&asked.method, &asked.path, &asked.headers, asked.body.clone()).map_err(|faults| {
        let errors = faults.into_iter().map(|fault| Error::usage(fault.message).help(fault.help)).collect();
        Errors::check(errors).err().unwrap_or_else(|| Error::usage("invalid request").into())
    })
}

/// The apps of a config in this process, for any number of requests.
pub struct AppSession {
    runtime: Option<Runtime>,
    app: App,
    name: String,
    config: Config,
    instances: Vec<Instance>,
    trace: Option<Trace>,
    /// Private copies of the libraries.
    _copies: tempfile::TempDir,
}

impl AppSession {
    /// Builds the apps. With `traced`, each part of a stack is timed.
    /// # Errors
    /// Faults of the config and of a build.
    pub fn open(
        sources: &Sources,
        app: Option<&str>,
        traced: bool,
        note: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<AppSession> {
        let config = Config::load(sources)?;
        let name = app.map_or_else(|| usual_app(&config), str::to_owned);
        if config.table("app", &name).is_none() {
            return Err(unknown_app(&config, &name).into());
        }
        let copies = tempfile::Builder::new().prefix("paster-request-").tempdir();
        let copies =
            copies.map_err(|cause| Error::new("cannot create a temporary directory").because(cause))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|cause| Error::new("cannot start the runtime").because(cause))?;
        let trace = traced.then(Trace::default);
        let built = runtime.block_on(async {
            let mut context = Context::alone(false);
            context.libraries = libraries(&config, copies.path(), note).await?;
            let Assembly { apps, instances, .. } = assemble_apps(&config, &context, trace.as_ref())?;
            let app = apps.get(&name).cloned().ok_or_else(|| unknown_app(&config, &name))?;
            Ok((app, instances))
        });
        match built {
            Ok((app, instances)) => Ok(AppSession {
                runtime: Some(runtime),
                app,
                name,
                config,
                instances,
                trace,
                _copies: copies,
            }),
            Err(errors) => {
                runtime.shutdown_timeout(SHUTDOWN_TIME);
                Err(errors)
            }
        }
    }

    /// Name of the app that gets the requests.
    pub fn app(&self) -> &str {
        &self.name
    }

    /// The merged config.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Sends a request to the app and shows its response as it arrives; ignores the sources and the app in
    /// `asked`.
    /// # Errors
    /// Faults of the request; a body that fails; an error of `show`.
    pub fn ask(
        &self,
        asked: &AppRequest,
        show: &mut dyn FnMut(ReceivedPart<'_>) -> io::Result<()>,
    ) -> Result<Done> {
        let Some(runtime) = &self.runtime else { return Err(Error::new("the session has ended").into()) };
        let mut request = made(asked)?;
        let host = request.headers().get(http::header::HOST).cloned();
        let mut target = asked.path.clone();
        let began = Instant::now();
        runtime.block_on(async {
            for hop in 0_u8.. {
                let method = request.method().clone();
                let response = perform(&self.app, &Gate::new("request".into()), request).await;
                let next = if asked.follow {
                    redirect::next(&method, &target, host.as_ref(), &response)
                } else {
                    None
                };
                let Some((method, to)) = next.filter(|_| hop < MOST_REDIRECTS) else {
                    let head = began.elapsed();
                    show_all(response, show).await?;
                    let steps = self.trace.as_ref().map(Trace::take).unwrap_or_default();
                    return Ok(Done { steps, head, whole: began.elapsed(), target });
                };
                target = to;
                // The fields that describe a body are dropped with it.
                let same = method == asked.method.as_str();
                let body = if same { asked.body.clone() } else { Bytes::new() };
                let about_body =
                    |field: &&String| same || !field.to_ascii_lowercase().starts_with("content-");
                let headers = asked.headers.iter().filter(about_body).cloned().collect();
                request = made(&AppRequest {
                    method: method.to_string(),
                    path: target.clone(),
                    headers,
                    body,
                    ..AppRequest::default()
                })?;
            }
            Err(Error::new("too many redirects").into())
        })
    }
}

impl Drop for AppSession {
    fn drop(&mut self) {
        for instance in &self.instances {
            instance.shutdown();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(SHUTDOWN_TIME);
        }
    }
}

async fn libraries(
    config: &Config,
    folder: &Path,
    note: &(dyn Fn(&str) + Send + Sync),
) -> Result<BTreeMap<String, PathBuf>> {
    let listener = |app: &str, progress: BuildProgress| match progress {
        BuildProgress::Begin => note(&format!("building {app}")),
        BuildProgress::Warning(text) => note(&text),
        BuildProgress::At { .. } | BuildProgress::End { .. } => {}
    };
    let (_, built) =
        build::libraries(config, Speed::Development, Some(&build::Copies::new(folder.to_owned())), &listener)
            .await;
    Ok(built?)
}

fn usual_app(config: &Config) -> String {
    let servers = config.names("server");
    let server = match servers.as_slice() {
        [only] => Some(*only),
        several => several.iter().find(|name| **name == "main").copied(),
    };
    let table = server.and_then(|server| config.table("server", server));
    table.map_or("main".into(), |table| app_of_server(&table).to_owned())
}

async fn show_all(
    response: Response,
    show: &mut dyn FnMut(ReceivedPart<'_>) -> io::Result<()>,
) -> Result<()> {
    if !shown(show(ReceivedPart::Head(&response)))? {
        return Ok(());
    }
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|cause| Error::new("the response body failed").because(cause))?;
        if let Some(data) = frame.data_ref()
            && !shown(show(ReceivedPart::Data(data)))?
        {
            break;
        }
    }
    Ok(())
}

/// Whether the pipe is still open.
fn shown(outcome: io::Result<()>) -> Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(cause) => Err(Error::new("cannot write the response").because(cause).into()),
    }
}
