//! `fastcgi`: an application behind FastCGI, such as a PHP site behind php-fpm.

mod client;
mod site;

use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;
use schemars::JsonSchema;
use serde::Deserialize;

use self::client::Fastcgi;
use self::site::{Site, SitePath};
use super::hand_off;
use super::static_files;
use super::upstream::{
    Address, Gateway, GatewayOptions, GatewayProtocol, Group, Member, ProbeUpstreams, ResponseHead,
    UpstreamExchange, UpstreamFailure, UpstreamOptions, addresses, check_variables, send_probe, start_probes,
};
use crate::app::{AppLink, Builder};
use crate::body::{App, Body, Request, Response, text_response};
use crate::codec::Variables;
use crate::codec::fastcgi::encode_pairs;
use crate::config::{ConfigAddress, ServedPath, Table, item};
use crate::environ::Environ;
use crate::error::{BoxError, Errors, Result};

/// Options of an `[app.NAME]` table with `use = "fastcgi"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Addresses of the upstreams: `127.0.0.1:9000`, `unix:/run/php/php-fpm.sock`.
    upstreams: Vec<ConfigAddress>,
    /// Directory of a site of scripts. The upstream handles paths of scripts, with `SCRIPT_FILENAME`, and paster serves the
    /// other files. Without it, the upstream handles every request.
    root: Option<ServedPath>,
    /// With `root`: the index script of a directory.
    #[serde(default = "index_php")]
    index: String,
    /// With `root`: file name endings of scripts. The rest of a path after the first script is `PATH_INFO`.
    /// Files with such an ending in the middle of their name (`config.php.bak`) are not served.
    #[serde(default = "dot_php")]
    split_path: Vec<String>,
    /// With `root`: the script for paths that match no file, which is `/index.php` for most frameworks. Without it, such paths
    /// get 404.
    fallback: Option<String>,
    #[serde(flatten)]
    passing: GatewayOptions,
    /// Keep connections for further requests (`pool`). A php-fpm process with an idle connection cannot serve other requests,
    /// so keep fewer connections than there are processes.
    #[serde(default)]
    keep_connections: bool,
    #[serde(flatten)]
    upstream: UpstreamOptions,
}

impl Options {
    /// The options for upstreams that paster has started, at these addresses.
    pub(super) fn of_processes(
        upstreams: Vec<ConfigAddress>,
        passing: GatewayOptions,
        upstream: UpstreamOptions,
    ) -> Options {
        let (index, split_path) = (index_php(), dot_php());
        let (root, fallback) = (None, None);
        Options { upstreams, root, index, split_path, fallback, passing, keep_connections: true, upstream }
    }
}

/// The apps that the upstreams may hand requests to.
pub(super) fn links(options: &Options) -> Vec<AppLink> {
    hand_off::links(&options.upstream.hand_off)
}

fn index_php() -> String {
    "index.php".to_owned()
}

fn dot_php() -> Vec<String> {
    vec![".php".to_owned()]
}

/// The upstreams as an app.
struct Fast {
    gateway: Gateway,
    name: Arc<str>,
    keep: bool,
    site: Option<Site>,
}

