//! Numbers of bytes, as people write them.

use std::str::FromStr;

use serde::Deserialize;

const UNITS: [(&str, u32); 5] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("", 0)];

/// A number of bytes: `512`, `512MiB`, `10GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

/// The text is no number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("needed is a number of bytes, alone or with KiB, MiB, GiB or TiB")]
pub struct NoSize;

impl FromStr for ByteSize {
    type Err = NoSize;

    fn from_str(text: &str) -> Result<Self, NoSize> {
        let bytes = UNITS.into_iter().find_map(|(unit, shift)| {
            let count: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
            count.checked_mul(1 << shift)
        });
        bytes.map(Self).ok_or(NoSize)
    }
}

/// Bytes, or a text with a unit.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum RawSize {
    Bytes(u64),
    Text(String),
}

impl RawSize {
    pub(super) fn bytes(self) -> Result<u64, String> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Text(text) => {
                text.parse().map(|ByteSize(bytes)| bytes).map_err(|_no_size| format!("{text:?}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_that_may_have_a_unit() {
        let bytes = |text: &str| text.parse::<ByteSize>().map(|size| size.0);
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("10GiB"), Ok(10 << 30));
        assert_eq!(bytes("3 MiB"), Ok(3 << 20));
        for text in ["", "GiB", "10GB", "-1", "1.5GiB", "18446744073709551615KiB"] {
            assert_eq!(bytes(text), Err(NoSize), "{text}");
        }
    }
}
