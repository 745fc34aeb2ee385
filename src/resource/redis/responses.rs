//! The responses of caches in Redis.
//!
//! A hash has the heads of the responses to one URL, by variant. Each body is a separate value that begins with the id in the
//! head, so that a reader detects when a writer has replaced it.

use std::collections::HashMap;

use redis::{Cmd, FromRedisValue, Pipeline, RedisError};

use super::super::time::{to_millis, within};
use super::{RedisState, RedisStore};
use crate::store::{Deletions, NewResponse, ResponseStore, StoreError, StoreFuture, StoredHead};

/// Length of the id at the beginning of a body.
const ID: usize = 32;
/// How long deletions are remembered, in milliseconds: a response takes less to arrive.
const REMEMBERED: u64 = 3_600_000;

/// Stores a head and a body, unless responses were deleted since the request for this one.
const PUT: &str = r"
if (redis.call('GET', KEYS[3]) or '0') ~= ARGV[1] or (redis.call('GET', KEYS[4]) or '0') ~= ARGV[2] then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[2], ARGV[5])
redis.call('PEXPIREAT', KEYS[2], ARGV[6])
redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[6]) - now then redis.call('PEXPIREAT', KEYS[1], ARGV[6]) end
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[7]) then
  for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
    if name ~= ARGV[3] then
      redis.call('HDEL', KEYS[1], name)
      break
    end
  end
end
return 1";

impl RedisState {
    fn heads_key(&self, cache: &str, url: &str) -> String {
        self.key(&format!("cache:heads:{cache}:{url}"))
    }

    fn body_key(&self, cache: &str, url: &str, variant: &str) -> String {
        self.key(&format!("cache:body:{cache}:{url}:{variant}"))
    }

    /// Counts the deletions of one URL, or those that may be of any.
    fn deletions_key(&self, cache: &str, url: Option<&str>) -> String {
        self.key(&format!("cache:deletions:{cache}:{}", url.unwrap_or("all")))
    }

    /// Sends several commands; once more if the connection was lost.
    async fn ask_all<T: FromRedisValue>(&self, commands: Pipeline) -> Result<T, StoreError> {
        let failed = |error: RedisError| StoreError::Unavailable(format!("Redis: {error}"));
        within(self.timeout, async {
            let mut connection = self.connection().map_err(failed)?;
            match commands.query_async(&mut connection).await {
                Err(error) if error.is_connection_dropped() => {
                    commands.query_async(&mut connection).await.map_err(failed)
                }
                answer => answer.map_err(failed),
            }
        })
        .await
    }

    /// A step through all keys that begin with `beginning`.
    fn scan(&self, cursor: u64, beginning: &str) -> Cmd {
        // What a user has chosen may contain what has a meaning in a pattern.
        let mut pattern = String::new();
        for c in beginning.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '^' | '\\') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(pattern + "*").arg("COUNT").arg(1000);
        command
    }
}

impl ResponseStore for RedisStore {
    fn heads(&self, cache: &str, urls: Vec<String>) -> StoreFuture<Vec<Vec<StoredHead>>> {
        let (state, cache) = (self.0.clone(), cache.to_owned());
        Box::pin(async move {
            if urls.is_empty() {
                return Ok(Vec::new());
            }
            let mut commands = redis::pipe();
            for url in &urls {
                commands.cmd("HGETALL").arg(state.heads_key(&cache, url));
            }
            let found: Vec<HashMap<String, Vec<u8>>> = state.ask_all(commands).await?;
            let head = |(variant, head)| StoredHead { variant, head };
            Ok(found.into_iter().map(|one| one.into_iter().map(head).collect()).collect())
        })
    }

    fn body(&self, cache: &str, url: &str, variant: &str, id: &str) -> StoreFuture<Option<Vec<u8>>> {
        let (state, id) = (self.0.clone(), id.to_owned());
        let key = state.body_key(cache, url, variant);
        Box::pin(async move {
            let mut command = redis::cmd("GET");
            command.arg(key);
            let found: Option<Vec<u8>> = state.ask(command).await?;
            Ok(found.and_then(|mut value| {
                value.starts_with(id.as_bytes()).then(|| value.split_off(ID.min(value.len())))
            }))
        })
    }

    fn deletions(&self, cache: &str, url: &str) -> StoreFuture<Deletions> {
        let state = self.0.clone();
        let keys = [state.deletions_key(cache, None), state.deletions_key(cache, Some(url))];
        Box::pin(async move {
            let mut command = redis::cmd("MGET");
            command.arg(&keys);
            let (all, one): (Option<u64>, Option<u64>) = state.ask(command).await?;
            Ok(Deletions { all: all.unwrap_or(0), url: one.unwrap_or(0) })
        })
    }

    fn put(&self, cache: &str, url: &str, new: NewResponse, since: Deletions) -> StoreFuture<bool> {
        let state = self.0.clone();
        let mut command = redis::cmd("EVAL");
        command.arg(PUT).arg(4).arg(state.heads_key(cache, url));
        command.arg(state.body_key(cache, url, &new.variant));
        command.arg(state.deletions_key(cache, None)).arg(state.deletions_key(cache, Some(url)));
        command.arg(since.all).arg(since.url).arg(&new.variant).arg(&new.head);
        command.arg([new.id.as_bytes(), &new.body].concat()).arg(to_millis(new.expires)).arg(new.variants);
        debug_assert_eq!(new.id.len(), ID);
        Box::pin(async move { state.ask::<u8>(command).await.map(|stored| stored == 1) })
    }

    fn urls(&self, cache: &str) -> StoreFuture<Vec<String>> {
        let state = self.0.clone();
        let beginning = state.heads_key(cache, "");
        Box::pin(async move {
            let (mut cursor, mut urls) = (0, Vec::new());
            loop {
                let (next, keys): (u64, Vec<String>) = state.ask(state.scan(cursor, &beginning)).await?;
                urls.extend(keys.iter().filter_map(|key| key.strip_prefix(&beginning)).map(str::to_owned));
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
            // A step may repeat keys.
            urls.sort();
            urls.dedup();
            Ok(urls)
        })
    }

    fn delete(&self, cache: &str, url: &str, variants: Vec<String>) -> StoreFuture<u64> {
        let state = self.0.clone();
        let mut commands = redis::pipe();
        commands.cmd("HDEL").arg(state.heads_key(cache, url)).arg(&variants);
        let bodies: Vec<_> = variants.iter().map(|variant| state.body_key(cache, url, variant)).collect();
        commands.cmd("DEL").arg(bodies).ignore();
        Box::pin(async move {
            if variants.is_empty() {
                return Ok(0);
            }
            state.ask_all::<(u64,)>(commands).await.map(|(deleted,)| deleted)
        })
    }

    fn count_deletion(&self, cache: &str, url: Option<&str>) -> StoreFuture<()> {
        let state = self.0.clone();
        let key = state.deletions_key(cache, url);
        let mut commands = redis::pipe();
        commands.cmd("INCR").arg(&key).ignore().cmd("PEXPIRE").arg(&key).arg(REMEMBERED).ignore();
        Box::pin(async move { state.ask_all(commands).await })
    }
}
