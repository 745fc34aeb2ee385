//! Password hashes of an htpasswd file: argon2id as a PHC string, and bcrypt.
//!
//! # Source
//! RFC 9106; the PHC string format:
//! <https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md>.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordHasher, PasswordVerifier};
use ring::rand::{SecureRandom, SystemRandom};

use crate::error::{Error, Result};

/// Longest password for bcrypt, in bytes; bcrypt would ignore the rest.
const BCRYPT_LIMIT: usize = 72;
/// Longest password for any algorithm, in bytes.
const LIMIT: usize = 1024;
/// Maximum memory for one check, in KiB, and the maximum over all its passes: a file that someone else wrote
/// must not exhaust the machine.
const MEMORY_LIMIT_KIB: u32 = 128 * 1024;
const WORK_LIMIT_KIB: u64 = 512 * 1024;
/// Allowed costs of bcrypt; the highest takes about 10 s of one processor.
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=17;
/// The cost of a new bcrypt hash: about 0.2 s.
const BCRYPT_COST: u32 = 12;

/// How a password is hashed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// argon2id, RFC 9106, with 19 MiB and two passes.
    #[default]
    Argon2,
    /// bcrypt of cost 12.
    Bcrypt,
}

/// A hash to check passwords against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hash {
    text: String,
    algorithm: Algorithm,
    work: u64,
}

impl Hash {
    /// Parses a hash.
    /// # Errors
    /// What is wrong with it, in a few words: `an unsalted SHA-1 hash, …`.
    pub fn parse(text: &str) -> Result<Hash, String> {
        let (algorithm, work) = if text.starts_with("$argon2") {
            (Algorithm::Argon2, argon2_work(text)?)
        } else if ["$2y$", "$2b$", "$2a$"].iter().any(|start| text.starts_with(start)) {
            (Algorithm::Bcrypt, bcrypt_work(text)?)
        } else if text.starts_with("{SHA}") {
            return Err("an unsalted SHA-1 hash, which can be looked up in tables".to_owned());
        } else if text.starts_with("$apr1$") || text.starts_with("$1$") {
            return Err("an MD5 hash, which is too fast to resist guessing".to_owned());
        } else {
            return Err("a hash that is neither argon2id nor bcrypt".to_owned());
        };
        Ok(Hash { text: text.to_owned(), algorithm, work })
    }

    /// Hashes a password with a new salt. Takes about a tenth of a second.
    /// # Errors
    /// A password that is empty, too long for the algorithm, or contains a NUL.
    pub fn new(algorithm: Algorithm, password: &[u8]) -> Result<Hash, Error> {
        let limit = if algorithm == Algorithm::Bcrypt { BCRYPT_LIMIT } else { LIMIT };
        if password.is_empty() {
            return Err(Error::new("the password is empty"));
        }
        if password.len() > limit {
            let error = Error::new(format!("the password is longer than {limit} bytes"));
            return Err(match algorithm {
                Algorithm::Bcrypt => error.help("use `--algorithm argon2`: bcrypt ignores the rest"),
                Algorithm::Argon2 => error,
            });
        }
        if password.contains(&0) {
            return Err(Error::new("the password contains a NUL"));
        }
        let failed = |cause: &dyn std::fmt::Display| Error::new(format!("cannot hash the password: {cause}"));
        let text = match algorithm {
            Algorithm::Argon2 => {
                let mut salt = [0; 16];
                SystemRandom::new()
                    .fill(&mut salt)
                    .map_err(|_| failed(&"the system has no random numbers"))?;
                let hash: PasswordHash = Argon2::default()
                    .hash_password_with_salt(password, &salt)
                    .map_err(|error| failed(&error))?;
                hash.to_string()
            }
            Algorithm::Bcrypt => bcrypt::hash(password, BCRYPT_COST).map_err(|error| failed(&error))?,
        };
        Hash::parse(&text).map_err(|fault| failed(&fault))
    }

    /// Whether the password matches the hash. This is slow, and argon2 also needs much memory.
    pub fn verify(&self, password: &[u8]) -> bool {
        match self.algorithm {
            Algorithm::Argon2 => PasswordHash::new(&self.text)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
            Algorithm::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
        }
    }

