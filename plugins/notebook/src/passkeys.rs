//! Passkeys: logs in with a key that a device keeps, after it has checked its user (WebAuthn). The key's device is not asked to
//! attest itself, so what it sends at registration is believed, as any other key would be.
//!
//! # Source
//! W3C, "Web Authentication Level 3": sections 5.8.1 (client data), 6.1 (authenticator data), 7.1 (registering), 7.2 (verifying an
//! assertion). RFC 8410 and RFC 5480 (public keys).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The algorithms of keys, as COSE numbers them (RFC 9053): ECDSA with P-256, Ed25519, RSA.
pub const ALGORITHMS: [i64; 3] = [-7, -8, -257];
/// The longest id of a credential, in bytes.
const ID_BYTES: usize = 1023;
/// The longest public key that is accepted, in bytes.
const KEY_BYTES: usize = 2048;

/// Flags in the data of an authenticator.
const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const HAS_CREDENTIAL: u8 = 0x40;

/// What a page sends when a passkey was made. All fields are base64url.
#[derive(Debug, Clone, Deserialize)]
pub struct Registration {
    /// The id of the credential.
    pub id: String,
    /// `clientDataJSON`.
    pub client_data: String,
    /// `getAuthenticatorData()`.
    pub authenticator_data: String,
    /// `getPublicKey()`: a `SubjectPublicKeyInfo`.
    pub public_key: String,
    /// `getPublicKeyAlgorithm()`.
    pub algorithm: i64,
}

/// What a page sends at a login. All fields are base64url.
#[derive(Debug, Clone, Deserialize)]
pub struct Assertion {
    /// The id of the credential.
    pub id: String,
    /// `clientDataJSON`.
    pub client_data: String,
    /// `authenticatorData`.
    pub authenticator_data: String,
    /// `signature`.
    pub signature: String,
}

/// What the server expects of both.
pub struct Expected<'a> {
    /// `https://host[:port]`.
    pub origin: &'a str,
    /// The host, to which the key belongs.
    pub host: &'a str,
    /// Whether the server has made this challenge for this purpose.
    pub is_challenge: &'a (dyn Fn(&str) -> bool + Sync),
}

/// A key that was registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPasskey {
    /// The id of the credential.
    pub id: Vec<u8>,
    /// Its public key, as a `SubjectPublicKeyInfo`.
    pub public_key: Vec<u8>,
    /// Its algorithm.
    pub algorithm: i64,
    /// The number of its uses so far; 0 if it does not count.
    pub counter: u32,
}

/// The challenge of a request that was checked, and the authenticator's count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The challenge, which must not be used again.
    pub challenge: String,
    /// The number of uses of the key.
    pub counter: u32,
}

/// Bytes from base64url.
/// # Errors
/// If it is something else.
pub fn decode(text: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| "a field is not base64url".to_owned())
}

/// Checks a new passkey. Returns it with the challenge.
/// # Errors
/// What is wrong, for users.
pub fn register(sent: &Registration, expected: &Expected<'_>) -> Result<(NewPasskey, String), String> {
    let challenge = client_data(&decode(&sent.client_data)?, "webauthn.create", expected)?;
    let data = decode(&sent.authenticator_data)?;
    let (flags, counter) = authenticator_data(&data, expected.host)?;
    let (id, public_key) = (decode(&sent.id)?, decode(&sent.public_key)?);
    // After the head: 16 bytes of model, the length of the id, the id.
    let length = data.get(53..55).map(|length| usize::from(u16::from_be_bytes([length[0], length[1]])));
    let named = length.and_then(|length| data.get(55..55 + length));
    if flags & HAS_CREDENTIAL == 0 || named != Some(id.as_slice()) || id.is_empty() || id.len() > ID_BYTES {
        return Err("the device sent no key, or a different key from the page".to_owned());
    }
    if public_key.len() > KEY_BYTES || !ALGORITHMS.contains(&sent.algorithm) {
        return Err("the device has a key of an unknown type".to_owned());
    }
    key_bytes(&public_key, sent.algorithm)?;
    Ok((NewPasskey { id, public_key, algorithm: sent.algorithm, counter }, challenge))
}

