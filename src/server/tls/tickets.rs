//! Session tickets that every worker and every generation of one run accepts (RFC 5077, RFC 8446 section
//! 4.6.1).
//!
//! Their keys are derived from the time and a secret that the supervisor gives to its workers, so no process
//! has to announce a new key.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use ring::rand::{SecureRandom, SystemRandom};
use ring::{aead, hkdf};
use rustls::server::ProducesTickets;
use serde::{Deserialize, Serialize};

/// A key is used for this long, and its tickets are accepted for the same time again.
const SPAN_SECS: u64 = 6 * 60 * 60;
const NONCE: usize = aead::NONCE_LEN;
/// Number of the key.
const HEAD: usize = 8;
/// rustls's ticket content is far shorter, except with long chains of client certificates.
const LONGEST: usize = 64 * 1024;

/// The secret from which the keys of one run's tickets are derived.
#[derive(Clone, Serialize, Deserialize)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A new random secret.
    /// # Panics
    /// If the system has no random bytes, on which all of TLS depends.
    pub fn random() -> Secret {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).expect("the system has random bytes");
        Secret(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Seals and opens the tickets of one server under one policy for client certificates.
pub(super) struct Tickets {
    root: hkdf::Prk,
    /// Server and policy: a ticket of one is not valid for another.
    bound: Vec<u8>,
    random: SystemRandom,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

impl Tickets {
    pub(super) fn new(secret: &Secret, server: &str, policy: &[u8]) -> Tickets {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"paster session tickets");
        let bound = [server.as_bytes(), b"\0", policy].concat();
        Tickets { root: salt.extract(&secret.0), bound, random: SystemRandom::new() }
    }

    fn key(&self, number: u64) -> Option<aead::LessSafeKey> {
        let info = [&self.bound[..], &number.to_be_bytes()];
        let key = self.root.expand(&info, &aead::AES_256_GCM).ok()?;
        Some(aead::LessSafeKey::new(aead::UnboundKey::from(key)))
    }

    fn number(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() / SPAN_SECS)
    }

    fn seal(&self, plain: &[u8], number: u64) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE];
        self.random.fill(&mut nonce).ok()?;
        let head = number.to_be_bytes();
        let mut sealed = plain.to_vec();
        let nonce_of = aead::Nonce::assume_unique_for_key(nonce);
        self.key(number)?.seal_in_place_append_tag(nonce_of, aead::Aad::from(head), &mut sealed).ok()?;
        Some([&head[..], &nonce, &sealed].concat())
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        if ticket.len() > LONGEST {
            return None;
        }
        let (head, rest) = ticket.split_first_chunk::<HEAD>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
        let number = u64::from_be_bytes(*head);
        if number != now && number.checked_add(1) != Some(now) {
            return None;
        }
        let mut sealed = sealed.to_vec();
        let nonce = aead::Nonce::assume_unique_for_key(*nonce);
        let length = self.key(number)?.open_in_place(nonce, aead::Aad::from(*head), &mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        2 * SPAN_SECS as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, self.number()).filter(|ticket| ticket.len() <= LONGEST)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(ticket, self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_opens_it_and_another_policy_does_not() {
        let secret = Secret::random();
        let ticket = Tickets::new(&secret, "main", b"a").seal(b"session", 7).unwrap();
        let open = |secret: &Secret, server: &str, policy: &[u8], ticket: &[u8], now| {
            Tickets::new(secret, server, policy).open(ticket, now)
        };
        assert_eq!(open(&secret, "main", b"a", &ticket, 7).unwrap(), b"session");
        assert_eq!(open(&secret, "main", b"a", &ticket, 8).unwrap(), b"session");
        assert!(open(&secret, "main", b"a", &ticket, 9).is_none(), "too old");
        assert!(open(&secret, "main", b"a", &ticket, 6).is_none(), "from the future");
        assert!(open(&secret, "main", b"b", &ticket, 7).is_none());
        assert!(open(&secret, "side", b"a", &ticket, 7).is_none());
        assert!(open(&Secret::random(), "main", b"a", &ticket, 7).is_none());
        for index in 0..ticket.len() {
            let mut bad = ticket.clone();
            bad[index] ^= 1;
            assert!(open(&secret, "main", b"a", &bad, 7).is_none(), "byte {index}");
            assert!(open(&secret, "main", b"a", &ticket[..index], 7).is_none(), "cut at {index}");
        }
    }
}
