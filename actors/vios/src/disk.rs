//! What a virtual disk is to whoever asks things of it: the same trait for a client LPAR's disk,
//! a file, and a remote NBD server.

use bytes::Bytes;

use crate::block::{Extent, Failure, Reply, Request};

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
    /// A request that does not keep to [`device`](Self::device) is refused, as
    /// [`Device::admit`] says, and nothing is done.
    ///
    /// Cancel-safety: a future that is dropped before its first poll asked for nothing. Dropped
    /// later, the request may be carried out or not.
    fn execute(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Reply, Self::Error>> + Send + '_;

    /// Gives `length` bytes from `offset` on. Otherwise as [`execute`](Self::execute).
    fn read(
        &self,
        offset: u64,
        length: u32,
    ) -> impl Future<Output = Result<Bytes, Failure>> + Send + '_ {
        async move {
            let extent = Extent { offset, length };
            match self.execute(Request::Read { extent }).await.map_err(Into::into)? {
                Reply::Data(data) => Ok(data),
                // No disk of ours answers a read otherwise.
                Reply::Done | Reply::Status(_) => Err(Failure::Io),
            }
        }
    }

    /// Stores `data` from `offset` on: acknowledged, but on stable media only once a
    /// [`flush`](Self::flush) was answered. Otherwise as [`execute`](Self::execute).
    fn write(
        &self,
        offset: u64,
        data: Bytes,
    ) -> impl Future<Output = Result<(), Failure>> + Send + '_ {
        let write = self.execute(Request::Write { offset, data, fua: false });
        async move { write.await.map(|_done| ()).map_err(Into::into) }
    }

    /// Waits until all that was acknowledged before is on stable media. Otherwise as
    /// [`execute`](Self::execute).
    fn flush(&self) -> impl Future<Output = Result<(), Failure>> + Send + '_ {
        let flush = self.execute(Request::Flush);
        async move { flush.await.map(|_done| ()).map_err(Into::into) }
    }
}

/// What a disk is, and what it can do.
///
/// Source: NBD proto.md, "Size constraints" and "Transmission flags".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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

impl Abilities {
    /// Everything that can be asked of a disk whose data does not turn under a head.
    pub const ALL: Self = Self {
        is_read_only: false,
        is_rotational: false,
        is_shared: true,
        can_flush: true,
        can_fua: true,
        can_trim: true,
        can_write_zeroes: true,
        can_zero_fast: true,
        can_status: true,
    };
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

/// What is asked of a run of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
    Trim,
    WriteZeroes,
    Status,
}

impl Device {
    /// Whether such a request may be carried out.
    ///
    /// Source: NBD proto.md, "Error values" and "Size constraints".
    ///
    /// # Errors
    /// [`Failure::NotSupported`] without the ability, [`Failure::ReadOnly`], then
    /// [`Failure::NoSpace`] for a write past the end, [`Failure::Invalid`] for anything else past
    /// the end, off the blocks, or too long.
    pub fn admit(&self, request: &Request) -> Result<(), Failure> {
        let can = &self.abilities;
        let (is_able, operation, extent, fua) = match request {
            Request::Flush => {
                return if can.can_flush { Ok(()) } else { Err(Failure::NotSupported) };
            }
            Request::Read { extent } => (true, Operation::Read, *extent, false),
            Request::Status { extent } => (can.can_status, Operation::Status, *extent, false),
            Request::Write { offset, data, fua } => {
                let length = u32::try_from(data.len()).map_err(|_too_long| Failure::Invalid)?;
                (true, Operation::Write, Extent { offset: *offset, length }, *fua)
            }
            Request::Trim { extent, fua } => (can.can_trim, Operation::Trim, *extent, *fua),
            Request::WriteZeroes { extent, fua, only_fast, .. } => {
                let is_able = can.can_write_zeroes && (can.can_zero_fast || !only_fast);
                (is_able, Operation::WriteZeroes, *extent, *fua)
            }
        };
        if !can.is_read_only && (!is_able || (fua && !can.can_fua)) {
            return Err(Failure::NotSupported);
        }
        self.admit_extent(operation, extent)
    }