/// Checks a login with a passkey.
/// # Errors
/// What is wrong, for users.
pub fn verify(
    sent: &Assertion,
    expected: &Expected<'_>,
    public_key: &[u8],
    algorithm: i64,
) -> Result<Verified, String> {
    let text = decode(&sent.client_data)?;
    let challenge = client_data(&text, "webauthn.get", expected)?;
    let mut signed = decode(&sent.authenticator_data)?;
    let (_, counter) = authenticator_data(&signed, expected.host)?;
    signed.extend(Sha256::digest(&text));
    let (key, signature) = (key_bytes(public_key, algorithm)?, decode(&sent.signature)?);
    let right = match algorithm {
        -7 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(&signed, &signature),
        -8 => UnparsedPublicKey::new(&ED25519, key).verify(&signed, &signature),
        _ => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(&signed, &signature),
    };
    right.map(|()| Verified { challenge, counter }).map_err(|_| "the signature is wrong".to_owned())
}

/// Checks the browser's data about the request. Returns the challenge.
fn client_data(text: &[u8], kind: &str, expected: &Expected<'_>) -> Result<String, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ClientData {
        r#type: String,
        challenge: String,
        origin: String,
        #[serde(default)]
        cross_origin: bool,
    }
    let data: ClientData =
        serde_json::from_slice(text).map_err(|_| "the browser sent an unexpected value".to_owned())?;
    if data.r#type != kind || data.cross_origin || !data.origin.eq_ignore_ascii_case(expected.origin) {
        return Err(format!("the request comes from {}, not from this page", data.origin));
    }
    let challenge = String::from_utf8(decode(&data.challenge)?).unwrap_or_default();
    if !(expected.is_challenge)(&challenge) {
        return Err("the request took too long: try again".to_owned());
    }
    Ok(challenge)
}

/// Checks the head of an authenticator's data. Returns its flags and its count.
fn authenticator_data(data: &[u8], host: &str) -> Result<(u8, u32), String> {
    let (Some(hash), Some([flags, a, b, c, d])) = (data.get(..32), data.get(32..37)) else {
        return Err("the device sent too little".to_owned());
    };
    if hash != Sha256::digest(host.as_bytes()).as_slice() {
        return Err("the key is for another host".to_owned());
    }
    if flags & USER_PRESENT == 0 || flags & USER_VERIFIED == 0 {
        return Err("the device has not verified its user".to_owned());
    }
    Ok((*flags, u32::from_be_bytes([*a, *b, *c, *d])))
}

/// The part of a `SubjectPublicKeyInfo` that is the key: a point of P-256, a key of Ed25519, or an `RSAPublicKey`.
fn key_bytes(info: &[u8], algorithm: i64) -> Result<&[u8], String> {
    const P256: &[u8] =
        b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    const ED: &[u8] = b"\x30\x05\x06\x03\x2b\x65\x70";
    const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    let (identifier, length) = match algorithm {
        -7 => (P256, Some(65)),
        -8 => (ED, Some(32)),
        _ => (RSA, None),
    };
    let whole = element(info, 0x30).filter(|(_, rest)| rest.is_empty()).map(|(content, _)| content);
    let key = whole.and_then(|content| content.strip_prefix(identifier)).and_then(|rest| element(rest, 0x03));
    let key = key.filter(|(_, rest)| rest.is_empty()).and_then(|(bits, _)| bits.strip_prefix(b"\0"));
    key.filter(|key| length.is_none_or(|length| key.len() == length))
        .ok_or_else(|| "the key cannot be read".to_owned())
}

