//! The groups of people whom the server has authenticated, and the roles that they give.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::identity::Role;

/// How many groups of one person are used, and the longest name of one, in bytes.
const GROUPS: usize = 500;
const NAME_BYTES: usize = 200;

/// What the groups of people mean whom the server has authenticated. With `trust_server_user`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerGroups {
    /// Groups whose members, and only they, are administrators. By default, groups make no administrators.
    pub admin: Vec<String>,
    /// Groups whose members are guests, unless they are administrators. Other guests become users.
    pub guest: Vec<String>,
    /// Groups whose members may use the notebook, as may administrators and guests of the lists above. By default, everyone
    /// may.
    pub enter: Vec<String>,
}

impl ServerGroups {
    /// Whether a person in these groups may use the notebook.
    pub(crate) fn may_enter(&self, groups: &[String]) -> bool {
        self.enter.is_empty()
            || [&self.enter, &self.admin, &self.guest].into_iter().any(|list| any(list, groups))
    }

    /// The role of a person in these groups who had the role `before`.
    pub(crate) fn role(&self, before: Role, groups: &[String]) -> Role {
        let decides = |list: &[String], role| !list.is_empty() && before == role;
        if any(&self.admin, groups) {
            Role::Admin
        } else if any(&self.guest, groups) {
            Role::Guest
        } else if decides(&self.admin, Role::Admin) || decides(&self.guest, Role::Guest) {
            Role::User
        } else {
            before
        }
    }
}

/// Names of groups are compared exactly, because some directories distinguish `Staff` from `staff`.
fn any(list: &[String], groups: &[String]) -> bool {
    list.iter().any(|name| groups.contains(name))
}

/// The groups that can be groups of the notebook, sorted, each once. Upper and lower case make no difference there.
pub(crate) fn usable(groups: &[String]) -> Vec<String> {
    let fits = |name: &&str| !name.is_empty() && name.len() <= NAME_BYTES && !name.contains(char::is_control);
    let named = groups.iter().map(|name| name.trim()).filter(fits);
    let unique: BTreeMap<String, &str> =
        named.take(GROUPS).map(|name| (name.to_ascii_lowercase(), name)).collect();
    let mut usable: Vec<String> = unique.into_values().map(str::to_owned).collect();
    usable.sort();
    usable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn groups_give_roles() {
        let rules =
            ServerGroups { admin: names("root ops"), guest: names("visitors"), enter: names("staff") };
        for (before, groups, role, enters) in [
            (Role::User, "staff ops", Role::Admin, true),
            (Role::User, "visitors root", Role::Admin, true),
            (Role::Admin, "staff", Role::User, true),
            (Role::User, "visitors", Role::Guest, true),
            (Role::Guest, "staff", Role::User, true),
            (Role::User, "OPS Staff", Role::User, false),
            (Role::User, "", Role::User, false),
        ] {
            let groups = names(groups);
            assert_eq!((rules.role(before, &groups), rules.may_enter(&groups)), (role, enters), "{groups:?}");
        }
        let none = ServerGroups::default();
        for role in [Role::Guest, Role::User, Role::Admin] {
            assert_eq!((none.role(role, &names("ops")), none.may_enter(&[])), (role, true));
        }
    }

    #[test]
    fn groups_that_cannot_be_used_are_left_out() {
        let long = "x".repeat(NAME_BYTES + 1);
        let groups = ["staff", " ops ", "", "a\u{7}b", "Staff", &long].map(str::to_owned);
        assert_eq!(usable(&groups), ["Staff", "ops"]);
    }
}
