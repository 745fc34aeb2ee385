//! `postgres`: a pool of connections to a PostgreSQL database.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::OnceCell;
use tokio_postgres::Row;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Resource;
use super::time::{from_millis, to_signed_millis, within};
use crate::config::{ReadPath, Table};
use crate::context::Context;
use crate::error::{Error, Errors, Result};
use crate::store::{Store, StoreError, StoreFuture, Stored};

/// Options of a `[resource.NAME]` table with `use = "postgres"`.
///
/// Values are stored in the table `paster_store`, which is created if the user has the permission. While the server is
/// unreachable, operations fail at once. They succeed again as soon as it is back.
///
/// ```toml
/// [resource.db]
/// use = "postgres"
/// url = "postgres://paster:${DB_PASSWORD}@db.example.org/paster"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Its address: `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or
    /// `postgres:///DATABASE?host=/run/postgresql&user=USER` for a Unix socket. TLS is required for other machines and with
    /// `ca_file`, unless the address contains `sslmode=disable`. The certificate and the host name are always verified
    /// (`sslmode=verify-full`).
    url: String,
    /// File with the certificates (PEM) of the authorities that may sign the server's certificate. Default: the public
    /// ones.
    ca_file: Option<ReadPath>,
    /// Maximum number of connections of each worker.
    #[serde(default = "four")]
    pool: NonZeroU32,
    /// Maximum time for an operation, including a new connection.
    #[serde(default = "five")]
    timeout_secs: NonZeroU32,
}

fn four() -> NonZeroU32 {
    const { NonZeroU32::new(4).unwrap() }
}

fn five() -> NonZeroU32 {
    const { NonZeroU32::new(5).unwrap() }
}

/// Two workers that create the table at the same time would be in each other's way.
const CREATE: &str = "BEGIN; SELECT pg_advisory_xact_lock(7361746572); CREATE TABLE IF NOT EXISTS paster_store (\
    key text PRIMARY KEY, value bytea NOT NULL, version bigint NOT NULL, expires bigint NOT NULL); \
    CREATE INDEX IF NOT EXISTS paster_store_expires ON paster_store (expires); COMMIT";

/// Checks the options; connects to nothing.
pub(super) fn build(options: Options, table: &Table, _: &Context) -> Result<Resource> {
    let mut errors = Vec::new();
    let mode = TlsMode::of(&options.url);
    let config = match tokio_postgres::Config::from_str(&mode.replaced(&options.url)) {
        Ok(config) if !config.get_hosts().is_empty() => Some(config),
        other => {
            // The cause is not shown: it may repeat the password.
            let why = if other.is_ok() { "does not name a host" } else { "is not valid" };
            let error = table.error("url", format!("the address of the database {why}"));
            errors.push(error.help("write `postgres://USER:PASSWORD@HOST:PORT/DATABASE`"));
            None
        }
    };
    let hosts = config.as_ref().map_or(&[][..], tokio_postgres::Config::get_hosts);
    let ssl_mode = mode.for_hosts(hosts, options.ca_file.is_some()).unwrap_or_else(|why| {
        let error = table.error("url", why);
        errors.push(
            error.help("write `sslmode=verify-full`, or `sslmode=disable` in a network that you trust"),
        );
        SslMode::Require
    });
    let tls = super::tls::client(options.ca_file.as_deref(), table).map_err(|error| errors.push(error)).ok();
    Errors::check(errors)?;
    let (Some(mut config), Some(tls)) = (config, tls) else { unreachable!("checked above") };
    let timeout = Duration::from_secs(options.timeout_secs.get().into());
    config.connect_timeout(timeout);
    if config.get_application_name().is_none() {
        config.application_name("paster");
    }
    config.ssl_mode(ssl_mode);
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(config, MakeRustlsConnect::new(tls), recycling);
    let pool = Pool::builder(manager).max_size(options.pool.get() as usize).runtime(Runtime::Tokio1).build();
    let pool = pool.map_err(|cause| Error::new("cannot create a connection pool").because(cause))?;
    let state = PostgresState { pool, timeout, prepared: OnceCell::new() };
    Ok(Resource { store: Arc::new(PostgresStore(Arc::new(state))), url: Some(options.url) })
}

/// The `sslmode` of an address.
struct TlsMode<'a>(Option<&'a str>);

impl TlsMode<'_> {
    fn of(url: &str) -> TlsMode<'_> {
        let value = url.split_once("sslmode=").map(|(_, rest)| rest);
        TlsMode(value.map(|value| value.split(['&', ' ', '#']).next().unwrap_or_default()))
    }

    /// The address with a mode that the driver knows. It always checks the certificate and the host name.
    fn replaced(&self, url: &str) -> String {
        match self.0 {
            Some(mode @ ("verify-full" | "verify-ca" | "allow")) => {
                url.replacen(&format!("sslmode={mode}"), "sslmode=require", 1)
            }
            _ => url.to_owned(),
        }
    }

    /// The mode for these hosts. A connection without TLS must be explicit.
    /// # Errors
    /// If the mode could silently connect without TLS.
    fn for_hosts(&self, hosts: &[Host], has_ca_file: bool) -> Result<SslMode, String> {
        // A Unix socket has no TLS.
        if hosts.iter().all(|host| matches!(host, Host::Unix(_))) {
            return Ok(SslMode::Disable);
        }
        match self.0 {
            None if !has_ca_file && hosts.iter().all(is_local) => Ok(SslMode::Disable),
            Some("disable") if has_ca_file => Err("`sslmode=disable` contradicts `ca_file`".to_owned()),
            Some("disable") => Ok(SslMode::Disable),
            Some(mode @ ("prefer" | "allow")) => Err(format!("`sslmode={mode}` could connect without TLS")),
            _ => Ok(SslMode::Require),
        }
    }
}

