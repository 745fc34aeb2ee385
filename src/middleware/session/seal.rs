//! Signed and encrypted cookies, which cannot be forged.
//!
//! A value is made for a purpose (`session:login`), which is authenticated with it, so that a value of another cookie or
//! middleware is not accepted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::error::Error;

/// The shortest key, in bytes.
const SHORTEST: usize = 32;

/// Keys to sign and encrypt with: the first one is used for new values, all are accepted.
pub(in crate::middleware) struct Seal {
    purpose: String,
    keys: Vec<SealKey>,
}

struct SealKey {
    sign: hmac::Key,
    encrypt: LessSafeKey,
}

/// Random bytes.
/// # Errors
/// When the system has none.
pub(in crate::middleware) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map(|()| bytes).map_err(|_| Error::new("the system has no random numbers"))
}

/// Whether the key is long enough.
pub(in crate::middleware) fn is_strong(key: &[u8]) -> bool {
    key.len() >= SHORTEST
}

impl SealKey {
    fn of(secret: &[u8]) -> SealKey {
        // One key each for signing and for encryption (HKDF's expansion with one block, RFC 5869 section 2.3).
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derive = |what: &[u8]| hmac::sign(&secret, &[what, &[1]].concat());
        let sign = derive(b"paster cookie sign");
        let encrypt = UnboundKey::new(&AES_256_GCM, derive(b"paster cookie encrypt").as_ref());
        SealKey {
            sign: hmac::Key::new(hmac::HMAC_SHA256, sign.as_ref()),
            encrypt: LessSafeKey::new(encrypt.expect("SHA-256 has as many bytes as a key of AES-256")),
        }
    }
}

impl Seal {
    /// For values of this purpose. `secrets` are not empty.
    pub(in crate::middleware) fn new<S: AsRef<[u8]>>(purpose: &str, secrets: &[S]) -> Seal {
        let keys = secrets.iter().map(|secret| SealKey::of(secret.as_ref())).collect();
        Seal { purpose: purpose.to_owned(), keys }
    }

    /// `value.signature`. The value must be fit for a cookie.
    pub(in crate::middleware) fn sign(&self, value: &str) -> Option<String> {
        let tag = hmac::sign(&self.keys.first()?.sign, self.signed(value).as_bytes());
        Some(format!("{value}.{}", URL_SAFE_NO_PAD.encode(tag)))
    }

    /// The value of [`Seal::sign`], if the signature is valid.
    pub(in crate::middleware) fn verify<'v>(&self, signed: &'v str) -> Option<&'v str> {
        let (value, tag) = signed.rsplit_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        let signed = self.signed(value);
        let valid = |key: &SealKey| hmac::verify(&key.sign, signed.as_bytes(), &tag).is_ok();
        self.keys.iter().any(valid).then_some(value)
    }

    fn signed(&self, value: &str) -> String {
        format!("{}\n{value}", self.purpose)
    }

    /// Encrypts a value into letters that are fit for a cookie.
    pub(in crate::middleware) fn encrypt(&self, value: &[u8]) -> Option<String> {
        let nonce = random::<NONCE_LEN>().ok()?;
        let mut sealed = value.to_vec();
        let key = &self.keys.first()?.encrypt;
        let aad = Aad::from(self.purpose.as_bytes());
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// The value of [`Seal::encrypt`], if it was made with one of the keys.
    pub(in crate::middleware) fn decrypt(&self, text: &str) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        self.keys.iter().find_map(|key| {
            let mut opened = sealed.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let aad = Aad::from(self.purpose.as_bytes());
            let length = key.encrypt.open_in_place(nonce, aad, &mut opened).ok()?.len();
            opened.truncate(length);
            Some(opened)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_keys_and_the_purpose_open_a_value() {
        let (old, new) = ([1; 32], [2; 32]);
        let seal = |purpose, keys: &[[u8; 32]]| Seal::new(purpose, keys);
        let signed = seal("a", &[old]).sign("value").unwrap();
        let sealed = seal("a", &[old]).encrypt(b"value").unwrap();
        for (purpose, keys, expected) in
            [("a", &[old][..], true), ("a", &[new, old], true), ("a", &[new], false), ("b", &[old], false)]
        {
            let seal = seal(purpose, keys);
            assert_eq!(seal.verify(&signed) == Some("value"), expected);
            assert_eq!(seal.decrypt(&sealed).as_deref() == Some(b"value"), expected);
        }
        let seal = seal("a", &[old]);
        for wrong in ["", ".", "value", "value.", &signed.replace("value", "other"), &signed[1..]] {
            assert_eq!(seal.verify(wrong), None, "{wrong}");
            assert_eq!(seal.decrypt(wrong), None, "{wrong}");
        }
    }
}