    /// Relative time that a check takes, for comparison.
    pub fn work(&self) -> u64 {
        self.work
    }

    /// The hash as written in a file.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Checks the parameters of an argon2 hash. One KiB takes about 0.6 µs per pass.
fn argon2_work(text: &str) -> Result<u64, String> {
    let wrong = |_| "an argon2 hash that is not well-formed".to_owned();
    let hash = PasswordHash::new(text).map_err(wrong)?;
    if hash.algorithm.as_str() != "argon2id" {
        return Err(format!("a hash of {}: only argon2id is supported", hash.algorithm.as_str()));
    }
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err("an argon2 hash without a salt or an output".to_owned());
    }
    let params = Params::try_from(&hash).map_err(|_| "an argon2 hash that is not well-formed".to_owned())?;
    let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
    if params.m_cost() > MEMORY_LIMIT_KIB || work > WORK_LIMIT_KIB || params.p_cost() > 16 {
        return Err(format!(
            "an argon2 hash with too high costs: at most m={MEMORY_LIMIT_KIB}, m times t {WORK_LIMIT_KIB}, and p=16"
        ));
    }
    Ok(work * 600)
}

/// Checks the form and the cost of a bcrypt hash. One round takes about 50 µs.
fn bcrypt_work(text: &str) -> Result<u64, String> {
    let cost = text.get(4..6).and_then(|cost| cost.parse().ok());
    let is_whole = text.len() == 60 && text.as_bytes()[6] == b'$';
    match cost.filter(|_| is_whole) {
        None => Err("a bcrypt hash that is not well-formed".to_owned()),
        Some(cost) if !BCRYPT_COSTS.contains(&cost) => {
            let (least, most) = (BCRYPT_COSTS.start(), BCRYPT_COSTS.end());
            Err(format!("a bcrypt hash of cost {cost}: the cost must be from {least} to {most}"))
        }
        Some(cost) => Ok((1 << cost) * 50_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_both_kinds_are_made_and_checked() {
        for algorithm in [Algorithm::Argon2, Algorithm::Bcrypt] {
            let (one, two) = (Hash::new(algorithm, b"pass").unwrap(), Hash::new(algorithm, b"pass").unwrap());
            assert_ne!(one.as_str(), two.as_str(), "each has its own salt");
            assert!(one.verify(b"pass") && !one.verify(b"Pass") && !one.verify(b""));
        }
        for (algorithm, password) in
            [(Algorithm::Argon2, &b""[..]), (Algorithm::Argon2, b"a\0b"), (Algorithm::Bcrypt, &[b'x'; 73])]
        {
            assert!(Hash::new(algorithm, password).is_err());
        }
    }

    #[test]
    fn what_takes_too_much_or_is_not_understood_is_refused() {
        let argon2 = |params: &str| {
            format!(
                "$argon2id$v=19${params}$c29tZXNhbHRzb21lc2FsdA$MXuuV7fKS/iOQfFNHpCoHpQXTmSvHt2IRnXpDGQwZSQ"
            )
        };
        assert!(Hash::parse(&argon2("m=65536,t=3,p=4")).is_ok());
        for (text, words) in [
            (argon2("m=4194304,t=3,p=1"), "too high costs"),
            (argon2("m=131072,t=100,p=1"), "too high costs"),
            (argon2("m=65536,t=1,p=1000"), "too high costs"),
            (argon2("m=x"), "not well-formed"),
            (argon2("m=65536,t=3,p=4").replace("argon2id", "argon2d"), "a hash of argon2d"),
            (
                "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA".to_owned(),
                "without a salt or an output",
            ),
            (format!("$2b$31${}", "a".repeat(53)), "from 4 to 17"),
            ("$2b$10$short".to_owned(), "not well-formed"),
            ("$2b$1é$".to_owned() + &"a".repeat(52), "not well-formed"),
            ("$6$salt$hash".to_owned(), "neither argon2id nor bcrypt"),
        ] {
            let found = Hash::parse(&text).unwrap_err();
            assert!(found.contains(words), "{text}: {found}");
        }
    }
}
