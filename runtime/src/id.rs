//! Which actor is meant, and which run of it.

use std::fmt;

use serde::{Deserialize, Serialize};
use vioduct_certs::identity::NodeName;

/// One life of one actor. A restarted actor has another; so has one on a restarted node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActorId {
    /// The node it lives on.
    pub node: NodeName,
    /// The run of that node.
    pub incarnation: u64,
    /// Number of this life among all of that run, from 1.
    pub serial: u64,
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, incarnation, serial } = self;
        write!(f, "{serial}@{node}#{incarnation}")
    }
}

/// Longest name of an actor or a group, bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// A text that cannot name an actor or a group. Fault: the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name: it must be 1 to {NAME_BYTES_MAX} bytes without control characters")]
pub struct ActorNameError(pub String);

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks a name.
            ///
            /// # Errors
            /// [`ActorNameError`] when it is empty, too long or holds control characters.
            pub fn new(name: impl Into<String>) -> Result<Self, ActorNameError> {
                let name = name.into();
                let is_long = name.len() > NAME_BYTES_MAX;
                if name.is_empty() || is_long || name.contains(char::is_control) {
                    return Err(ActorNameError(name));
                }
                Ok(Self(name))
            }

            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = ActorNameError;

            fn try_from(name: String) -> Result<Self, ActorNameError> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

names! {
    /// A name under which an actor is found: 1 to 128 bytes, no control characters.
    ActorName
    /// The name of a group of actors: 1 to 128 bytes, no control characters.
    GroupName
}

impl ActorName {
    /// One of the runtime's own, which is right as it stands.
    pub(crate) fn known(name: &'static str) -> Self {
        Self(name.to_owned())
    }
}