/// Creates the app; connects to nothing yet.
pub(super) fn build(options: Options, table: &Table, builder: &mut Builder<'_>) -> Result<App> {
    let mut errors = Vec::new();
    let addresses = addresses(table, &options.upstreams, Address::socket, &mut errors);
    check_variables(table, "params", &options.passing.params, &mut errors);
    if options.index.contains('/') || options.index.is_empty() {
        let error = table.error("index", format!("`{}` is not a plain file name", options.index));
        errors.push(error.help("write a name such as `index.php`"));
    }
    for (place, ending) in options.split_path.iter().enumerate() {
        if ending.len() < 2 || !ending.starts_with('.') || ending.contains('/') {
            let error =
                table.error(item("split_path", place), format!("`{ending}` is not a file name ending"));
            errors.push(error.help("write one such as `.php`"));
        }
    }
    if let Some(script) = options.fallback.as_ref().filter(|script| !script.starts_with('/')) {
        let error = table.error("fallback", format!("`{script}` is not a path of the site"));
        errors.push(error.help("write one such as `/index.php`"));
    }
    if options.root.is_none() && options.fallback.is_some() {
        errors.push(table.error("fallback", "`fallback` has no effect without `root`"));
    }
    let hand_off = options.upstream.check(table, addresses.len(), builder, &mut errors);
    let mut site = None;
    if let Some(root) = options.root {
        match static_files::build(static_files::Options::new(root.clone()), table, builder) {
            Ok(files) => {
                let endings = options.split_path.iter().map(|ending| ending.to_ascii_lowercase()).collect();
                let (index, fallback) = (options.index, options.fallback);
                site = Some(Site { root: root.to_path_buf(), index, endings, fallback, files });
            }
            Err(found) => errors.extend(found.into_iter().map(|error| error.at(table.origin("root")))),
        }
    }
    Errors::check(errors)?;
    let mut upstream = options.upstream;
    if !options.keep_connections {
        upstream.pool.max_idle = 0;
    }
    let group = Group::new(table.name(), addresses, upstream, None, builder.context.development);
    let fast = Arc::new(Fast {
        gateway: Gateway {
            group: Arc::new(group),
            hand_off,
            spool_limit: options.passing.spool_limit_bytes,
            variables: options.passing.params,
        },
        name: table.name().into(),
        keep: options.keep_connections,
        site,
    });
    if !builder.context.checking {
        start_probes(&fast, builder.context);
    }
    Ok(App::from_call(move |request| {
        let fast = fast.clone();
        Box::pin(async move { fast.answer(request).await })
    }))
}

impl Fast {
    async fn answer(&self, request: Request) -> Result<Response, BoxError> {
        if let Some(site) = &self.site {
            match site.find(request.uri().path()) {
                SitePath::Script { .. } => {}
                SitePath::File => return site.files.handle(request).await,
                SitePath::Nothing => {
                    return Ok(text_response(StatusCode::NOT_FOUND, "There is no such page.\n"));
                }
            }
        }
        self.gateway.answer(self, request).await
    }

    /// The parameters of a request, encoded.
    fn pairs(&self, parts: &Parts, mut variables: Variables) -> Result<Vec<u8>, BoxError> {
        // php-fpm refuses requests without it, because it shows that a web server sent them.
        if variables.get("REDIRECT_STATUS").is_none() {
            variables.push("REDIRECT_STATUS", "200");
        }
        if let Some(site) = &self.site {
            let SitePath::Script { name, info } = site.find(parts.uri.path()) else {
                return Err("a local redirect to a path that is not a script".into());
            };
            use std::os::unix::ffi::OsStrExt;
            let mount = parts.extensions.get::<Environ>().map(|environ| environ.script_name.clone());
            let mount = mount.unwrap_or_default();
            let mut set = |key: &str, value: &[u8]| {
                if !self.gateway.variables.contains_key(key) {
                    variables.set(key, value);
                }
            };
            let script = format!("{mount}{name}");
            set("SCRIPT_NAME", script.as_bytes());
            set("PATH_INFO", info.as_bytes());
            set("SCRIPT_FILENAME", site.file(&name).as_os_str().as_bytes());
            set("DOCUMENT_ROOT", site.root().as_os_str().as_bytes());
            set("DOCUMENT_URI", format!("{script}{info}").as_bytes());
            if !info.is_empty() {
                set("PATH_TRANSLATED", site.file(&info).as_os_str().as_bytes());
            }
        }
        encode_pairs(&variables).map_err(Into::into)
    }
}

impl GatewayProtocol for Fast {
    type Protocol = Fastcgi;

    async fn send(
        &self,
        gateway: &Gateway,
        parts: &Parts,
        variables: Variables,
        body: Body,
    ) -> Result<(UpstreamExchange<Fastcgi>, ResponseHead), UpstreamFailure> {
        let pairs = self.pairs(parts, variables).map_err(UpstreamFailure::Client)?;
        gateway.send(parts, body, |_, out| Fastcgi::begin(&self.name, &pairs, self.keep, out)).await
    }
}

impl ProbeUpstreams for Fast {
    fn group(&self) -> &Arc<Group> {
        &self.gateway.group
    }

    /// For a site, the probe requests the script that the path names.
    async fn probe(&self, member: &Arc<Member>, parts: Parts) -> Result<(), String> {
        let pairs = self.pairs(&parts, self.gateway.probe_variables(&parts));
        let pairs = pairs.map_err(|error| error.to_string())?;
        send_probe(&self.gateway.group, member, |out, _| Fastcgi::begin(&self.name, &pairs, false, out)).await
    }
}
