//! What a virtual disk is to whoever asks things of it: the same trait for a client LPAR's disk,
//! a file, and a remote NBD server.

use crate::block::{Failure, Reply, Request};

/// A disk that carries out requests, many at once.
///
/// Requests under way at the same time have no order among each other, as in the NBD protocol
/// (its section "Ordering of messages and writes"). A flush covers what was answered before it.
pub trait Disk: Send + Sync + 'static {
    /// Why a request failed, as far as this disk can tell; what a client is told is the
    /// [`Failure`] that it becomes.
    type Error: Into<Failure> + Send;

    /// Size, limits and abilities. They stay as they are while clients are connected.
    fn device(&self) -> Device;

    /// Carries out one request.
    ///
    /// The request lies on the disk and keeps to [`device`](Self::device): its block sizes, its
    /// longest payload, its abilities. Whoever calls has checked that ([`Device::check`] helps).
    ///
    /// Cancel-safety: a future that is dropped before its first poll asked for nothing. Dropped
    /// later, the request may be carried out or not.
    fn execute(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Reply, Self::Error>> + Send + '_;
}

/// What a disk is, and what it can do.
///
/// Source: NBD proto.md, "Size constraints" and "Transmission flags".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Bytes, at most `i64::MAX`; a multiple of `block_min`.
    pub size: u64,
    /// Offsets and lengths are multiples of this many bytes: a power of two, 1 to 65536.
    pub block_min: u32,
    /// Bytes that are best moved at once: a power of two, at least 512 and `block_min`.
    pub block_preferred: u32,
    /// Longest read or write, in bytes; at least `block_preferred`.
    pub payload_max: u32,
    /// Alignment, in bytes, that spares the disk a copy of what is written: a power of two.
    pub memory_align: u32,
    /// What it can do.
    pub abilities: Abilities,
}

/// What a disk can do besides reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each stands for one flag of the protocol")]
pub struct Abilities {
    /// Takes no writes, trims or zeroes.
    pub is_read_only: bool,
    /// Moves a head to reach its data.
    pub is_rotational: bool,
    /// Several connections see the same disk, and a flush on one covers what was answered on all.
    pub is_shared: bool,
    /// Carries out [`Request::Flush`].
    pub can_flush: bool,
    /// Takes writes that are answered when on stable media.
    pub can_fua: bool,
    /// Carries out [`Request::Trim`].
    pub can_trim: bool,
    /// Carries out [`Request::WriteZeroes`].
    pub can_write_zeroes: bool,
    /// Knows whether zeroes are written faster than other data.
    pub can_zero_fast: bool,
    /// Carries out [`Request::Status`].
    pub can_status: bool,
}

/// Longest payload where nothing else was agreed, in bytes (NBD proto.md, "Size constraints").
pub const PAYLOAD_MAX_DEFAULT: u32 = 32 << 20;
/// Preferred block where nothing else was agreed, in bytes.
pub const BLOCK_PREFERRED_DEFAULT: u32 = 4096;
const BLOCK_MIN_MAX: u32 = 65_536;
const BLOCK_PREFERRED_MIN: u32 = 512;
const SIZE_MAX: u64 = i64::MAX.unsigned_abs();

impl Device {
    /// A disk of `size` bytes with the protocol's default limits that can only be read.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self {
            size,
            block_min: 1,
            block_preferred: BLOCK_PREFERRED_DEFAULT,
            payload_max: PAYLOAD_MAX_DEFAULT,
            memory_align: 1,
            abilities: Abilities { is_read_only: true, ..Abilities::default() },
        }
    }

    /// Whether the numbers make sense together.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), DeviceError> {
        let block = self.block_min;
        if !block.is_power_of_two() || block > BLOCK_MIN_MAX {
            return Err(DeviceError::BlockMin { block });
        }
        let preferred = self.block_preferred;
        if !preferred.is_power_of_two() || preferred < block.max(BLOCK_PREFERRED_MIN) {
            return Err(DeviceError::BlockPreferred { block: preferred });
        }
        if self.payload_max < preferred {
            return Err(DeviceError::PayloadMax { payload: self.payload_max });
        }
        if self.size > SIZE_MAX || !self.size.is_multiple_of(u64::from(block)) {
            return Err(DeviceError::Size { size: self.size, block });
        }
        if !self.memory_align.is_power_of_two() || self.memory_align > BLOCK_MIN_MAX {
            return Err(DeviceError::MemoryAlign { align: self.memory_align });
        }
        Ok(())
    }
}

/// What is wrong with a [`Device`]. Fault: the disk, or the server that described it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The smallest block.
    #[error("a smallest block of {block} bytes is no power of two up to 65536")]
    BlockMin {
        /// Bytes.
        block: u32,
    },
    /// The preferred block.
    #[error("a preferred block of {block} bytes is no power of two, or less than the smallest")]
    BlockPreferred {
        /// Bytes.
        block: u32,
    },
    /// The memory alignment.
    #[error("a memory alignment of {align} bytes is no power of two up to 65536")]
    MemoryAlign {
        /// Bytes.
        align: u32,
    },
    /// The longest payload.
    #[error("a longest payload of {payload} bytes is less than the preferred block")]
    PayloadMax {
        /// Bytes.
        payload: u32,
    },
    /// The size.
    #[error("a size of {size} bytes is too large, or no multiple of blocks of {block} bytes")]
    Size {
        /// Bytes.
        size: u64,
        /// Bytes of the smallest block.
        block: u32,
    },
}