/// Whether the host is this machine.
fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
    }
}

#[derive(Clone)]
struct PostgresStore(Arc<PostgresState>);

struct PostgresState {
    pool: Pool,
    timeout: Duration,
    /// Set once the table is known to exist.
    prepared: OnceCell<()>,
}

/// The message of the server, or of the connection.
fn unavailable(error: &(dyn std::error::Error + 'static)) -> StoreError {
    StoreError::Unavailable(format!("PostgreSQL: {}", crate::error::chain(error)))
}

impl PostgresState {
    async fn connection(&self) -> Result<Object, StoreError> {
        self.pool.get().await.map_err(|error: PoolError| unavailable(&error))
    }

    /// Runs a statement; once more on another connection if this one was lost. (A version that was saved twice is a
    /// conflict to the caller, who then reads it again.)
    async fn query(&self, sql: &'static str, values: Values) -> Result<Vec<Row>, StoreError> {
        within(self.timeout, async {
            // Every connection of the pool may have been lost.
            for _ in 0..=self.pool.status().max_size {
                let connection = self.connection().await?;
                match self.prepared.get_or_try_init(|| create_table(&connection)).await {
                    Err(_) if connection.is_closed() => continue,
                    prepared => prepared.map_err(|error| unavailable(&error))?,
                };
                match query(&connection, sql, &values).await {
                    Err(error) if error.is_closed() || connection.is_closed() => continue,
                    done => return done.map_err(|error| unavailable(&error)),
                }
            }
            Err(StoreError::Unavailable("PostgreSQL: the connection was lost".to_owned()))
        })
        .await
    }
}

/// The values of a statement.
type Values = Vec<Box<dyn ToSql + Sync + Send>>;

/// Creates the table of values, if there is none.
async fn create_table(connection: &Object) -> Result<(), tokio_postgres::Error> {
    let found = connection.query_one("SELECT to_regclass('paster_store') IS NOT NULL", &[]).await?;
    if found.try_get(0)? { Ok(()) } else { connection.batch_execute(CREATE).await }
}

async fn query(connection: &Object, sql: &str, values: &Values) -> Result<Vec<Row>, tokio_postgres::Error> {
    let statement = connection.prepare_cached(sql).await?;
    let values: Vec<_> = values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
    connection.query(&statement, &values).await
}

/// The value of a column.
fn get<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, StoreError> {
    row.try_get(column).map_err(|error| unavailable(&error))
}

impl Store for PostgresStore {
    fn load(&self, key: &str) -> StoreFuture<Option<Stored>> {
        let (state, key) = (self.0.clone(), key.to_owned());
        Box::pin(async move {
            let sql = "SELECT value, version, expires FROM paster_store WHERE key = $1 AND expires > $2";
            let now = to_signed_millis(SystemTime::now());
            let rows = state.query(sql, vec![Box::new(key), Box::new(now)]).await?;
            let Some(row) = rows.first() else { return Ok(None) };
            let (version, expires): (i64, i64) = (get(row, 1)?, get(row, 2)?);
            Ok(Some(Stored {
                value: get(row, 0)?,
                version: version.unsigned_abs(),
                expires: from_millis(expires.unsigned_abs()),
            }))
        })
    }

    fn save(
        &self,
        key: &str,
        value: Vec<u8>,
        expires: SystemTime,
        over: Option<u64>,
    ) -> StoreFuture<Option<u64>> {
        let (state, key) = (self.0.clone(), key.to_owned());
        Box::pin(async move {
            let (now, expires) = (to_signed_millis(SystemTime::now()), to_signed_millis(expires));
            let mut values: Values = vec![Box::new(key), Box::new(value), Box::new(expires), Box::new(now)];
            let sql = match over {
                Some(over) => {
                    values.push(Box::new(over.cast_signed()));
                    "UPDATE paster_store SET value = $2, version = version + 1, expires = $3 \
                     WHERE key = $1 AND version = $5 AND expires > $4 RETURNING version"
                }
                None => {
                    "INSERT INTO paster_store AS old VALUES ($1, $2, 1, $3) ON CONFLICT (key) DO UPDATE \
                     SET value = $2, version = 1, expires = $3 WHERE old.expires <= $4 RETURNING version"
                }
            };
            let rows = state.query(sql, values).await?;
            rows.first().map(|row| get::<i64>(row, 0).map(i64::unsigned_abs)).transpose()
        })
    }

    fn remove(&self, key: &str) -> StoreFuture<()> {
        let (state, key) = (self.0.clone(), key.to_owned());
        Box::pin(async move {
            let sql = "DELETE FROM paster_store WHERE key = $1";
            state.query(sql, vec![Box::new(key)]).await.map(drop)
        })
    }

    fn sweep(&self) -> StoreFuture<u64> {
        let state = self.0.clone();
        Box::pin(async move {
            let sql = "DELETE FROM paster_store WHERE expires <= $1 RETURNING 1";
            let now = to_signed_millis(SystemTime::now());
            Ok(state.query(sql, vec![Box::new(now)]).await?.len() as u64)
        })
    }

    fn probe(&self) -> StoreFuture<String> {
        let state = self.0.clone();
        Box::pin(async move {
            within(state.timeout, async {
                let connection = state.connection().await?;
                let row = connection.query_one("SHOW server_version", &[]).await;
                let version: Result<String, _> = row.and_then(|row| row.try_get(0));
                version.map(|version| format!("PostgreSQL {version}")).map_err(|error| unavailable(&error))
            })
            .await
        })
    }
}
