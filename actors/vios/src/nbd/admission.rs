//! What becomes of a request: carried out, refused, or answered without the disk. Pure.
//!
//! Source: NBD proto.md, "Request types", "Command flags", "Error values".

use super::handshake::Agreed;
use super::wire::code;
use super::wire::request::{RequestHeader, command, command_flag};
use crate::block::{Extent, Failure, Request};
use crate::disk::Operation;

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
    let operation = match command {
        command::READ => Operation::Read,
        command::WRITE => Operation::Write,
        command::TRIM => Operation::Trim,
        command::WRITE_ZEROES => Operation::WriteZeroes,
        command::BLOCK_STATUS => Operation::Status,
        // A flush, whose offset and length are reserved.
        _flush if extent == (Extent { offset: 0, length: 0 }) => return Ok(()),
        _flush => return Err(code::INVAL),
    };
    device.admit_extent(operation, extent).map_err(|failure| {
        let is_long = extent.fits(device.size) && extent.length > device.payload_max;
        match (operation, failure) {
            (Operation::Read, Failure::Invalid) if is_long && agreed.is_structured => {
                code::OVERFLOW
            }
            (_, failure) => code::of(failure),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Abilities, Device};

    const FLUSH: u16 = command::FLUSH;
    const READ: u16 = command::READ;
    const WRITE: u16 = command::WRITE;
    const TRIM: u16 = command::TRIM;
    const ZEROES: u16 = command::WRITE_ZEROES;
    const STATUS: u16 = command::BLOCK_STATUS;

    fn agreed(abilities: Abilities) -> Agreed {
        let device = Device { abilities, ..Device::new(1 << 30) };
        Agreed { device, is_structured: true, context: None }
    }

    fn all() -> Abilities {
        Abilities {
            can_flush: true,
            can_fua: true,
            can_trim: true,
            can_write_zeroes: true,
            can_zero_fast: true,
            ..Abilities::default()
        }
    }

    /// The error value of such a request, at the start of the disk, of a block; 0 if it is none.
    fn error(agreed: &Agreed, command: u16, flags: u16) -> u32 {
        let length = if command == FLUSH { 0 } else { 4096 };
        let header = RequestHeader { flags, command, cookie: 1, offset: 0, length };
        match judge(agreed, header) {
            Verdict::Refuse { error, passing, .. } => {
                assert_eq!(passing, if command == WRITE { 4096 } else { 0 });
                error
            }
            Verdict::CarryOut(..) | Verdict::AwaitPayload(_) => 0,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_flag_is_taken_only_with_its_command_and_where_it_was_offered() {
        let (all, none) = (agreed(all()), agreed(Abilities::default()));
        for (command, flags, with_all, with_none) in [
            (READ, 0, 0, 0),
            (READ, command_flag::FUA, 0, code::INVAL),
            (READ, command_flag::DF, 0, 0),
            (READ, command_flag::NO_HOLE, code::INVAL, code::INVAL),
            (WRITE, command_flag::FUA, 0, code::INVAL),
            (WRITE, command_flag::DF, code::INVAL, code::INVAL),
            (FLUSH, 0, 0, code::INVAL),
            (FLUSH, command_flag::FUA, 0, code::INVAL),
            (TRIM, 0, 0, code::INVAL),
            (ZEROES, command_flag::NO_HOLE | command_flag::FAST_ZERO, 0, code::INVAL),
            (STATUS, command_flag::REQ_ONE, code::INVAL, code::INVAL),
            (99, 0, code::INVAL, code::INVAL),
            (READ, 0x8000, code::INVAL, code::INVAL),
        ] {
            assert_eq!(error(&all, command, flags), with_all, "{command} {flags:#x}");
            assert_eq!(error(&none, command, flags), with_none, "{command} {flags:#x}");
        }
        let with_context = Agreed { context: Some(1), ..all };
        assert_eq!(error(&with_context, STATUS, command_flag::REQ_ONE), 0);
        let simple = Agreed { is_structured: false, ..all };
        assert_eq!(error(&simple, READ, command_flag::DF), code::INVAL);
    }

    #[test]
    fn a_read_only_disk_says_so_to_every_write() {
        let read_only = agreed(Abilities { is_read_only: true, ..all() });
        for command in [WRITE, TRIM, ZEROES] {
            assert_eq!(error(&read_only, command, 0), code::PERM);
        }
        assert_eq!(error(&read_only, READ, 0), 0);
    }

    #[test]
    fn a_read_that_is_too_long_is_told_from_one_that_is_wrong() {
        let judged = |agreed: &Agreed, offset| {
            let (flags, command, cookie, length) = (0, READ, 1, 64 << 20);
            match judge(agreed, RequestHeader { flags, command, cookie, offset, length }) {
                Verdict::Refuse { error, .. } => error,
                other => panic!("{other:?}"),
            }
        };
        let agreed = agreed(all());
        assert_eq!(judged(&agreed, 0), code::OVERFLOW);
        assert_eq!(judged(&agreed, 1 << 30), code::INVAL);
        assert_eq!(judged(&Agreed { is_structured: false, ..agreed }, 0), code::INVAL);
    }
}
