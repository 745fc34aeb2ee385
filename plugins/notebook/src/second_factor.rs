//! The second factor of a login: codes that an app on a phone shows and that change with time, and recovery codes.
//!
//! # Source
//! RFC 6238 (TOTP), sections 4 and 5.2: SHA-1, steps of 30 s, six digits, one step of tolerance, each code once.

use std::time::{SystemTime, UNIX_EPOCH};

use totp_rs::{Algorithm, TOTP};

use crate::accounts::{hash_of, new_secret};
use crate::store::{Store, StoreError};

const DIGITS: usize = 6;
const STEP_SECS: u64 = 30;
/// How many steps a clock may be off.
const SKEW: i64 = 1;
/// The length of a secret, in bytes, and the number of recovery codes.
const SECRET_BYTES: usize = 20;
const RECOVERY_CODES: usize = 10;

/// A secret that is being set up.
pub struct Setup {
    /// For the app, as an SVG picture of a QR code.
    pub picture: String,
    /// The same to type, in base32.
    pub secret: String,
}

fn totp(secret: Vec<u8>, name: &str) -> Result<TOTP, String> {
    TOTP::new(Algorithm::SHA1, DIGITS, 1, STEP_SECS, secret, Some("Notebook".to_owned()), name.to_owned())
        .map_err(|error| error.to_string())
}

/// A new random secret.
pub fn generate() -> Vec<u8> {
    let random = [uuid::Uuid::new_v4().into_bytes(), uuid::Uuid::new_v4().into_bytes()].concat();
    // Six bits of a UUID are fixed: the hash spreads the others over all bytes.
    let hashed = hash_of(&random.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    hashed[..SECRET_BYTES].to_vec()
}

/// What a user needs to set an app up.
/// # Errors
/// If the secret cannot be shown.
pub fn setup(secret: Vec<u8>, name: &str) -> Result<Setup, String> {
    let totp = totp(secret, name)?;
    let code = qrcode::QrCode::new(totp.get_url()).map_err(|error| error.to_string())?;
    let picture = code.render::<qrcode::render::svg::Color<'_>>().min_dimensions(200, 200).build();
    // It is part of a page.
    let picture = picture.find("<svg").map(|at| picture[at..].to_owned()).unwrap_or_default();
    Ok(Setup { picture, secret: totp.get_secret_base32() })
}

/// New recovery codes: to show once, with the hashes to store.
pub fn recovery_codes() -> Vec<(String, [u8; 32])> {
    let code = |_| {
        let secret = new_secret();
        let code = format!("{}-{}-{}", &secret[..5], &secret[5..10], &secret[15..20]);
        let hash = hash_of(&code);
        (code, hash)
    };
    (0..RECOVERY_CODES).map(code).collect()
}

/// The time step whose code this is, if it is one of the present.
fn step_of(totp: &TOTP, code: &str) -> Option<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs() / STEP_SECS;
    let now = i64::try_from(now).ok()?;
    (now - SKEW..=now + SKEW).find(|step| {
        let expected = totp.generate(u64::try_from(*step).unwrap_or(0) * STEP_SECS);
        bool::from(subtle::ConstantTimeEq::ct_eq(expected.as_bytes(), code.as_bytes()))
    })
}

/// Checks a code of an account, or one of its recovery codes, and uses it up.
/// # Errors
/// [`StoreError`].
pub async fn check(store: &Store, account: i64, code: &str) -> Result<bool, StoreError> {
    let Some(factor) = store.second_factor(account)? else { return Ok(false) };
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let Ok(totp) = totp(factor.secret, "") else { return Ok(false) };
    match step_of(&totp, &code) {
        Some(step) => store.use_step(account, step).await,
        None => store.use_recovery_code(account, hash_of(&code.to_lowercase())).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_standard() {
        // RFC 6238, appendix B: the secret and the last six digits.
        let totp = totp(b"12345678901234567890".to_vec(), "ann").unwrap();
        for (time, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(totp.generate(time), code);
        }
        let setup = setup(generate(), "ann").unwrap();
        assert!(setup.picture.starts_with("<svg") && setup.secret.len() == 32, "{}", setup.secret);
        let codes = recovery_codes();
        assert!(codes.len() == RECOVERY_CODES && codes[0].0 != codes[1].0 && codes[0].0.len() == 17);
    }
}
