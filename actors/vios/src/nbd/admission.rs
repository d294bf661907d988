//! What becomes of a request: carried out, refused, or answered without the disk. Pure.
//!
//! Source: NBD proto.md, "Request types", "Command flags", "Error values".

use super::handshake::Agreed;
use super::wire::code;
use super::wire::request::{RequestHeader, command, command_flag};
use crate::block::{Extent, Request};

/// Most runs in one block status reply.
pub(crate) const RUNS_MAX: usize = 4096;
/// Bytes of one run in a reply.
const RUN_BYTES: u64 = 8;

/// What is needed to answer a request later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) cookie: u64,
    pub(crate) extent: Extent,
    pub(crate) form: Form,
    fua: bool,
}

/// What a reply looks like when all went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Without content.
    Done,
    /// The answer to a write, whose data comes before it.
    Written,
    /// Bytes of the disk.
    Data,
    /// Runs, in this metadata context.
    Status { context: u32, only_one: bool },
}

impl Order {
    /// Bytes that the request and its reply hold until the reply is written.
    pub(crate) fn bytes(&self) -> u64 {
        match self.form {
            Form::Done => 0,
            Form::Written | Form::Data => self.extent.length.into(),
            Form::Status { .. } => RUNS_MAX as u64 * RUN_BYTES,
        }
    }

    /// The write that this order asks for.
    pub(crate) fn write(&self, data: bytes::Bytes) -> Request {
        Request::Write { offset: self.extent.offset, data, fua: self.fua }
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The disk carries it out.
    CarryOut(Order, Request),
    /// The disk carries it out once its payload is here, [`Order::extent`] long.
    AwaitPayload(Order),
    /// It is done: there was nothing to do.
    Empty(Order),
    /// It is answered with an error value, after so many bytes of payload have passed.
    Refuse { order: Order, error: u32, passing: u64 },
    /// The client leaves ("Terminating the transmission phase").
    Disconnect,
}

/// Judges a request by what was agreed on.
pub(crate) fn judge(agreed: &Agreed, header: RequestHeader) -> Verdict {
    let RequestHeader { flags, command, cookie, offset, length } = header;
    if command == command::DISC {
        return Verdict::Disconnect;
    }
    let extent = Extent { offset, length };
    let fua = flags & command_flag::FUA != 0;
    let form = match command {
        command::READ => Form::Data,
        command::WRITE => Form::Written,
        command::BLOCK_STATUS => {
            let only_one = flags & command_flag::REQ_ONE != 0;
            Form::Status { context: agreed.context.unwrap_or_default(), only_one }
        }
        _other => Form::Done,
    };
    let order = Order { cookie, extent, form, fua };
    if let Err(error) = check(agreed, command, flags, extent) {
        let passing = if command == command::WRITE { length.into() } else { 0 };
        return Verdict::Refuse { order, error, passing };
    }
    let request = match command {
        _ if length == 0 && command != command::FLUSH => return Verdict::Empty(order),
        command::READ => Request::Read { extent },
        command::WRITE => return Verdict::AwaitPayload(order),
        command::FLUSH => Request::Flush,
        command::TRIM => Request::Trim { extent, fua },
        command::WRITE_ZEROES => {
            let may_punch = flags & command_flag::NO_HOLE == 0;
            let only_fast = flags & command_flag::FAST_ZERO != 0;
            Request::WriteZeroes { extent, fua, may_punch, only_fast }
        }
        command::BLOCK_STATUS => Request::Status { extent },
        _unknown => return Verdict::Refuse { order, error: code::INVAL, passing: 0 },
    };
    Verdict::CarryOut(order, request)
}

fn check(agreed: &Agreed, command: u16, flags: u16, extent: Extent) -> Result<(), u32> {
    let device = &agreed.device;
    let can = &device.abilities;
    let (is_known, flags_known) = match command {
        command::READ if agreed.is_structured => (true, command_flag::DF),
        command::READ => (true, 0),
        command::WRITE => (true, 0),
        command::FLUSH => (can.can_flush, 0),
        command::TRIM => (can.can_trim || can.is_read_only, 0),
        command::WRITE_ZEROES if can.can_zero_fast => {
            (can.can_write_zeroes, command_flag::NO_HOLE | command_flag::FAST_ZERO)
        }
        command::WRITE_ZEROES => (can.can_write_zeroes || can.is_read_only, command_flag::NO_HOLE),
        command::BLOCK_STATUS => (agreed.context.is_some(), command_flag::REQ_ONE),
        _unknown => (false, 0),
    };
    let fua = if can.can_fua { command_flag::FUA } else { 0 };
    if !is_known || flags & !(flags_known | fua) != 0 {
        return Err(code::INVAL);
    }
    if command == command::FLUSH {
        let is_reserved = extent == Extent { offset: 0, length: 0 };
        return if is_reserved { Ok(()) } else { Err(code::INVAL) };
    }
    let writes = matches!(command, command::WRITE | command::TRIM | command::WRITE_ZEROES);
    if writes && can.is_read_only {
        return Err(code::PERM);
    }
    if !extent.fits(device.size) {
        let adds = matches!(command, command::WRITE | command::WRITE_ZEROES);
        return Err(if adds { code::NOSPC } else { code::INVAL });
    }
    if !is_aligned(extent, device.block_min) {
        return Err(code::INVAL);
    }
    let has_payload = matches!(command, command::READ | command::WRITE);
    if has_payload && extent.length > device.payload_max {
        let overflow = command == command::READ && agreed.is_structured;
        return Err(if overflow { code::OVERFLOW } else { code::INVAL });
    }
    if command == command::BLOCK_STATUS && extent.length == 0 {
        // A reply has one run at least, and a run is never empty.
        return Err(code::INVAL);
    }
    Ok(())
}

fn is_aligned(extent: Extent, block: u32) -> bool {
    extent.offset.is_multiple_of(block.into()) && extent.length.is_multiple_of(block)
}