/// A DER element with this tag: its content and what follows.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = match *length {
        0..=0x7f => (usize::from(*length), rest),
        0x81 | 0x82 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x0f))?;
            (digits.iter().fold(0, |length, digit| (length << 8) | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
    use serde_json::json;

    use super::*;

    const HOST: &str = "nb.example.org";
    const ORIGIN: &str = "https://nb.example.org";

    fn encode(bytes: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// A device with one key.
    struct Device {
        key: EcdsaKeyPair,
        random: SystemRandom,
    }

    impl Device {
        fn new() -> Device {
            let random = SystemRandom::new();
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
            let key =
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
            Device { key, random }
        }

        fn info(&self) -> Vec<u8> {
            let head = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
            [head.as_slice(), self.key.public_key().as_ref()].concat()
        }

        fn sign(&self, host: &str, flags: u8, client: &[u8]) -> Assertion {
            let data = [Sha256::digest(host).as_slice(), &[flags, 0, 0, 0, 9]].concat();
            let signed = [data.as_slice(), Sha256::digest(client).as_slice()].concat();
            let signature = self.key.sign(&self.random, &signed).unwrap();
            Assertion {
                id: encode(b"id"),
                client_data: encode(client),
                authenticator_data: encode(data),
                signature: encode(signature),
            }
        }
    }

    fn client(kind: &str, challenge: &str, origin: &str) -> Vec<u8> {
        json!({"type": kind, "challenge": encode(challenge), "origin": origin}).to_string().into_bytes()
    }

    #[test]
    fn a_login_holds_for_its_key_host_page_and_challenge() {
        let (device, other) = (Device::new(), Device::new());
        let expected = Expected { origin: ORIGIN, host: HOST, is_challenge: &|challenge| challenge == "c" };
        let check = |sent: &Assertion, device: &Device| verify(sent, &expected, &device.info(), -7);
        let right = client("webauthn.get", "c", ORIGIN);
        let sent = device.sign(HOST, 0x05, &right);
        assert_eq!(check(&sent, &device), Ok(Verified { challenge: "c".into(), counter: 9 }));
        assert!(check(&sent, &other).unwrap_err().contains("signature"));
        for (wrong, why) in [
            (device.sign("evil.example.org", 0x05, &right), "another host"),
            (device.sign(HOST, 0x01, &right), "has not verified"),
            (device.sign(HOST, 0x04, &right), "has not verified"),
            (device.sign(HOST, 0x05, &client("webauthn.create", "c", ORIGIN)), "not from this page"),
            (device.sign(HOST, 0x05, &client("webauthn.get", "old", ORIGIN)), "too long"),
            (
                device.sign(HOST, 0x05, &client("webauthn.get", "c", "https://evil.example.org")),
                "not from this page",
            ),
            (device.sign(HOST, 0x05, b"{}"), "unexpected value"),
            (
                Assertion {
                    client_data: encode(client("webauthn.get", "c", "https://NB.example.org")),
                    ..sent.clone()
                },
                "signature",
            ),
            (Assertion { authenticator_data: "AAAA".into(), ..sent.clone() }, "too little"),
            (Assertion { signature: "!".into(), ..sent.clone() }, "base64url"),
        ] {
            let error = check(&wrong, &device).unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
    }

    #[test]
    fn a_registration_names_its_key() {
        let device = Device::new();
        let expected = Expected { origin: ORIGIN, host: HOST, is_challenge: &|challenge| challenge == "c" };
        let data = |flags: u8, id: &[u8]| {
            [Sha256::digest(HOST).as_slice(), &[flags, 0, 0, 0, 0], &[0; 16], &[0, 2], id, b"cose"].concat()
        };
        let sent = Registration {
            id: encode(b"id"),
            client_data: encode(client("webauthn.create", "c", ORIGIN)),
            authenticator_data: encode(data(0x45, b"id")),
            public_key: encode(device.info()),
            algorithm: -7,
        };
        let (key, challenge) = register(&sent, &expected).unwrap();
        assert_eq!((key.id.as_slice(), key.counter, challenge.as_str()), (b"id".as_slice(), 0, "c"));
        assert!(
            verify(
                &device.sign(HOST, 0x05, &client("webauthn.get", "c", ORIGIN)),
                &expected,
                &key.public_key,
                -7
            )
            .is_ok()
        );
        for wrong in [
            Registration { authenticator_data: encode(data(0x05, b"id")), ..sent.clone() },
            Registration { authenticator_data: encode(data(0x45, b"no")), ..sent.clone() },
            Registration { authenticator_data: encode(data(0x41, b"id")), ..sent.clone() },
            Registration { public_key: encode(b"\x30\x03abc"), ..sent.clone() },
            Registration { algorithm: -8, ..sent.clone() },
            Registration { algorithm: -65535, ..sent.clone() },
        ] {
            assert!(register(&wrong, &expected).is_err(), "{wrong:?}");
        }
    }
}
