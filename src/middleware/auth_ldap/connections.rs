//! Connections to the servers of a directory, kept for the next login.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::login::DirectoryError;

/// How long a connection is kept. Servers close idle ones, often after minutes.
const IDLE: Duration = Duration::from_secs(60);
/// How long one server may take to accept a connection if there are others.
const CONNECT: Duration = Duration::from_secs(3);

/// A server of the directory.
pub(super) struct DirectoryServer {
    pub(super) url: String,
    pub(super) settings: LdapConnSettings,
}

/// What a connection is for: each bind changes whose rights it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionUse {
    /// Searches, with the rights of the service account.
    Search,
    /// Checks of passwords.
    Check,
}

/// The connections to a directory.
pub(super) struct Connections {
    servers: Vec<DirectoryServer>,
    /// DN and password of the service account.
    service: Option<(String, String)>,
    /// The server that answered last.
    current: AtomicUsize,
    slots: Semaphore,
    idle: [Mutex<Vec<(Ldap, Instant)>>; 2],
}

impl Connections {
    pub(super) fn new(
        servers: Vec<DirectoryServer>,
        service: Option<(String, String)>,
        limit: usize,
    ) -> Connections {
        let (current, slots) = (AtomicUsize::new(0), Semaphore::new(limit));
        Connections { servers, service, current, slots, idle: Default::default() }
    }

    /// The right to check a login, which is what limits the number of connections.
    pub(super) async fn slot(&self) -> Result<SemaphorePermit<'_>, DirectoryError> {
        self.slots.acquire().await.map_err(|_| DirectoryError::Away("the server is stopping".into()))
    }

    /// A connection that was kept, or a new one; `true`: it was kept, so the server may have closed it.
    /// # Errors
    /// If no server accepts a connection, or the service account is not accepted.
    pub(super) async fn take(&self, purpose: ConnectionUse) -> Result<(Ldap, bool), DirectoryError> {
        loop {
            let kept = self.idle[purpose as usize].lock().pop();
            let Some((mut ldap, since)) = kept else { return Ok((self.connect(purpose).await?, false)) };
            if since.elapsed() < IDLE && !ldap.is_closed() {
                return Ok((ldap, true));
            }
        }
    }

    /// Keeps a connection on which the last operation succeeded.
    pub(super) fn keep(&self, purpose: ConnectionUse, ldap: Ldap) {
        self.idle[purpose as usize].lock().push((ldap, Instant::now()));
    }

    /// A new connection to the server that answered last, or to the next one that answers.
    pub(super) async fn connect(&self, purpose: ConnectionUse) -> Result<Ldap, DirectoryError> {
        let first = self.current.load(Relaxed);
        let mut faults = Vec::new();
        for index in (0..self.servers.len()).map(|turn| (first + turn) % self.servers.len()) {
            let DirectoryServer { url, settings } = &self.servers[index];
            let mut settings = settings.clone();
            if self.servers.len() > 1 {
                settings = settings.set_conn_timeout(CONNECT);
            }
            match LdapConnAsync::with_settings(settings, url).await {
                Ok((connection, ldap)) => {
                    let url = url.clone();
                    tokio::spawn(async move {
                        if let Err(error) = connection.drive().await {
                            tracing::debug!(url, "the connection to the directory has ended: {error}");
                        }
                    });
                    self.current.store(index, Relaxed);
                    return self.prepare(purpose, ldap).await;
                }
                Err(error) => faults.push(format!("{url}: {error}")),
            }
        }
        Err(DirectoryError::Away(faults.join("; ")))
    }

    async fn prepare(&self, purpose: ConnectionUse, mut ldap: Ldap) -> Result<Ldap, DirectoryError> {
        if let (ConnectionUse::Search, Some((dn, password))) = (purpose, &self.service) {
            let result = ldap.simple_bind(dn, password).await?;
            result.success().map_err(|cause| DirectoryError::Service(cause.to_string()))?;
        }
        Ok(ldap)
    }
}