    /// Whether such a part of the disk may be asked for. It says nothing of abilities.
    pub(crate) fn admit_extent(&self, operation: Operation, extent: Extent) -> Result<(), Failure> {
        let (writes, has_payload) = match operation {
            Operation::Read => (false, true),
            Operation::Write => (true, true),
            Operation::Trim | Operation::WriteZeroes => (true, false),
            Operation::Status => (false, false),
        };
        if writes && self.abilities.is_read_only {
            return Err(Failure::ReadOnly);
        }
        if !extent.fits(self.size) {
            let adds = matches!(operation, Operation::Write | Operation::WriteZeroes);
            return Err(if adds { Failure::NoSpace } else { Failure::Invalid });
        }
        let is_aligned = extent.offset.is_multiple_of(self.block_min.into())
            && extent.length.is_multiple_of(self.block_min);
        let is_long = has_payload && extent.length > self.payload_max;
        // A status has one run at least, and a run is never empty.
        let is_nothing = operation == Operation::Status && extent.length == 0;
        if is_aligned && !is_long && !is_nothing { Ok(()) } else { Err(Failure::Invalid) }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Device {
        let abilities = Abilities { can_trim: true, can_status: true, ..Abilities::default() };
        Device { block_min: 512, payload_max: 8192, abilities, ..Device::new(1 << 20) }
    }

    fn admit(operation: Operation, offset: u64, length: u32) -> Result<(), Failure> {
        device().admit_extent(operation, Extent { offset, length })
    }

    #[test]
    fn only_what_lies_on_the_disk_is_admitted() {
        let (end, beyond) = (1 << 20, u64::MAX - 511);
        for operation in [Operation::Read, Operation::Trim, Operation::Status] {
            assert_eq!(admit(operation, end - 512, 512), Ok(()), "{operation:?}");
            assert_eq!(admit(operation, end, 512), Err(Failure::Invalid), "{operation:?}");
            assert_eq!(admit(operation, beyond, 512), Err(Failure::Invalid), "{operation:?}");
        }
        for operation in [Operation::Write, Operation::WriteZeroes] {
            assert_eq!(admit(operation, end - 512, 512), Ok(()), "{operation:?}");
            assert_eq!(admit(operation, end, 512), Err(Failure::NoSpace), "{operation:?}");
            assert_eq!(admit(operation, beyond, 512), Err(Failure::NoSpace), "{operation:?}");
        }
    }

    #[test]
    fn only_whole_blocks_and_payloads_in_bounds_are_admitted() {
        assert_eq!(admit(Operation::Read, 1, 512), Err(Failure::Invalid));
        assert_eq!(admit(Operation::Write, 0, 511), Err(Failure::Invalid));
        assert_eq!(admit(Operation::Read, 0, 8192), Ok(()));
        assert_eq!(admit(Operation::Read, 0, 8192 + 512), Err(Failure::Invalid));
        assert_eq!(admit(Operation::Trim, 0, 1 << 20), Ok(()), "it has no payload");
        assert_eq!(admit(Operation::Status, 0, 0), Err(Failure::Invalid));
        assert_eq!(admit(Operation::Write, 0, 0), Ok(()));
    }

    #[test]
    fn only_what_the_disk_can_do_is_admitted() {
        let extent = Extent { offset: 0, length: 512 };
        let trim = |fua| Request::Trim { extent, fua };
        assert_eq!(device().admit(&trim(false)), Ok(()));
        assert_eq!(device().admit(&trim(true)), Err(Failure::NotSupported));
        assert_eq!(device().admit(&Request::Flush), Err(Failure::NotSupported));
        let read_only = Device::new(1 << 20);
        assert_eq!(read_only.admit(&trim(false)), Err(Failure::ReadOnly));
        assert_eq!(read_only.admit(&Request::Read { extent }), Ok(()));
    }

    #[test]
    fn numbers_that_make_no_sense_are_found() {
        assert_eq!(device().check(), Ok(()));
        let check = |device: Device| device.check().unwrap_err();
        let block_min = DeviceError::BlockMin { block: 3 };
        assert_eq!(check(Device { block_min: 3, ..device() }), block_min);
        assert_eq!(
            check(Device { block_preferred: 256, ..device() }),
            DeviceError::BlockPreferred { block: 256 }
        );
        assert_eq!(
            check(Device { payload_max: 512, ..device() }),
            DeviceError::PayloadMax { payload: 512 }
        );
        assert_eq!(
            check(Device { memory_align: 0, ..device() }),
            DeviceError::MemoryAlign { align: 0 }
        );
        for size in [513, u64::MAX - 511] {
            let expected = DeviceError::Size { size, block: 512 };
            assert_eq!(check(Device { size, ..device() }), expected);
        }
    }
}
