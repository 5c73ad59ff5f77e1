//! Roles: the tenants of a cluster, named in a tree (`org/team`).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::{IdError, MAX_NAME_BYTES, forbidden, serde_as_text};

mod settings;

pub use settings::{RoleChange, RoleRefusal, RoleSettings, Weight, WeightError};

/// A role's name. Cheap to clone.
///
/// `*` is the default role. Otherwise one or more components parted by `/`; a component is not
/// empty, not `.` or `..`, does not begin with `-`, and holds no whitespace, control character,
/// backslash or `*` (Mesos: `src/common/roles.cpp`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(Arc<str>);

impl Role {
    /// The role of whoever names none: `*`.
    #[must_use]
    pub fn default_role() -> Self {
        Self("*".into())
    }

    /// The role's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The role and the roles above it, from the top of the tree down.
    pub fn path(&self) -> impl Iterator<Item = Self> {
        let ends = self.0.match_indices('/').map(|(at, _)| at);
        ends.map(|end| Self(self.0[..end].into()))
            .chain([self.clone()])
    }

    /// The role right above; `None` for one at the top.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (above, _) = self.0.rsplit_once('/')?;
        Some(Self(above.into()))
    }

    /// Whether this is `other`, or above it in the tree.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        let rest = other.0.strip_prefix(&*self.0);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The name's components, from the root of the role tree down.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl Default for Role {
    fn default() -> Self {
        Self::default_role()
    }
}
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

fn validate_role(text: &str) -> Result<(), &'static str> {
    if text == "*" {
        return Ok(());
    }
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > MAX_NAME_BYTES {
        return Err("it is longer than 255 bytes");
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("it holds whitespace or a control character");
    }
    if text.contains('\\') {
        return Err("it holds a backslash");
    }
    for component in text.split('/') {
        match component {
            "" => return Err("it begins or ends with a slash, or has two in a row"),
            "." | ".." => return Err("\".\" and \"..\" are not role names"),
            _ if component.starts_with('-') => return Err("a component begins with a dash"),
            _ if component.contains('*') => return Err("a component holds a \"*\""),
            _ => {}
        }
    }
    Ok(())
}

impl FromStr for Role {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        validate_role(text).map_err(|why| forbidden("role", text, why))?;
        Ok(Self(text.into()))
    }
}
serde_as_text!(Role);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_knows_what_is_above_it() {
        let role = |text: &str| text.parse::<Role>().expect("a role");
        let path: Vec<_> = role("a/b/c").path().collect();
        assert_eq!(path, [role("a"), role("a/b"), role("a/b/c")]);
        assert_eq!(role("a/b").parent(), Some(role("a")));
        assert_eq!(role("a").parent(), None);
        assert!(role("a").holds(&role("a/b")) && role("a").holds(&role("a")));
        assert!(!role("a").holds(&role("ab")) && !role("a/b").holds(&role("a")));
    }

    #[test]
    fn names_follow_the_rules() {
        for good in ["*", "web", "org/team/a", "a-b", "a.b"] {
            assert!(good.parse::<Role>().is_ok(), "{good}");
        }
        let long = "x".repeat(256);
        for (bad, why) in [
            ("", "empty"),
            (&*long, "longer than 255"),
            ("/", "slash"),
            ("a/", "slash"),
            ("/a", "slash"),
            ("a//b", "slash"),
            (".", "not role names"),
            ("a/..", "not role names"),
            ("-a", "dash"),
            ("a/-b", "dash"),
            ("a b", "whitespace"),
            ("a\tb", "whitespace"),
            ("a\u{a0}b", "whitespace"),
            ("a\u{8}", "control character"),
            ("a\u{7f}", "control character"),
            ("a\0", "control character"),
            ("a\\b", "backslash"),
            ("a/*", "\"*\""),
            ("*/a", "\"*\""),
            ("**", "\"*\""),
        ] {
            let error = bad.parse::<Role>().expect_err(bad);
            assert!(matches!(error, IdError::Forbidden { .. }), "{error:?}");
            let said = error.to_string();
            assert!(
                said.contains("is not a role: ") && said.contains(why),
                "{said}"
            );
        }
    }
}
