//! PostgreSQL.
//!
//! A separate thread drives the connections, so that any other thread can wait for them.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

use rusqlite::ToSql;
use tokio::runtime::Handle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::types;
use tokio_postgres::{Client, Config, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::encoding::Parameter;
use super::waiting::wait;
use super::{DatabaseConnection, Result, dialect};
use crate::store::{StoreError, search};
use crate::tls_client::tls_config;

/// Maximum time for connecting.
const CONNECT: Duration = Duration::from_secs(5);
/// Maximum time for a statement. After that, the connection counts as lost.
const STATEMENT: Duration = Duration::from_secs(60);
/// How many statements a connection remembers.
const STATEMENTS: usize = 500;

/// How many rows of a large table are in memory.
const ROWS: usize = 200;

/// The table with the numbers of the migrations.
pub(super) const VERSION_TABLE: &str = "create table if not exists schema_version (version bigint not null);";

/// Removes replaced rows from the files.
pub(super) const VACUUM: &str =
    "vacuum operations, snapshots, publications, runs, threads, comments, notices";

/// A change that was acknowledged must survive a crash of the machine. A server that stops in the middle of a change must not
/// hold up the others.
const SETTINGS: &str = "set synchronous_commit = on; set lock_timeout = '15s'; \
    set idle_in_transaction_session_timeout = '30s'; set client_min_messages = 'warning';";

/// The advisory lock that a process holds while it makes changes.
const LOCK: &str = "7361746573";

/// Names are compared without regard to upper and lower case, as SQLite does.
const NOCASE: &str = "do $$ begin if not exists (select from pg_collation where collname = 'nocase' \
    and collnamespace = current_schema()::regnamespace) then \
    create collation nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false); end if; end $$;";

/// A migration, translated for PostgreSQL.
pub(super) fn migration(sql: &str) -> Cow<'_, str> {
    match sql {
        search::sqlite::TABLES => search::postgres::TABLES.into(),
        sql if sql.contains("collate nocase") => format!("{NOCASE}\n{}", dialect::migration(sql)).into(),
        sql => dialect::migration(sql).into(),
    }
}

/// The address of a server.
pub struct PostgresAddress {
    config: Config,
    tls: MakeRustlsConnect,
}

impl PostgresAddress {
    /// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE`.
    pub(super) fn parse(url: &str, ca_file: Option<&Path>) -> Result<PostgresAddress, StoreError> {
        let help = "write `postgres://USER:PASSWORD@HOST:PORT/DATABASE`";
        let mode = TlsMode::of(url);
        // The cause is not shown: it may repeat the password.
        let mut config = Config::from_str(&mode.replaced(url))
            .map_err(|_| StoreError(format!("the address of the database is not valid: {help}")))?;
        if config.get_hosts().is_empty() {
            return Err(StoreError(format!("the address of the database names no host: {help}")));
        }
        config.connect_timeout(CONNECT).tcp_user_timeout(Duration::from_secs(15));
        config.keepalives_idle(Duration::from_secs(15)).keepalives_interval(Duration::from_secs(5));
        if config.get_application_name().is_none() {
            config.application_name("paster notebook");
        }
        config.ssl_mode(mode.for_hosts(config.get_hosts(), ca_file.is_some()).map_err(StoreError)?);
        let tls = MakeRustlsConnect::new(client_tls(ca_file)?);
        Ok(PostgresAddress { config, tls })
    }

    /// Without the password.
    pub(super) fn name(&self) -> String {
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let hosts: Vec<String> = hosts.collect();
        format!(
            "PostgreSQL on {}, database `{}`",
            hosts.join(", "),
            self.config.get_dbname().unwrap_or("postgres")
        )
    }

    pub(super) fn connect(&self) -> Result<DatabaseConnection, StoreError> {
        let failed =
            |error: &dyn std::fmt::Display| StoreError(format!("cannot connect to {}: {error}", self.name()));
        let runtime = runtime().map_err(|error| failed(&error))?;
        let (config, tls) = (self.config.clone(), self.tls.clone());
        let connecting = runtime.spawn(async move {
            let (client, connection) = config.connect(tls).await?;
            // Ends with the client, or when the server is gone.
            tokio::spawn(connection);
            Ok::<Client, tokio_postgres::Error>(client)
        });
        let client = match wait(connecting, CONNECT * 2) {
            Some(Ok(Ok(client))) => client,
            Some(Ok(Err(error))) => return Err(failed(&with_help(message(&error)))),
            Some(Err(error)) => return Err(failed(&error)),
            None => return Err(failed(&"it does not respond")),
        };
        let session = PostgresSession { client, statements: RefCell::default(), lost: Cell::new(false) };
        session.batch(SETTINGS)?;
        let connection = DatabaseConnection::Postgres(session);
        let encoding: String =
            connection.query_row("select current_setting('server_encoding')", [], |row| row.get(0))?;
        if encoding != "UTF8" {
            return Err(failed(&format!("its encoding is {encoding}, it must be UTF8")));
        }
        Ok(connection)
    }
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
            Some("disable") if has_ca_file => {
                Err("`sslmode=disable` in the address of the database contradicts `database_ca_file`: remove one of them"
                    .to_owned())
            }
            Some("disable") => Ok(SslMode::Disable),
            Some(mode @ ("prefer" | "allow")) => Err(format!(
                "`sslmode={mode}` in the address of the database could connect without TLS: write `sslmode=verify-full`, or \
                 `sslmode=disable` in a network that you trust"
            )),
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

fn client_tls(ca_file: Option<&Path>) -> Result<rustls::ClientConfig, StoreError> {
    tls_config(ca_file).map_err(|why| {
        let file = ca_file.unwrap_or(Path::new("")).display();
        StoreError(format!("cannot read the certificates `{file}`: {why}"))
    })
}

/// The runtime that drives all connections of the process.
fn runtime() -> Result<&'static Handle, String> {
    static RUNTIME: OnceLock<std::io::Result<Handle>> = OnceLock::new();
    let start = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new().name("notebook-postgres".to_owned());
        thread.spawn(move || runtime.block_on(std::future::pending::<()>()))?;
        Ok(handle)
    };
    RUNTIME.get_or_init(start).as_ref().map_err(ToString::to_string)
}

