//! `redis`: connects to Redis or Valkey. One connection per worker carries the commands of all requests at once.

mod responses;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, FromRedisValue, IntoConnectionInfo, RedisError, TlsCertificates};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Resource;
use super::time::{from_millis, to_millis, within};
use crate::config::{ReadPath, Table};
use crate::context::Context;
use crate::error::Result;
use crate::store::{Counted, Rate, ResponseStore, Store, StoreError, StoreFuture, Stored};

/// Options of a `[resource.NAME]` table with `use = "redis"`.
///
/// Needs Redis 6 or later, or Valkey. While the server is unreachable, operations fail at once. They succeed again as soon as
/// it is back.
///
/// ```toml
/// [resource.cache]
/// use = "redis"
/// url = "rediss://:${REDIS_PASSWORD}@cache.example.org/0"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Its address: `redis://HOST:PORT/DATABASE`, `rediss://…` for TLS, `redis+unix:///run/redis.sock`; with a password,
    /// `redis://:PASSWORD@HOST`.
    url: String,
    /// File with the certificates (PEM) of the authorities that may sign the server's certificate. Default: the public
    /// ones and those of the system.
    ca_file: Option<ReadPath>,
    /// The prefix of all keys, so that several servers can share a database.
    #[serde(default = "paster")]
    prefix: String,
    /// Maximum time for a command, including the connection.
    #[serde(default = "two")]
    timeout_secs: std::num::NonZeroU32,
}

fn paster() -> String {
    "paster:".into()
}

fn two() -> std::num::NonZeroU32 {
    const { std::num::NonZeroU32::new(2).unwrap() }
}

/// How soon a lost connection is tried again.
const RECONNECT: Duration = Duration::from_millis(50);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Writes a value if its version is the expected one. A value is a hash: version, data, end in milliseconds.
const SAVE: &str = r"
local version = redis.call('HGET', KEYS[1], 'v')
if (version or '') ~= ARGV[1] then return false end
local next = (tonumber(version) or 0) + 1
redis.call('HSET', KEYS[1], 'v', next, 'd', ARGV[2], 'e', ARGV[3])
redis.call('PEXPIREAT', KEYS[1], ARGV[3])
return next";

/// The generic cell rate algorithm in microseconds, by the server's clock.
const COUNT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local step, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now) + step
local early = arrival - step * burst - now
if early > 0 then return {0, math.ceil(early)} end
redis.call('SET', KEYS[1], string.format('%.0f', arrival), 'PX', math.ceil((arrival - now) / 1000))
return {1, math.floor(-early / step)}";

/// Checks the options; connects to nothing.
pub(super) fn build(options: Options, table: &Table, _: &Context) -> Result<Resource> {
    let help = "write `redis://HOST:PORT/DATABASE`, `rediss://…` or `redis+unix:///PATH`";
    let wrong = |cause: RedisError| {
        // The cause does not repeat the address, which may contain a password.
        table.error("url", "the address of the Redis server is not valid").because(cause).help(help)
    };
    let info = options.url.as_str().into_connection_info().map_err(wrong)?;
    let client = match &options.ca_file {
        None => Client::open(info).map_err(wrong)?,
        Some(path) => {
            let pem = super::tls::read(path, table)?;
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem) };
            let unused = |cause: RedisError| {
                let error = table.error("ca_file", "the certificates cannot be used");
                error.because(cause).help("`ca_file` needs an address that begins with `rediss://`")
            };
            Client::build_with_tls(info, certificates).map_err(unused)?
        }
    };
    let store = RedisStore(Arc::new(RedisState {
        client,
        manager: OnceLock::new(),
        prefix: options.prefix,
        timeout: Duration::from_secs(options.timeout_secs.get().into()),
    }));
    Ok(Resource { store: Arc::new(store), url: Some(options.url) })
}

#[derive(Clone)]
struct RedisStore(Arc<RedisState>);

struct RedisState {
    client: Client,
    manager: OnceLock<ConnectionManager>,
    prefix: String,
    timeout: Duration,
}

