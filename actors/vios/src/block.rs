//! What is asked of a virtual disk, and what it answers: the same words from the client's adapter
//! down to the storage.
//!
//! The operations and their failures are those of the NBD protocol (its section "Command
//! messages"), which every front end and every backend can express.

use bytes::Bytes;

/// A run of bytes of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Extent {
    /// Bytes from the start of the disk.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
}

impl Extent {
    /// The first byte behind it; `None` if it lies beyond what 64 bits can count.
    #[must_use]
    pub fn end(self) -> Option<u64> {
        self.offset.checked_add(u64::from(self.length))
    }

    /// Whether some byte is in both. One that reaches past the last countable byte reaches up to
    /// it; an empty one overlaps nothing.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let end = |extent: Self| extent.offset.saturating_add(u64::from(extent.length));
        self.offset.max(other.offset) < end(self).min(end(other))
    }

    /// Whether all of it lies on a disk of `size` bytes.
    #[must_use]
    pub fn fits(self, size: u64) -> bool {
        self.end().is_some_and(|end| end <= size)
    }
}

/// One request of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Gives the bytes of `extent`.
    Read {
        /// What is read.
        extent: Extent,
    },
    /// Stores `data` from `offset` on.
    Write {
        /// Bytes from the start of the disk.
        offset: u64,
        /// As many bytes as an [`Extent`] can count, at most.
        data: Bytes,
        /// Answered only when these bytes are on stable media.
        fua: bool,
    },
    /// Answered when all that was acknowledged before it was sent is on stable media.
    Flush,
    /// The client has no more use for these bytes; they read as anything afterwards.
    Trim {
        /// What is given up.
        extent: Extent,
        /// Answered only when its effect is on stable media.
        fua: bool,
    },
    /// The bytes read as zero afterwards.
    WriteZeroes {
        /// What is made zero.
        extent: Extent,
        /// Answered only when its effect is on stable media.
        fua: bool,
        /// Whether the room that they took may be given back.
        may_punch: bool,
        /// Refused with [`Failure::NotSupported`] unless it is faster than writing zeroes out.
        only_fast: bool,
    },
    /// Which bytes of `extent` are allocated, and which read as zero.
    Status {
        /// What is asked about.
        extent: Extent,
    },
}

impl Request {
    /// The bytes that it reads or changes; `None` for a flush. Data of 4 GiB and more counts as one
    /// byte less than that.
    #[must_use]
    pub fn extent(&self) -> Option<Extent> {
        match self {
            Self::Write { offset, data, .. } => {
                let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
                Some(Extent { offset: *offset, length })
            }
            Self::Read { extent }
            | Self::Trim { extent, .. }
            | Self::WriteZeroes { extent, .. }
            | Self::Status { extent } => Some(*extent),
            Self::Flush => None,
        }
    }

    /// Whether it changes what the disk holds.
    #[must_use]
    pub fn is_change(&self) -> bool {
        match self {
            Self::Write { .. } | Self::Trim { .. } | Self::WriteZeroes { .. } => true,
            Self::Read { .. } | Self::Flush | Self::Status { .. } => false,
        }
    }

    /// Whether it is answered only when its own effect is on stable media.
    #[must_use]
    pub fn is_fua(&self) -> bool {
        match self {
            Self::Write { fua, .. } | Self::Trim { fua, .. } | Self::WriteZeroes { fua, .. } => {
                *fua
            }
            Self::Read { .. } | Self::Flush | Self::Status { .. } => false,
        }
    }

    /// The same, but answered only when its own effect is on stable media, or before.
    #[must_use]
    pub fn with_fua(mut self, is_fua: bool) -> Self {
        match &mut self {
            Self::Write { fua, .. } | Self::Trim { fua, .. } | Self::WriteZeroes { fua, .. } => {
                *fua = is_fua;
            }
            Self::Read { .. } | Self::Flush | Self::Status { .. } => {}
        }
        self
    }

    /// Bytes of data that it carries.
    #[must_use]
    pub fn payload(&self) -> usize {
        match self {
            Self::Write { data, .. } => data.len(),
            Self::Read { .. }
            | Self::Flush
            | Self::Trim { .. }
            | Self::WriteZeroes { .. }
            | Self::Status { .. } => 0,
        }
    }

    /// Whether it must not be carried out beside `other`: they share bytes, and one changes them.
    #[must_use]
    pub fn collides(&self, other: &Self) -> bool {
        let shares = match (self.extent(), other.extent()) {
            (Some(one), Some(two)) => one.overlaps(two),
            (None, _) | (_, None) => false,
        };
        shares && (self.is_change() || other.is_change())
    }
}

/// What one request came to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// It is done.
    Done,
    /// The bytes that were read: as many as were asked for.
    Data(Bytes),
    /// Runs in order, the first from the extent's start on, without gaps; they may end before it.
    Status(Vec<Run>),
}

/// A run of bytes that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Bytes.
    pub length: u32,
    /// Takes no room on the storage.
    pub is_hole: bool,
    /// Reads as zero.
    pub is_zero: bool,
}

/// Why a request was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Failure {
    /// The storage could not do it, or no path to it was left within the disk's bound.
    #[error("input or output error")]
    Io,
    /// The storage is full; nothing else is harmed.
    #[error("no room left on the storage")]
    NoSpace,
    /// It reaches past the end, or is longer than the disk takes.
    #[error("the request does not lie on the disk or is longer than it takes")]
    Invalid,
    /// The disk is read-only.
    #[error("the disk is read-only")]
    ReadOnly,
    /// The disk does not do this.
    #[error("the disk does not support this")]
    NotSupported,
    /// The disk is being closed.
    #[error("the disk is being closed")]
    ShuttingDown,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64, length: u32) -> Extent {
        Extent { offset, length }
    }

    #[test]
    fn neighbours_do_not_overlap() {
        assert!(at(0, 8).overlaps(at(7, 1)));
        assert!(!at(0, 8).overlaps(at(8, 1)));
        assert!(!at(3, 0).overlaps(at(0, 8)));
    }

    #[test]
    fn an_extent_that_cannot_be_counted_fits_nowhere() {
        assert!(at(4, 4).fits(8));
        assert!(!at(5, 4).fits(8));
        assert!(!at(u64::MAX, 1).fits(u64::MAX));
        assert!(at(u64::MAX - 1, 8).overlaps(at(u64::MAX - 2, 2)));
    }
}
