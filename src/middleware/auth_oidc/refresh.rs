//! New claims for a session: asked for once, however many requests of a page need them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use super::session::OidcSession;

/// How long requests may come with the old cookie.
const KEPT: Duration = Duration::from_secs(60);

type SharedRefresh = Arc<OnceCell<Option<OidcSession>>>;

/// The answers of the last minute, by the digest of the refresh token. Providers accept each token once, and
/// may end the session of a client that sends one twice.
#[derive(Default)]
pub(super) struct Refreshes(Mutex<HashMap<[u8; 32], (SharedRefresh, Instant)>>);

impl Refreshes {
    /// What `ask` returns for the session; one request asks, the others wait for it.
    pub(super) async fn once<F>(&self, session: &OidcSession, ask: impl FnOnce() -> F) -> Option<OidcSession>
    where
        F: Future<Output = Option<OidcSession>>,
    {
        let token = session.refresh.as_ref().map_or("", |refresh| refresh.token.as_str());
        let shared = {
            let mut known = self.0.lock();
            known.retain(|_, (_, since)| since.elapsed() < KEPT);
            let now = Instant::now();
            known
                .entry(Sha256::digest(token).into())
                .or_insert_with(|| (SharedRefresh::default(), now))
                .0
                .clone()
        };
        shared.get_or_init(ask).await.clone()
    }
}