impl RedisState {
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The connection; it is made when the first command is sent.
    fn connection(&self) -> Result<ConnectionManager, RedisError> {
        if let Some(manager) = self.manager.get() {
            return Ok(manager.clone());
        }
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_min_delay(RECONNECT)
            .set_max_delay(LONGEST_PAUSE)
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let made = ConnectionManager::new_lazy_with_config(self.client.clone(), config)?;
        Ok(self.manager.get_or_init(|| made).clone())
    }

    /// Sends a command; once more if the connection was lost. (A version that was saved twice is a conflict to the
    /// caller, who then reads it again.)
    async fn ask<T: FromRedisValue>(&self, command: Cmd) -> Result<T, StoreError> {
        let failed = |error: RedisError| StoreError::Unavailable(format!("Redis: {error}"));
        within(self.timeout, async {
            let mut connection = self.connection().map_err(failed)?;
            match command.query_async(&mut connection).await {
                Err(error) if error.is_connection_dropped() => {
                    command.query_async(&mut connection).await.map_err(failed)
                }
                answer => answer.map_err(failed),
            }
        })
        .await
    }
}

/// A call of a script for one key. The server keeps scripts that it has seen.
fn call(script: &str, key: &str) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(script).arg(1).arg(key);
    command
}

impl Store for RedisStore {
    fn load(&self, key: &str) -> StoreFuture<Option<Stored>> {
        let (state, key) = (self.0.clone(), self.0.key(key));
        Box::pin(async move {
            let mut command = redis::cmd("HMGET");
            command.arg(&key).arg(&["v", "d", "e"]);
            let found: (Option<u64>, Option<Vec<u8>>, Option<u64>) = state.ask(command).await?;
            Ok(match found {
                (Some(version), Some(value), Some(expires)) => {
                    Some(Stored { value, version, expires: from_millis(expires) })
                }
                _ => None,
            })
        })
    }

    fn save(
        &self,
        key: &str,
        value: Vec<u8>,
        expires: SystemTime,
        over: Option<u64>,
    ) -> StoreFuture<Option<u64>> {
        let (state, key) = (self.0.clone(), self.0.key(key));
        let over = over.map(|version| version.to_string()).unwrap_or_default();
        Box::pin(async move {
            let mut command = call(SAVE, &key);
            command.arg(over).arg(value).arg(to_millis(expires));
            state.ask(command).await
        })
    }

    fn remove(&self, key: &str) -> StoreFuture<()> {
        let (state, key) = (self.0.clone(), self.0.key(key));
        Box::pin(async move {
            let mut command = redis::cmd("DEL");
            command.arg(&key);
            state.ask(command).await
        })
    }

    fn sweep(&self) -> StoreFuture<u64> {
        Box::pin(std::future::ready(Ok(0))) // Redis does it
    }

    fn count(&self, key: &str, rate: Rate) -> StoreFuture<Counted> {
        let (state, key) = (self.0.clone(), self.0.key(key));
        Box::pin(async move {
            let mut command = call(COUNT, &key);
            let step = u64::try_from(rate.step.as_micros()).unwrap_or(u64::MAX).max(1);
            command.arg(step).arg(rate.burst);
            let (passes, number): (u8, u64) = state.ask(command).await?;
            Ok(match passes {
                1 => Counted::Passes(u32::try_from(number).unwrap_or(u32::MAX)),
                _ => Counted::Early(Duration::from_micros(number)),
            })
        })
    }

    fn counts(&self) -> bool {
        true
    }

    fn responses(&self) -> Option<Arc<dyn ResponseStore>> {
        Some(Arc::new(self.clone()))
    }

    fn probe(&self) -> StoreFuture<String> {
        let state = self.0.clone();
        Box::pin(async move {
            let mut command = redis::cmd("INFO");
            command.arg("server");
            let info: String = state.ask(command).await?;
            let line = |name: &str| info.lines().find_map(|line| line.trim().strip_prefix(name));
            Ok(match (line("valkey_version:"), line("redis_version:")) {
                (Some(version), _) => format!("Valkey {version}"),
                (None, version) => format!("Redis {}", version.unwrap_or("of an unknown version")),
            })
        })
    }
}
