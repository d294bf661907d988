//! Roles that a certificate grants to a node.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One thing a node may do in the cluster.
///
/// The order is alphabetical by [`Role::as_str`]; the certificate relies on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Holds a replica of the VIOS DB.
    Db,
    /// Stands for the hypervisor of a CEC and its client LPARs.
    Phyp,
    /// Serves the storage repository.
    Storage,
    /// Serves virtual disks to client LPARs.
    Vios,
}

impl Role {
    /// Every role, alphabetically.
    pub const ALL: [Self; 4] = [Self::Db, Self::Phyp, Self::Storage, Self::Vios];

    /// The role's one spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Db => "db",
            Self::Phyp => "phyp",
            Self::Storage => "storage",
            Self::Vios => "vios",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Db => 1,
            Self::Phyp => 2,
            Self::Storage => 4,
            Self::Vios => 8,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is not a role, or not a set of roles.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// No role has this name.
    #[error("unknown role {0:?}, known are db, phyp, storage and vios")]
    Unknown(String),
    /// The same role stands twice.
    #[error("role {0} is named twice")]
    Duplicate(Role),
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| RoleError::Unknown(text.to_owned()))
    }
}

/// A set of roles. Iterates alphabetically.
///
/// Its text form joins the roles with `.`, and is `none` when the set is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Roles(u8);

impl Roles {
    /// The empty set.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// Every role.
    #[must_use]
    pub fn all() -> Self {
        Role::ALL.into_iter().collect()
    }

    /// Whether `role` is in the set.
    #[must_use]
    pub const fn contains(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Whether the set holds no role.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// This set and `role`.
    #[must_use]
    pub const fn with(self, role: Role) -> Self {
        Self(self.0 | role.bit())
    }

    /// The roles, alphabetically.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
    }

    /// Reads a list in any order.
    ///
    /// # Errors
    /// An unknown role, or one that stands twice.
    pub fn parse_list<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, RoleError> {
        let mut roles = Self::none();
        for name in names {
            let role: Role = name.parse()?;
            if roles.contains(role) {
                return Err(RoleError::Duplicate(role));
            }
            roles = roles.with(role);
        }
        Ok(roles)
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(iter: I) -> Self {
        iter.into_iter().fold(Self::none(), Self::with)
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (position, role) in self.iter().enumerate() {
            if position > 0 {
                f.write_str(".")?;
            }
            f.write_str(role.as_str())?;
        }
        Ok(())
    }
}

impl FromStr for Roles {
    type Err = RoleError;

    /// Reads roles joined by `.`, in any order, or `none`.
    fn from_str(text: &str) -> Result<Self, RoleError> {
        if text == "none" {
            return Ok(Self::none());
        }
        Self::parse_list(text.split('.'))
    }
}

impl Serialize for Roles {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // As they are read, and their number first: not every format describes itself.
        serializer.collect_seq(self.iter().map(Role::as_str).collect::<Vec<_>>())
    }
}

impl<'de> Deserialize<'de> for Roles {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        Self::parse_list(names.iter().map(String::as_str)).map_err(serde::de::Error::custom)
    }
}
