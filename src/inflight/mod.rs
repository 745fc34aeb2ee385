//! The table of requests in flight, for `paster top`, `ps` and `cancel`.
//!
//! A server adds a request after its gate has admitted it, and removes it when the response has ended.
//! Threads do not share a lock for that: the table has a shard for each thread. Another thread takes a
//! shard's lock only if a request ends on a different thread than it began, or when the table is listed.
//! While a request is in progress, parts write into its own [`RequestProgress`] without a lock.

mod progress;
mod shares;

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Waker;
use std::time::Instant;

use http::Method;
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

pub use self::progress::{CapturedLines, LoggedIds, RequestHandle, RequestProgress, TraceIds, current};
pub use self::shares::Shares;

/// If there are more threads than this, some share a shard.
const SHARDS: usize = 32;
/// Longest part of a path that is kept, in bytes.
const PATH: usize = 119;

/// The phase of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestPhase {
    /// The application is creating the response head.
    Answering,
    /// The response body is being sent.
    Sending,
}

/// A request's entry in the table: return it with [`RequestTable::end`].
#[derive(Debug)]
pub struct RequestEntry {
    progress: Arc<RequestProgress>,
    shard: u32,
    index: u32,
}

impl RequestEntry {
    /// The handle for the parts of the stack.
    pub fn handle(&self) -> RequestHandle {
        RequestHandle::of(self.progress.clone())
    }

    /// Counts the request for the app that has it.
    pub fn share(&self, shares: &Arc<Shares>) {
        self.progress.shares.get_or_init(|| shares.clone());
    }

    /// The head was created; the body follows.
    #[inline]
    pub fn sending(&self) {
        self.progress.sending.store(1, Relaxed);
    }

    /// Whether the request was cancelled.
    #[inline]
    pub fn cancelled(&self) -> bool {
        self.progress.cancelled.load(Relaxed)
    }

    /// The cancellation was answered: what still follows is that response.
    pub fn answered(&self) {
        self.progress.cancelled.store(false, Relaxed);
    }

    /// Wakes `waker` when the request is cancelled. Call it before waiting, and check
    /// [`cancelled`](RequestEntry::cancelled) afterwards.
    pub fn wake(&self, waker: &Waker) {
        self.progress.waker.register(waker);
        self.progress.waits.store(true, Relaxed);
    }
}

/// All requests in flight of one server; `T` counts those that have ended.
#[derive(Debug)]
pub struct RequestTable<T>(Box<[Shard<T>]>);

#[derive(Debug, Default)]
#[repr(align(128))] // a cache line of its own
struct Shard<T>(Mutex<Slots<T>>);

#[derive(Debug, Default)]
struct Slots<T> {
    slots: Vec<RequestSlot>,
    free: Vec<u32>,
    /// Number of requests that have begun.
    count: u64,
    sum: T,
}

#[derive(Debug)]
struct RequestSlot {
    /// 0 if the slot is free.
    number: u64,
    began: Instant,
    method: Method,
    path: Path,
    client: Option<IpAddr>,
    progress: Arc<RequestProgress>,
}

/// The beginning of a path, stored in place.
#[derive(Debug)]
struct Path {
    length: u8,
    bytes: [u8; PATH],
}

impl Path {
    fn set(&mut self, path: &str) {
        let length = path.len().min(PATH);
        self.bytes[..length].copy_from_slice(&path.as_bytes()[..length]);
        self.length = if path.len() > PATH { u8::MAX } else { length as u8 };
    }

    fn text(&self) -> String {
        let cut = self.length == u8::MAX;
        let length = if cut { PATH } else { self.length.into() };
        let text = String::from_utf8_lossy(&self.bytes[..length]);
        if cut { format!("{text}…") } else { text.into_owned() }
    }
}

/// One request, as listed.
#[derive(Debug, Clone)]
pub struct ListedRequest {
    /// Its number among the table's requests, never used again.
    pub number: u64,
    /// When it began.
    pub began: Instant,
    /// Its method.
    pub method: Method,
    /// Its path without the query, truncated if long.
    pub path: String,
    /// The client.
    pub client: Option<IpAddr>,
    /// The id that `request_id` gave it.
    pub id: Option<Arc<str>>,
    /// Number of the part that was called last; 0 before the first one.
    pub part: u32,
    /// Its phase.
    pub phase: RequestPhase,
}

thread_local! {
    /// The shard into which this thread adds requests.
    static HOME: Cell<usize> = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        Cell::new(THREADS.fetch_add(1, Relaxed) % SHARDS)
    };
}

impl<T: Default> Default for RequestTable<T> {
    fn default() -> Self {
        RequestTable((0..SHARDS).map(|_| Shard::default()).collect())
    }
}

impl<T> Shard<T> {
    fn lock(&self) -> MutexGuard<'_, Slots<T>> {
        self.0.lock()
    }
}

impl<T> RequestTable<T> {
    /// Adds a request that began at `began`.
    pub fn begin(&self, began: Instant, method: &Method, path: &str, client: Option<IpAddr>) -> RequestEntry {
        let shard = HOME.with(Cell::get);
        let mut slots = self.0[shard].lock();
        let slots = &mut *slots;
        slots.count += 1;
        let number = slots.count * SHARDS as u64 + shard as u64;
        let index = match slots.free.pop() {
            Some(index) => {
                let slot = &mut slots.slots[index as usize];
                slot.number = number;
                slot.began = began;
                slot.method.clone_from(method);
                slot.client = client;
                index
            }
            None => {
                slots.slots.push(RequestSlot {
                    number,
                    began,
                    method: method.clone(),
                    path: Path { length: 0, bytes: [0; PATH] },
                    client,
                    progress: Arc::default(),
                });
                (slots.slots.len() - 1) as u32
            }
        };
        let slot = &mut slots.slots[index as usize];
        slot.path.set(path);
        RequestEntry { progress: slot.progress.clone(), shard: shard as u32, index }
    }

