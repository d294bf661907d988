//! Names of clusters and nodes.
//!
//! Both are single DNS labels, because they become parts of the server name that TLS checks and of
//! the SPIFFE URI in the certificate. One spelling exists for each name: lower case, no escapes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a name. Fault: whoever wrote the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty or longer than the field allows.
    #[error("{field} is {len} characters long, allowed are 1 to {max}")]
    Length {
        /// Which name was read.
        field: &'static str,
        /// Length of the text in bytes.
        len: usize,
        /// Longest allowed length in bytes.
        max: usize,
    },
    /// The text holds a character outside `a-z`, `0-9` and `-`.
    #[error("{field} holds {found:?}, allowed are a-z, 0-9 and -")]
    Character {
        /// Which name was read.
        field: &'static str,
        /// The first offending character.
        found: char,
    },
    /// The text starts or ends with `-`, which no DNS label may.
    #[error("{field} starts or ends with '-'")]
    Hyphen {
        /// Which name was read.
        field: &'static str,
    },
}

fn validate(field: &'static str, max: usize, text: &str) -> Result<(), NameError> {
    if text.is_empty() || text.len() > max {
        return Err(NameError::Length { field, len: text.len(), max });
    }
    let allowed = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-';
    if let Some(found) = text.chars().find(|c| !allowed(c)) {
        return Err(NameError::Character { field, found });
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(NameError::Hyphen { field });
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $field:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Longest allowed name in bytes.
            pub const LEN_MAX: usize = $max;

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                validate($field, Self::LEN_MAX, text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name_type! {
    /// Name of a cluster: a DNS label of 1 to 32 bytes.
    ClusterName, "cluster name", 32
}

name_type! {
    /// Name of a node or a tool, unique within its cluster: a DNS label of 1 to 63 bytes.
    NodeName, "node name", 63
}

impl ClusterName {
    /// The DNS suffix of every name in the cluster, `<cluster>.vioduct.internal`.
    #[must_use]
    pub fn dns_suffix(&self) -> String {
        format!("{}.vioduct.internal", self.0)
    }
}

impl NodeName {
    /// What a dialler asks TLS to check: `<name>.<cluster>.vioduct.internal`. Never looked up.
    #[must_use]
    pub fn server_name(&self, cluster: &ClusterName) -> String {
        format!("{}.{}", self.0, cluster.dns_suffix())
    }
}
