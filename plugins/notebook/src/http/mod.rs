//! The HTTP interface: Jupyter Server's API, the pages, and the documents' WebSocket.

mod admin;
mod admin_delete;
mod apps;
mod assets;
mod channels;
mod comments;
mod config_sections;
mod content;
mod contents;
mod convert;
mod cookies;
mod documents;
mod email;
mod environments;
mod error;
mod errors;
mod events;
mod failures;
mod forms;
mod guard;
mod handover;
mod history;
mod import;
mod kernels;
mod lab;
mod largest;
mod lists;
mod location;
mod login;
mod metrics;
mod outputs;
mod pages;
mod passkeys;
mod percent;
mod personal;
mod plain;
mod profile;
mod published;
mod raw_files;
mod relay;
mod replica;
mod resolve;
mod rights;
mod running;
mod schedule_pages;
mod schedules;
mod second_factor;
mod server_user;
mod sessions;
mod share;
mod signup;
mod spec;
mod status;
mod terminals;
mod trash;
mod view;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{any, get, post, put};

use crate::settings::FrontEnd;
use crate::state::Shared;

pub use location::RequestLocation;
pub(crate) use percent::encode;
pub(crate) use relay::Relay;

/// All routes, behind the guard.
pub fn router(notebook: Shared) -> Router {
    let limit = DefaultBodyLimit::max(notebook.settings.limits.body_bytes);
    let front_end = match notebook.settings.front_end {
        FrontEnd::Paster => Router::new(),
        FrontEnd::Lab => lab::routes(),
    };
    Router::new()
        .merge(front_end)
        .merge(programs())
        .route("/", get(pages::root))
        .route("/tree", get(pages::tree_root))
        .route("/tree/", get(pages::tree_root))
        .route("/tree/{*path}", get(pages::tree))
        .route("/edit/{*path}", get(pages::edit))
        .route("/terminals/{name}", get(pages::terminal))
        .route("/notebooks/{*path}", get(pages::notebook))
        .route("/static/{*path}", get(assets::asset))
        .route("/favicon.ico", get(assets::favicon))
        .route("/login", get(login::form).post(login::submit))
        .merge(passkey_routes())
        .route("/logout", get(login::ask_logout).post(login::logout))
        .route("/signup", get(signup::form).post(signup::submit))
        .route("/account", get(profile::show))
        .route("/account/sessions", post(profile::end_session))
        .route("/account/tokens", post(profile::tokens))
        .route("/account/second-factor", get(second_factor::begin).post(second_factor::change))
        .route("/account/email", post(email::change))
        .route("/confirm", get(email::ask_confirm).post(email::confirm))
        .route("/forgot", get(email::forgot).post(email::send_link))
        .route("/account/password", post(profile::password))
        .route("/admin", get(admin::show))
        .route("/admin/accounts", post(admin::account))
        .route("/admin/delete", get(admin_delete::ask).post(admin_delete::delete))
        .route("/admin/invite", post(admin::invite))
        .route("/admin/groups", post(admin::groups))
        .route("/admin/kernels", post(admin::kernels))
        .route("/admin/errors", post(errors::send_test))
        .route("/share/{*path}", get(share::show).post(share::change))
        .route("/shared", get(share::list).post(share::leave))
        .route("/join", get(share::ask_join).post(share::join))
        .route("/publish/{*path}", post(published::publish))
        .route("/library", get(pages::tree_root))
        .route("/running", get(pages::tree_root))
        .route("/api/running", get(running::list))
        .route("/api/errors", get(errors::list))
        .route("/api/notebooks", get(lists::list))
        .route("/api/notebooks/{*path}", get(lists::show).patch(lists::change))
        .route("/api/import", post(import::import))
        .route("/api/export/{*path}", get(import::export))
        .route("/api/trash", get(trash::list).post(trash::add).delete(trash::empty))
        .route("/api/trash/{id}", post(trash::restore).delete(trash::delete))
        .route("/api/comments/{*path}", get(comments::list).post(comments::change).delete(comments::delete))
        .route("/api/people/{*path}", get(comments::people))
        .route("/inbox", get(pages::tree_root))
        .route("/api/inbox", get(comments::inbox).post(comments::read))
        .route("/handover/{*path}", post(handover::handover))
        .route("/ask/{*path}", get(handover::ask).post(handover::send_request))
        .route("/requests/{*path}", post(handover::answer_request))
        .route("/history/{*path}", get(pages::notebook))
        .route("/api/history/{*path}", get(history::show).post(history::change))
        .route("/api/runs/{*path}", get(history::runs))
        .route("/api/outputs/{*path}", get(outputs::get))
        .route("/app/{*path}", get(pages::app))
        .route("/api/apps/{*path}", get(apps::show))
        .route("/api/app-sessions/{*path}", any(apps::open))
        .route("/api/published-sessions/{slug}", any(apps::open_published))
        .merge(scheduled())
        .route(relay::SERVERS, post(relay::answer))
        .route("/pub/{slug}", get(published::page))
        .route("/api/ratings/{slug}", put(published::rate).delete(published::rate))
        .route("/api/published/{slug}", get(published::content))
        .route("/files/{*path}", get(raw_files::get))
        .route("/api", get(status::version))
        .route("/api/", get(status::version))
        .route("/api/status", get(status::status))
        .route("/api/me", get(status::me))
        .route("/api/kernelspecs", get(kernels::specs))
        .route("/api/kernelspecs/{name}", get(kernels::spec))
        .route("/kernelspecs/{name}/{*file}", get(kernels::resource))
        .route("/api/kernels", get(kernels::list).post(kernels::start))
        .route("/api/kernels/{id}", get(kernels::show).delete(kernels::shutdown))
        .route("/api/kernels/{id}/interrupt", post(kernels::interrupt))
        .route("/api/kernels/{id}/restart", post(kernels::restart))
        .route("/api/kernels/{id}/channels", any(channels::open))
        .route("/api/sessions", get(sessions::list).post(sessions::open))
        .route("/api/sessions/{id}", get(sessions::show).patch(sessions::change).delete(sessions::close))
        .route("/api/contents", get(contents::get_root).post(contents::post_root))
        .route("/api/contents/", get(contents::get_root).post(contents::post_root))
        .route(
            "/api/contents/{*path}",
            get(contents::get)
                .post(contents::post)
                .put(contents::put)
                .patch(contents::patch)
                .delete(contents::delete),
        )
        .route("/api/documents/{*path}", any(documents::open))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(limit)
        .layer(axum::middleware::from_fn(failures::log))
        .layer(axum::middleware::from_fn_with_state(notebook.clone(), replica::bring_up_to_date))
        .layer(axum::middleware::from_fn_with_state(notebook.clone(), relay::relay))
        .layer(axum::middleware::from_fn_with_state(notebook.clone(), guard::guard))
        .with_state(notebook)
}

