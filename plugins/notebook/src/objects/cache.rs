//! The objects that were used last, in memory, up to a number of bytes.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use parking_lot::Mutex;

use super::ObjectKey;

/// An object that takes more than this part of the cache is not kept in it.
const LARGEST_PART: usize = 8;

/// The objects that were used last.
pub(super) struct ObjectCache {
    limit_bytes: usize,
    content: Mutex<CacheContent>,
}

#[derive(Default)]
struct CacheContent {
    objects: HashMap<ObjectKey, (u64, Bytes)>,
    /// The keys by their last use.
    uses: BTreeMap<u64, ObjectKey>,
    bytes: usize,
    clock: u64,
}

impl ObjectCache {
    pub(super) fn new(limit_bytes: usize) -> ObjectCache {
        ObjectCache { limit_bytes, content: Mutex::default() }
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<Bytes> {
        let mut content = self.content.lock();
        let (at, bytes) = content.objects.get(key).cloned()?;
        content.uses.remove(&at);
        content.clock += 1;
        let now = content.clock;
        content.uses.insert(now, key.clone());
        content.objects.insert(key.clone(), (now, bytes.clone()));
        Some(bytes)
    }

    pub(super) fn add(&self, key: &ObjectKey, bytes: Bytes) {
        if bytes.len() > self.limit_bytes / LARGEST_PART {
            return;
        }
        let mut content = self.content.lock();
        content.remove(key);
        content.clock += 1;
        let now = content.clock;
        content.bytes += bytes.len();
        content.uses.insert(now, key.clone());
        content.objects.insert(key.clone(), (now, bytes));
        while content.bytes > self.limit_bytes
            && let Some((_, oldest)) = content.uses.first_key_value().map(|(at, key)| (*at, key.clone()))
        {
            content.remove(&oldest);
        }
    }

    pub(super) fn remove(&self, key: &ObjectKey) {
        self.content.lock().remove(key);
    }
}

impl CacheContent {
    fn remove(&mut self, key: &ObjectKey) {
        if let Some((at, bytes)) = self.objects.remove(key) {
            self.uses.remove(&at);
            self.bytes -= bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_long_goes_first() {
        let cache = ObjectCache::new(80);
        let keys: Vec<ObjectKey> = (0..9).map(|n| ObjectKey::new([n; 32])).collect();
        for key in &keys[..8] {
            cache.add(key, Bytes::from_static(b"0123456789"));
        }
        assert!(cache.get(&keys[0]).is_some());
        cache.add(&keys[8], Bytes::from_static(b"0123456789"));
        assert!(cache.get(&keys[1]).is_none(), "the one that was not used for the longest time");
        assert!(cache.get(&keys[0]).is_some() && cache.get(&keys[8]).is_some());
        cache.add(&keys[1], Bytes::from_static(b"01234567890"));
        assert!(cache.get(&keys[1]).is_none(), "too large");
        cache.remove(&keys[0]);
        assert!(cache.get(&keys[0]).is_none());
    }
}
