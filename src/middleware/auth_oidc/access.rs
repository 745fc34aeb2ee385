//! Who may pass.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::middleware::identity::plain;

/// Who may pass.
pub(super) struct Access {
    pub(super) users: BTreeSet<String>,
    pub(super) groups: BTreeSet<String>,
    /// In lower case.
    pub(super) domains: BTreeSet<String>,
    pub(super) everyone: bool,
    /// Claims that a user must have besides.
    pub(super) claims: BTreeMap<String, String>,
    /// Whether e-mail addresses count that the provider has not verified.
    pub(super) unverified: bool,
}

impl Access {
    /// Whether a user with these claims may pass.
    pub(super) fn allows(&self, user: &str, groups: &[String], claims: &Map<String, Value>) -> bool {
        let has =
            |(name, value): (&String, &String)| claims.get(name).is_some_and(|claim| plain(claim) == *value);
        self.claims.iter().all(has)
            && (self.everyone
                || self.users.contains(user)
                || groups.iter().any(|group| self.groups.contains(group))
                || self.email(claims).and_then(domain).is_some_and(|domain| self.domains.contains(&domain)))
    }

    /// The e-mail address of the user, if it can be trusted.
    pub(super) fn email<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a str> {
        let verified = claims.get("email_verified").is_some_and(|verified| plain(verified) == "true");
        claims.get("email")?.as_str().filter(|_| verified || self.unverified)
    }
}

/// The domain of an e-mail address, in lower case.
fn domain(email: &str) -> Option<String> {
    email.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn access() -> Access {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Access {
            users: set(&["ann"]),
            groups: set(&["staff"]),
            domains: set(&["example.org"]),
            everyone: false,
            claims: BTreeMap::new(),
            unverified: false,
        }
    }

    fn allows(access: &Access, user: &str, groups: &[&str], claims: Value) -> bool {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        access.allows(user, &groups, claims.as_object().unwrap())
    }

    #[test]
    fn one_of_the_lists_is_enough() {
        let email = |email: &str, verified: bool| json!({ "email": email, "email_verified": verified });
        assert!(allows(&access(), "ann", &[], json!({})));
        assert!(allows(&access(), "eve", &["other", "staff"], json!({})));
        assert!(allows(&access(), "eve", &[], email("eve@Example.org", true)));
        assert!(!allows(&access(), "eve", &["STAFF"], json!({})));
        for other in [
            "eve@example.org.evil.example",
            "eve@sub.example.org",
            "example.org",
            "a@example.org@evil.example",
        ] {
            assert!(!allows(&access(), "eve", &[], email(other, true)), "{other}");
        }
        assert!(!allows(&access(), "eve", &[], email("eve@example.org", false)));
        assert!(!allows(&access(), "eve", &[], json!({ "email": "eve@example.org" })));
        assert!(allows(
            &Access { unverified: true, ..access() },
            "eve",
            &[],
            json!({ "email": "eve@example.org" })
        ));
    }

    #[test]
    fn required_claims_come_on_top() {
        let claims = BTreeMap::from([("hd".to_owned(), "example.org".to_owned())]);
        let access = Access { claims, everyone: true, ..access() };
        assert!(allows(&access, "eve", &[], json!({ "hd": "example.org" })));
        assert!(!allows(&access, "ann", &["staff"], json!({ "hd": "evil.example" })));
        assert!(!allows(&access, "ann", &["staff"], json!({})));
    }
}
