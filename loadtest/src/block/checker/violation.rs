//! What a disk answered that cannot be true.

use std::fmt;

use super::Number;

/// A block that a read gave otherwise than it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Where the block lies, in bytes from the start of the disk.
    pub(crate) offset: u64,
    pub(crate) what: What,
}

/// What is wrong with a block. Writes are named by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Bytes that no write made, in the sector at so many bytes.
    Damaged { at: u64 },
    /// It is of another disk, or of an earlier run.
    Foreign,
    /// It belongs elsewhere on this disk.
    Moved { from: u64 },
    /// Its sectors are of two writes.
    Torn { one: Number, other: Number },
    /// Of a write that this block never had, or of which nothing was sent.
    NeverWritten { found: Number },
    /// It is older than one that was acknowledged, or that was read before.
    WentBack { found: Number, settled: Number },
}

impl What {
    /// Its name in the result.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Damaged { .. } => "damaged",
            Self::Foreign => "foreign",
            Self::Moved { .. } => "moved",
            Self::Torn { .. } => "torn",
            Self::NeverWritten { .. } => "never_written",
            Self::WentBack { .. } => "went_back",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block at {}: ", self.offset)?;
        match self.what {
            What::Damaged { at } => write!(f, "the sector at {at} is of no write"),
            What::Foreign => write!(f, "of another disk, or of an earlier run"),
            What::Moved { from } => write!(f, "holds what was written at {from}"),
            What::Torn { one, other } => write!(f, "half of write {one}, half of write {other}"),
            What::NeverWritten { found } => write!(f, "holds write {found}, which it never had"),
            What::WentBack { found, settled } => {
                write!(f, "went back to write {found} after write {settled} was settled")
            }
        }
    }
}
