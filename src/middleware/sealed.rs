//! Values that clients keep in cookies, and can neither read nor change: AES-256-GCM (RFC 5116).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};

/// Seals values and opens them. All processes with the same secret accept each other's values.
pub(super) struct Sealer {
    key: LessSafeKey,
    random: SystemRandom,
}

impl Sealer {
    /// The key is derived from a secret for one purpose (RFC 5869), so that values for another purpose are not
    /// accepted. `None` is not possible with this algorithm.
    pub(super) fn new(secret: &str, purpose: &str) -> Option<Sealer> {
        let info = [purpose.as_bytes()];
        let derived = Salt::new(HKDF_SHA256, b"paster sealed value").extract(secret.as_bytes());
        let key: UnboundKey = derived.expand(&info, &AES_256_GCM).ok()?.into();
        Some(Sealer { key: LessSafeKey::new(key), random: SystemRandom::new() })
    }

    /// The sealed value, as text for a cookie. It can only be opened under the same `name`. `None` if the system
    /// has no random numbers.
    pub(super) fn seal(&self, name: &str, value: &[u8]) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut text = value.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(unique, Aad::from(name), &mut text).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&nonce[..], &text].concat()))
    }

    /// The value, if it was sealed with this key under this name.
    pub(super) fn open(&self, name: &str, sealed: &str) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, text) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let length = self.key.open_in_place(nonce, Aad::from(name), &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_opens_under_the_same_name() {
        let sealer = |secret, purpose| Sealer::new(secret, purpose).unwrap();
        let own = sealer("a secret", "login");
        let sealed = own.seal("name", b"value").unwrap();
        assert_ne!(own.seal("name", b"value").unwrap(), sealed);
        assert_eq!(sealer("a secret", "login").open("name", &sealed).unwrap(), b"value");
        assert_eq!(own.open("other", &sealed), None);
        assert_eq!(sealer("a secret", "other").open("name", &sealed), None);
        assert_eq!(sealer("other", "login").open("name", &sealed), None);
        for index in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last character has bits that mean nothing.
            assert!(index == sealed.len() - 1 || own.open("name", &changed).is_none(), "{index}");
        }
        assert_eq!(own.open("name", ""), None);
    }
}