/// A connection with its prepared statements.
pub(in crate::store) struct PostgresSession {
    client: Client,
    statements: RefCell<HashMap<String, Statement>>,
    lost: Cell<bool>,
}

impl PostgresSession {
    pub(super) fn is_lost(&self) -> bool {
        self.lost.get() || self.client.is_closed()
    }

    fn finish<T>(&self, future: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T> {
        let done = wait(future, STATEMENT).map(|done| {
            done.map_err(|error| {
                // The server is shutting down, and closes the connection next.
                if error.code().is_some_and(|code| code.code().starts_with("57P")) {
                    self.lost.set(true);
                }
                failed(&error)
            })
        });
        done.unwrap_or_else(|| {
            // A late response could be taken for that of another statement.
            self.lost.set(true);
            Err(foreign(format!("PostgreSQL did not respond within {} s", STATEMENT.as_secs())))
        })
    }

    pub(super) fn batch(&self, sql: &str) -> Result<()> {
        self.finish(self.client.batch_execute(sql))
    }

    pub(super) fn prepare(&self, sql: &str) -> Result<Statement> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.finish(self.client.prepare(&dialect::statement(sql)))?;
        let mut statements = self.statements.borrow_mut();
        if statements.len() >= STATEMENTS {
            statements.clear();
        }
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    pub(super) fn execute(&self, statement: &Statement, params: &[&dyn ToSql]) -> Result<usize> {
        let values = parameters(params)?;
        let changed = self.finish(self.client.execute(statement, &references(&values)))?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    pub(super) fn query(&self, statement: &Statement, params: &[&dyn ToSql]) -> Result<Vec<Row>> {
        let values = parameters(params)?;
        self.finish(self.client.query(statement, &references(&values)))
    }

    /// Calls `each` with each row of a query. Only a part of the rows is in memory. Requires a transaction.
    pub(super) fn each(&self, sql: &str, mut each: impl FnMut(&Row) -> Result<()>) -> Result<()> {
        self.batch(&format!("declare rows no scroll cursor for {}", dialect::statement(sql)))?;
        // Not remembered, because its columns differ each time.
        let fetch = self.finish(self.client.prepare(&format!("fetch {ROWS} from rows")))?;
        loop {
            let rows = self.query(&fetch, &[])?;
            rows.iter().try_for_each(&mut each)?;
            if rows.is_empty() {
                return self.batch("close rows");
            }
        }
    }

    /// Begins a transaction.
    pub(super) fn begin(&self) -> Result<()> {
        // The changes of all servers are made one after the other, as with SQLite.
        let begun = self.batch(&format!("begin; select pg_advisory_xact_lock({LOCK})"));
        begun.inspect_err(|_| {
            if !self.is_lost() {
                let _ = self.batch("rollback");
            }
        })
    }
}

fn parameters<'a>(params: &'a [&dyn ToSql]) -> Result<Vec<Parameter<'a>>> {
    params.iter().map(|value| value.to_sql().map(Parameter)).collect()
}

fn references<'a>(values: &'a [Parameter<'a>]) -> Vec<&'a (dyn types::ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn types::ToSql + Sync)).collect()
}

/// The error message of the server or of the connection.
fn message(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            text
        }
    }
}

/// How to mend a certificate that is refused, after the message about it.
fn with_help(message: String) -> String {
    if message.contains("invalid peer certificate") {
        return format!(
            "{message}; check the host name in `database` and the authority in `database_ca_file`"
        );
    }
    message
}

/// Converts an error of PostgreSQL to one of `rusqlite`.
pub(super) fn failed(error: &tokio_postgres::Error) -> rusqlite::Error {
    if error.is_closed() {
        return foreign("the connection to PostgreSQL was lost: try again".to_owned());
    }
    foreign(format!("PostgreSQL: {}", message(error)))
}

fn foreign(message: String) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(message.into())
}