/// Passkeys.
fn passkey_routes() -> Router<Shared> {
    Router::new()
        .route("/login/passkey", get(passkeys::ask).post(passkeys::log_in))
        .route("/account/passkeys", get(passkeys::begin).post(passkeys::add))
        .route("/account/passkeys/delete", post(passkeys::delete))
}

/// Scheduled runs.
fn scheduled() -> Router<Shared> {
    Router::new()
        .route("/schedules", get(schedule_pages::list))
        .route("/schedules/{*path}", get(schedule_pages::show).post(schedule_pages::change))
        .route("/scheduled-runs/{id}", get(schedules::result_page))
        .route("/api/schedules", get(schedules::list).post(schedules::add))
        .route("/api/schedules/{id}", get(schedules::show).patch(schedules::change).delete(schedules::delete))
        .route("/api/schedules/{id}/run", post(schedules::run_now))
        .route("/api/scheduled-runs/{id}", get(schedules::result))
}

/// The addresses that only programs and other front ends use.
fn programs() -> Router<Shared> {
    Router::new()
        .route("/view/{*path}", get(view::show))
        .route("/nbconvert/{format}/{*path}", get(convert::file))
        .route("/nbconvert/{format}", post(convert::body))
        .route("/api/nbconvert", get(convert::formats))
        .route(
            "/api/config/{section}",
            get(config_sections::get).put(config_sections::put).patch(config_sections::patch),
        )
        .route("/api/terminals", get(terminals::list).post(terminals::open))
        .route("/api/terminals/{name}", get(terminals::show).delete(terminals::close))
        .route("/terminals/websocket/{name}", any(terminals::attach))
        .route("/api/environments", get(environments::list))
        .route("/api/environments/install", post(environments::install))
        .route("/api/events", post(events::publish))
        .route("/api/events/subscribe", any(events::subscribe))
        .route("/api/resolvePath", get(resolve::resolve))
        .route("/api/spec.yaml", get(spec::show))
        .route("/api/security/csp-report", post(spec::blocked))
        .route("/metrics", get(metrics::show))
}
