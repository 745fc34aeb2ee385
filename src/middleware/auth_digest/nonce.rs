//! Nonces that every worker can check, and the counts with which clients have used them.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::hmac::{self, Key};

/// Maximum number of nonces whose counts are known. Beyond it, clients get new nonces.
const KNOWN: usize = 10_000;

/// Whether a nonce may be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Age {
    Fresh,
    /// Too old, used with this count already, or not one of ours.
    Stale,
}

/// A nonce is the time in seconds, a random number, and their HMAC, so that each worker knows the nonces of all.
pub(super) struct Nonces {
    lifetime: Duration,
    used: Mutex<HashMap<String, NonceCounts>>,
}

/// The counts of one nonce. Requests of one connection may arrive in any order.
struct NonceCounts {
    made: u64,
    highest: u32,
    /// Bit n: `highest - n` has been used.
    seen: u64,
}

impl Nonces {
    pub(super) fn new(lifetime: Duration) -> Nonces {
        Nonces { lifetime, used: Mutex::default() }
    }

    pub(super) fn make(&self, key: &Key) -> String {
        let mut bytes = now().to_be_bytes().to_vec();
        bytes.extend_from_slice(&uuid::Uuid::new_v4().into_bytes()[..8]);
        let tag = hmac::sign(key, &bytes);
        bytes.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Takes note of a use of the nonce with this count.
    pub(super) fn accept(&self, key: &Key, nonce: &str, count: u32) -> Age {
        let Some(made) = verified(key, nonce) else { return Age::Stale };
        let (now, lifetime) = (now(), self.lifetime.as_secs());
        let over = |made: u64| made > now || now - made > lifetime;
        if over(made) {
            return Age::Stale;
        }
        let mut used = self.used.lock();
        if used.len() >= KNOWN && !used.contains_key(nonce) {
            used.retain(|_, counts| !over(counts.made));
            if used.len() >= KNOWN {
                return Age::Stale;
            }
        }
        let counts = used.entry(nonce.to_owned()).or_insert(NonceCounts { made, highest: 0, seen: 0 });
        if counts.first_use(count) { Age::Fresh } else { Age::Stale }
    }
}

impl NonceCounts {
    fn first_use(&mut self, count: u32) -> bool {
        if count > self.highest {
            self.seen = self.seen.checked_shl(count - self.highest).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let bit = 1_u64.checked_shl(self.highest - count).unwrap_or(0);
        let first = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        first
    }
}

/// When a nonce was made; `None` if it is not ours.
fn verified(key: &Key, nonce: &str) -> Option<u64> {
    let bytes = URL_SAFE_NO_PAD.decode(nonce).ok()?;
    let (content, tag) = bytes.split_at_checked(16)?;
    hmac::verify(key, content, tag).ok()?;
    Some(u64::from_be_bytes(content[..8].try_into().ok()?))
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_of_a_nonce_is_used_once() {
        let key = Key::new(hmac::HMAC_SHA256, b"key");
        let nonces = Nonces::new(Duration::from_secs(60));
        let nonce = nonces.make(&key);
        let check = |count, expected| assert_eq!(nonces.accept(&key, &nonce, count), expected, "{count}");
        check(1, Age::Fresh);
        check(1, Age::Stale);
        check(3, Age::Fresh);
        check(2, Age::Fresh);
        check(2, Age::Stale);
        check(200, Age::Fresh);
        check(136, Age::Stale);
        check(137, Age::Fresh);
        let other = Key::new(hmac::HMAC_SHA256, b"other");
        assert_eq!(nonces.accept(&other, &nonce, 4), Age::Stale);
        assert_eq!(nonces.accept(&key, "AAAA", 1), Age::Stale);
        let bytes = [&(now() - 61).to_be_bytes()[..], &[0; 8]].concat();
        let old = URL_SAFE_NO_PAD.encode([&bytes[..], hmac::sign(&key, &bytes).as_ref()].concat());
        assert_eq!(nonces.accept(&key, &old, 1), Age::Stale);
    }
}
