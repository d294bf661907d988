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

/// A name under which an actor is found on its node: 1 to 128 bytes, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ActorName(String);

/// Longest name of an actor, bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// A text that cannot name an actor. Fault: the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot name an actor: 1 to {NAME_BYTES_MAX} bytes, no control characters")]
pub struct ActorNameError(pub String);

impl ActorName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`ActorNameError`] when it is empty, too long or holds control characters.
    pub fn new(name: impl Into<String>) -> Result<Self, ActorNameError> {
        let name = name.into();
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
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

impl TryFrom<String> for ActorName {
    type Error = ActorNameError;

    fn try_from(name: String) -> Result<Self, ActorNameError> {
        Self::new(name)
    }
}

impl From<ActorName> for String {
    fn from(name: ActorName) -> Self {
        name.0
    }
}

impl fmt::Display for ActorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
