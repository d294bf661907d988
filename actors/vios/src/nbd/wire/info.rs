//! What a server tells of an export: `NBD_REP_INFO` and "Transmission flags".

use bytes::{BufMut, BytesMut};

use super::{Cursor, WireError};
use crate::disk::{Abilities, Device};

/// Information types.
pub(crate) mod kind {
    pub(crate) const EXPORT: u16 = 0;
    pub(crate) const NAME: u16 = 1;
    pub(crate) const BLOCK_SIZE: u16 = 3;
}

const HAS_FLAGS: u16 = 1;
const READ_ONLY: u16 = 1 << 1;
const SEND_FLUSH: u16 = 1 << 2;
const SEND_FUA: u16 = 1 << 3;
const ROTATIONAL: u16 = 1 << 4;
const SEND_TRIM: u16 = 1 << 5;
const SEND_WRITE_ZEROES: u16 = 1 << 6;
const SEND_DF: u16 = 1 << 7;
const CAN_MULTI_CONN: u16 = 1 << 8;
const SEND_FAST_ZERO: u16 = 1 << 11;

/// The transmission flags of a device, for a client that takes structured replies or not.
pub(crate) fn flags_of(device: &Device, is_structured: bool) -> u16 {
    let can = &device.abilities;
    let writes = !can.is_read_only;
    let flags = [
        (HAS_FLAGS, true),
        (READ_ONLY, can.is_read_only),
        (SEND_FLUSH, can.can_flush),
        (SEND_FUA, can.can_fua),
        (ROTATIONAL, can.is_rotational),
        (SEND_TRIM, can.can_trim && writes),
        (SEND_WRITE_ZEROES, can.can_write_zeroes && writes),
        (SEND_DF, is_structured),
        (CAN_MULTI_CONN, can.is_shared),
        (SEND_FAST_ZERO, can.can_write_zeroes && can.can_zero_fast && writes),
    ];
    flags.into_iter().filter(|(_flag, is_set)| *is_set).map(|(flag, _)| flag).sum()
}

/// The abilities that transmission flags stand for. Whether block status can be asked for is
/// agreed on elsewhere.
pub(crate) fn abilities_of(flags: u16) -> Abilities {
    let has = |flag| flags & HAS_FLAGS != 0 && flags & flag != 0;
    Abilities {
        is_read_only: has(READ_ONLY),
        is_rotational: has(ROTATIONAL),
        is_shared: has(CAN_MULTI_CONN),
        can_flush: has(SEND_FLUSH),
        can_fua: has(SEND_FUA),
        can_trim: has(SEND_TRIM),
        can_write_zeroes: has(SEND_WRITE_ZEROES),
        can_zero_fast: has(SEND_FAST_ZERO),
        can_status: false,
    }
}

/// Size and transmission flags, as `NBD_OPT_EXPORT_NAME` is answered.
pub(crate) fn put_size_and_flags(out: &mut BytesMut, size: u64, flags: u16) {
    out.put_u64(size);
    out.put_u16(flags);
}

/// `NBD_INFO_EXPORT`.
pub(crate) fn export(size: u64, flags: u16) -> BytesMut {
    let mut info = BytesMut::new();
    info.put_u16(kind::EXPORT);
    put_size_and_flags(&mut info, size, flags);
    info
}

/// `NBD_INFO_BLOCK_SIZE`.
pub(crate) fn block_size(device: &Device) -> BytesMut {
    let mut info = BytesMut::new();
    info.put_u16(kind::BLOCK_SIZE);
    info.put_u32(device.block_min);
    info.put_u32(device.block_preferred);
    info.put_u32(device.payload_max);
    info
}

/// `NBD_INFO_NAME`.
pub(crate) fn name(name: &str) -> BytesMut {
    let mut info = BytesMut::new();
    info.put_u16(kind::NAME);
    info.put_slice(name.as_bytes());
    info
}

/// One piece of information about an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Info {
    Export { size: u64, flags: u16 },
    BlockSize { min: u32, preferred: u32, payload_max: u32 },
    Other,
}

impl Info {
    /// From the data of an `NBD_REP_INFO`.
    pub(crate) fn decode(data: &[u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(data);
        let info = match cursor.u16()? {
            kind::EXPORT => Self::Export { size: cursor.u64()?, flags: cursor.u16()? },
            kind::BLOCK_SIZE => Self::BlockSize {
                min: cursor.u32()?,
                preferred: cursor.u32()?,
                payload_max: cursor.u32()?,
            },
            _other => return Ok(Self::Other),
        };
        cursor.end()?;
        Ok(info)
    }
}