    /// Removes a request, and counts it with `count`.
    pub fn end(&self, entry: RequestEntry, count: impl FnOnce(&mut T)) {
        let progress = &entry.progress;
        if let Some(shares) = progress.shares.get() {
            progress.holder.release(shares);
        }
        progress.part.store(0, Relaxed);
        progress.sending.store(0, Relaxed);
        progress.forget();
        if progress.waits.load(Relaxed) {
            drop(progress.waker.take()); // it would keep the memory of a task that has ended
            progress.waits.store(false, Relaxed);
        }
        let mut slots = self.0[entry.shard as usize].lock();
        let slots = &mut *slots;
        let slot = &mut slots.slots[entry.index as usize];
        slot.number = 0;
        if progress.cancelled.load(Relaxed) {
            // A waker that has yet to be notified must not affect the next request.
            slot.progress = Arc::default();
        }
        slots.free.push(entry.index);
        count(&mut slots.sum);
    }

    /// Counts a request that was never in the table.
    pub fn note(&self, count: impl FnOnce(&mut T)) {
        count(&mut self.0[HOME.with(Cell::get)].lock().sum);
    }

    /// Calls `look` with each thread's counts, and returns how many requests have begun.
    pub fn sum(&self, mut look: impl FnMut(&T)) -> u64 {
        let mut begun = 0;
        for shard in &self.0 {
            let slots = shard.lock();
            look(&slots.sum);
            begun += slots.count;
        }
        begun
    }

    /// All requests, oldest first.
    pub fn list(&self) -> Vec<ListedRequest> {
        let mut all = Vec::new();
        for shard in &self.0 {
            all.extend(shard.lock().slots.iter().filter(|slot| slot.number > 0).map(RequestSlot::seen));
        }
        all.sort_by_key(|seen| seen.began);
        all
    }

    /// Cancels the requests that `wanted` selects; returns how many.
    pub fn cancel(&self, mut wanted: impl FnMut(u64, Option<&str>) -> bool) -> usize {
        let mut count = 0;
        for shard in &self.0 {
            for slot in shard.lock().slots.iter().filter(|slot| slot.number > 0) {
                if wanted(slot.number, slot.progress.id().as_deref()) {
                    slot.progress.cancelled.store(true, Relaxed);
                    slot.progress.waker.wake();
                    count += 1;
                }
            }
        }
        count
    }
}

impl RequestSlot {
    fn seen(&self) -> ListedRequest {
        ListedRequest {
            number: self.number,
            began: self.began,
            method: self.method.clone(),
            path: self.path.text(),
            client: self.client,
            id: self.progress.id(),
            part: self.progress.part.load(Relaxed),
            phase: match self.progress.sending.load(Relaxed) {
                0 => RequestPhase::Answering,
                _ => RequestPhase::Sending,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_and_go_and_slots_are_used_again() {
        let table = RequestTable::<usize>::default();
        let long = "/é".repeat(80);
        let first = table.begin(Instant::now(), &Method::GET, "/one", None);
        let second = table.begin(Instant::now(), &Method::POST, &long, Some([127, 0, 0, 1].into()));
        second.handle().enter(3);
        second.sending();
        second.handle().name(&"abc".into());
        let seen = table.list();
        assert_eq!(
            (seen[0].path.as_str(), seen[0].part, seen[0].phase),
            ("/one", 0, RequestPhase::Answering)
        );
        assert!(seen[1].path.ends_with('…') && seen[1].path.len() < 130, "{}", seen[1].path);
        assert_eq!(
            (seen[1].part, seen[1].phase, seen[1].id.as_deref()),
            (3, RequestPhase::Sending, Some("abc"))
        );
        let number = seen[0].number;
        table.end(second, |ended| *ended += 1);
        let third = table.begin(Instant::now(), &Method::GET, "/three", None);
        let seen = table.list();
        assert_eq!((seen.len(), seen[1].part, seen[1].id.as_deref()), (2, 0, None));
        assert_eq!(table.cancel(|at, id| at == number || id == Some("abc")), 1);
        assert!(first.cancelled() && !third.cancelled());
        table.end(first, |ended| *ended += 1);
        let fourth = table.begin(Instant::now(), &Method::GET, "/four", None);
        assert!(!fourth.cancelled(), "a new request does not inherit it");
        table.end(third, |_| ());
        table.end(fourth, |_| ());
        table.note(|ended| *ended += 1);
        assert!(table.list().is_empty());
        let mut ended = 0;
        assert_eq!((table.sum(|shard| ended += shard), ended), (4, 3));
    }

    #[test]
    fn the_waker_of_a_request_that_has_ended_is_let_go() {
        struct Task;
        impl std::task::Wake for Task {
            fn wake(self: Arc<Self>) {}
        }
        let (table, task) = (RequestTable::<()>::default(), Arc::new(Task));
        let entry = table.begin(Instant::now(), &Method::GET, "/", None);
        entry.wake(&task.clone().into());
        assert_eq!(Arc::strong_count(&task), 2);
        table.end(entry, |()| ());
        assert_eq!(Arc::strong_count(&task), 1);
    }
}
