//! What names things of a cluster.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use rand::Rng;
use serde::{Deserialize, Serialize};
use vioduct_runtime::Wire;

use super::Key;

/// Longest name, bytes.
const BYTES_MAX: usize = 63;

/// What makes a VIOS the one that it is: drawn by itself when it first starts, and never again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Wire, Serialize, Deserialize)]
pub struct UniqueId(pub [u8; 16]);

impl UniqueId {
    /// A new one.
    #[must_use]
    pub fn draw(chance: &mut impl Rng) -> Self {
        Self(chance.random())
    }
}

impl Key for UniqueId {
    fn bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UniqueId({self})")
    }
}

/// What operators call a pool or a client partition: 1 to 63 lower-case letters, digits and `-`,
/// with no `-` at either end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ObjectName(String);

/// The text is no such name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name; it has 1 to {BYTES_MAX} of a-z, 0-9 and `-`, none at an end")]
pub struct NameError(String);

impl ObjectName {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ObjectName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        let is_plain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let is_name = (1..=BYTES_MAX).contains(&text.len())
            && text.bytes().all(is_plain)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if is_name { Ok(Self(text)) } else { Err(NameError(text.chars().take(64).collect())) }
    }
}

impl FromStr for ObjectName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.to_owned().try_into()
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Key for ObjectName {
    fn bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self.0.as_bytes())
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok()?.parse().ok()
    }
}
