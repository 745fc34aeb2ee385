//! Apps of a config in this process, without a server, for tests of single parts.
#![allow(dead_code, reason = "each helper serves some of the files")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use http_body_util::BodyExt;
use paster::body::{App, Body, Request, Response};
use paster::config::{Config, Sources};
use paster::context::Context;
use paster::environ::Environ;
use paster::error::{BoxError, Errors};
use paster::ops::assemble::{Assembly, assemble_apps};

use crate::support::folder;

/// A config with the files beside it, and its apps.
pub(crate) struct Local {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) assembly: Assembly,
    runtime: tokio::runtime::Runtime,
}

/// A response and its body.
pub(crate) type Answer = http::Response<bytes::Bytes>;

/// Reads `server.toml` in `folder`.
pub(crate) fn load(folder: &Path) -> Result<Config, Errors> {
    Config::load(&Sources { file: Some(folder.join("server.toml")), ..Sources::default() })
}

/// The errors from building the apps of `config`, one per line, each with its helps.
pub(crate) fn faults(config: &str) -> String {
    let folder = folder(&[("server.toml", config)]);
    let config = load(folder.path()).unwrap();
    let Err(errors) = assemble_apps(&config, &Context::alone(false), None) else { return String::new() };
    let line = |error: &paster::error::Error| format!("{error} ({})\n", error.helps.join("; "));
    errors.iter().map(line).collect()
}

impl Local {
    /// Builds the apps of `config`, for production.
    pub(crate) fn new(config: &str, files: &[(&str, &str)]) -> Local {
        Local::in_folder(folder(files), config, false)
    }

    /// The same for development.
    pub(crate) fn development(config: &str, files: &[(&str, &str)]) -> Local {
        Local::in_folder(folder(files), config, true)
    }

    /// `${here}` works as if the config were in the folder.
    pub(crate) fn in_folder(folder: tempfile::TempDir, config: &str, development: bool) -> Local {
        std::fs::write(folder.path().join("server.toml"), config).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let config = load(folder.path()).unwrap();
        let _entered = runtime.enter();
        let assembly = assemble_apps(&config, &Context::alone(development), None).unwrap();
        drop(_entered);
        Local { folder, assembly, runtime }
    }

    /// The app `main`.
    pub(crate) fn app(&self) -> App {
        self.assembly.apps["main"].clone()
    }

    /// Calls the app `main`, as a server's gate would, and reads the whole response.
    pub(crate) fn send(&self, request: http::request::Builder, body: impl Into<Body>) -> Answer {
        self.try_send(request, body).unwrap()
    }

    /// The same; returns the error of the app or the body.
    pub(crate) fn try_send(
        &self,
        request: http::request::Builder,
        body: impl Into<Body>,
    ) -> Result<Answer, BoxError> {
        let mut request: Request = request.body(body.into()).unwrap();
        let host = request.headers().get("host").map_or("localhost", |host| host.to_str().unwrap());
        let environ = environ(host);
        request.extensions_mut().insert(environ);
        let app = self.app();
        self.runtime.block_on(async move {
            let response: Response = app.handle(request).await?;
            let (head, body) = response.into_parts();
            Ok(Answer::from_parts(head, body.collect().await?.to_bytes()))
        })
    }

    /// Sends GET for `target`.
    pub(crate) fn get(&self, target: &str) -> Answer {
        self.send(http::Request::get(target), "")
    }

    /// Waits for a future in the runtime of the apps.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

/// The gate's facts about a request from this machine to `host`.
pub(crate) fn environ(host: &str) -> Environ {
    let authority: http::uri::Authority = host.parse().unwrap();
    Environ {
        peer: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 50000))),
        client: Some(Ipv4Addr::LOCALHOST.into()),
        relayed: false,
        trusted: false,
        listen: "127.0.0.1:8080".into(),
        host: authority.host().into(),
        port: authority.port_u16(),
        secure: false,
        script_name: "".into(),
        server: "main".into(),
        handle: Default::default(),
    }
}

/// The status, the named headers, and the body as text: `200 text/plain | hello`.
pub(crate) fn shown(answer: &Answer, headers: &[&str]) -> String {
    let mut text = answer.status().as_u16().to_string();
    for name in headers {
        let values: Vec<_> = answer.headers().get_all(*name).iter().map(|v| v.to_str().unwrap()).collect();
        text += &format!(" {}", if values.is_empty() { "-".into() } else { values.join(", ") });
    }
    text + " | " + &String::from_utf8_lossy(answer.body())
}
