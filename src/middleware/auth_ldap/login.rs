//! The outcome of a bind, and names within DNs.

use ldap3::LdapError;
use ldap3::result::LdapResult;

/// Why the directory could not check a login.
#[derive(Debug, thiserror::Error)]
pub(super) enum DirectoryError {
    #[error("no server responds: {0}")]
    Away(String),
    #[error("it did not respond within {0} s")]
    Late(u64),
    #[error("it does not accept the service account (`bind_dn`): {0}")]
    Service(String),
    #[error("it refuses the request: {0}")]
    Refused(String),
    #[error("the entry `{0}` has no readable attribute `{1}` (`user_attribute`)")]
    Nameless(String, String),
    #[error(transparent)]
    Connection(#[from] LdapError),
}

/// Whether the connection is the reason of an error, so that another one may help.
pub(super) fn is_lost(error: &LdapError) -> bool {
    !matches!(error, LdapError::LdapResult { .. })
}

/// Whether a bind shows that the password is correct.
///
/// The codes that concern the user: `inappropriateAuthentication` (an entry without a password),
/// `invalidCredentials`, `noSuchObject`, `invalidDNSyntax`, `insufficientAccessRights`, `unwillingToPerform` and
/// `constraintViolation` (locked accounts).
/// # Errors
/// Every other code concerns the directory.
/// # Source
/// RFC 4511, appendix A.
pub(super) fn is_correct(result: LdapResult) -> Result<bool, DirectoryError> {
    match result.rc {
        0 => Ok(true),
        19 | 32 | 34 | 48 | 49 | 50 | 53 => Ok(false),
        10 => {
            Err(DirectoryError::Refused("it refers to another server, and referrals are not followed".into()))
        }
        _ => Err(DirectoryError::Refused(result.to_string())),
    }
}

/// The first value of a DN: `staff` of `cn=staff,ou=groups,dc=example`.
/// # Source
/// RFC 4514, section 3.
pub(super) fn first_value(dn: &str) -> Option<String> {
    let (_, rest) = dn.split_once('=')?;
    let mut value = Vec::new();
    let mut bytes = rest.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b',' | b'+' => break,
            b'\\' => {
                let escaped = bytes.next()?;
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let second = bytes.peek().copied().and_then(digit);
                match digit(escaped).zip(second) {
                    Some((first, second)) => {
                        bytes.next();
                        value.push((first << 4 | second) as u8);
                    }
                    None => value.push(escaped),
                }
            }
            _ => value.push(byte),
        }
    }
    String::from_utf8(value).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Whether an entry is below the DN `base`.
pub(super) fn is_below(dn: &str, base: &str) -> bool {
    let plain =
        |dn: &str| -> Vec<String> { dn.split(',').map(|part| part.trim().to_ascii_lowercase()).collect() };
    let (dn, base) = (plain(dn), plain(base));
    dn.len() > base.len() && dn.ends_with(&base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_groups() {
        for (dn, expected) in [
            ("cn=staff,ou=groups,dc=example", Some("staff")),
            ("CN=Domain Users,CN=Users,DC=example", Some("Domain Users")),
            (r"cn=a\,b\2Cc,dc=example", Some("a,b,c")),
            (r"cn=caf\C3\A9+ou=x", Some("café")),
            (r"cn=a\\b", Some(r"a\b")),
            ("cn=", None),
            ("staff", None),
            (r"cn=a\", None),
        ] {
            assert_eq!(first_value(dn).as_deref(), expected, "{dn}");
        }
    }

    #[test]
    fn entries_below_others() {
        assert!(is_below("cn=a,OU=Groups, dc=example", "ou=groups,dc=example"));
        assert!(!is_below("ou=groups,dc=example", "ou=groups,dc=example"));
        assert!(!is_below("cn=a,ou=othergroups,dc=example", "groups,dc=example"));
        assert!(!is_below("cn=a,ou=groups,dc=example,dc=org", "ou=groups,dc=example"));
    }
}
